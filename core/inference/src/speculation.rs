//! Tokens guessed ahead, to be checked several at a time: by prompt lookup or by a draft model.
//!
//! A guess costs a row of a step, and saves a step where it is what the sampler then chooses. The
//! output cannot change by it: each position is sampled from its own logits as without guesses.

use outcrop_api::Speculation;

use crate::block_pool::BlockPool;
use crate::sequence::Sequence;
use crate::step::{Asked, Choice, Rows, StepModel, Wanted};

/// Longest run of last tokens that is looked for.
const LONGEST_RUN: usize = 4;
/// Shortest one: a single token says little.
const SHORTEST_RUN: usize = 2;

/// Guesses the next tokens of sequences.
pub(crate) struct Speculator {
    draft: Option<Box<dyn StepModel>>,
}

impl Speculator {
    /// One with a draft model, where there is one. Its cache has the pages of the model's own.
    pub fn new(draft: Option<Box<dyn StepModel>>) -> Self {
        Self { draft }
    }

    /// Copies a page of the draft model's cache to another.
    pub fn copy_page(&mut self, from: u32, to: u32) {
        if let Some(draft) = &mut self.draft {
            draft.copy_page(from, to);
        }
    }

    /// Gives the sequences of which all is computed in a step of `counts` tokens their guesses, at
    /// most `room`, and the pages that these need. A sequence for which there are none goes without.
    pub fn guess(
        &mut self,
        running: &mut [Sequence],
        counts: &[usize],
        mut room: usize,
        (blocks, keep_going): (&mut BlockPool, &dyn Fn() -> bool),
    ) {
        let mut wishes = vec![0; running.len()];
        for ((sequence, &count), wish) in running.iter_mut().zip(counts).zip(&mut wishes) {
            sequence.guesses.clear();
            let is_whole = count > 0 && count == sequence.pending().len();
            let most = if is_whole { sequence.most_guesses() } else { 0 };
            *wish = most.min(room);
            if sequence.speculation == Speculation::PromptLookup {
                sequence.guesses = look_up(sequence.tokens(), *wish).to_vec();
                *wish = sequence.guesses.len();
            }
            let end = sequence.position() + count + *wish;
            if *wish > 0 && !blocks.grow(&mut sequence.blocks, end) {
                sequence.guesses.clear();
                *wish = 0;
            }
            room -= *wish;
        }
        if let Some(draft) = &mut self.draft {
            run_draft(draft.as_mut(), running, (counts, &wishes), keep_going);
        }
    }
}

/// Brings the draft model up to what the step computes, and lets it go on for as many tokens as each
/// sequence wishes.
fn run_draft(
    draft: &mut dyn StepModel,
    running: &mut [Sequence],
    (counts, wishes): (&[usize], &[usize]),
    keep_going: &dyn Fn() -> bool,
) {
    let rounds = wishes.iter().copied().max().unwrap_or(0).max(1);
    for round in 0..rounds {
        let takes_part = |index: usize, sequence: &Sequence| {
            let is_behind = if round == 0 {
                counts[index] > 0
            } else {
                wishes[index] > round && sequence.guesses.len() == round
            };
            sequence.speculation == Speculation::Draft && is_behind
        };
        let taking: Vec<usize> = (0..running.len())
            .filter(|&index| takes_part(index, &running[index]))
            .collect();
        if taking.is_empty() {
            return;
        }
        let rows: Vec<Rows<'_>> = taking
            .iter()
            .map(|&index| {
                let sequence = &running[index];
                let end = sequence.position() + counts[index];
                let (tokens, position) = match sequence.guesses.last() {
                    Some(last) => (std::slice::from_ref(last), end + round - 1),
                    None => {
                        let start = sequence.draft_computed.min(end - 1);
                        (&sequence.tokens()[start..end], start)
                    }
                };
                Rows {
                    tokens,
                    position,
                    pages: sequence.blocks.pages(),
                    rope_length: sequence.rope_length(),
                    wanted: if wishes[index] > 0 {
                        Wanted::Last
                    } else {
                        Wanted::None
                    },
                    adapter: None,
                }
            })
            .collect();
        let wishing = taking.iter().filter(|&&index| wishes[index] > 0);
        let choices: Vec<Choice<'_>> = match draft.chooses() {
            false => Vec::new(),
            true => (wishing.enumerate())
                .filter_map(|(row, &index)| running[index].guess_choice(row))
                .collect(),
        };
        let asked = Asked {
            logits: !draft.chooses(),
            choices: &choices,
        };
        let vocab = draft.vocab_size();
        // A draft model that breaks down guesses nothing.
        let Ok(Some(made)) = draft.step_and_choose(&rows, asked, keep_going) else {
            return;
        };
        drop((rows, choices));
        let mut logits = made.logits.chunks_exact(vocab);
        let mut chosen = made.chosen.iter();
        for index in taking {
            let sequence = &mut running[index];
            if round == 0 {
                sequence.draft_computed = sequence.position() + counts[index];
            }
            if wishes[index] == 0 {
                continue;
            }
            match (chosen.next(), logits.next()) {
                (Some(own), _) => sequence.guesses.extend(own.id),
                (None, Some(row)) => sequence.guess(row),
                (None, None) => {}
            }
        }
    }
}

/// At most `most` tokens that followed the last ones where these stood before, the longest run of
/// them first, the latest place first.
fn look_up(tokens: &[u32], most: usize) -> &[u32] {
    if most == 0 {
        return &[];
    }
    for run in (SHORTEST_RUN..=LONGEST_RUN).rev() {
        let Some(start) = tokens.len().checked_sub(run) else {
            continue;
        };
        let found = tokens[..tokens.len() - 1]
            .windows(run)
            .rposition(|window| *window == tokens[start..]);
        if let Some(at) = found {
            let next = at + run;
            return &tokens[next..tokens.len().min(next + most)];
        }
    }
    &[]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_followed_the_longest_latest_run_is_guessed() {
        assert_eq!(look_up(&[1, 2, 3, 9, 1, 2, 4, 8, 1, 2], 2), [4, 8]);
        assert_eq!(look_up(&[5, 1, 2, 3, 1, 2, 4, 5, 1, 2], 2), [3, 1]);
        assert_eq!(look_up(&[7, 7, 7], 5), [7]);
        assert!(look_up(&[1, 2, 3], 4).is_empty());
        assert!(look_up(&[1], 4).is_empty());
        assert!(look_up(&[1, 2, 1, 2], 0).is_empty());
    }
}
