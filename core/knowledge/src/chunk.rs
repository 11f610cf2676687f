//! Cuts a document's text into chunks that an embedder reads whole.
//!
//! Borders fall between sentences, paragraphs, table rows and sections; a sentence longer than a
//! chunk is cut between words, a word longer than a chunk between characters. Every character that
//! is not white space is in a chunk, and a chunk's text is the document's text at its place.

mod strategy;

use std::ops::Range;

use outcrop_api as api;
use serde::{Deserialize, Serialize};
use unicode_segmentation::UnicodeSegmentation;

use crate::parse::{Heading, ParsedDocument};
use crate::sentences::{sentences, words};

pub use strategy::ChunkingStrategy;

/// How documents are cut into chunks. Lengths are tokens of the embedding model.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default, deny_unknown_fields)]
pub struct Chunking {
    /// Most tokens of a chunk as it is embedded, title and special tokens included; 8..=65536,
    /// and at most what the embedding model reads. Default 200.
    pub max_tokens: usize,
    /// Most tokens at the end of a chunk that are repeated at the beginning of the next, in whole
    /// sentences; at most half of `max_tokens`. Default 40.
    pub overlap_tokens: usize,
}

impl Default for Chunking {
    fn default() -> Self {
        Self {
            max_tokens: 200,
            overlap_tokens: 40,
        }
    }
}

impl Chunking {
    /// Checks the numbers.
    ///
    /// # Errors
    /// `ValidationException` that names the field.
    pub fn validate(&self) -> api::Result<()> {
        if !(8..=65_536).contains(&self.max_tokens) {
            return Err(api::Error::validation(format!(
                "chunking.max_tokens: expected 8..=65536, got {}",
                self.max_tokens
            )));
        }
        if self.overlap_tokens > self.max_tokens / 2 {
            return Err(api::Error::validation(format!(
                "chunking.overlap_tokens: expected at most half of chunking.max_tokens, {}, got {}",
                self.max_tokens / 2,
                self.overlap_tokens
            )));
        }
        Ok(())
    }
}

/// A piece of a document.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Chunk {
    /// Its bytes in the document's text.
    pub bytes: Range<usize>,
    /// Its characters (Unicode scalar values) in the document's text.
    pub chars: Range<usize>,
    /// What is embedded before its text: `Title > Heading` and a line break, or nothing.
    pub context: String,
    /// First and last page, from 1.
    pub pages: Option<(u32, u32)>,
}

/// Counts tokens of a text, special tokens included.
pub type CountTokens<'a> = &'a dyn Fn(&str) -> api::Result<usize>;

/// A part of the text that is not cut further.
#[derive(Clone, Debug)]
struct Unit {
    bytes: Range<usize>,
    chars: Range<usize>,
    tokens: usize,
    heading: Option<usize>,
}

/// Cuts `document` into chunks, in order of the text.
///
/// # Errors
/// What `count` fails with.
pub fn chunk(
    document: &ParsedDocument,
    title: Option<&str>,
    chunking: Chunking,
    count: CountTokens<'_>,
) -> api::Result<Vec<Chunk>> {
    let cutter = Cutter::new(document, title, chunking, count)?;
    let units = cutter.units()?;
    cutter.assemble(&units)
}

struct Cutter<'a> {
    document: &'a ParsedDocument,
    title: Option<&'a str>,
    budget: usize,
    overlap: usize,
    specials: usize,
    count: CountTokens<'a>,
}

impl<'a> Cutter<'a> {
    fn new(
        document: &'a ParsedDocument,
        title: Option<&'a str>,
        chunking: Chunking,
        count: CountTokens<'a>,
    ) -> api::Result<Self> {
        Ok(Self {
            document,
            title,
            budget: chunking.max_tokens,
            overlap: chunking.overlap_tokens,
            specials: count("")?,
            count,
        })
    }
}

