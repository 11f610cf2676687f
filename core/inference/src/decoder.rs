//! The decoder: one forward pass over rows of several sequences, driven by [`DecoderConfig`].

use std::sync::Arc;

use outcrop_api::Result;
use outcrop_tensor::{Pool, ops};

pub use crate::decoder_weights::Decoder;

use crate::decoder_config::DecoderConfig;
use crate::decoder_experts::{ExpertScratch, Mixture};
use crate::decoder_weights::{Mlp, Site};
use crate::kv_cache::{KvCache, LayerAttention};
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
    /// One entry a rotary embedding.
    angles: Vec<Angles>,
    experts: ExpertScratch,
    logits: Vec<f32>,
}

/// Cosines and sines of the rows' positions, `(rows, pairs)` each.
#[derive(Debug, Default)]
struct Angles {
    cosines: Vec<f32>,
    sines: Vec<f32>,
}

/// What the products of a forward pass share.
#[derive(Clone, Copy)]
struct Pass<'a> {
    pool: &'a Pool,
    /// The sequences that the rows are of, in their order.
    rows: &'a [Rows<'a>],
}

impl Decoder {
    /// The architecture.
    pub fn config(&self) -> &DecoderConfig {
        &self.config
    }

    /// A number that two sequences of these rope lengths share only where their positions are turned
    /// alike.
    pub(crate) fn rope_class(&self, rope_length: usize) -> usize {
        // Those of one model that depend on the length agree on the original context.
        let classes = self.ropes.iter().map(|rope| rope.class(rope_length));
        classes.max().unwrap_or(0)
    }

    /// The rope length that a sequence of `tokens` tokens must have which began with `current`.
    pub(crate) fn rope_length(&self, current: usize, tokens: usize) -> usize {
        let lengths = self.ropes.iter();
        let lengths = lengths.map(|rope| rope.length(current, tokens));
        lengths.max().unwrap_or(current)
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
        self.forward_hidden(pool, rows, cache, scratch, keep_going)?;
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
        scratch.fit(&self.config, rows.iter().map(|r| r.tokens.len()).sum());
        self.embed(rows, scratch);
        let mut kept = Vec::new();
        for index in 0..self.layers.len() {
            if !keep_going() {
                return None;
            }
            self.remember(Pass { pool, rows }, index, cache, scratch);
            let is_last = index + 1 == self.layers.len();
            if is_last {
                kept = self.keep_wanted(rows, scratch);
            }
            let rows = if is_last { &kept[..] } else { rows };
            if !rows.is_empty() {
                self.attend(Pass { pool, rows }, index, cache, scratch);
                self.mix(Pass { pool, rows }, index, scratch);
            }
        }
        let Scratch { hidden, normed, .. } = scratch;
        ops::rms_norm(hidden, &self.norm, self.config.norm_eps, normed);
        Some(&scratch.normed)
    }

