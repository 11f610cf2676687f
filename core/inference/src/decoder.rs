//! The decoder: one forward pass over rows of several sequences, driven by [`DecoderConfig`].

use std::sync::Arc;

use outcrop_api::{Error, Result};
use outcrop_tensor::{Pool, Weight, ops};

use crate::decoder_config::{DecoderConfig, TensorNames, of_layer};
use crate::kv_cache::KvCache;
use crate::rope::RotaryEmbedding;
use crate::step::{Rows, StepModel};
use crate::weights::{Checkpoint, ModelSource, WeightsError};

/// A decoder-only transformer's weights.
#[derive(Debug)]
pub struct Decoder {
    config: DecoderConfig,
    rope: RotaryEmbedding,
    embedding: Weight,
    layers: Vec<Layer>,
    norm: Vec<f32>,
    /// `None`: the embedding is the output projection too.
    output: Option<Weight>,
}

/// A projection with its bias.
#[derive(Debug)]
struct Linear {
    weight: Weight,
    bias: Option<Vec<f32>>,
}

#[derive(Debug)]
struct Layer {
    attention_norm: Vec<f32>,
    query: Linear,
    key: Linear,
    value: Linear,
    /// Norms of each query's and key's head, where the architecture has them.
    head_norms: Option<(Vec<f32>, Vec<f32>)>,
    attention_output: Linear,
    mlp_norm: Vec<f32>,
    gate: Linear,
    up: Linear,
    down: Linear,
}

/// Room that a forward pass fills anew; it grows to the largest step.
#[derive(Debug, Default)]
pub struct Scratch {
    /// The residual stream, `(rows, hidden_size)`.
    hidden: Vec<f32>,
    /// What goes into a projection: normalised rows.
    normed: Vec<f32>,
    /// What comes back to the residual stream.
    delta: Vec<f32>,
    queries: Vec<f32>,
    keys: Vec<f32>,
    values: Vec<f32>,
    attended: Vec<f32>,
    gate: Vec<f32>,
    up: Vec<f32>,
    cosines: Vec<f32>,
    sines: Vec<f32>,
    logits: Vec<f32>,
}

impl Linear {
    fn apply(&self, pool: &Pool, x: &[f32], out: &mut [f32]) {
        ops::linear(pool, x, &self.weight, self.bias.as_deref(), out);
    }
}

/// Reads a decoder's tensors by the names of its kind of checkpoint.
struct Loader<'a> {
    checkpoint: &'a Checkpoint,
    names: &'static TensorNames,
    config: &'a DecoderConfig,
}

impl Loader<'_> {
    fn matrix(
        &self,
        name: &str,
        rows: usize,
        cols: usize,
    ) -> std::result::Result<Weight, WeightsError> {
        Ok(self.checkpoint.matrix(name, rows, cols)?.pack())
    }

    /// The projection `pattern` of `layer` from `cols` inputs to `rows` outputs.
    fn linear(
        &self,
        pattern: &str,
        layer: usize,
        (rows, cols): (usize, usize),
        has_bias: bool,
    ) -> std::result::Result<Linear, WeightsError> {
        let name = of_layer(pattern, layer);
        let bias = format!("{name}.bias");
        Ok(Linear {
            weight: self.matrix(&format!("{name}.weight"), rows, cols)?,
            bias: has_bias
                .then(|| self.checkpoint.vector(&bias, rows))
                .transpose()?,
        })
    }

    fn layer(&self, layer: usize) -> std::result::Result<Layer, WeightsError> {
        let (config, names) = (self.config, self.names);
        let (hidden, mlp) = (config.hidden_size, config.intermediate_size);
        let (query, kv) = (config.query_size(), config.kv_size());
        let vector = |pattern: &str, len| self.checkpoint.vector(&of_layer(pattern, layer), len);
        let head_norms = if config.qk_norm {
            let query_norm = vector(names.query_norm, config.head_dim)?;
            Some((query_norm, vector(names.key_norm, config.head_dim)?))
        } else {
            None
        };
        Ok(Layer {
            attention_norm: vector(names.attention_norm, hidden)?,
            query: self.linear(names.query, layer, (query, hidden), config.qkv_bias)?,
            key: self.linear(names.key, layer, (kv, hidden), config.qkv_bias)?,
            value: self.linear(names.value, layer, (kv, hidden), config.qkv_bias)?,
            head_norms,
            attention_output: self.linear(
                names.attention_output,
                layer,
                (hidden, query),
                config.output_bias,
            )?,
            mlp_norm: vector(names.mlp_norm, hidden)?,
            gate: self.linear(names.gate, layer, (mlp, hidden), config.mlp_bias)?,
            up: self.linear(names.up, layer, (mlp, hidden), config.mlp_bias)?,
            down: self.linear(names.down, layer, (hidden, mlp), config.mlp_bias)?,
        })
    }
}

