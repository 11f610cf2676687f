//! The way forward through a decoder.

use outcrop_inference::DecoderConfig;
use outcrop_tensor::{PackedAttention, Panels, Pool, Precision, ops};

use super::Decoder;
use super::layout::{LayerSlots, Slot};
use super::low_rank::{DropoutKey, Site};
use super::room::{Room, Saved};
use crate::batch::Batch;
use crate::layers::loss::Head;
use crate::layers::low_rank::LowRankRoom;
use crate::layers::rotary::{Angles, QueryKey};
use crate::layers::{embedding, gated, norm, rows};

/// What the layers of one pass share.
#[derive(Clone, Copy)]
pub(super) struct Pass<'a> {
    pub pool: &'a Pool,
    pub lengths: &'a [usize],
    pub angles: &'a [Angles],
    pub key: Option<DropoutKey>,
    pub precision: Precision,
}

/// Buffers that a layer fills anew.
pub(super) struct Buffers<'a> {
    pub panels: &'a mut Panels,
    pub low_rank: &'a mut LowRankRoom,
    pub normed: &'a mut Vec<f32>,
    pub delta: &'a mut Vec<f32>,
    pub activated: &'a mut Vec<f32>,
    /// The residual stream.
    pub hidden: &'a mut Vec<f32>,
    /// Its gradient.
    pub gradient: &'a mut Vec<f32>,
    /// The gradient of what goes into a product.
    pub input_gradient: &'a mut Vec<f32>,
    pub attended_gradient: &'a mut Vec<f32>,
    pub qkv_gradient: &'a mut Vec<f32>,
}

impl Decoder {
    /// Leaves the residual stream behind the last layer in `room.hidden`, and what each layer keeps in
    /// `room.saved`.
    pub(super) fn forward(
        &self,
        pool: &Pool,
        batch: &Batch,
        room: &mut Room,
        key: Option<DropoutKey>,
    ) {
        let (config, count) = (&self.config, batch.ids.len());
        let width = config.hidden_size;
        room.angles.resize_with(self.ropes.len(), Angles::default);
        for (rope, angles) in self.ropes.iter().zip(&mut room.angles) {
            angles.fill(rope, &batch.lengths);
        }
        room.saved.resize_with(self.layers.len(), Saved::default);
        room.hidden.resize(count * width, 0.0);
        let tokens = (&batch.ids[..], config.embedding_multiplier);
        let table = self.parameters.at(&self.embedding);
        embedding::forward(pool, table, tokens, width, &mut room.hidden);
        for layer in 0..self.layers.len() {
            let mut saved = room.take(layer);
            std::mem::swap(&mut saved.input, &mut room.hidden);
            let (pass, mut buffers) = room.parts(pool, batch, key);
            self.layer_forward(pass, layer, &mut saved, &mut buffers);
            self.layer_end(pass, layer, &mut saved, &mut buffers);
            room.put(layer, saved);
        }
    }

    /// Fills `saved` behind its input, all but the sum that goes on.
    pub(super) fn layer_forward(
        &self,
        pass: Pass<'_>,
        layer: usize,
        saved: &mut Saved,
        buffers: &mut Buffers<'_>,
    ) {
        let (config, slots) = (&self.config, &self.layers[layer]);
        let count = saved.input.len() / config.hidden_size;
        let changes = self.low_rank.as_ref().map_or(0, |l| l.layers[layer].len());
        saved.inner.resize_with(changes, Vec::new);
        let pool = pass.pool;
        let query_key = self.query_key(pass, layer);
        saved.qkv.resize(count * slots.qkv.rows, 0.0);
        let norm = slots.attention_norm.as_ref();
        self.normalised(pool, norm, &saved.input, buffers.normed);
        let x = norm.map_or(&saved.input, |_| &*buffers.normed);
        let site = (layer, Site::Qkv);
        let room = (&mut *buffers.panels, &mut *buffers.low_rank);
        self.project(pass, site, x, &mut saved.inner, &mut saved.qkv, room);
        query_key.forward(pool, &mut saved.qkv, &mut saved.raw);
        saved.attended.resize(count * config.query_size(), 0.0);
        saved.sums.resize(count * config.heads, 0.0);
        let attention = attention(config, layer, pass);
        let Saved {
            qkv,
            attended,
            sums,
            ..
        } = saved;
        ops::packed_attention(pool, &attention, qkv, attended, sums);
        buffers.delta.resize(count * config.hidden_size, 0.0);
        let site = (layer, Site::Output);
        let room = (&mut *buffers.panels, &mut *buffers.low_rank);
        let Saved {
            attended, inner, ..
        } = saved;
        self.project(pass, site, attended, inner, buffers.delta, room);
        let post = slots.attention_post_norm.as_ref();
        let Saved {
            input,
            middle,
            attention_delta,
            ..
        } = saved;
        self.add_half(pool, post, buffers, attention_delta, (input, middle));
        saved.gate_up.resize(count * slots.gate_up.rows, 0.0);
        let norm = slots.mlp_norm.as_ref();
        self.normalised(pool, norm, &saved.middle, buffers.normed);
        let x = norm.map_or(&saved.middle, |_| &*buffers.normed);
        let site = (layer, Site::GateUp);
        let room = (&mut *buffers.panels, &mut *buffers.low_rank);
        self.project(pass, site, x, &mut saved.inner, &mut saved.gate_up, room);
    }

