//! Token ids to text as they come, in whole characters.

use std::collections::VecDeque;
use std::mem;
use std::sync::Arc;

use tokenizers::{Decoder, DecoderWrapper};

use crate::tokenizer::{SPACE_CLEAN_UP, Tokenizer, unbroken};

/// Turns the ids of one sequence into text, piece by piece.
///
/// What all calls return together equals [`Tokenizer::decode`] of all ids without special tokens.
/// A character whose bytes are spread over several tokens comes once, whole. The work is constant
/// per token, amortised. Where the tokenizer's own rules fail on a piece, it gives no text.
#[derive(Debug)]
pub struct Detokenizer {
    tokenizer: Arc<Tokenizer>,
    pieces: Pieces,
    clean_up: Vec<Replacement>,
    /// Special tokens that are part of the text nevertheless.
    shown: Vec<u32>,
}

/// How pieces become text, by the kind of the tokenizer's decoder.
#[derive(Debug)]
enum Pieces {
    /// Each piece spells bytes; the bytes together are UTF-8.
    Bytes(ByteText),
    /// Pieces with byte fallback (`<0x0A>`): a run of byte pieces is text only as a whole.
    Fallback(FallbackText),
    /// A piece's text depends on the piece alone, and on whether it is the first.
    Alone {
        /// Whether a piece came.
        begun: bool,
    },
    /// Nothing is known of the decoder: the text comes at the end.
    Whole(Vec<u32>),
}

impl Detokenizer {
    /// A detokenizer for a new sequence of `tokenizer`'s ids.
    pub fn new(tokenizer: Arc<Tokenizer>) -> Self {
        let clean_up = match tokenizer.cleans_up_spaces() {
            true => SPACE_CLEAN_UP
                .iter()
                .map(|&(from, to)| Replacement::new(from, to))
                .collect(),
            false => Vec::new(),
        };
        Self {
            pieces: Pieces::of(tokenizer.decoder()),
            tokenizer,
            clean_up,
            shown: Vec::new(),
        }
    }

    /// A detokenizer whose text is the bytes that the ids spell, for an output that must have a
    /// form to the byte: spaces stay as they are, the first one too.
    pub(crate) fn verbatim(tokenizer: Arc<Tokenizer>) -> Self {
        let mut detokenizer = Self::new(tokenizer).keeping_spaces();
        match &mut detokenizer.pieces {
            Pieces::Fallback(run) => run.strip = None,
            Pieces::Alone { begun } => *begun = true,
            Pieces::Bytes(_) | Pieces::Whole(_) => {}
        }
        detokenizer
    }

    /// The detokenizer without the replacements of spaces before punctuation.
    pub(crate) fn keeping_spaces(mut self) -> Self {
        self.clean_up.clear();
        self
    }

    /// The detokenizer with these special tokens as part of the text.
    pub(crate) fn showing(mut self, ids: Vec<u32>) -> Self {
        self.shown = ids;
        self
    }

    /// The text that `id` completes; empty where a character is not whole yet.
    pub fn push(&mut self, id: u32) -> String {
        let is_shown = self.shown.contains(&id);
        let Some(piece) = self.tokenizer.piece(id, !is_shown) else {
            return String::new();
        };
        let text = match &mut self.pieces {
            Pieces::Bytes(bytes) => bytes.push(&piece_bytes(&piece)),
            Pieces::Fallback(run) => run.push(&piece),
            Pieces::Alone { begun } => alone(&self.tokenizer, piece, mem::replace(begun, true)),
            Pieces::Whole(ids) => {
                ids.push(id);
                return String::new();
            }
        };
        self.clean(text)
    }

