//! Finds the sentences of a document's text.

use std::ops::Range;

use unicode_segmentation::UnicodeSegmentation;

use crate::parse::ParsedDocument;

/// The document's sentences, without the white space around them.
pub(crate) fn sentences(document: &ParsedDocument) -> Vec<Range<usize>> {
    let text = &document.text;
    let mut found = Vec::new();
    for block in blocks(document) {
        // Sentence rules (UAX 29) end a sentence at each line break; inside a wrapped paragraph one
        // is a space, which is as long.
        let flat = text[block.clone()].replace('\n', " ");
        let mut at = block.start;
        for sentence in flat.split_sentence_bounds() {
            let range = trimmed(text, at..at + sentence.len());
            at += sentence.len();
            if !range.is_empty() {
                found.push(range);
            }
        }
    }
    found
}

/// Parts of the text between which no sentence goes on: lines, or paragraphs of wrapped text.
fn blocks(document: &ParsedDocument) -> Vec<Range<usize>> {
    let mut blocks: Vec<Range<usize>> = Vec::new();
    let mut headings = document.headings.iter().peekable();
    let (mut start, mut open) = (0, false);
    for line in document.text.split_inclusive('\n') {
        let range = start..start + line.len();
        start = range.end;
        while headings.peek().is_some_and(|h| h.bytes.end <= range.start) {
            headings.next();
        }
        let heading = headings.peek().is_some_and(|h| h.bytes.start < range.end);
        let trimmed = line.trim();
        if trimmed.is_empty() {
            open = false;
            continue;
        }
        match blocks.last_mut() {
            Some(block) if open && document.wrapped && !heading && !begins_item(trimmed) => {
                block.end = range.end;
            }
            _ => blocks.push(range),
        }
        open = !heading && !is_row(trimmed);
    }
    blocks
}

/// Whether a line of wrapped text begins an item of a list or a row of a table.
fn begins_item(line: &str) -> bool {
    let mark = line.split(' ').next().unwrap_or_default();
    let numbered = mark.len() <= 4
        && mark.ends_with(['.', ')'])
        && mark.starts_with(|c: char| c.is_ascii_digit() || c == '(');
    ["-", "*", "•", "–", "+"].contains(&mark) || numbered || is_row(line)
}

/// Whether a line of wrapped text is a row of a table: its cells are set apart.
fn is_row(line: &str) -> bool {
    line.contains(" | ") || line.contains('\t') || line.contains("   ")
}

/// Words of a part of the text: runs without white space.
pub(crate) fn words(text: &str, range: Range<usize>) -> impl Iterator<Item = Range<usize>> {
    let base = text.as_ptr() as usize;
    text[range].split_whitespace().map(move |word| {
        let start = word.as_ptr() as usize - base;
        start..start + word.len()
    })
}

fn trimmed(text: &str, range: Range<usize>) -> Range<usize> {
    let part = &text[range.clone()];
    let start = range.start + part.len() - part.trim_start().len();
    start..(start + part.trim().len())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(text: &str, wrapped: bool) -> Vec<&str> {
        let document = ParsedDocument {
            text: text.to_owned(),
            wrapped,
            ..ParsedDocument::default()
        };
        sentences(&document)
            .into_iter()
            .map(|range| &text[range])
            .collect()
    }

    #[test]
    fn a_line_break_inside_a_wrapped_sentence_is_no_border() {
        let wrapped = of(
            "The fee\nis due. Pay\nit.\n- one\n- two\n\nA     1\nB     2\n\nEnd",
            true,
        );
        assert_eq!(
            wrapped,
            [
                "The fee\nis due.",
                "Pay\nit.",
                "- one",
                "- two",
                "A     1",
                "B     2",
                "End"
            ]
        );
        let lines = of("The fee\nis due", false);
        assert_eq!(lines, ["The fee", "is due"]);
    }
}