    /// What the layer makes of queries and keys.
    pub(super) fn query_key<'a>(&'a self, pass: Pass<'a>, layer: usize) -> QueryKey<'a> {
        let (config, slots) = (&self.config, &self.layers[layer]);
        QueryKey {
            rope: config.layer_ropes[layer].map(|rope| (&self.ropes[rope], &pass.angles[rope])),
            norms: slots
                .qk_norms
                .as_ref()
                .map(|(query, key)| (self.norm_weight(query), self.norm_weight(key))),
            eps: config.norm_eps,
            head_dim: config.head_dim,
            query: config.query_size(),
            key: config.kv_size(),
            width: slots.qkv.rows,
        }
    }

    /// Writes the residual stream behind the layer to `stream`.
    pub(super) fn layer_end(
        &self,
        pass: Pass<'_>,
        layer: usize,
        saved: &mut Saved,
        buffers: &mut Buffers<'_>,
    ) {
        let width = self.config.intermediate_size;
        buffers.activated.resize(saved.gate_up.len() / 2, 0.0);
        gated::forward(
            pass.pool,
            self.gate,
            &saved.gate_up,
            width,
            buffers.activated,
        );
        let site = (layer, Site::Down);
        let room = (&mut *buffers.panels, &mut *buffers.low_rank);
        let delta = &mut buffers.delta[..];
        self.project(pass, site, buffers.activated, &mut saved.inner, delta, room);
        let mut stream = std::mem::take(buffers.hidden);
        let post = self.layers[layer].mlp_post_norm.as_ref();
        let Saved {
            middle, mlp_delta, ..
        } = saved;
        self.add_half(pass.pool, post, buffers, mlp_delta, (middle, &mut stream));
        *buffers.hidden = stream;
    }

    pub(super) fn normalised(
        &self,
        pool: &Pool,
        weight: Option<&std::ops::Range<usize>>,
        x: &[f32],
        out: &mut Vec<f32>,
    ) {
        if let Some(weight) = weight {
            out.resize(x.len(), 0.0);
            norm::forward(
                pool,
                x,
                &self.norm_weight(weight),
                self.config.norm_eps,
                out,
            );
        }
    }

    /// A product of a layer, as its low-rank changes change it.
    pub(super) fn project(
        &self,
        pass: Pass<'_>,
        (layer, site): (usize, Site),
        x: &[f32],
        inner: &mut [Vec<f32>],
        out: &mut [f32],
        (panels, low_rank): (&mut Panels, &mut LowRankRoom),
    ) {
        let slot = slot(&self.layers[layer], site);
        self.linear(slot).forward(pass.pool, panels, x, out);
        for (number, change) in self.changes(layer, site) {
            if let Some(matrices) = self.change_of(change, (layer, number), pass.key) {
                let out = (&mut *out, slot.rows, change.outputs.clone());
                let room = (&mut *panels, &mut *low_rank);
                matrices.forward(pass.pool, room, x, &mut inner[number], out);
            }
        }
    }

    /// Writes `stream`'s first with what a half gave, `buffers.delta`, added to its second; where that is
    /// normalised it is kept.
    fn add_half(
        &self,
        pool: &Pool,
        post: Option<&std::ops::Range<usize>>,
        buffers: &mut Buffers<'_>,
        kept: &mut Vec<f32>,
        (before, after): (&[f32], &mut Vec<f32>),
    ) {
        let multiplier = self.config.residual_multiplier;
        let delta = if post.is_some() {
            kept.clone_from(buffers.delta);
            self.normalised(pool, post, kept, buffers.normed);
            &*buffers.normed
        } else {
            &*buffers.delta
        };
        rows::sum(pool, (multiplier, delta), before, after);
    }

    /// Brings the rows `rows` of `room.hidden` to `room.picked`, and normalised to
    /// `room.picked_normed`.
    pub(super) fn gather(&self, pool: &Pool, rows: &[usize], room: &mut Room) {
        let width = self.config.hidden_size;
        room.picked.clear();
        for row in rows {
            room.picked
                .extend_from_slice(&room.hidden[row * width..(row + 1) * width]);
        }
        self.normalised(
            pool,
            Some(&self.norm),
            &room.picked,
            &mut room.picked_normed,
        );
    }

    pub(super) fn head(&self) -> Head<'_> {
        let output = self.output.as_ref().unwrap_or(&self.embedding);
        Head {
            weight: self.parameters.at(output),
            hidden: self.config.hidden_size,
            multiplier: self.config.logits_multiplier,
            soft_cap: self.config.logits_soft_cap,
        }
    }
}

/// What a layer's attention is.
pub(super) fn attention<'a>(
    config: &DecoderConfig,
    layer: usize,
    pass: Pass<'a>,
) -> PackedAttention<'a> {
    PackedAttention {
        heads: config.heads,
        kv_heads: config.kv_heads,
        head_dim: config.head_dim,
        scale: config.attention_scale,
        soft_cap: config.attention_soft_cap,
        is_causal: true,
        window: config.sliding_windows[layer],
        precision: pass.precision,
        lengths: pass.lengths,
    }
}

/// A layer's product.
pub(super) fn slot(slots: &LayerSlots, site: Site) -> &Slot {
    match site {
        Site::Qkv => &slots.qkv,
        Site::Output => &slots.output,
        Site::GateUp => &slots.gate_up,
        Site::Down => &slots.down,
    }
}
