//! Reads the citations of a reply, and keeps those that check out against the stored passages.

use outcrop_api as api;
use unicode_segmentation::UnicodeSegmentation;

/// A citation whose passages are indices, from 0.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Draft {
    pub span: api::Span,
    pub quotes: Vec<String>,
    pub passages: Vec<usize>,
}

/// The text of a reply and its citations in order of the text.
///
/// `stored` holds the passages' texts as the store has them now; none for one that changed, which
/// cannot be cited.
pub(crate) fn read_reply(
    content: &[api::ContentBlock],
    stored: &[Option<String>],
) -> (String, Vec<Draft>) {
    let mut text = String::new();
    let mut drafts = Vec::new();
    for block in content {
        match block {
            api::ContentBlock::Text(part) => {
                let start = append(&mut text, part);
                drafts.extend(marked(part, start, stored));
            }
            api::ContentBlock::CitationsContent(cited) => {
                let part: String = cited
                    .content
                    .iter()
                    .map(|api::GeneratedText::Text(text)| text.as_str())
                    .collect();
                let start = append(&mut text, &part);
                let quoted = cited
                    .citations
                    .iter()
                    .filter_map(|citation| quoted(citation, &part, start, stored));
                drafts.extend(quoted);
            }
            _ => {}
        }
    }
    drafts.sort_by_key(|draft| (draft.span.start, draft.span.end));
    (text, drafts)
}

/// The text of a reply, or of as much of it as is there, as [`read_reply`] gives it.
pub fn joined_text(content: &[api::ContentBlock]) -> String {
    let mut text = String::new();
    for block in content {
        match block {
            api::ContentBlock::Text(part) => {
                append(&mut text, part);
            }
            api::ContentBlock::CitationsContent(cited) => {
                let parts = cited.content.iter();
                let part: String = parts
                    .map(|api::GeneratedText::Text(t)| t.as_str())
                    .collect();
                append(&mut text, &part);
            }
            _ => {}
        }
    }
    text
}

/// Appends a block's text, apart from the one before it; gives its first character.
fn append(text: &mut String, part: &str) -> usize {
    let apart = text.is_empty()
        || part.is_empty()
        || text.ends_with(char::is_whitespace)
        || part.starts_with(char::is_whitespace);
    if !apart {
        text.push(' ');
    }
    let start = text.chars().count();
    text.push_str(part);
    start
}

/// A quoting model's citation, where its words stand in the passage that it names, and at the place
/// that it names where there are several.
fn quoted(
    citation: &api::SourceCitation,
    part: &str,
    start: usize,
    stored: &[Option<String>],
) -> Option<Draft> {
    let api::CitationLocation::SearchResultLocation {
        search_result_index,
        ..
    } = citation.location
    else {
        return None;
    };
    let passage = stored.get(search_result_index)?.as_deref()?;
    let quotes: Vec<String> = citation
        .source_content
        .iter()
        .map(|c| c.text.clone())
        .collect();
    let verbatim = |quote: &String| !quote.trim().is_empty() && passage.contains(quote.as_str());
    if quotes.is_empty() || !quotes.iter().all(verbatim) {
        return None;
    }
    // The quote itself where the answer holds it, else the whole block.
    let within = quotes.first().and_then(|quote| {
        let at = part.find(quote.as_str())?;
        Some((part[..at].chars().count(), quote.chars().count()))
    });
    let (offset, length) = within.unwrap_or((0, part.chars().count()));
    Some(Draft {
        span: api::Span {
            start: start + offset,
            end: start + offset + length,
        },
        quotes,
        passages: vec![search_result_index],
    })
}