impl Decoder {
    /// The weights of `checkpoint` as `config` describes them.
    ///
    /// # Errors
    /// `ModelErrorException` naming the file and the tensor that is missing or of another shape.
    pub fn load(config: DecoderConfig, checkpoint: &Checkpoint) -> Result<Self> {
        let is_gguf = matches!(checkpoint.config(), ModelSource::Gguf { .. });
        let loader = Loader {
            checkpoint,
            names: if is_gguf {
                &TensorNames::GGUF
            } else {
                &TensorNames::HUGGING_FACE
            },
            config: &config,
        };
        let names = loader.names;
        let layers = (0..config.layers())
            .map(|layer| loader.layer(layer))
            .collect::<std::result::Result<_, _>>()?;
        // A GGUF file says that its embeddings are tied by leaving the output out.
        let is_tied = config.tied_embeddings || (is_gguf && !checkpoint.contains(names.output));
        let (vocab, hidden) = (config.vocab_size, config.hidden_size);
        let output = if is_tied {
            None
        } else {
            Some(loader.matrix(names.output, vocab, hidden)?)
        };
        let divisors = rope_divisors(&config, checkpoint, is_gguf)?;
        Ok(Self {
            rope: RotaryEmbedding::new(&config.rope, divisors.as_deref()),
            embedding: loader.matrix(names.embedding, vocab, hidden)?,
            layers,
            norm: checkpoint.vector(names.norm, hidden)?,
            output,
            config,
        })
    }

    /// The architecture.
    pub fn config(&self) -> &DecoderConfig {
        &self.config
    }

    /// Computes `rows`, which are of different sequences, writes their keys and values to `cache`
    /// and gives the wanted logits, `(wanted rows, vocab_size)` in their order.
    ///
    /// A row's numbers depend on its own sequence only: on no other row, nor on how its sequence
    /// was cut into steps, nor on the number of threads. `keep_going` is asked before each layer;
    /// when it says no the answer is `None`, and the same rows may be computed again. Token ids are
    /// below `vocab_size`.
    pub fn forward<'s>(
        &self,
        pool: &Pool,
        rows: &[Rows<'_>],
        cache: &mut KvCache,
        scratch: &'s mut Scratch,
        keep_going: &dyn Fn() -> bool,
    ) -> Option<&'s [f32]> {
        scratch.fit(
            &self.config,
            rows.iter().map(|r| r.tokens.len()).sum(),
            self.rope.pairs(),
        );
        self.embed(rows, scratch);
        for (index, layer) in self.layers.iter().enumerate() {
            if !keep_going() {
                return None;
            }
            self.attend(pool, (index, layer), rows, cache, scratch);
            self.mix(pool, layer, scratch);
        }
        keep_going().then(|| self.project(pool, rows, scratch))
    }

    /// Fills the residual stream with the tokens' embeddings, and the angles of their positions.
    fn embed(&self, rows: &[Rows<'_>], scratch: &mut Scratch) {
        let pairs = self.rope.pairs();
        let tokens = rows.iter().flat_map(|r| r.tokens.iter().zip(r.position..));
        for ((&token, position), (row, hidden)) in tokens.zip(
            scratch
                .hidden
                .chunks_exact_mut(self.config.hidden_size)
                .enumerate(),
        ) {
            self.embedding.dequantize_row(token as usize, hidden);
            let angles = row * pairs..(row + 1) * pairs;
            self.rope.angles(
                position,
                &mut scratch.cosines[angles.clone()],
                &mut scratch.sines[angles],
            );
        }
    }

    /// The attention half of a layer.
    fn attend(
        &self,
        pool: &Pool,
        (index, layer): (usize, &Layer),
        rows: &[Rows<'_>],
        cache: &mut KvCache,
        scratch: &mut Scratch,
    ) {
        let config = &self.config;
        ops::rms_norm(
            &scratch.hidden,
            &layer.attention_norm,
            config.norm_eps,
            &mut scratch.normed,
        );
        layer
            .query
            .apply(pool, &scratch.normed, &mut scratch.queries);
        layer.key.apply(pool, &scratch.normed, &mut scratch.keys);
        layer
            .value
            .apply(pool, &scratch.normed, &mut scratch.values);
        if let Some((query_norm, key_norm)) = &layer.head_norms {
            // `attended` and `delta` are free until the attention itself.
            norm_heads(
                &mut scratch.queries,
                query_norm,
                config.norm_eps,
                &mut scratch.attended,
            );
            norm_heads(
                &mut scratch.keys,
                key_norm,
                config.norm_eps,
                &mut scratch.attended,
            );
        }
        self.turn(scratch);
        cache.write(index, rows, &scratch.keys, &scratch.values);
        cache.attend(
            pool,
            config,
            index,
            rows,
            &scratch.queries,
            &mut scratch.attended,
        );
        layer
            .attention_output
            .apply(pool, &scratch.attended, &mut scratch.delta);
        ops::add_in_place(&mut scratch.hidden, &scratch.delta);
    }

    /// Turns queries and keys by their positions.
    fn turn(&self, scratch: &mut Scratch) {
        let (config, pairs) = (&self.config, self.rope.pairs());
        let angles = scratch
            .cosines
            .chunks_exact(pairs)
            .zip(scratch.sines.chunks_exact(pairs));
        let queries = scratch.queries.chunks_exact_mut(config.query_size());
        let keys = scratch.keys.chunks_exact_mut(config.kv_size());
        for ((query, key), (cosines, sines)) in queries.zip(keys).zip(angles) {
            self.rope.turn(query, config.head_dim, cosines, sines);
            self.rope.turn(key, config.head_dim, cosines, sines);
        }
    }

    /// The MLP half of a layer.
    fn mix(&self, pool: &Pool, layer: &Layer, scratch: &mut Scratch) {
        ops::rms_norm(
            &scratch.hidden,
            &layer.mlp_norm,
            self.config.norm_eps,
            &mut scratch.normed,
        );
        layer.gate.apply(pool, &scratch.normed, &mut scratch.gate);
        layer.up.apply(pool, &scratch.normed, &mut scratch.up);
        ops::silu_mul(&mut scratch.gate, &scratch.up);
        layer.down.apply(pool, &scratch.gate, &mut scratch.delta);
        ops::add_in_place(&mut scratch.hidden, &scratch.delta);
    }

    /// The wanted rows' logits.
    fn project<'s>(&self, pool: &Pool, rows: &[Rows<'_>], scratch: &'s mut Scratch) -> &'s [f32] {
        let hidden = self.config.hidden_size;
        let mut wanted = 0;
        let mut first = 0;
        for r in rows {
            let (count, end) = (r.wanted_count(), first + r.tokens.len());
            // Wanted rows move up over those before them that are not.
            scratch
                .hidden
                .copy_within((end - count) * hidden..end * hidden, wanted * hidden);
            wanted += count;
            first = end;
        }
        let normed = &mut scratch.normed[..wanted * hidden];
        ops::rms_norm(
            &scratch.hidden[..wanted * hidden],
            &self.norm,
            self.config.norm_eps,
            normed,
        );
        scratch.logits.resize(wanted * self.config.vocab_size, 0.0);
        if wanted > 0 {
            let output = self.output.as_ref().unwrap_or(&self.embedding);
            ops::linear(pool, normed, output, None, &mut scratch.logits);
        }
        &scratch.logits
    }
}