    /// Fills the residual stream with the tokens' embeddings, and the angles of their positions.
    fn embed(&self, rows: &[Rows<'_>], scratch: &mut Scratch) {
        let width = self.config.hidden_size;
        let tokens = rows.iter().flat_map(|r| r.tokens);
        for (&token, hidden) in tokens.zip(scratch.hidden.chunks_exact_mut(width)) {
            self.embedding.dequantize_row(token as usize, hidden);
        }
        if self.config.embedding_multiplier != 1.0 {
            ops::scale_in_place(&mut scratch.hidden, self.config.embedding_multiplier);
        }
        scratch
            .angles
            .resize_with(self.ropes.len(), Angles::default);
        let count = scratch.hidden.len() / width;
        for (rope, Angles { cosines, sines }) in self.ropes.iter().zip(&mut scratch.angles) {
            cosines.resize(count * rope.pairs(), 0.0);
            sines.resize(count * rope.pairs(), 0.0);
            let mut start = 0;
            for r in rows {
                let own = start..start + r.tokens.len() * rope.pairs();
                start = own.end;
                let (cosines, sines) = (&mut cosines[own.clone()], &mut sines[own]);
                rope.angles(r.rope_length, r.position, cosines, sines);
            }
        }
    }

    /// The one place where rows are multiplied by a layer's weights (a mixture of experts apart):
    /// writes the products of `x` at some sites of a layer, as the rows' adapters change them.
    fn apply(&self, pass: Pass<'_>, layer: usize, x: &[f32], outs: &mut [(Site, &mut [f32])]) {
        let mut projections = Vec::with_capacity(outs.len());
        for (site, out) in &mut *outs {
            if let Some(linear) = self.layers[layer].linear(*site) {
                projections.push(linear.projection(out));
            }
        }
        ops::linear_many(pass.pool, x, &mut projections);
        for (site, out) in outs {
            lora::apply(pass.pool, (layer, *site), lora::spans(pass.rows), x, out);
        }
    }

    /// Computes a layer's queries, and writes its keys and values to `cache`.
    fn remember(&self, pass: Pass<'_>, index: usize, cache: &mut KvCache, scratch: &mut Scratch) {
        let (layer, eps) = (&self.layers[index], self.config.norm_eps);
        let Scratch {
            hidden,
            normed,
            queries,
            keys,
            values,
            attended,
            ..
        } = scratch;
        let input = normalised(hidden, layer.attention_norm.as_deref(), eps, normed);
        let outs = &mut [
            (Site::Query, &mut queries[..]),
            (Site::Key, keys),
            (Site::Value, values),
        ];
        self.apply(pass, index, input, outs);
        if let Some((query_norm, key_norm)) = &layer.qk_norms {
            // `attended`, as wide as the queries, is free until the attention itself.
            norm_in_place(queries, query_norm, eps, attended);
            norm_in_place(keys, key_norm, eps, attended);
        }
        if let Some(rope) = self.config.layer_ropes[index] {
            self.turn(rope, scratch);
        }
        cache.write(index, pass.rows, &scratch.keys, &scratch.values);
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
        scratch.fit(&self.config, wanted);
        kept
    }

    /// The attention half of a layer, its queries computed and its keys and values written.
    fn attend(&self, pass: Pass<'_>, index: usize, cache: &KvCache, scratch: &mut Scratch) {
        let layer = &self.layers[index];
        let attention = LayerAttention {
            config: &self.config,
            layer: index,
            sinks: layer.sinks.as_deref(),
        };
        let Scratch {
            queries, attended, ..
        } = scratch;
        cache.attend(pass.pool, attention, pass.rows, queries, attended);
        let outs = &mut [(Site::Output, &mut scratch.delta[..])];
        self.apply(pass, index, &scratch.attended, outs);
        self.add(layer.attention_post_norm.as_deref(), scratch);
    }

    /// Turns queries and keys by their positions.
    fn turn(&self, rope: usize, scratch: &mut Scratch) {
        let (config, angles) = (&self.config, &scratch.angles[rope]);
        let rope = &self.ropes[rope];
        let angles = angles
            .cosines
            .chunks_exact(rope.pairs())
            .zip(angles.sines.chunks_exact(rope.pairs()));
        let queries = scratch.queries.chunks_exact_mut(config.query_size());
        let keys = scratch.keys.chunks_exact_mut(config.kv_size());
        for ((query, key), (cosines, sines)) in queries.zip(keys).zip(angles) {
            rope.turn(query, config.head_dim, cosines, sines);
            rope.turn(key, config.head_dim, cosines, sines);
        }
    }

    /// The MLP half of a layer.
    fn mix(&self, pass: Pass<'_>, index: usize, scratch: &mut Scratch) {
        let (layer, config) = (&self.layers[index], &self.config);
        let Scratch {
            hidden,
            normed,
            delta,
            gate,
            up,
            experts,
            ..
        } = scratch;
        let input = normalised(hidden, layer.mlp_norm.as_deref(), config.norm_eps, normed);
        match (&layer.mlp, &config.experts) {
            (Mlp::Experts(own), Some(shape)) => {
                let mixture = Mixture {
                    pool: pass.pool,
                    config: shape,
                    activation: config.activation,
                    layer: index,
                    rows: pass.rows,
                };
                own.apply(mixture, input, experts, delta);
            }
            _ => {
                let outs = &mut [(Site::Gate, &mut gate[..]), (Site::Up, up)];
                self.apply(pass, index, input, outs);
                config.activation.apply(gate, up);
                self.apply(pass, index, gate, &mut [(Site::Down, delta)]);
            }
        }
        self.add(layer.mlp_post_norm.as_deref(), scratch);
    }

    /// Adds what a half of a layer gave, normalised by `norm`, to the residual stream.
    fn add(&self, norm: Option<&[f32]>, scratch: &mut Scratch) {
        let Scratch {
            hidden,
            normed,
            delta,
            ..
        } = scratch;
        let multiplier = self.config.residual_multiplier;
        let delta = normalised(delta, norm, self.config.norm_eps, normed);
        if multiplier == 1.0 {
            ops::add_in_place(hidden, delta);
        } else {
            ops::axpy(multiplier, delta, hidden);
        }
    }

    /// The logits of the rows that are left, normalised.
    fn project<'s>(&self, pool: &Pool, scratch: &'s mut Scratch) -> &'s [f32] {
        let config = &self.config;
        let rows = scratch.normed.len() / config.hidden_size;
        let Scratch { normed, logits, .. } = scratch;
        logits.resize(rows * config.vocab_size, 0.0);
        if rows > 0 {
            let output = self.output.as_ref().unwrap_or(&self.embedding);
            ops::linear(pool, normed, output, None, logits);
        }
        if config.logits_multiplier != 1.0 {
            ops::scale_in_place(logits, config.logits_multiplier);
        }
        if let Some(cap) = config.logits_soft_cap {
            ops::soft_cap_in_place(logits, 1.0, cap);
        }
        logits
    }
}