impl Cutter<'_> {
    /// Tokens of a part of a text: without the special tokens that a whole text has.
    fn tokens(&self, text: &str) -> api::Result<usize> {
        Ok((self.count)(text)?.saturating_sub(self.specials))
    }

    fn units(&self) -> api::Result<Vec<Unit>> {
        let text = &self.document.text;
        let most = self.budget.saturating_sub(self.specials).max(1);
        let mut ranges: Vec<(Range<usize>, usize)> = Vec::new();
        for range in sentences(self.document) {
            let tokens = self.tokens(&text[range.clone()])?;
            if tokens <= most {
                ranges.push((range, tokens));
            } else {
                self.cut_sentence(range, most, &mut ranges)?;
            }
        }
        let mut units = Vec::with_capacity(ranges.len());
        let (mut byte, mut character, mut next) = (0, 0, 0);
        let headings = &self.document.headings;
        for (bytes, tokens) in ranges {
            let start = character + text[byte..bytes.start].chars().count();
            let end = start + text[bytes.clone()].chars().count();
            (byte, character) = (bytes.end, end);
            let mut heading = None;
            while next < headings.len() && headings[next].bytes.start < bytes.end {
                heading = Some(next);
                next += 1;
            }
            units.push(Unit {
                bytes,
                chars: start..end,
                tokens,
                heading,
            });
        }
        Ok(units)
    }

    /// Cuts a sentence that is too long between words, as evenly as its words allow.
    fn cut_sentence(
        &self,
        range: Range<usize>,
        most: usize,
        out: &mut Vec<(Range<usize>, usize)>,
    ) -> api::Result<()> {
        let text = &self.document.text;
        // Parts of half a chunk leave room for the title and for an overlap.
        let most = (most / 2).max(1);
        let mut open: Option<(Range<usize>, usize)> = None;
        for word in words(text, range) {
            let tokens = self.tokens(&text[word.clone()])?;
            if tokens > most {
                out.extend(open.take());
                self.cut_word(word, most, out)?;
                continue;
            }
            open = Some(match open {
                Some((part, sum)) if sum + tokens <= most => (part.start..word.end, sum + tokens),
                Some(full) => {
                    out.push(full);
                    (word, tokens)
                }
                None => (word, tokens),
            });
        }
        out.extend(open);
        Ok(())
    }

    /// Cuts a word that is too long between characters as a reader sees them: by halves, so that
    /// the tokenizer is asked a bounded number of times.
    fn cut_word(
        &self,
        range: Range<usize>,
        most: usize,
        out: &mut Vec<(Range<usize>, usize)>,
    ) -> api::Result<()> {
        let mut parts = vec![range];
        while let Some(part) = parts.pop() {
            let word = &self.document.text[part.clone()];
            let tokens = self.tokens(word)?;
            let middle = word
                .grapheme_indices(true)
                .map(|(at, _)| at)
                .find(|&at| at * 2 >= word.len())
                .or_else(|| word.grapheme_indices(true).map(|(at, _)| at).next_back())
                .filter(|&at| at > 0);
            match middle {
                // A single grapheme of more tokens than a chunk is cut between its characters.
                None if tokens > most && word.chars().count() > 1 => {
                    let at = word.chars().next().map_or(0, char::len_utf8);
                    parts.push(part.start + at..part.end);
                    parts.push(part.start..part.start + at);
                }
                Some(at) if tokens > most => {
                    parts.push(part.start + at..part.end);
                    parts.push(part.start..part.start + at);
                }
                _ => out.push((part, tokens)),
            }
        }
        Ok(())
    }

    fn assemble(&self, units: &[Unit]) -> api::Result<Vec<Chunk>> {
        let mut chunks = Vec::new();
        let mut path: Vec<usize> = Vec::new();
        // Units of the open chunk, and how many of them the chunk before holds too.
        let (mut first, mut repeated) = (0, 0);
        let mut noted = 0;
        while first < units.len() {
            // The section that the chunk's own text begins in.
            let own = first + repeated;
            while noted <= own && noted < units.len() {
                if let Some(heading) = units[noted].heading {
                    enter(&mut path, &self.document.headings, heading);
                }
                noted += 1;
            }
            let context = self.context(&path)?;
            let room = self.budget.saturating_sub(self.specials + context.1);
            while repeated > 0 && sum(&units[first..=own]) > room {
                first += 1;
                repeated -= 1;
            }
            let end = self.fill(units, first, own, room);
            let (end, context) = self.fit(units, first, end, own, context.0)?;
            chunks.push(self.chunk(&units[first], &units[end - 1], context));
            if end == units.len() {
                break;
            }
            let kept = if units[end].heading.is_some() {
                0
            } else {
                self.repeat(&units[own..end])
            };
            (first, repeated) = (end - kept, kept);
        }
        Ok(chunks)
    }

    /// One past the last unit of a chunk from `first`, whose own text begins at `own`.
    fn fill(&self, units: &[Unit], first: usize, own: usize, room: usize) -> usize {
        let mut end = own + 1;
        let mut tokens = sum(&units[first..end]);
        while end < units.len() {
            // A section starts a chunk of its own where the one before has some substance.
            let section = units[end].heading.is_some() && tokens * 4 >= self.budget;
            if section || tokens + units[end].tokens > room {
                break;
            }
            tokens += units[end].tokens;
            end += 1;
        }
        // A heading goes with what it heads.
        while end < units.len() && end > own + 1 && units[end - 1].heading.is_some() {
            end -= 1;
        }
        end
    }

    /// Shortens a chunk, and then its context, until the whole is within the budget: the tokens of
    /// a text may be more than those of its parts.
    fn fit(
        &self,
        units: &[Unit],
        first: usize,
        mut end: usize,
        own: usize,
        mut context: String,
    ) -> api::Result<(usize, String)> {
        loop {
            let range = units[first].bytes.start..units[end - 1].bytes.end;
            let whole = format!("{context}{}", &self.document.text[range]);
            if (self.count)(&whole)? <= self.budget {
                return Ok((end, context));
            }
            if end > own + 1 {
                end -= 1;
            } else if !context.is_empty() {
                context.clear();
            } else {
                // Nothing is left to give up; the embedder reports the length.
                return Ok((end, context));
            }
        }
    }

    /// How many of the last units are repeated in the next chunk.
    fn repeat(&self, units: &[Unit]) -> usize {
        let mut tokens = 0;
        units
            .iter()
            .rev()
            .take(units.len().saturating_sub(1))
            .take_while(|unit| {
                tokens += unit.tokens;
                unit.heading.is_none() && tokens <= self.overlap
            })
            .count()
    }

    /// `Title > Heading`, and its tokens. On the demo's 97 questions and MiniLM, the right document is
    /// found first for a few more with it than with the title alone, and for about five more than without.
    ///
    /// What would fill more than a third of a chunk is left out,
    /// the outer parts first: it is not the document's text but where it stands.
    fn context(&self, path: &[usize]) -> api::Result<(String, usize)> {
        let mut parts: Vec<&str> = self.title.into_iter().collect();
        for &heading in path {
            let text = self.document.headings[heading].text.as_str();
            // The first heading often says the title again.
            if parts
                .last()
                .is_none_or(|last| !last.eq_ignore_ascii_case(text))
            {
                parts.push(text);
            }
        }
        while !parts.is_empty() {
            let context = parts.join(" > ") + "\n";
            let tokens = self.tokens(&context)?;
            if tokens * 3 <= self.budget {
                return Ok((context, tokens));
            }
            parts.remove(0);
        }
        Ok((String::new(), 0))
    }

    fn chunk(&self, first: &Unit, last: &Unit, context: String) -> Chunk {
        let chars = first.chars.start..last.chars.end;
        let page = |at: usize| {
            let pages = &self.document.pages;
            pages.partition_point(|page| page.end <= at) as u32 + 1
        };
        let pages = (!self.document.pages.is_empty())
            .then(|| (page(chars.start), page(chars.end.saturating_sub(1))));
        Chunk {
            bytes: first.bytes.start..last.bytes.end,
            chars,
            context,
            pages,
        }
    }
}

