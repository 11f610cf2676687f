//! A model without weights, whose output shows whether it was given the right tokens and pages.

use std::sync::{Arc, Mutex};

use outcrop_api::Result;

use crate::block_pool::PAGE_TOKENS;
use crate::step::{Rows, StepModel, Wanted};

const VOCAB: usize = 500;

/// A model whose next token is a hash of all tokens before it, read back from the cache's pages.
pub struct HashModel {
    pub cache: Vec<u32>,
    pub logits: Vec<f32>,
    /// Rows of each step.
    pub steps: Arc<Mutex<Vec<usize>>>,
    pub panics_at: Option<u32>,
    pub slow: bool,
    /// Whether it guesses wrongly now and then.
    pub is_draft: bool,
}

impl HashModel {
    pub fn new(tokens: usize) -> Self {
        Self {
            cache: vec![u32::MAX; tokens.next_multiple_of(PAGE_TOKENS)],
            logits: Vec::new(),
            steps: Arc::default(),
            panics_at: None,
            slow: false,
            is_draft: false,
        }
    }
}

fn slot(rows: &Rows<'_>, position: usize) -> usize {
    rows.pages[position / PAGE_TOKENS] as usize * PAGE_TOKENS + position % PAGE_TOKENS
}

impl StepModel for HashModel {
    fn vocab_size(&self) -> usize {
        VOCAB
    }

    fn step(&mut self, rows: &[Rows<'_>], keep_going: &dyn Fn() -> bool) -> Result<Option<&[f32]>> {
        self.steps
            .lock()
            .unwrap()
            .push(rows.iter().map(|r| r.tokens.len()).sum());
        self.logits.clear();
        for r in rows {
            for (&token, position) in r.tokens.iter().zip(r.position..) {
                assert_ne!(
                    Some(token),
                    self.panics_at,
                    "the model breaks down, as the test asks"
                );
                self.cache[slot(r, position)] = token;
            }
            if self.slow {
                std::thread::sleep(std::time::Duration::from_millis(1));
            }
            if !keep_going() {
                return Ok(None);
            }
            let end = r.position + r.tokens.len();
            let first = match r.wanted {
                Wanted::None => end,
                Wanted::Last => end - 1,
                Wanted::LastRows(count) => end - count,
                Wanted::All => r.position,
            };
            for position in first..end {
                let hash = (0..=position).fold(17u64, |hash, p| {
                    hash.wrapping_mul(31)
                        .wrapping_add(u64::from(self.cache[slot(r, p)]) + p as u64)
                });
                let wrong = u64::from(self.is_draft && hash % 5 == 0);
                let hash = hash + wrong;
                let start = self.logits.len();
                self.logits.resize(start + VOCAB, 0.0);
                self.logits[start + (hash % VOCAB as u64) as usize] = 5.0;
                self.logits[start + (hash / 7 % VOCAB as u64) as usize] += 4.0;
            }
        }
        Ok(Some(&self.logits))
    }

    fn rope_class(&self, _: usize) -> usize {
        0
    }

    fn read_page(&self, page: u32, out: &mut Vec<u8>) {
        let own = &self.cache[page as usize * PAGE_TOKENS..][..PAGE_TOKENS];
        out.extend(own.iter().flat_map(|token| token.to_le_bytes()));
    }

    fn page_bytes(&self) -> usize {
        4 * PAGE_TOKENS
    }

    fn write_page(&mut self, page: u32, bytes: &[u8]) {
        let tokens = bytes.as_chunks::<4>().0.iter();
        let own = self.cache[page as usize * PAGE_TOKENS..].iter_mut();
        for (own, token) in own.zip(tokens) {
            *own = u32::from_le_bytes(*token);
        }
    }

    fn copy_page(&mut self, from: u32, to: u32) {
        let from = from as usize * PAGE_TOKENS;
        self.cache
            .copy_within(from..from + PAGE_TOKENS, to as usize * PAGE_TOKENS);
    }
}
