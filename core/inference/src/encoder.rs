//! A bidirectional encoder: one forward pass over several inputs, driven by [`EncoderConfig`].

mod config;
mod families;
mod weights;

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Mutex, PoisonError};

use outcrop_tensor::{Pool, SelfAttentionArgs, ops};

pub(crate) use config::activation;
pub use config::{
    Activation, Biases, ENCODER_ARCHITECTURES, EncoderConfig, LayerAttention, NormOrder, Positions,
};

use crate::decoder_config::{RopeConfig, RopeOrder, RopeScaling};
use crate::dense::{LayerNorm, Precision};
use crate::rope::RotaryEmbedding;
use crate::weights::{Checkpoint, WeightsError};
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
    scratch: Mutex<Scratch>,
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
        let mut hidden = self.embed(pool, batch);
        let mut scratch = self.lend_scratch(batch.ids.len());
        let turns = match self.config.positions {
            Positions::Rotary => Some(Turns::new(&self.config, batch)),
            Positions::Learned { .. } => None,
        };
        for (layer, attention) in self.layers.iter().zip(&self.config.layers) {
            if cancelled.load(Ordering::Relaxed) {
                return Ok(None);
            }
            let is_normed =
                self.normalize(pool, layer.attention_norm.as_ref(), &hidden, &mut scratch);
            let input = if is_normed { &scratch.normed } else { &hidden };
            layer.qkv.apply(pool, input, &mut scratch.qkv);
            if let Some(turns) = &turns {
                self.turn(pool, turns, attention.theta, &mut scratch.qkv);
            }
            self.attend(pool, layer, batch, attention.window, &mut scratch);
            let norm = layer.attention_norm.as_ref();
            self.add(pool, &mut hidden, &scratch.delta, norm);
            self.mix(pool, layer, &mut hidden, &mut scratch);
        }
        *self.scratch.lock().unwrap_or_else(PoisonError::into_inner) = scratch;
        if let Some(norm) = &self.final_norm {
            pool.run_chunks(&mut hidden, ROWS * self.config.hidden, |_, rows| {
                norm.apply(rows);
            });
        }
        Ok(Some(hidden))
    }

    /// Room for `tokens` tokens: what the last pass left, grown where it is too small. Each
    /// operation writes all that the next one reads, so what stands in it does not matter.
    fn lend_scratch(&self, tokens: usize) -> Scratch {
        let left = self.scratch.lock();
        let mut scratch = std::mem::take(&mut *left.unwrap_or_else(PoisonError::into_inner));
        let (hidden, inner) = (self.config.hidden, self.config.intermediate);
        let is_pre = self.config.norm_order == NormOrder::Pre;
        for (room, width) in [
            (&mut scratch.qkv, 3 * hidden),
            (&mut scratch.delta, hidden),
            (&mut scratch.attended, hidden),
            (&mut scratch.normed, if is_pre { hidden } else { 0 }),
            (&mut scratch.inner, inner),
            (
                &mut scratch.factor,
                if self.config.gated { inner } else { 0 },
            ),
        ] {
            room.resize(tokens * width, 0.0);
        }
        scratch
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
    fn embed(&self, pool: &Pool, batch: &EncoderBatch) -> Vec<f32> {
        let width = self.config.hidden;
        let positions = self.positions(batch);
        let mut hidden = vec![0.0; batch.ids.len() * width];
        pool.run_chunks(&mut hidden, ROWS * width, |chunk, rows| {
            let mut part = vec![0.0; width];
            for (i, row) in rows.chunks_exact_mut(width).enumerate() {
                let token = chunk * ROWS + i;
                self.tables
                    .words
                    .dequantize_row(batch.ids[token] as usize, row);
                if let Some(types) = &self.tables.types {
                    types.dequantize_row(batch.types[token] as usize, &mut part);
                    ops::add_in_place(row, &part);
                }
                if let Some(table) = &self.tables.positions {
                    table.dequantize_row(positions[token], &mut part);
                    ops::add_in_place(row, &part);
                }
            }
            self.tables.norm.apply(rows);
        });
        hidden
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

    /// With [`NormOrder::Pre`] writes the normalised rows, which go into a half of a layer, to
    /// `normed`. Otherwise, or without a norm, the rows go in as they are, and the answer is false.
    fn normalize(
        &self,
        pool: &Pool,
        norm: Option<&LayerNorm>,
        hidden: &[f32],
        scratch: &mut Scratch,
    ) -> bool {
        let Some(norm) = norm.filter(|_| self.config.norm_order == NormOrder::Pre) else {
            return false;
        };
        let chunk = ROWS * self.config.hidden;
        pool.run_chunks(&mut scratch.normed, chunk, |index, rows| {
            norm.apply_to(&hidden[index * chunk..index * chunk + rows.len()], rows);
        });
        true
    }

    /// Turns queries and keys by their positions.
    fn turn(&self, pool: &Pool, turns: &Turns, theta: f64, qkv: &mut [f32]) {
        let Some((_, rope, cosines, sines)) = turns.ropes.iter().find(|rope| rope.0 == theta)
        else {
            return;
        };
        let (hidden, pairs) = (self.config.hidden, rope.pairs());
        pool.run_chunks(qkv, ROWS * 3 * hidden, |chunk, rows| {
            for (row, &at) in rows
                .chunks_exact_mut(3 * hidden)
                .zip(&turns.rows[chunk * ROWS..])
            {
                let angles = at * pairs..(at + 1) * pairs;
                // Queries and keys stand side by side, so they are turned as heads of one row.
                rope.turn(
                    &mut row[..2 * hidden],
                    self.config.head_dim(),
                    &cosines[angles.clone()],
                    &sines[angles],
                );
            }
        });
    }

    /// The attention, from `qkv` to `delta`.
    fn attend(
        &self,
        pool: &Pool,
        layer: &Layer,
        batch: &EncoderBatch,
        window: Option<usize>,
        scratch: &mut Scratch,
    ) {
        let head_dim = self.config.head_dim();
        ops::self_attention(
            pool,
            SelfAttentionArgs {
                qkv: &scratch.qkv,
                lengths: &batch.lengths,
                heads: self.config.heads,
                head_dim,
                window,
                scale: 1.0 / (head_dim as f32).sqrt(),
                out: &mut scratch.attended,
            },
        );
        layer
            .attention_output
            .apply(pool, &scratch.attended, &mut scratch.delta);
    }

    /// The MLP half of a layer.
    fn mix(&self, pool: &Pool, layer: &Layer, hidden: &mut [f32], scratch: &mut Scratch) {
        let is_normed = self.normalize(pool, Some(&layer.mlp_norm), hidden, scratch);
        let input = if is_normed { &scratch.normed } else { &*hidden };
        layer.up.apply(pool, input, &mut scratch.inner);
        if let Some(factor) = &layer.factor {
            factor.apply(pool, input, &mut scratch.factor);
        }
        let chunk = ROWS * self.config.intermediate;
        let factors = layer.factor.as_ref().map(|_| &scratch.factor[..]);
        pool.run_chunks(&mut scratch.inner, chunk, |index, rows| {
            self.config.activation.apply(rows);
            if let Some(factors) = factors {
                let at = index * chunk;
                ops::multiply_in_place(rows, &factors[at..at + rows.len()]);
            }
        });
        layer.down.apply(pool, &scratch.inner, &mut scratch.delta);
        self.add(pool, hidden, &scratch.delta, Some(&layer.mlp_norm));
    }

    /// Adds a half's result to the residual stream, normalised there with [`NormOrder::Post`].
    fn add(&self, pool: &Pool, hidden: &mut [f32], delta: &[f32], norm: Option<&LayerNorm>) {
        let chunk = ROWS * self.config.hidden;
        let norm = norm.filter(|_| self.config.norm_order == NormOrder::Post);
        pool.run_chunks(hidden, chunk, |index, rows| {
            let delta = &delta[index * chunk..index * chunk + rows.len()];
            match norm {
                Some(norm) => norm.add_and_apply(rows, delta),
                None => ops::add_in_place(rows, delta),
            }
        });
    }
}

/// Room of one forward pass, each `(tokens, width)`.
#[derive(Default)]
struct Scratch {
    qkv: Vec<f32>,
    attended: Vec<f32>,
    delta: Vec<f32>,
    normed: Vec<f32>,
    inner: Vec<f32>,
    factor: Vec<f32>,
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
