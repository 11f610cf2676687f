//! From the glyphs of a PDF page to lines, paragraphs and table rows.
//!
//! A PDF says where each glyph stands, not what is a word or a paragraph. Glyphs that follow each
//! other on a baseline form a run; runs that stand below each other in even steps form a block of
//! lines, which is a paragraph or a cell; blocks beside each other form a row. The order is that of
//! the file's drawing instructions, which writers keep to reading order, so that columns of a page
//! do not run into each other.

use pdf_extract::{MediaBox, OutputDev, OutputError, Transform};

use super::builder::{Block, collapse};
use super::text::number_depth;

/// A gap wider than this, in type sizes, is a space between two words.
const WORD_GAP: f64 = 0.15;
/// A gap wider than this, in type sizes, parts two cells.
const CELL_GAP: f64 = 0.9;
/// Blocks beside each other form a row only where each has at most this many lines: taller ones are
/// columns of text.
const MAX_ROW_LINES: usize = 6;
/// Headings have at most this many characters.
const MAX_HEADING_CHARS: usize = 120;

/// A paragraph, heading or table row of a page.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Piece {
    pub kind: Block,
    pub text: String,
    /// Type size in points.
    pub size: f64,
    /// How many lines it fills on the page.
    pub lines: usize,
}

impl Piece {
    /// The level of a heading: set larger than the body, or numbered and alone on its line.
    pub fn heading_level(&self, body: f64) -> Option<u8> {
        let length = self.text.chars().count();
        if self.kind != Block::Paragraph || self.lines > 2 || length > MAX_HEADING_CHARS {
            return None;
        }
        if !self.text.chars().any(char::is_alphabetic) {
            return None;
        }
        let ratio = self.size / body;
        match number_depth(&self.text) {
            Some(depth) if ratio > 0.95 => Some(depth + 1),
            _ if ratio > 1.45 => Some(1),
            _ if ratio > 1.1 => Some(2),
            _ => None,
        }
    }
}

/// Glyphs on one baseline, in writing order. Coordinates are along and across the writing
/// direction, in points; across grows downwards.
#[derive(Clone, Debug)]
struct Run {
    text: String,
    start: f64,
    end: f64,
    baseline: f64,
    size: f64,
    /// The writing direction, in quarter turns.
    turn: i8,
}

/// Lines below each other.
#[derive(Clone, Debug)]
struct Lines {
    runs: Vec<Run>,
}

/// Takes the glyphs of one page.
#[derive(Default)]
pub(super) struct PageLayout {
    runs: Vec<Run>,
    word_begins: bool,
}

impl OutputDev for PageLayout {
    fn begin_page(
        &mut self,
        _number: u32,
        _media_box: &MediaBox,
        _art_box: Option<(f64, f64, f64, f64)>,
    ) -> Result<(), OutputError> {
        Ok(())
    }

    fn end_page(&mut self) -> Result<(), OutputError> {
        Ok(())
    }

    fn output_character(
        &mut self,
        at: &Transform,
        width: f64,
        spacing: f64,
        font_size: f64,
        glyph: &str,
    ) -> Result<(), OutputError> {
        let scale = (at.m11 * at.m11 + at.m12 * at.m12).sqrt();
        let rise = (at.m21 * at.m21 + at.m22 * at.m22).sqrt();
        let size = rise * font_size.abs();
        let sane = [at.m31, at.m32, scale, size, width, spacing]
            .iter()
            .all(|v| v.is_finite());
        if !sane || scale <= 0.0 || size <= 0.0 {
            // Text without a place or of no size is still text: it goes on with the line before.
            if let Some(run) = self.runs.last_mut() {
                run.text.push_str(glyph);
            }
            return Ok(());
        }
        let (turn, along, across) = if at.m11.abs() >= at.m12.abs() {
            let sign = at.m11.signum();
            (
                if sign > 0.0 { 0 } else { 2 },
                sign * at.m31,
                -sign * at.m32,
            )
        } else {
            let sign = at.m12.signum();
            (if sign > 0.0 { 1 } else { 3 }, sign * at.m32, sign * at.m31)
        };
        self.place(Run {
            text: readable(glyph),
            start: along,
            end: along + (width * font_size).abs() * scale,
            baseline: across,
            size,
            turn,
        });
        Ok(())
    }

