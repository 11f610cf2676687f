//! A bidirectional encoder, driven by a description of its architecture: here BERT's
//! (arXiv:1810.04805).

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Mutex, PoisonError};

use outcrop_tensor::{AttentionArgs, KvPages, Pool, Weight, ops};
use serde_json::Value;

use crate::weights::{Checkpoint, WeightsError};

/// Tokens of one task of an operation that goes row by row.
const ROWS: usize = 32;

/// The function between the two products of the MLP.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Activation {
    /// With the error function.
    Gelu,
    /// Its approximation with tanh.
    GeluTanh,
}

/// The architecture of an encoder.
#[derive(Clone, Debug, PartialEq)]
pub struct EncoderConfig {
    /// `model_type` of its `config.json`.
    pub architecture: String,
    /// Number of layers.
    pub layers: usize,
    /// Length of a token's vector.
    pub hidden: usize,
    /// Length of the MLP's inner vector.
    pub intermediate: usize,
    /// Attention heads; `hidden` is a multiple.
    pub heads: usize,
    /// Rows of the table of words.
    pub vocabulary: usize,
    /// Rows of the table of positions: the longest input.
    pub positions: usize,
    /// Rows of the table of segments.
    pub types: usize,
    /// Added to the variance in layer norms.
    pub eps: f32,
    /// The MLP's activation.
    pub activation: Activation,
}

impl EncoderConfig {
    /// Reads the `config.json` of a BERT.
    ///
    /// # Errors
    /// A message that names the field, what was expected and what came.
    pub fn from_json(config: &Value) -> Result<Self, String> {
        let size = |name: &str| match config[name].as_u64() {
            Some(value @ 1..=16_777_216) => Ok(value as usize),
            _ => Err(format!(
                "{name}: expected 1..=16777216, got {}",
                config[name]
            )),
        };
        let architecture = config["model_type"].as_str().unwrap_or_default();
        if architecture != "bert" {
            return Err(format!(
                "model_type: expected bert, got {}",
                config["model_type"]
            ));
        }
        let positions = config["position_embedding_type"]
            .as_str()
            .unwrap_or("absolute");
        if positions != "absolute" {
            return Err(format!(
                "position_embedding_type: expected absolute, got {positions}"
            ));
        }
        let activation = match config["hidden_act"].as_str().unwrap_or("gelu") {
            "gelu" => Activation::Gelu,
            "gelu_new" | "gelu_pytorch_tanh" => Activation::GeluTanh,
            other => {
                return Err(format!(
                    "hidden_act: expected gelu or gelu_new, got {other}"
                ));
            }
        };
        let (hidden, heads) = (size("hidden_size")?, size("num_attention_heads")?);
        if !hidden.is_multiple_of(heads) {
            return Err(format!(
                "hidden_size: expected a multiple of {heads} heads, got {hidden}"
            ));
        }
        Ok(Self {
            architecture: architecture.to_owned(),
            layers: size("num_hidden_layers")?,
            hidden,
            intermediate: size("intermediate_size")?,
            heads,
            vocabulary: size("vocab_size")?,
            positions: size("max_position_embeddings")?,
            types: size("type_vocab_size")?,
            eps: config["layer_norm_eps"].as_f64().unwrap_or(1e-12) as f32,
            activation,
        })
    }
}

/// A product with a bias.
pub(crate) struct Dense {
    weight: Weight,
    bias: Vec<f32>,
}

impl Dense {
    pub(crate) fn load(
        checkpoint: &Checkpoint,
        name: &str,
        rows: usize,
        cols: usize,
    ) -> Result<Self, WeightsError> {
        Ok(Self {
            weight: checkpoint
                .matrix(&format!("{name}.weight"), rows, cols)?
                .pack(),
            bias: checkpoint.vector(&format!("{name}.bias"), rows)?,
        })
    }

    pub(crate) fn apply(&self, pool: &Pool, x: &[f32], out: &mut [f32]) {
        ops::linear(pool, x, &self.weight, Some(&self.bias), out);
    }
}

struct LayerNorm {
    weight: Vec<f32>,
    bias: Vec<f32>,
}

impl LayerNorm {
    fn load(checkpoint: &Checkpoint, name: &str, width: usize) -> Result<Self, WeightsError> {
        Ok(Self {
            weight: checkpoint.vector(&format!("{name}.weight"), width)?,
            bias: checkpoint.vector(&format!("{name}.bias"), width)?,
        })
    }
}

struct Layer {
    query: Dense,
    key: Dense,
    value: Dense,
    attention_output: Dense,
    attention_norm: LayerNorm,
    up: Dense,
    down: Dense,
    output_norm: LayerNorm,
}

