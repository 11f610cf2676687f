//! A bidirectional encoder: one forward pass over several inputs, driven by [`EncoderConfig`].

mod config;
mod families;
mod gguf;
mod parts;
mod rows;
mod weights;

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};

use outcrop_tensor::{Pool, SelfAttentionArgs, ops};

pub(crate) use config::activation;
pub use config::{
    Activation, Biases, ENCODER_ARCHITECTURES, EncoderConfig, LayerAttention, NormOrder, Positions,
};
pub(crate) use gguf::{is_gguf_encoder, known as known_in_gguf};

use crate::decoder_config::{RopeConfig, RopeOrder, RopeScaling};
use crate::dense::{LayerNorm, Precision};
use crate::rope::RotaryEmbedding;
use crate::weights::{Checkpoint, WeightsError};
use parts::{Part, parts};
use rows::Room;
use weights::{Layer, Loader, Tables};

/// Tokens of one task of an operation that goes row by row.
const ROWS: usize = 32;

impl Activation {
    /// Replaces each x by the function of it.
    pub(crate) fn apply(self, x: &mut [f32]) {
        match self {
            Activation::Gelu => ops::gelu_in_place(x),
            Activation::GeluTanh => ops::gelu_tanh_in_place(x),
            Activation::Silu => ops::silu_in_place(x),
            Activation::Relu => x.iter_mut().for_each(|x| *x = x.max(0.0)),
            Activation::Tanh => ops::tanh_in_place(x),
        }
    }
}

/// Several inputs, one after the other, without padding.
#[derive(Clone, Debug, Default)]
pub struct EncoderBatch {
    /// Token ids of all inputs.
    pub ids: Vec<u32>,
    /// Segment ids, as many. A model without a table of segments does not read them.
    pub types: Vec<u32>,
    /// Number of tokens of each input, none zero.
    pub lengths: Vec<usize>,
}

/// A loaded encoder.
pub struct Encoder {
    config: EncoderConfig,
    tables: Tables,
    layers: Vec<Layer>,
    final_norm: Option<LayerNorm>,
    prefix: &'static str,
    /// What a pass computes in, kept for the next one: its pages are mapped already.
    scratch: Mutex<Vec<Scratch>>,
}

impl Encoder {
    /// Loads the encoder's tensors of `checkpoint`, by its family's names.
    ///
    /// # Errors
    /// [`WeightsError`] for a tensor that is missing or of another shape.
    pub fn load(checkpoint: &Checkpoint, config: EncoderConfig) -> Result<Self, WeightsError> {
        let loader = Loader::new(checkpoint, &config)?;
        Ok(Self {
            tables: loader.tables()?,
            // A layer at a time: a wrong number of layers fails at the first missing tensor.
            layers: (0..config.layers.len())
                .map(|index| loader.layer(index))
                .collect::<Result<_, _>>()?,
            final_norm: loader.final_norm()?,
            prefix: loader.prefix(),
            scratch: Mutex::default(),
            config,
        })
    }

    /// The encoder with the products of its layers at another precision.
    ///
    /// # Errors
    /// A message where a width does not allow it.
    pub fn at(mut self, precision: Precision) -> Result<Self, String> {
        let layers = std::mem::take(&mut self.layers).into_iter();
        self.layers = layers
            .map(|layer| layer.at(precision))
            .collect::<Result<_, _>>()?;
        Ok(self)
    }

    /// The architecture.
    pub fn config(&self) -> &EncoderConfig {
        &self.config
    }