    fn begin_word(&mut self) -> Result<(), OutputError> {
        self.word_begins = true;
        Ok(())
    }

    fn end_word(&mut self) -> Result<(), OutputError> {
        Ok(())
    }

    fn end_line(&mut self) -> Result<(), OutputError> {
        Ok(())
    }
}

impl PageLayout {
    /// Adds a glyph: to the run before it where it goes on there, else as the first of a new run.
    fn place(&mut self, glyph: Run) {
        let begins = std::mem::take(&mut self.word_begins);
        if let Some(run) = self.runs.last_mut() {
            let gap = (glyph.start - run.end) / glyph.size;
            let raised = (glyph.baseline - run.baseline).abs() / run.size.max(glyph.size);
            let goes_on = run.turn == glyph.turn && raised < 0.45 && gap > -0.6;
            if goes_on && gap < CELL_GAP {
                let spaced = run.text.ends_with(char::is_whitespace)
                    || glyph.text.starts_with(char::is_whitespace);
                if gap > WORD_GAP && !spaced {
                    run.text.push(' ');
                }
                run.text.push_str(&glyph.text);
                run.end = run.end.max(glyph.end);
                return;
            }
            // Letter-spaced type inside one drawn string is no row of cells.
            if goes_on && !begins && gap < 3.0 {
                run.text.push(' ');
                run.text.push_str(&glyph.text);
                run.end = run.end.max(glyph.end);
                return;
            }
        }
        self.runs.push(glyph);
    }

    /// The page's paragraphs and rows, in order.
    pub fn pieces(&self) -> Vec<Piece> {
        let runs = self
            .runs
            .iter()
            .filter(|run| !run.text.trim().is_empty())
            .cloned();
        let mut rows: Vec<Vec<Lines>> = Vec::new();
        for block in stack(runs) {
            match rows.last_mut() {
                Some(row) if row.last().is_some_and(|last| last.is_beside(&block)) => {
                    row.push(block);
                }
                _ => rows.push(vec![block]),
            }
        }
        rows.iter().flat_map(|row| pieces_of(row)).collect()
    }
}

/// Stacks runs that stand below each other in even steps.
fn stack(runs: impl Iterator<Item = Run>) -> Vec<Lines> {
    let mut blocks: Vec<Lines> = Vec::new();
    for run in runs {
        match blocks.last_mut() {
            Some(block) if block.goes_on_with(&run) => block.runs.push(run),
            _ => blocks.push(Lines { runs: vec![run] }),
        }
    }
    blocks
}

impl Lines {
    fn first(&self) -> &Run {
        &self.runs[0]
    }

    fn last(&self) -> &Run {
        &self.runs[self.runs.len() - 1]
    }

    fn start(&self) -> f64 {
        self.runs
            .iter()
            .map(|run| run.start)
            .fold(f64::MAX, f64::min)
    }

    fn end(&self) -> f64 {
        self.runs.iter().map(|run| run.end).fold(f64::MIN, f64::max)
    }

    /// Whether `run` is the next line of the same paragraph: of the same size, below in the same
    /// step as before, and not to the side.
    fn goes_on_with(&self, run: &Run) -> bool {
        let last = self.last();
        let step = (run.baseline - last.baseline) / last.size;
        let expected = match self.runs.len() {
            // The first step is any that is common inside a paragraph, and a wider one where the
            // next line goes on with a small letter.
            0 | 1 if run.text.starts_with(char::is_lowercase) => 2.2,
            0 | 1 => 1.55,
            n => (last.baseline - self.runs[n - 2].baseline) / last.size * 1.12,
        };
        let same_size = (run.size / last.size - 1.0).abs() < 0.06;
        let overlaps = run.start < self.end() && run.end > self.start();
        let bullet = is_marker(collapse(&run.text).split(' ').next().unwrap_or_default());
        last.turn == run.turn && same_size && overlaps && step > 0.5 && step <= expected && !bullet
    }

