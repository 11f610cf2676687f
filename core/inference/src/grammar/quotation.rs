//! Output that is one verbatim span of given texts.

use std::sync::Arc;

use outcrop_api::{Error, Result};
use toktrie::{SimpleVob, TokEnv, TrieNode};

/// Stands behind each text: a byte that UTF-8 never has.
const SEPARATOR: u8 = 0xff;

/// A span that grows: the places behind it, wherever the texts hold it. It begins and ends between
/// characters, and has at least one.
#[derive(Clone)]
pub(super) struct Quotation {
    environment: TokEnv,
    /// The texts' bytes, a separator behind each.
    texts: Arc<[u8]>,
    /// Where the span may go on.
    places: Vec<u32>,
    has_begun: bool,
}

impl Quotation {
    /// The empty span of `texts`.
    ///
    /// # Errors
    /// `ValidationException` where the texts hold no character, or more than 2^32 bytes.
    pub fn new(environment: TokEnv, texts: &[String]) -> Result<Self> {
        let mut bytes = Vec::new();
        for text in texts {
            bytes.extend_from_slice(text.as_bytes());
            bytes.push(SEPARATOR);
        }
        let count = u32::try_from(bytes.len())
            .map_err(|_| Error::validation("output_format.quote: expected less than 4 GiB"))?;
        let places: Vec<u32> = (0..count)
            .filter(|place| {
                let byte = bytes[*place as usize];
                byte != SEPARATOR && !is_inside(byte)
            })
            .collect();
        if places.is_empty() {
            return Err(Error::validation(
                "output_format.quote: expected a text of at least one character, got none",
            ));
        }
        Ok(Self {
            environment,
            texts: bytes.into(),
            places,
            has_begun: false,
        })
    }

    /// Lengthens the span by a token that was allowed.
    pub fn commit(&mut self, id: u32) {
        let bytes = self.environment.tok_trie().token(id);
        let texts = &self.texts;
        self.places
            .retain(|place| texts[*place as usize..].starts_with(bytes));
        for place in &mut self.places {
            *place += bytes.len() as u32;
        }
        self.has_begun = true;
    }

    /// Whether nothing can follow.
    pub fn is_complete(&self) -> bool {
        self.places
            .iter()
            .all(|place| self.texts[*place as usize] == SEPARATOR)
    }

    /// The tokens that may come next, the end of turn among them where the span may end.
    pub fn allowed(&self) -> SimpleVob {
        let trie = self.environment.tok_trie();
        let mut allowed = trie.alloc_token_set();
        let mut first: Vec<Option<&TrieNode>> = vec![None; 256];
        for child in trie.node_children(trie.root()) {
            first[usize::from(child.byte())] = Some(child);
        }
        for &place in &self.places {
            let mut rest = self.texts[place as usize..].iter();
            let mut node = rest.next().and_then(|byte| first[usize::from(*byte)]);
            // Special tokens stand behind a byte of the separator's value.
            while let Some(reached) = node.filter(|node| node.byte() != SEPARATOR) {
                if let Some(id) = reached.token_id() {
                    allowed.allow_token(id);
                }
                node = rest
                    .next()
                    .filter(|byte| **byte != SEPARATOR)
                    .and_then(|byte| trie.child_at_byte(reached, *byte));
            }
        }
        if self.may_end() {
            for &id in trie.eos_tokens() {
                if id != toktrie::INVALID_TOKEN {
                    allowed.allow_token(id);
                }
            }
        }
        allowed
    }

    /// Whether the span has a character, and its last one is whole.
    fn may_end(&self) -> bool {
        let next = self.places.first().map(|place| self.texts[*place as usize]);
        self.has_begun && next.is_none_or(|byte| byte == SEPARATOR || !is_inside(byte))
    }
}

/// Whether a byte continues a character.
fn is_inside(byte: u8) -> bool {
    byte & 0xc0 == 0x80
}
