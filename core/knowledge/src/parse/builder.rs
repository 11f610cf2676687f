//! Collects blocks into the text of a document.

use super::{Heading, ParsedDocument};

/// What kind of block a text is; it says how the next one is separated from it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Block {
    Paragraph,
    /// A row of a table: rows of one table stand on successive lines.
    Row,
    /// An item of a list: likewise.
    Item,
}

/// Most characters of a heading; longer text is a paragraph, whatever its mark says.
const MAX_HEADING_CHARS: usize = 200;

/// Collects blocks: text in order, separators between, headings noted on the way.
#[derive(Default)]
pub(super) struct TextBuilder {
    document: ParsedDocument,
    last: Option<Block>,
}

impl TextBuilder {
    /// Appends a block; blank text is none.
    pub fn push(&mut self, kind: Block, text: &str) {
        let text = text.trim_matches(|c: char| c.is_whitespace());
        if text.is_empty() {
            return;
        }
        match self.last {
            None => {}
            Some(last) if last == kind && kind != Block::Paragraph => self.document.text.push('\n'),
            Some(_) => self.document.text.push_str("\n\n"),
        }
        self.document.text.push_str(text);
        self.last = Some(kind);
    }

    /// Appends a heading of `level`, on one line.
    pub fn heading(&mut self, level: u8, text: &str) {
        let text = collapse(text);
        if text.is_empty() {
            return;
        }
        self.push(Block::Paragraph, &text);
        if text.chars().count() > MAX_HEADING_CHARS {
            return;
        }
        let end = self.document.text.len();
        self.document.headings.push(Heading {
            level,
            bytes: end - text.len()..end,
            text,
        });
    }

    /// Appends a row of cells; a row of blank cells is none.
    pub fn row(&mut self, cells: &[String]) {
        let cells: Vec<String> = cells.iter().map(|cell| collapse(cell)).collect();
        if cells.iter().any(|cell| !cell.is_empty()) {
            self.push(Block::Row, &cells.join(" | "));
        }
    }

    /// Ends a table or a list, so that the next one stands apart from it.
    pub fn end_group(&mut self) {
        if self.last.is_some() {
            self.last = Some(Block::Paragraph);
        }
    }

    /// The number of bytes so far.
    pub fn len(&self) -> usize {
        self.document.text.len()
    }

    pub fn set_title(&mut self, title: &str) {
        let title = collapse(title);
        if !title.is_empty() && self.document.title.is_none() {
            self.document.title = Some(title);
        }
    }

    /// The document. Its title is the stated one, else its first heading where that opens it.
    pub fn finish(mut self) -> ParsedDocument {
        if self.document.title.is_none() {
            self.document.title = self
                .document
                .headings
                .first()
                .filter(|heading| heading.bytes.start == 0)
                .map(|heading| heading.text.clone());
        }
        self.document
    }
}

/// `text` with each run of white space as one space, none at its ends, and no soft hyphens.
pub(super) fn collapse(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for word in text.split_whitespace() {
        if !out.is_empty() {
            out.push(' ');
        }
        out.extend(word.chars().filter(|&c| c != '\u{ad}'));
    }
    out
}

/// `text` with white space collapsed in each line and blank lines dropped.
pub(super) fn collapse_lines(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for line in text.lines() {
        let line = collapse(line);
        if !line.is_empty() {
            if !out.is_empty() {
                out.push('\n');
            }
            out.push_str(&line);
        }
    }
    out
}