    /// The rest of the text, when no more ids come. A character that stayed incomplete is U+FFFD,
    /// as in the whole.
    pub fn finish(&mut self) -> String {
        let text = match &mut self.pieces {
            Pieces::Bytes(bytes) => bytes.finish(),
            Pieces::Fallback(run) => run.finish(),
            Pieces::Alone { .. } => String::new(),
            Pieces::Whole(ids) => {
                return self
                    .tokenizer
                    .decode(&mem::take(ids), true)
                    .unwrap_or_default();
            }
        };
        let mut text = self.clean(text);
        // What one replacement held back is still before the eyes of those behind it.
        for index in 0..self.clean_up.len() {
            let mut rest = self.clean_up[index].finish();
            for later in &mut self.clean_up[index + 1..] {
                rest = later.push(&rest);
            }
            text.push_str(&rest);
        }
        text
    }

    fn clean(&mut self, text: String) -> String {
        self.clean_up
            .iter_mut()
            .fold(text, |text, replacement| replacement.push(&text))
    }
}

impl Pieces {
    fn of(decoder: Option<&DecoderWrapper>) -> Self {
        match decoder {
            Some(DecoderWrapper::ByteLevel(_)) => Self::Bytes(ByteText::default()),
            Some(DecoderWrapper::WordPiece(_) | DecoderWrapper::Metaspace(_)) | None => {
                Self::Alone { begun: false }
            }
            Some(DecoderWrapper::Sequence(sequence)) => {
                match FallbackText::of(sequence.get_decoders()) {
                    Some(run) => Self::Fallback(run),
                    None => Self::Whole(Vec::new()),
                }
            }
            Some(_) => Self::Whole(Vec::new()),
        }
    }
}

/// How each token spells bytes, whatever stands around it: what a verbatim detokenizer makes of it.
pub(crate) struct TokenBytes(Pieces);

impl TokenBytes {
    /// The spelling of `tokenizer`'s tokens; `None` where nothing is known of its decoder.
    pub fn of(tokenizer: &Tokenizer) -> Option<Self> {
        match Pieces::of(tokenizer.decoder()) {
            Pieces::Whole(_) => None,
            pieces => Some(Self(pieces)),
        }
    }

    /// The bytes of token `id`; none for an id that no token has.
    pub fn bytes(&self, tokenizer: &Tokenizer, id: u32) -> Vec<u8> {
        let Some(piece) = tokenizer.piece(id, false) else {
            return Vec::new();
        };
        match &self.0 {
            Pieces::Bytes(_) => piece_bytes(&piece),
            Pieces::Fallback(run) => match run.spell(&piece) {
                Spelt::Byte(byte) => vec![byte],
                Spelt::Text(text) => text.into_bytes(),
            },
            Pieces::Alone { .. } | Pieces::Whole(_) => alone(tokenizer, piece, true).into_bytes(),
        }
    }
}

/// The bytes that a byte-level piece spells, or its own where it is spelt in other characters (an
/// added token), as the decoder has it.
fn piece_bytes(piece: &str) -> Vec<u8> {
    let bytes: Option<Vec<u8>> = piece.chars().map(byte_of).collect();
    bytes.unwrap_or_else(|| piece.as_bytes().to_vec())
}

/// The byte that a character stands for in byte-level pieces: printable Latin-1 stands for itself,
/// the other bytes for the characters from U+0100 (GPT-2's `bytes_to_unicode`).
fn byte_of(character: char) -> Option<u8> {
    let code = u32::from(character);
    let byte = match code {
        0x21..=0x7e | 0xa1..=0xac | 0xae..=0xff => code,
        0x100..=0x120 => code - 0x100,
        0x121..=0x142 => code - 0x121 + 0x7f,
        0x143 => 0xad,
        _ => return None,
    };
    u8::try_from(byte).ok()
}

/// A piece's text where it depends on nothing else.
fn alone(tokenizer: &Tokenizer, piece: String, begun: bool) -> String {
    let Some(decoder) = tokenizer.decoder() else {
        return if begun { format!(" {piece}") } else { piece };
    };
    let mut pieces = vec![piece];
    if begun {
        pieces.insert(0, String::new());
    }
    let decoded = unbroken(|| decoder.decode_chain(pieces)).unwrap_or_default();
    decoded.into_iter().next_back().unwrap_or_default()
}