impl Scratch {
    /// Makes room for `rows` rows.
    fn fit(&mut self, config: &DecoderConfig, rows: usize, pairs: usize) {
        for (buffer, width) in [
            (&mut self.hidden, config.hidden_size),
            (&mut self.normed, config.hidden_size),
            (&mut self.delta, config.hidden_size),
            (&mut self.queries, config.query_size()),
            (&mut self.keys, config.kv_size()),
            (&mut self.values, config.kv_size()),
            (&mut self.attended, config.query_size()),
            (&mut self.gate, config.intermediate_size),
            (&mut self.up, config.intermediate_size),
            (&mut self.cosines, pairs),
            (&mut self.sines, pairs),
        ] {
            buffer.resize(rows * width, 0.0);
        }
    }
}

/// Normalises each head of `x` by `weight`, `(head_dim)`, through `room`, at least as long as `x`.
fn norm_heads(x: &mut [f32], weight: &[f32], eps: f32, room: &mut [f32]) {
    let room = &mut room[..x.len()];
    ops::rms_norm(x, weight, eps, room);
    x.copy_from_slice(room);
}

/// GGUF's divisors of rope's frequencies, where the model has them.
fn rope_divisors(
    config: &DecoderConfig,
    checkpoint: &Checkpoint,
    is_gguf: bool,
) -> Result<Option<Vec<f32>>> {
    let name = TensorNames::ROPE_DIVISORS;
    if !is_gguf || !checkpoint.contains(name) {
        return Ok(None);
    }
    let divisors = checkpoint.vector(name, config.rope.dimensions / 2)?;
    match divisors.iter().find(|d| !(**d > 0.0 && d.is_finite())) {
        Some(wrong) => Err(Error::model(format!(
            "{name}: expected divisors above 0, got {wrong}"
        ))),
        None => Ok(Some(divisors)),
    }
}

/// A decoder with its cache and its room, as the scheduler drives it.
pub(crate) struct DecoderRunner {
    decoder: Arc<Decoder>,
    cache: KvCache,
    scratch: Scratch,
    /// `None`: the process's shared pool.
    pool: Option<Pool>,
}

impl DecoderRunner {
    /// A runner with a cache for `kv_tokens` tokens, on `threads` threads of its own or the shared
    /// pool's.
    pub fn new(decoder: Arc<Decoder>, kv_tokens: usize, threads: Option<usize>) -> Self {
        Self {
            cache: KvCache::new(decoder.config(), kv_tokens),
            decoder,
            scratch: Scratch::default(),
            pool: threads.map(Pool::new),
        }
    }
}

impl StepModel for DecoderRunner {
    fn vocab_size(&self) -> usize {
        self.decoder.config.vocab_size
    }

    fn step(&mut self, rows: &[Rows<'_>], keep_going: &dyn Fn() -> bool) -> Option<&[f32]> {
        let pool = self.pool.as_ref().unwrap_or_else(|| Pool::global());
        self.decoder
            .forward(pool, rows, &mut self.cache, &mut self.scratch, keep_going)
    }
}