/// Several inputs, one after the other, without padding.
#[derive(Clone, Debug, Default)]
pub struct EncoderBatch {
    /// Token ids of all inputs.
    pub ids: Vec<u32>,
    /// Segment ids, as many.
    pub types: Vec<u32>,
    /// Number of tokens of each input, none zero.
    pub lengths: Vec<usize>,
}

/// A loaded encoder.
pub struct Encoder {
    config: EncoderConfig,
    words: Weight,
    positions: Weight,
    types: Weight,
    norm: LayerNorm,
    layers: Vec<Layer>,
    /// What a pass computes in, kept for the next one: its pages are mapped already.
    scratch: Mutex<Scratch>,
}

impl Encoder {
    /// Loads the tensors whose names begin with `prefix` (such as `bert.`, or nothing).
    ///
    /// # Errors
    /// [`WeightsError`] for a tensor that is missing or of another shape.
    pub fn load(
        checkpoint: &Checkpoint,
        prefix: &str,
        config: EncoderConfig,
    ) -> Result<Self, WeightsError> {
        let (hidden, inner) = (config.hidden, config.intermediate);
        let table = |name: &str, rows| {
            checkpoint.matrix(
                &format!("{prefix}embeddings.{name}_embeddings.weight"),
                rows,
                hidden,
            )
        };
        let layer = |index: usize| {
            let layer = format!("{prefix}encoder.layer.{index}");
            let dense = |name: &str, rows, cols| {
                Dense::load(checkpoint, &format!("{layer}.{name}"), rows, cols)
            };
            let norm = |name: &str| LayerNorm::load(checkpoint, &format!("{layer}.{name}"), hidden);
            Ok::<_, WeightsError>(Layer {
                query: dense("attention.self.query", hidden, hidden)?,
                key: dense("attention.self.key", hidden, hidden)?,
                value: dense("attention.self.value", hidden, hidden)?,
                attention_output: dense("attention.output.dense", hidden, hidden)?,
                attention_norm: norm("attention.output.LayerNorm")?,
                up: dense("intermediate.dense", inner, hidden)?,
                down: dense("output.dense", hidden, inner)?,
                output_norm: norm("output.LayerNorm")?,
            })
        };
        let norm = format!("{prefix}embeddings.LayerNorm");
        Ok(Self {
            words: table("word", config.vocabulary)?,
            positions: table("position", config.positions)?,
            types: table("token_type", config.types)?,
            norm: LayerNorm::load(checkpoint, &norm, hidden)?,
            // A layer at a time: a wrong number of layers fails at the first missing tensor.
            layers: (0..config.layers).map(layer).collect::<Result<_, _>>()?,
            scratch: Mutex::default(),
            config,
        })
    }

    /// The architecture.
    pub fn config(&self) -> &EncoderConfig {
        &self.config
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
        for layer in &self.layers {
            if cancelled.load(Ordering::Relaxed) {
                return Ok(None);
            }
            self.attend(pool, layer, batch, &mut hidden, &mut scratch);
            self.mix(pool, layer, &mut hidden, &mut scratch);
        }
        *self.scratch.lock().unwrap_or_else(PoisonError::into_inner) = scratch;
        Ok(Some(hidden))
    }