/// Bytes that become text as [`String::from_utf8_lossy`] has it, as early as they can.
#[derive(Debug, Default)]
struct ByteText {
    /// The beginning of a character that is not whole: at most 3 bytes.
    begun: Vec<u8>,
}

impl ByteText {
    fn push(&mut self, bytes: &[u8]) -> String {
        self.begun.extend_from_slice(bytes);
        let mut text = String::new();
        let mut rest = self.begun.as_slice();
        loop {
            match std::str::from_utf8(rest) {
                Ok(valid) => {
                    text.push_str(valid);
                    rest = &[];
                    break;
                }
                Err(error) => {
                    let (valid, behind) = rest.split_at(error.valid_up_to());
                    text.push_str(&String::from_utf8_lossy(valid));
                    rest = behind;
                    let Some(bad) = error.error_len() else {
                        break;
                    };
                    text.push(char::REPLACEMENT_CHARACTER);
                    rest = &rest[bad..];
                }
            }
        }
        self.begun = rest.to_vec();
        text
    }

    fn finish(&mut self) -> String {
        String::from_utf8_lossy(&mem::take(&mut self.begun)).into_owned()
    }
}

/// Pieces with byte fallback: what the decoders Replace, ByteFallback, Fuse and Strip make of them.
#[derive(Debug)]
struct FallbackText {
    /// What a piece's text is made with, before bytes are looked for.
    before: Vec<DecoderWrapper>,
    /// The bytes of the run that may go on.
    run: Vec<u8>,
    /// How many leading characters may still be stripped, and which.
    strip: Option<(char, usize)>,
}

/// What a piece spells by itself where there is byte fallback.
enum Spelt {
    /// One byte, to be joined with those beside it.
    Byte(u8),
    /// Whole characters.
    Text(String),
}

impl FallbackText {
    /// For the decoders of a sequence: replacements, ByteFallback, Fuse and at most one Strip of
    /// the beginning. `None` for any other sequence.
    fn of(decoders: &[DecoderWrapper]) -> Option<Self> {
        let mut decoders: VecDeque<&DecoderWrapper> = decoders.iter().collect();
        let mut before = Vec::new();
        while let Some(DecoderWrapper::Replace(_)) = decoders.front() {
            before.extend(decoders.pop_front().cloned());
        }
        let Some(DecoderWrapper::ByteFallback(_)) = decoders.pop_front() else {
            return None;
        };
        let Some(DecoderWrapper::Fuse(_)) = decoders.pop_front() else {
            return None;
        };
        let strip = match decoders.pop_front() {
            None => None,
            Some(DecoderWrapper::Strip(strip)) if strip.stop == 0 => {
                Some((strip.content, strip.start))
            }
            Some(_) => return None,
        };
        decoders.is_empty().then_some(Self {
            before,
            run: Vec::new(),
            strip,
        })
    }

    fn push(&mut self, piece: &str) -> String {
        match self.spell(piece) {
            Spelt::Byte(byte) => {
                self.run.push(byte);
                String::new()
            }
            Spelt::Text(piece) => {
                let text = self.take_run() + &piece;
                self.strip_start(text)
            }
        }
    }

    /// What a piece spells by itself.
    fn spell(&self, piece: &str) -> Spelt {
        let mut pieces = vec![piece.to_owned()];
        for decoder in &self.before {
            pieces = unbroken(|| decoder.decode_chain(pieces)).unwrap_or_default();
        }
        let piece = pieces.concat();
        let hex = piece
            .strip_prefix("<0x")
            .and_then(|rest| rest.strip_suffix('>'));
        let byte = hex
            .filter(|hex| hex.len() == 2)
            .and_then(|hex| u8::from_str_radix(hex, 16).ok());
        byte.map_or(Spelt::Text(piece), Spelt::Byte)
    }