fn sum(units: &[Unit]) -> usize {
    units.iter().map(|unit| unit.tokens).sum()
}

/// Makes `heading` the innermost of `path`.
fn enter(path: &mut Vec<usize>, headings: &[Heading], heading: usize) {
    let level = headings[heading].level;
    path.retain(|&outer| headings[outer].level < level);
    path.push(heading);
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use proptest::prelude::*;

    /// Words of up to four letters are one token, longer ones one for each four; two specials.
    fn count(text: &str) -> api::Result<usize> {
        let tokens = |word: &str| word.chars().count().div_ceil(4);
        Ok(2 + text.split_whitespace().map(tokens).sum::<usize>())
    }

    fn document(text: &str, wrapped: bool) -> ParsedDocument {
        ParsedDocument {
            text: text.to_owned(),
            wrapped,
            ..ParsedDocument::default()
        }
    }

    fn texts(document: &ParsedDocument, max: usize, overlap: usize) -> Vec<&str> {
        let chunking = Chunking {
            max_tokens: max,
            overlap_tokens: overlap,
        };
        let chunks = chunk(document, None, chunking, &count).unwrap();
        chunks
            .iter()
            .map(|c| &document.text[c.bytes.clone()])
            .collect()
    }

    #[test]
    fn borders_fall_between_sentences_and_overlap_repeats_whole_ones() {
        let text = "One two three four five. Six sev ten. Ape bee cat dog eel fox gnu. Hen.";
        let document = document(text, false);
        let parts = texts(&document, 16, 5);
        assert_eq!(
            parts,
            [
                "One two three four five. Six sev ten.",
                "Six sev ten. Ape bee cat dog eel fox gnu. Hen."
            ]
        );
    }

    #[test]
    fn a_section_carries_its_headings() {
        let text = "Fees\n\nScope\n\nA b c d e f g h.\n\nCards\n\nGold is ten.";
        let heading = |level, text: &str, at: usize| Heading {
            level,
            text: text.to_owned(),
            bytes: at..at + text.len(),
        };
        let parsed = ParsedDocument {
            headings: vec![
                heading(1, "Fees", 0),
                heading(2, "Scope", 6),
                heading(2, "Cards", 31),
            ],
            ..document(text, false)
        };
        let chunking = Chunking {
            max_tokens: 24,
            overlap_tokens: 4,
        };
        let chunks = chunk(&parsed, Some("Fees"), chunking, &count).unwrap();
        let seen: Vec<(&str, &str)> = chunks
            .iter()
            .map(|c| (c.context.as_str(), &text[c.bytes.clone()]))
            .collect();
        assert_eq!(
            seen,
            [
                ("Fees\n", "Fees\n\nScope\n\nA b c d e f g h."),
                ("Fees > Cards\n", "Cards\n\nGold is ten.")
            ]
        );
    }

    #[test]
    fn pages_are_those_that_the_characters_stand_on() {
        let parsed = ParsedDocument {
            pages: vec![0..8, 8..8, 8..21],
            ..document("Uno dos.\n\nTres cuatro", false)
        };
        let chunks = chunk(&parsed, None, Chunking::default(), &count).unwrap();
        assert_eq!(chunks[0].pages, Some((1, 3)));
    }

    proptest! {
        #[test]
        fn every_character_is_in_a_chunk_that_fits(
            text in "([a-zé世.!? \n|\u{301}]{0,12}[A-Z. \n]){0,60}",
            max in 8usize..40,
            overlap in 0usize..5,
            wrapped: bool,
        ) {
            let document = document(&text, wrapped);
            let chunking = Chunking { max_tokens: max, overlap_tokens: overlap };
            let chunks = chunk(&document, Some("A title"), chunking, &count).unwrap();
            let mut covered = vec![false; text.len()];
            let mut last = None;
            for chunk in &chunks {
                let part = &text[chunk.bytes.clone()];
                let whole = chunk.context.clone() + part;
                prop_assert!(count(&whole).unwrap() <= max);
                prop_assert_eq!(part.trim(), part);
                let chars: String = text.chars().skip(chunk.chars.start).take(chunk.chars.len()).collect();
                prop_assert_eq!(&chars, part);
                prop_assert!(last < Some(chunk.bytes.end));
                last = Some(chunk.bytes.end);
                covered[chunk.bytes.clone()].fill(true);
            }
            for (at, c) in text.char_indices() {
                prop_assert!(c.is_whitespace() || covered[at], "lost {c:?} at {at}");
            }
        }
    }
}
