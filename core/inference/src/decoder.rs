//! The decoder: one forward pass over rows of several sequences, driven by [`DecoderConfig`].

use std::sync::Arc;

use outcrop_tensor::{Pool, ops};

pub use crate::decoder_weights::Decoder;

use crate::decoder_config::DecoderConfig;
use crate::decoder_weights::{Layer, Site};
use crate::kv_cache::KvCache;
use crate::lora;
use crate::step::{Rows, StepModel};

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

impl Decoder {
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
        let done = self.run_layers(pool, rows, cache, scratch, keep_going)?;
        if done == 0 {
            return Some(&[]);
        }
        keep_going().then(|| self.project(pool, scratch))
    }

    /// As [`Decoder::forward`], with the wanted rows as the final norm leaves them, `(wanted rows,
    /// hidden_size)`, instead of their logits.
    pub fn forward_hidden<'s>(
        &self,
        pool: &Pool,
        rows: &[Rows<'_>],
        cache: &mut KvCache,
        scratch: &'s mut Scratch,
        keep_going: &dyn Fn() -> bool,
    ) -> Option<&'s [f32]> {
        let wanted = self.run_layers(pool, rows, cache, scratch, keep_going)?;
        self.normalize(scratch);
        Some(&scratch.normed[..wanted * self.config.hidden_size])
    }

    /// Runs all layers, leaving the wanted rows in the residual stream, and gives their number.
    fn run_layers(
        &self,
        pool: &Pool,
        rows: &[Rows<'_>],
        cache: &mut KvCache,
        scratch: &mut Scratch,
        keep_going: &dyn Fn() -> bool,
    ) -> Option<usize> {
        scratch.fit(
            &self.config,
            rows.iter().map(|r| r.tokens.len()).sum(),
            self.rope.pairs(),
        );
        self.embed(rows, scratch);
        let mut kept = Vec::new();
        for (index, layer) in self.layers.iter().enumerate() {
            if !keep_going() {
                return None;
            }
            self.remember(pool, (index, layer), rows, cache, scratch);
            let is_last = index + 1 == self.layers.len();
            if is_last {
                kept = self.keep_wanted(rows, scratch);
            }
            if is_last && kept.is_empty() {
                return Some(0);
            }
            let rows = if is_last { &kept[..] } else { rows };
            self.attend(pool, index, rows, cache, scratch);
            self.mix(pool, (index, layer), rows, scratch);
        }
        Some(kept.iter().map(Rows::wanted_count).sum())
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

    /// The one place where rows are multiplied by a layer's weights: writes the product of `x` at
    /// `site` of `layer`, as the rows' adapters change it, to `out`.
    fn apply(
        &self,
        pool: &Pool,
        rows: &[Rows<'_>],
        (layer, site): (usize, Site),
        x: &[f32],
        out: &mut [f32],
    ) {
        if let Some(linear) = self.layers[layer].linear(site) {
            linear.apply(pool, x, out);
        }
        lora::apply(pool, (layer, site), rows, x, out);
    }

    /// Computes a layer's queries, and writes its keys and values to `cache`.
    fn remember(
        &self,
        pool: &Pool,
        (index, layer): (usize, &Layer),
        rows: &[Rows<'_>],
        cache: &mut KvCache,
        scratch: &mut Scratch,
    ) {
        let eps = self.config.norm_eps;
        ops::rms_norm(
            &scratch.hidden,
            &layer.attention_norm,
            eps,
            &mut scratch.normed,
        );
        let Scratch {
            normed,
            queries,
            keys,
            values,
            ..
        } = scratch;
        self.apply(pool, rows, (index, Site::Query), normed, queries);
        self.apply(pool, rows, (index, Site::Key), normed, keys);
        self.apply(pool, rows, (index, Site::Value), normed, values);
        if let Some((query_norm, key_norm)) = &layer.head_norms {
            // `attended`, as wide as the queries, is free until the attention itself.
            norm_heads(&mut scratch.queries, query_norm, eps, &mut scratch.attended);
            norm_heads(&mut scratch.keys, key_norm, eps, &mut scratch.attended);
        }
        self.turn(scratch);
        cache.write(index, rows, &scratch.keys, &scratch.values);
    }

    /// Leaves only the rows whose logits are wanted: behind the last layer's keys and values the
    /// others serve nobody.
    fn keep_wanted<'r>(&self, rows: &[Rows<'r>], scratch: &mut Scratch) -> Vec<Rows<'r>> {
        let (hidden, query) = (self.config.hidden_size, self.config.query_size());
        let (mut kept, mut wanted, mut end) = (Vec::new(), 0, 0);
        for r in rows {
            end += r.tokens.len();
            let (count, start) = (r.wanted_count(), end - r.wanted_count());
            scratch
                .hidden
                .copy_within(start * hidden..end * hidden, wanted * hidden);
            scratch
                .queries
                .copy_within(start * query..end * query, wanted * query);
            let skipped = r.tokens.len() - count;
            if count > 0 {
                kept.push(Rows {
                    tokens: &r.tokens[skipped..],
                    position: r.position + skipped,
                    ..*r
                });
            }
            wanted += count;
        }
        scratch.fit(&self.config, wanted, self.rope.pairs());
        kept
    }

    /// The attention half of a layer, its queries computed and its keys and values written.
    fn attend(
        &self,
        pool: &Pool,
        index: usize,
        rows: &[Rows<'_>],
        cache: &KvCache,
        scratch: &mut Scratch,
    ) {
        let Scratch {
            queries, attended, ..
        } = scratch;
        cache.attend(pool, &self.config, index, rows, queries, attended);
        self.apply(
            pool,
            rows,
            (index, Site::Output),
            &scratch.attended,
            &mut scratch.delta,
        );
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
    fn mix(
        &self,
        pool: &Pool,
        (index, layer): (usize, &Layer),
        rows: &[Rows<'_>],
        scratch: &mut Scratch,
    ) {
        ops::rms_norm(
            &scratch.hidden,
            &layer.mlp_norm,
            self.config.norm_eps,
            &mut scratch.normed,
        );
        self.apply(
            pool,
            rows,
            (index, Site::Gate),
            &scratch.normed,
            &mut scratch.gate,
        );
        self.apply(
            pool,
            rows,
            (index, Site::Up),
            &scratch.normed,
            &mut scratch.up,
        );
        ops::silu_mul(&mut scratch.gate, &scratch.up);
        self.apply(
            pool,
            rows,
            (index, Site::Down),
            &scratch.gate,
            &mut scratch.delta,
        );
        ops::add_in_place(&mut scratch.hidden, &scratch.delta);
    }

    /// The final norm of the rows that are left.
    fn normalize(&self, scratch: &mut Scratch) {
        let eps = self.config.norm_eps;
        ops::rms_norm(&scratch.hidden, &self.norm, eps, &mut scratch.normed);
    }

    /// The logits of the rows that are left.
    fn project<'s>(&self, pool: &Pool, scratch: &'s mut Scratch) -> &'s [f32] {
        self.normalize(scratch);
        let rows = scratch.hidden.len() / self.config.hidden_size;
        scratch.logits.resize(rows * self.config.vocab_size, 0.0);
        let output = self.output.as_ref().unwrap_or(&self.embedding);
        ops::linear(pool, &scratch.normed, output, None, &mut scratch.logits);
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
