//! Stop sequences over a stream of text, whatever the borders of its tokens.

/// Text of which it is not yet known whether it begins a stop sequence.
#[derive(Clone, Debug, Default)]
pub struct StopBuffer {
    sequences: Vec<String>,
    held: String,
}

/// What may be given out after more text came.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Passed {
    /// Text that is part of the output.
    pub text: String,
    /// A stop sequence stands behind it: the output ends.
    pub stopped: bool,
}

impl StopBuffer {
    /// A buffer that ends at the first of `sequences`, of which none is empty.
    pub fn new(sequences: Vec<String>) -> Self {
        Self {
            sequences,
            held: String::new(),
        }
    }

    /// Takes `delta` and gives out what cannot be part of a stop sequence any more.
    ///
    /// The sequence whose last character comes first is the one that stops, the longest where
    /// several end there: so the output does not depend on how the text was cut into deltas.
    pub fn push(&mut self, delta: &str) -> Passed {
        let searched = self.held.len();
        self.held.push_str(delta);
        let ends = self.held.char_indices().map(|(at, c)| at + c.len_utf8());
        for end in ends.filter(|end| *end > searched) {
            let before = &self.held[..end];
            let longest = self
                .sequences
                .iter()
                .filter(|s| before.ends_with(*s))
                .map(String::len)
                .max();
            if let Some(len) = longest {
                self.held.truncate(end - len);
                return Passed {
                    text: std::mem::take(&mut self.held),
                    stopped: true,
                };
            }
        }
        let kept = self.possible_start();
        let rest = self.held.split_off(kept);
        Passed {
            text: std::mem::replace(&mut self.held, rest),
            stopped: false,
        }
    }

    /// The text that was held back, when no more comes.
    pub fn finish(&mut self) -> String {
        std::mem::take(&mut self.held)
    }

    /// Where the longest end of the held text begins that is the beginning of a stop sequence.
    fn possible_start(&self) -> usize {
        let is_start = |at: &usize| {
            let end = &self.held[*at..];
            self.sequences.iter().any(|s| s.starts_with(end))
        };
        let starts = self.held.char_indices().map(|(at, _)| at);
        starts.into_iter().find(is_start).unwrap_or(self.held.len())
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn run(sequences: &[&str], deltas: &[&str]) -> (String, bool) {
        let mut buffer = StopBuffer::new(sequences.iter().map(|s| (*s).to_owned()).collect());
        let mut output = String::new();
        for delta in deltas {
            let passed = buffer.push(delta);
            output.push_str(&passed.text);
            if passed.stopped {
                return (output, true);
            }
        }
        output.push_str(&buffer.finish());
        (output, false)
    }

    #[test]
    fn a_sequence_over_several_deltas_stops_and_is_not_given_out() {
        assert_eq!(
            run(&["END"], &["so E", "N", "D and on"]),
            ("so ".to_owned(), true)
        );
        assert_eq!(
            run(&["END"], &["so EN", "ough"]),
            ("so ENough".to_owned(), false)
        );
        assert_eq!(run(&["END"], &["so E", "N"]), ("so EN".to_owned(), false));
        assert_eq!(run(&[], &["so", " on"]), ("so on".to_owned(), false));
    }

    #[test]
    fn only_a_possible_beginning_is_held_back() {
        let mut buffer = StopBuffer::new(vec!["\n\nQ:".to_owned()]);
        assert_eq!(buffer.push("one\n").text, "one");
        assert_eq!(buffer.push("two\n\n").text, "\ntwo");
        assert_eq!(buffer.push("\n").text, "\n");
        assert!(buffer.push("Q:").stopped);
    }

    #[test]
    fn the_first_to_end_stops_and_the_longest_of_those() {
        assert_eq!(
            run(&["ab", "xxabyy"], &["..xxabyy"]),
            ("..xx".to_owned(), true)
        );
        assert_eq!(run(&["b", "ab"], &["..ab"]), ("..".to_owned(), true));
    }

    proptest! {
        #[test]
        fn the_output_does_not_depend_on_the_borders(
            text in "[abé]{0,24}", stops in prop::collection::vec("[abé]{1,4}", 0..4), cuts in prop::collection::vec(1usize..5, 24),
        ) {
            let stops: Vec<&str> = stops.iter().map(String::as_str).collect();
            let characters: Vec<char> = text.chars().collect();
            let mut deltas = Vec::new();
            let mut rest = &characters[..];
            for cut in cuts {
                let (delta, more) = rest.split_at(cut.min(rest.len()));
                deltas.push(delta.iter().collect::<String>());
                rest = more;
            }
            let deltas: Vec<&str> = deltas.iter().map(String::as_str).collect();
            let (output, stopped) = run(&stops, &deltas);
            prop_assert_eq!((output.clone(), stopped), run(&stops, &[&text]));
            prop_assert_eq!(stopped, stops.iter().any(|s| text.contains(s)));
            prop_assert!(!stops.iter().any(|s| output.contains(s)));
            prop_assert!(text.starts_with(&output));
        }
    }
}