    /// What the names of the encoder's tensors begin with, where a head stands beside it.
    pub(crate) fn prefix(&self) -> &'static str {
        self.prefix
    }

    /// The vectors of all tokens, `(tokens, hidden)`; `None` if `cancelled` was set, which is
    /// looked at before each layer. An input's vectors do not depend on the others.
    ///
    /// # Errors
    /// A message for an id, a segment or a length that the tables do not hold.
    pub fn forward(
        &self,
        pool: &Pool,
        batch: &EncoderBatch,
        cancelled: &AtomicBool,
    ) -> Result<Option<Vec<f32>>, String> {
        self.check(batch)?;
        let width = self.config.hidden;
        let mut hidden = vec![0.0; batch.ids.len() * width];
        let shared = Shared {
            batch,
            positions: self.positions(batch),
            turns: match self.config.positions {
                Positions::Rotary => Some(Turns::new(&self.config, batch)),
                Positions::Learned { .. } => None,
            },
            cancelled,
        };
        let mut parts = parts(&batch.lengths, width, pool.threads(), &mut hidden);
        pool.run_chunks(&mut parts, 1, |_, parts| {
            let left = self.scratch().pop();
            let mut scratch = left.unwrap_or_default();
            for part in parts {
                self.run(pool, &shared, part, &mut scratch);
            }
            self.scratch().push(scratch);
        });
        let is_cancelled = cancelled.load(Ordering::Relaxed);
        Ok((!is_cancelled).then_some(hidden))
    }

    /// All layers of some inputs, unless cancelled.
    fn run(&self, pool: &Pool, shared: &Shared<'_>, part: &mut Part<'_>, scratch: &mut Scratch) {
        let tokens = part.hidden.len() / self.config.hidden;
        // Each operation writes all that the next one reads, so what stands in it does not matter.
        scratch.qkv.resize(tokens * 3 * self.config.hidden, 0.0);
        scratch.attended.resize(tokens * self.config.hidden, 0.0);
        let turns = shared.turns.as_ref();
        self.embed(pool, shared, part);
        self.by_rows(pool, part, scratch, |rows, room| {
            self.begin(pool, 0, turns, rows, room);
        });
        for (index, attention) in self.config.layers.iter().enumerate() {
            if shared.cancelled.load(Ordering::Relaxed) {
                return;
            }
            self.attend(pool, part.lengths, attention.window, scratch);
            self.by_rows(pool, part, scratch, |rows, room| {
                self.finish(pool, index, rows, room);
                self.begin(pool, index + 1, turns, rows, room);
            });
        }
    }

    /// What passes have left, for the next ones.
    fn scratch(&self) -> MutexGuard<'_, Vec<Scratch>> {
        self.scratch.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn check(&self, batch: &EncoderBatch) -> Result<(), String> {
        let tokens: usize = batch.lengths.iter().sum();
        if batch.ids.len() != tokens || batch.types.len() != tokens || batch.lengths.contains(&0) {
            return Err("the batch's ids, segments and lengths do not fit together".to_owned());
        }
        let longest = self.config.context_length;
        if let Some(length) = batch.lengths.iter().find(|length| **length > longest) {
            return Err(format!("expected at most {longest} tokens, got {length}"));
        }
        let outside =
            |values: &[u32], rows: usize| values.iter().copied().find(|v| *v as usize >= rows);
        if let Some(id) = outside(&batch.ids, self.config.vocabulary) {
            return Err(format!(
                "token id {id}: the model has {} words",
                self.config.vocabulary
            ));
        }
        match outside(&batch.types, self.config.types) {
            Some(kind) if self.config.types > 0 => Err(format!(
                "segment {kind}: the model has {} segments",
                self.config.types
            )),
            _ => Ok(()),
        }
    }

    /// The sums of word, segment and position, normalised.
    fn embed(&self, pool: &Pool, shared: &Shared<'_>, part: &mut Part<'_>) {
        let (width, batch) = (self.config.hidden, shared.batch);
        let first = part.first;
        pool.run_chunks(part.hidden, ROWS * width, |chunk, rows| {
            let mut part = vec![0.0; width];
            for (i, row) in rows.chunks_exact_mut(width).enumerate() {
                let token = first + chunk * ROWS + i;
                self.tables
                    .words
                    .dequantize_row(batch.ids[token] as usize, row);
                if let Some(types) = &self.tables.types {
                    types.dequantize_row(batch.types[token] as usize, &mut part);
                    ops::add_in_place(row, &part);
                }
                if let Some(table) = &self.tables.positions {
                    table.dequantize_row(shared.positions[token], &mut part);
                    ops::add_in_place(row, &part);
                }
            }
            self.tables.norm.apply(rows);
        });
    }

    /// Each token's row of the table of positions.
    fn positions(&self, batch: &EncoderBatch) -> Vec<usize> {
        let mut positions = Vec::with_capacity(batch.ids.len());
        let mut ids = &batch.ids[..];
        for &length in &batch.lengths {
            let own = ids.split_off(..length).unwrap_or_default();
            match self.config.positions {
                Positions::Learned {
                    padding: Some(padding),
                    ..
                } => {
                    let mut next = padding as usize;
                    positions.extend(own.iter().map(|id| {
                        let is_padding = *id == padding;
                        next += usize::from(!is_padding);
                        if is_padding { padding as usize } else { next }
                    }));
                }
                _ => positions.extend(0..length),
            }
        }
        positions
    }

    /// The attention, from `qkv` to `attended`.
    fn attend(&self, pool: &Pool, lengths: &[usize], window: Option<usize>, scratch: &mut Scratch) {
        let head_dim = self.config.head_dim();
        ops::self_attention(
            pool,
            SelfAttentionArgs {
                qkv: &scratch.qkv,
                lengths,
                heads: self.config.heads,
                head_dim,
                window,
                scale: 1.0 / (head_dim as f32).sqrt(),
                out: &mut scratch.attended,
            },
        );
    }
}