impl Scratch {
    /// Makes room for `rows` rows.
    fn fit(&mut self, config: &DecoderConfig, rows: usize) {
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
        ] {
            buffer.resize(rows * width, 0.0);
        }
    }
}

/// The rows of `x` normalised by `weight` in `room`, of the same length; without a weight `x`.
fn normalised<'a>(
    x: &'a [f32],
    weight: Option<&[f32]>,
    eps: f32,
    room: &'a mut [f32],
) -> &'a [f32] {
    let Some(weight) = weight else {
        return x;
    };
    ops::rms_norm(x, weight, eps, room);
    room
}

/// Normalises each part of `x` as long as `weight` by it, through `room`, at least as long as `x`.
fn norm_in_place(x: &mut [f32], weight: &[f32], eps: f32, room: &mut [f32]) {
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
    pool: Option<Arc<Pool>>,
}

impl DecoderRunner {
    /// A runner with a `cache`, on the threads of `pool` or the shared one's.
    pub fn new(decoder: Arc<Decoder>, cache: KvCache, pool: Option<Arc<Pool>>) -> Self {
        Self {
            cache,
            decoder,
            scratch: Scratch::default(),
            pool,
        }
    }
}

impl StepModel for DecoderRunner {
    fn vocab_size(&self) -> usize {
        self.decoder.config.vocab_size
    }

    fn step(&mut self, rows: &[Rows<'_>], keep_going: &dyn Fn() -> bool) -> Result<Option<&[f32]>> {
        let pool = self.pool.as_deref().unwrap_or_else(|| Pool::global());
        let (cache, scratch) = (&mut self.cache, &mut self.scratch);
        Ok(self.decoder.forward(pool, rows, cache, scratch, keep_going))
    }

    fn rope_class(&self, rope_length: usize) -> usize {
        self.decoder.rope_class(rope_length)
    }

    fn read_page(&self, page: u32, out: &mut Vec<u8>) {
        self.cache.read_page(page, out);
    }

    fn page_bytes(&self) -> usize {
        self.cache.page_bytes()
    }

    fn write_page(&mut self, page: u32, bytes: &[u8]) {
        self.cache.write_page(page, bytes);
    }

    fn rope_length(&self, current: usize, tokens: usize) -> usize {
        self.decoder.rope_length(current, tokens)
    }

    fn copy_page(&mut self, from: u32, to: u32) {
        self.cache.copy_page(from, to);
    }
}
