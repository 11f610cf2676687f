//! What turns token ids into the vectors of tokens: an encoder, or a decoder read before its logits.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Mutex, PoisonError};

use outcrop_tensor::Pool;

use crate::block_pool::PAGE_TOKENS;
use crate::decoder::{Decoder, Scratch};
use crate::encoder::{Encoder, EncoderBatch};
use crate::kv_cache::KvCache;
use crate::step::{Rows, Wanted};

/// Tokens of one forward pass, unless one text alone is longer. It bounds the memory, and the time
/// until a dropped call stops.
pub(crate) const PASS_TOKENS: usize = 2048;

/// A loaded transformer.
pub(crate) enum Backbone {
    /// Each token sees those before and behind it.
    Encoder(Box<Encoder>),
    /// Each token sees those before it.
    Decoder(Box<DecoderBackbone>),
}

/// A decoder whose last hidden rows are read.
pub(crate) struct DecoderBackbone {
    decoder: Decoder,
    /// Whether only each text's last token is read.
    last_only: bool,
    room: Mutex<Option<(KvCache, Scratch)>>,
}

impl DecoderBackbone {
    /// `last_only`: give the vector of each text's last token only.
    pub fn new(decoder: Decoder, last_only: bool) -> Self {
        Self {
            decoder,
            last_only,
            room: Mutex::default(),
        }
    }

    /// The tokens' vectors; a text longer than a pass stands alone in it, and goes step by step.
    fn forward(
        &self,
        pool: &Pool,
        batch: &EncoderBatch,
        cancelled: &AtomicBool,
    ) -> Option<Vec<f32>> {
        let wanted = if self.last_only {
            Wanted::Last
        } else {
            Wanted::All
        };
        let pages_of = |length: &usize| length.div_ceil(PAGE_TOKENS);
        let pages: usize = batch.lengths.iter().map(pages_of).sum();
        let numbers: Vec<u32> = (0..pages as u32).collect();
        let (mut ids, mut pages) = (&batch.ids[..], &numbers[..]);
        let rows: Vec<Rows<'_>> = batch
            .lengths
            .iter()
            .map(|length| Rows {
                tokens: ids.split_off(..*length).unwrap_or_default(),
                position: 0,
                rope_length: *length,
                pages: pages.split_off(..pages_of(length)).unwrap_or_default(),
                wanted,
                adapter: None,
            })
            .collect();
        let mut room = self.room.lock().unwrap_or_else(PoisonError::into_inner);
        // A cache of the last pass serves as it is: each row is written before it is read.
        let tokens = numbers.len() * PAGE_TOKENS;
        let (mut cache, mut scratch) = match room.take() {
            Some((cache, scratch)) if cache.tokens() >= tokens => (cache, scratch),
            Some((_, scratch)) => (KvCache::new(self.decoder.config(), tokens), scratch),
            None => (
                KvCache::new(self.decoder.config(), tokens.max(PASS_TOKENS)),
                Scratch::default(),
            ),
        };
        let mut step = |rows: &[Rows<'_>]| {
            let keep_going = || !cancelled.load(Ordering::Relaxed);
            self.decoder
                .forward_hidden(pool, rows, &mut cache, &mut scratch, &keep_going)
                .map(<[f32]>::to_vec)
        };
        let vectors = match rows[..] {
            [row] if row.tokens.len() > PASS_TOKENS => {
                let mut vectors = Vec::new();
                for (index, tokens) in row.tokens.chunks(PASS_TOKENS).enumerate() {
                    let position = index * PASS_TOKENS;
                    let is_last = position + tokens.len() == row.tokens.len();
                    vectors.extend(step(&[Rows {
                        tokens,
                        position,
                        wanted: match self.last_only && !is_last {
                            true => Wanted::None,
                            false => wanted,
                        },
                        ..row
                    }])?);
                }
                vectors
            }
            _ => step(&rows)?,
        };
        // What a single long text needed is given back.
        *room = (cache.tokens() <= 2 * PASS_TOKENS).then_some((cache, scratch));
        Some(vectors)
    }
}

impl Backbone {
    /// Its family.
    pub fn architecture(&self) -> &str {
        match self {
            Self::Encoder(encoder) => &encoder.config().architecture,
            Self::Decoder(backbone) => &backbone.decoder.config().architecture,
        }
    }

    /// Length of a token's vector.
    pub fn hidden(&self) -> usize {
        match self {
            Self::Encoder(encoder) => encoder.config().hidden,
            Self::Decoder(backbone) => backbone.decoder.config().hidden_size,
        }
    }

    /// The longest text, in tokens.
    pub fn context_length(&self) -> usize {
        match self {
            Self::Encoder(encoder) => encoder.config().context_length,
            Self::Decoder(backbone) => backbone.decoder.config().context_length,
        }
    }

    /// Number of kinds of segments that it tells apart; 0 or 1 where it does not.
    pub fn segments(&self) -> usize {
        match self {
            Self::Encoder(encoder) => encoder.config().types,
            Self::Decoder(_) => 0,
        }
    }

    /// How many vectors [`Backbone::forward`] gives for a text of `tokens`.
    pub fn rows_of(&self, tokens: usize) -> usize {
        match self {
            Self::Decoder(backbone) if backbone.last_only => 1,
            _ => tokens,
        }
    }

    /// The vectors of all tokens of `batch`, or of each text's last one; `None` if `cancelled` was
    /// set. A text's vectors do not depend on the others.
    ///
    /// # Errors
    /// A message for an id, a segment or a length that the tables do not hold.
    pub fn forward(
        &self,
        pool: &Pool,
        batch: &EncoderBatch,
        cancelled: &AtomicBool,
    ) -> Result<Option<Vec<f32>>, String> {
        match self {
            Self::Encoder(encoder) => encoder.forward(pool, batch, cancelled),
            Self::Decoder(backbone) => {
                let vocabulary = backbone.decoder.config().vocab_size;
                match batch.ids.iter().find(|id| **id as usize >= vocabulary) {
                    Some(id) => Err(format!("token id {id}: the model has {vocabulary} words")),
                    None => Ok(backbone.forward(pool, batch, cancelled)),
                }
            }
        }
    }
}