/// What all parts of a pass share.
struct Shared<'a> {
    batch: &'a EncoderBatch,
    positions: Vec<usize>,
    turns: Option<Turns>,
    cancelled: &'a AtomicBool,
}

/// Room of one part of a forward pass.
#[derive(Default)]
struct Scratch {
    /// `(tokens, 3, hidden)`.
    qkv: Vec<f32>,
    /// `(tokens, hidden)`.
    attended: Vec<f32>,
    /// Rooms of the blocks of rows that are computed at a time.
    rooms: Mutex<Vec<Room>>,
}

/// The angles by which the tokens of a batch are turned.
struct Turns {
    /// Each token's row of the tables.
    rows: Vec<usize>,
    /// Rope of each base that layers have, with cosines and sines, `(rows, pairs)`.
    ropes: Vec<(f64, RotaryEmbedding, Vec<f32>, Vec<f32>)>,
}

impl Turns {
    fn new(config: &EncoderConfig, batch: &EncoderBatch) -> Self {
        let trained = match config.scaling {
            RopeScaling::Dynamic {
                original_context, ..
            } => original_context,
            _ => usize::MAX,
        };
        // Inputs of an ordinary length share the rows of the longest; others have their own.
        let (ordinary, long): (Vec<usize>, Vec<usize>) =
            batch.lengths.iter().partition(|length| **length <= trained);
        let shared = ordinary.into_iter().max().unwrap_or(0);
        let mut end = shared;
        let mut rows = Vec::with_capacity(batch.ids.len());
        for &length in &batch.lengths {
            let first = if length <= trained { 0 } else { end };
            end += if length <= trained { 0 } else { length };
            rows.extend(first..first + length);
        }
        let mut thetas: Vec<f64> = config.layers.iter().map(|layer| layer.theta).collect();
        thetas.sort_by(f64::total_cmp);
        thetas.dedup();
        let ropes = thetas.into_iter().map(|theta| {
            let rope = RotaryEmbedding::new(
                &RopeConfig {
                    theta,
                    dimensions: config.head_dim(),
                    order: RopeOrder::Halves,
                    scaling: config.scaling.clone(),
                    attention_factor: 1.0,
                },
                None,
            );
            let (mut cosines, mut sines) =
                (vec![0.0; end * rope.pairs()], vec![0.0; end * rope.pairs()]);
            let mut first = 0;
            for length in std::iter::once(shared).chain(long.iter().copied()) {
                let range = first * rope.pairs()..(first + length) * rope.pairs();
                rope.angles(length, 0, &mut cosines[range.clone()], &mut sines[range]);
                first += length;
            }
            (theta, rope, cosines, sines)
        });
        let ropes = ropes.collect();
        Self { rows, ropes }
    }
}