    /// Whether `other` stands to the right at the same height.
    fn is_beside(&self, other: &Lines) -> bool {
        if self.first().turn != other.first().turn || other.start() < self.end() - 1.0 {
            return false;
        }
        let small = self.runs.len().max(other.runs.len()) <= MAX_ROW_LINES;
        let span = |lines: &Lines| {
            let first = lines.first();
            (
                first.baseline - 0.7 * first.size,
                lines.last().baseline + 0.2 * first.size,
            )
        };
        let (a, b) = (span(self), span(other));
        let shared = a.1.min(b.1) - a.0.max(b.0);
        small && shared > 0.4 * (a.1 - a.0).min(b.1 - b.0)
    }

    /// Its lines as one text; a hyphen at a line's end stays, and closes up with the next line.
    fn text(&self) -> String {
        let mut text = String::new();
        for run in &self.runs {
            let line = collapse(&run.text);
            let closes_up = text.ends_with('-') && line.starts_with(char::is_lowercase);
            if !text.is_empty() && !closes_up {
                text.push(' ');
            }
            text.push_str(&line);
        }
        text
    }
}

/// A row's pieces: one row of a table, or a list item, or a single paragraph.
fn pieces_of(row: &[Lines]) -> Option<Piece> {
    let first = row.first()?;
    let mut text = first.text();
    let mut cells = 1;
    for (before, block) in row.iter().zip(&row[1..]) {
        let marker = cells == 1 && is_marker(&before.text());
        text.push_str(if marker { " " } else { " | " });
        text.push_str(&block.text());
        cells += usize::from(!marker);
    }
    let item =
        is_marker(text.split(' ').next().unwrap_or_default()) && number_depth(&text).is_none();
    Some(Piece {
        kind: match (cells, item) {
            (1, true) => Block::Item,
            (1, false) => Block::Paragraph,
            _ => Block::Row,
        },
        text,
        size: first.first().size,
        lines: row.iter().map(|block| block.runs.len()).max().unwrap_or(1),
    })
}

/// Whether a word marks a list item: a bullet, `1.`, `a)` or `(iv)`.
fn is_marker(word: &str) -> bool {
    if ["•", "◦", "▪", "●", "○", "■", "·", "–", "-", "*", "‣"].contains(&word) {
        return true;
    }
    let Some(inner) = word.strip_suffix(['.', ')']) else {
        return false;
    };
    let inner = inner.strip_prefix('(').unwrap_or(inner);
    let letter = inner.len() == 1 && inner.bytes().all(|b| b.is_ascii_lowercase());
    let roman = !inner.is_empty() && inner.len() <= 4 && inner.bytes().all(|b| b"ivx".contains(&b));
    let number = !inner.is_empty() && inner.len() <= 2 && inner.bytes().all(|b| b.is_ascii_digit());
    letter || roman || number
}

/// A glyph's characters as they are searched for: ligatures in letters, no control characters.
fn readable(glyph: &str) -> String {
    let mut out = String::with_capacity(glyph.len());
    for c in glyph.chars() {
        match c {
            '\u{fb00}' => out.push_str("ff"),
            '\u{fb01}' => out.push_str("fi"),
            '\u{fb02}' => out.push_str("fl"),
            '\u{fb03}' => out.push_str("ffi"),
            '\u{fb04}' => out.push_str("ffl"),
            '\u{fb05}' | '\u{fb06}' => out.push_str("st"),
            c if c.is_control() => out.push(' '),
            c => out.push(c),
        }
    }
    out
}