    fn finish(&mut self) -> String {
        let text = self.take_run();
        self.strip_start(text)
    }

    /// The run's text: one U+FFFD for each of its bytes where they are not text together.
    fn take_run(&mut self) -> String {
        let run = mem::take(&mut self.run);
        let count = run.len();
        String::from_utf8(run).unwrap_or_else(|_| "\u{fffd}".repeat(count))
    }

    fn strip_start(&mut self, text: String) -> String {
        let mut rest = text.as_str();
        while let (Some((content, left)), Some(first)) = (self.strip, rest.chars().next()) {
            if left == 0 || first != content {
                self.strip = None;
                break;
            }
            rest = &rest[content.len_utf8()..];
            self.strip = Some((content, left - 1));
        }
        rest.to_owned()
    }
}

/// `str::replace` of one pattern over text that comes in parts.
#[derive(Debug)]
struct Replacement {
    pattern: &'static str,
    replacement: &'static str,
    /// The end of the text so far, as far as it may begin the pattern.
    held: String,
}

impl Replacement {
    fn new(pattern: &'static str, replacement: &'static str) -> Self {
        Self {
            pattern,
            replacement,
            held: String::new(),
        }
    }

    fn push(&mut self, text: &str) -> String {
        self.held.push_str(text);
        let mut out = String::new();
        let mut rest = self.held.as_str();
        while let Some(at) = rest.find(self.pattern) {
            out.push_str(&rest[..at]);
            out.push_str(self.replacement);
            rest = &rest[at + self.pattern.len()..];
        }
        // The patterns are ASCII, so each of their beginnings ends at a character's border.
        let most = rest.len().min(self.pattern.len() - 1);
        let keep = (1..=most)
            .rev()
            .find(|&n| rest.ends_with(&self.pattern[..n]))
            .unwrap_or(0);
        let (done, kept) = rest.split_at(rest.len() - keep);
        out.push_str(done);
        self.held = kept.to_owned();
        out
    }

    fn finish(&mut self) -> String {
        mem::take(&mut self.held)
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]
mod tests {
    use tokenizers::pre_tokenizers::byte_level::ByteLevel;

    use super::*;

    #[test]
    fn each_byte_has_the_character_that_the_decoder_knows() {
        let alphabet = ByteLevel::alphabet();
        assert_eq!(alphabet.len(), 256);
        for character in alphabet {
            let byte = byte_of(character).expect("a byte");
            let decoded = ByteLevel::default()
                .decode_chain(vec![character.to_string()])
                .unwrap();
            assert_eq!(decoded[0], String::from_utf8_lossy(&[byte]));
        }
        assert_eq!((byte_of(' '), byte_of('\u{144}')), (None, None));
    }

    #[test]
    fn replacing_in_parts_equals_replacing_the_whole() {
        let text = "do n't  ' ' ' stop ' ve 've   're. . ! ? ,  n'tn't 's '";
        let mut whole = text.to_owned();
        for (from, to) in SPACE_CLEAN_UP {
            whole = whole.replace(from, to);
        }
        for size in 1..7 {
            let mut stages: Vec<Replacement> = SPACE_CLEAN_UP
                .iter()
                .map(|&(from, to)| Replacement::new(from, to))
                .collect();
            let chars: Vec<char> = text.chars().collect();
            let mut out = String::new();
            for part in chars.chunks(size) {
                let part = part.iter().collect();
                out.push_str(
                    &stages
                        .iter_mut()
                        .fold(part, |t: String, stage| stage.push(&t)),
                );
            }
            for index in 0..stages.len() {
                let mut rest = stages[index].finish();
                for later in &mut stages[index + 1..] {
                    rest = later.push(&rest);
                }
                out.push_str(&rest);
            }
            assert_eq!(out, whole, "parts of {size}");
        }
    }
}