    /// Room for `tokens` tokens: what the last pass left, grown where it is too small. Each
    /// operation writes all that the next one reads, so what stands in it does not matter.
    fn lend_scratch(&self, tokens: usize) -> Scratch {
        let left = self.scratch.lock();
        let mut scratch = std::mem::take(&mut *left.unwrap_or_else(PoisonError::into_inner));
        for (room, width) in [
            (&mut scratch.query, self.config.hidden),
            (&mut scratch.key, self.config.hidden),
            (&mut scratch.value, self.config.hidden),
            (&mut scratch.attended, self.config.hidden),
            (&mut scratch.inner, self.config.intermediate),
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
        if let Some(length) = batch
            .lengths
            .iter()
            .find(|length| **length > self.config.positions)
        {
            return Err(format!(
                "expected at most {} tokens, got {length}",
                self.config.positions
            ));
        }
        let outside =
            |values: &[u32], rows: usize| values.iter().copied().find(|v| *v as usize >= rows);
        if let Some(id) = outside(&batch.ids, self.config.vocabulary) {
            return Err(format!(
                "token id {id}: the model has {} words",
                self.config.vocabulary
            ));
        }
        if let Some(kind) = outside(&batch.types, self.config.types) {
            return Err(format!(
                "segment {kind}: the model has {} segments",
                self.config.types
            ));
        }
        Ok(())
    }

    /// The sums of word, segment and position, normalised.
    fn embed(&self, pool: &Pool, batch: &EncoderBatch) -> Vec<f32> {
        let width = self.config.hidden;
        let positions: Vec<usize> = batch.lengths.iter().flat_map(|length| 0..*length).collect();
        let mut hidden = vec![0.0; batch.ids.len() * width];
        pool.run_chunks(&mut hidden, ROWS * width, |chunk, rows| {
            let mut part = vec![0.0; width];
            for (i, row) in rows.chunks_exact_mut(width).enumerate() {
                let token = chunk * ROWS + i;
                self.words.dequantize_row(batch.ids[token] as usize, row);
                self.types
                    .dequantize_row(batch.types[token] as usize, &mut part);
                ops::add_in_place(row, &part);
                self.positions.dequantize_row(positions[token], &mut part);
                ops::add_in_place(row, &part);
            }
            ops::layer_norm_in_place(rows, &self.norm.weight, &self.norm.bias, self.config.eps);
        });
        hidden
    }

    fn attend(
        &self,
        pool: &Pool,
        layer: &Layer,
        batch: &EncoderBatch,
        hidden: &mut [f32],
        scratch: &mut Scratch,
    ) {
        layer.query.apply(pool, hidden, &mut scratch.query);
        layer.key.apply(pool, hidden, &mut scratch.key);
        layer.value.apply(pool, hidden, &mut scratch.value);
        let width = self.config.hidden;
        let mut ranges = Vec::with_capacity(batch.lengths.len());
        let mut end = 0;
        for length in &batch.lengths {
            ranges.push(end * width..(end + length) * width);
            end += length;
        }
        let keys: Vec<[&[f32]; 1]> = ranges.iter().map(|r| [&scratch.key[r.clone()]]).collect();
        let values: Vec<[&[f32]; 1]> = ranges.iter().map(|r| [&scratch.value[r.clone()]]).collect();
        let mut rest = &mut scratch.attended[..];
        let mut sequences = Vec::with_capacity(ranges.len());
        for (i, range) in ranges.into_iter().enumerate() {
            let (out, after) = std::mem::take(&mut rest).split_at_mut(range.len());
            rest = after;
            let head_dim = width / self.config.heads;
            sequences.push(AttentionArgs {
                query: &scratch.query[range],
                keys: KvPages::F32(&keys[i]),
                values: KvPages::F32(&values[i]),
                page_tokens: batch.lengths[i],
                positions: batch.lengths[i],
                start: 0,
                heads: self.config.heads,
                kv_heads: self.config.heads,
                head_dim,
                causal: false,
                window: None,
                scale: 1.0 / (head_dim as f32).sqrt(),
                soft_cap: None,
                sinks: None,
                out,
            });
        }
        ops::attention_batch(pool, &mut sequences);
        layer
            .attention_output
            .apply(pool, &scratch.attended, &mut scratch.query);
        self.add_and_norm(pool, hidden, &scratch.query, &layer.attention_norm);
    }

    fn mix(&self, pool: &Pool, layer: &Layer, hidden: &mut [f32], scratch: &mut Scratch) {
        let tokens = hidden.len() / self.config.hidden;
        let inner = &mut scratch.inner[..tokens * self.config.intermediate];
        layer.up.apply(pool, hidden, inner);
        pool.run_chunks(inner, ROWS * self.config.intermediate, |_, rows| match self
            .config
            .activation
        {
            Activation::Gelu => ops::gelu_in_place(rows),
            Activation::GeluTanh => ops::gelu_tanh_in_place(rows),
        });
        layer.down.apply(pool, inner, &mut scratch.query);
        self.add_and_norm(pool, hidden, &scratch.query, &layer.output_norm);
    }

    fn add_and_norm(&self, pool: &Pool, hidden: &mut [f32], delta: &[f32], norm: &LayerNorm) {
        let chunk = ROWS * self.config.hidden;
        pool.run_chunks(hidden, chunk, |index, rows| {
            ops::add_in_place(rows, &delta[index * chunk..index * chunk + rows.len()]);
            ops::layer_norm_in_place(rows, &norm.weight, &norm.bias, self.config.eps);
        });
    }
}

/// Room of one forward pass, each `(tokens, width)`.
#[derive(Default)]
struct Scratch {
    query: Vec<f32>,
    key: Vec<f32>,
    value: Vec<f32>,
    attended: Vec<f32>,
    inner: Vec<f32>,
}