/// Citations by numbers in brackets: each sentence with those behind or inside it.
fn marked(text: &str, start: usize, stored: &[Option<String>]) -> Vec<Draft> {
    let markers = markers(text);
    let sentences = sentences(text, &markers);
    let mut drafts: Vec<Draft> = Vec::new();
    for (from, to) in sentences {
        let mut passages: Vec<usize> = Vec::new();
        for marker in markers.iter().filter(|m| from <= m.start && m.start < to) {
            for &number in &marker.numbers {
                let known = number
                    .checked_sub(1)
                    .filter(|&at| matches!(stored.get(at), Some(Some(_))));
                passages.extend(known.filter(|at| !passages.contains(at)));
            }
        }
        // Numbers alone are no claim.
        let bare = without_markers(&text[from..to], from, &markers);
        if passages.is_empty() || !bare.chars().any(char::is_alphanumeric) {
            continue;
        }
        let first = start + text[..from].chars().count();
        drafts.push(Draft {
            span: api::Span {
                start: first,
                end: first + text[from..to].chars().count(),
            },
            quotes: Vec::new(),
            passages,
        });
    }
    drafts
}

/// Numbers in brackets: `[1]`, `[1, 2]`.
#[derive(Debug, PartialEq, Eq)]
struct Marker {
    start: usize,
    end: usize,
    numbers: Vec<usize>,
}

fn markers(text: &str) -> Vec<Marker> {
    let mut found = Vec::new();
    let mut from = 0;
    while let Some(open) = text[from..].find('[').map(|at| from + at) {
        from = open + 1;
        let Some(close) = text[from..].find(']').map(|at| from + at) else {
            break;
        };
        let numbers: Option<Vec<usize>> = text[from..close]
            .split([',', ';'])
            .map(|number| number.trim().trim_start_matches('^').parse().ok())
            .collect();
        // `[1](…)` and `[1]: …` are Markdown's links and their targets.
        let linked = text[close + 1..].starts_with('(') || text[close + 1..].starts_with(':');
        if let Some(numbers) = numbers.filter(|_| !linked) {
            found.push(Marker {
                start: open,
                end: close + 1,
                numbers,
            });
            from = close + 1;
        }
    }
    found
}

/// Byte ranges of the sentences of each line, without white space around them. Markers behind a
/// sentence's end belong to it.
fn sentences(text: &str, markers: &[Marker]) -> Vec<(usize, usize)> {
    let mut found: Vec<(usize, usize)> = Vec::new();
    let mut line_start = 0;
    for line in text.split_inclusive('\n') {
        let line_first = found.len();
        let mut at = line_start;
        for sentence in line.split_sentence_bounds() {
            let (mut from, to) = (at, at + sentence.len());
            at = to;
            // Markers at the beginning go to the sentence before, where the line has one.
            if found.len() > line_first {
                while let Some(marker) = leading(text, from, to, markers) {
                    if let Some(before) = found.last_mut() {
                        before.1 = marker;
                    }
                    from = marker;
                }
            }
            let part = &text[from..to];
            let trimmed = part.trim();
            if !trimmed.is_empty() {
                let from = from + part.len() - part.trim_start().len();
                // A full stop behind a marker still ends the sentence before.
                match found
                    .last_mut()
                    .filter(|_| !trimmed.chars().any(char::is_alphanumeric))
                {
                    Some(before) if found_in_line(before.0, line_start) => {
                        before.1 = from + trimmed.len();
                    }
                    _ => found.push((from, from + trimmed.len())),
                }
            }
        }
        line_start += line.len();
    }
    found
}

fn found_in_line(start: usize, line_start: usize) -> bool {
    start >= line_start
}

/// The end of the marker that the part begins with.
fn leading(text: &str, from: usize, to: usize, markers: &[Marker]) -> Option<usize> {
    let part = &text[from..to];
    let first = from + part.len() - part.trim_start().len();
    markers
        .iter()
        .find(|m| m.start == first && m.end <= to)
        .map(|m| m.end)
}

fn without_markers(part: &str, offset: usize, markers: &[Marker]) -> String {
    let mut bare = String::with_capacity(part.len());
    let mut at = 0;
    for marker in markers {
        let inside = marker.start >= offset && marker.end <= offset + part.len();
        if inside {
            bare.push_str(&part[at..marker.start - offset]);
            at = marker.end - offset;
        }
    }
    bare.push_str(&part[at..]);
    bare
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use proptest::prelude::*;

    fn stored(count: usize) -> Vec<Option<String>> {
        (1..=count)
            .map(|n| Some(format!("Passage {n} | says\nthis. And \"that\".")))
            .collect()
    }

    fn cited(text: &str, count: usize) -> Vec<(String, Vec<usize>)> {
        let content = [api::ContentBlock::Text(text.to_owned())];
        let (out, drafts) = read_reply(&content, &stored(count));
        assert_eq!(out, text);
        let part = |span: api::Span| -> String {
            text.chars()
                .skip(span.start)
                .take(span.end - span.start)
                .collect()
        };
        drafts
            .into_iter()
            .map(|d| (part(d.span), d.passages))
            .collect()
    }

    #[test]
    fn sentences_carry_their_numbers() {
        assert_eq!(
            cited(
                "Fées cost 5 [1]. They rise. [2][3] Cards are free.\n- A card [1, 2]",
                3
            ),
            [
                ("Fées cost 5 [1].".to_owned(), vec![0]),
                ("They rise. [2][3]".to_owned(), vec![1, 2]),
                ("- A card [1, 2]".to_owned(), vec![0, 1]),
            ]
        );
    }

    #[test]
    fn numbers_of_no_passage_and_links_are_dropped() {
        assert_eq!(
            cited("A fee [0]. A card [4]. See [1](http://x). [2]: http://y", 3),
            []
        );
        assert_eq!(cited("[1] [2]", 3), []);
        assert_eq!(
            cited("| Fee | 5 [2] |\n|---|---|\n| Card | 6 |", 3),
            [("| Fee | 5 [2] |".to_owned(), vec![1])]
        );
    }

    fn quote(text: &str, quote: &str, index: usize) -> api::ContentBlock {
        api::ContentBlock::CitationsContent(api::CitationsContent {
            content: vec![api::GeneratedText::Text(text.to_owned())],
            citations: vec![api::SourceCitation {
                title: String::new(),
                source: None,
                source_content: vec![api::TextContent {
                    text: quote.to_owned(),
                }],
                location: api::CitationLocation::SearchResultLocation {
                    search_result_index: index,
                    start: 0,
                    end: quote.chars().count(),
                },
            }],
        })
    }

    #[test]
    fn quotes_must_stand_in_their_passage_word_for_word() {
        let good = "says\nthis. And \"that\".";
        let content = [
            quote(good, good, 1),
            quote("invented", "invented", 1),
            quote("Passage 1", "Passage 1", 7),
            quote("Passage 1", "Passage 1", 0),
            quote("empty", "", 0),
        ];
        let (text, drafts) = read_reply(&content, &stored(2));
        assert_eq!(text, format!("{good} invented Passage 1 Passage 1 empty"));
        let seen: Vec<(&str, usize)> = drafts
            .iter()
            .map(|d| (d.quotes[0].as_str(), d.passages[0]))
            .collect();
        assert_eq!(seen, [(good, 1), ("Passage 1", 0)]);
        let span = drafts[1].span;
        assert_eq!(&text[span.start..span.end], "Passage 1");
        assert!(
            span.start > text.find("Passage 1").unwrap(),
            "the second one is cited"
        );
    }

    #[test]
    fn a_passage_that_changed_is_not_cited() {
        let content = [
            api::ContentBlock::Text("A [1]. B [2].".into()),
            quote("Passage 1", "Passage 1", 0),
        ];
        let mut stored = stored(2);
        stored[0] = None;
        let (_, drafts) = read_reply(&content, &stored);
        assert_eq!(drafts.len(), 1);
        assert_eq!(drafts[0].passages, [1]);
    }

    proptest! {
        #[test]
        fn spans_are_ordered_and_inside_the_text(text in "([a-zé世 .!?\n|*`]|\\[[0-9, ;a]{0,4}\\]|\\]|\\[){0,60}") {
            let content = [api::ContentBlock::Text(text.clone()), api::ContentBlock::Text(text)];
            let (out, drafts) = read_reply(&content, &stored(5));
            let length = out.chars().count();
            let mut last = 0;
            for draft in drafts {
                prop_assert!(last <= draft.span.start && draft.span.start < draft.span.end);
                prop_assert!(draft.span.end <= length && !draft.passages.is_empty());
                prop_assert!(draft.passages.iter().all(|&at| at < 5));
                last = draft.span.end;
            }
        }
    }
}
