//! One pass through an encoder, forward and back.

use std::ops::Range;

use outcrop_inference::Positions;
use outcrop_tensor::{PackedAttention, Panels, Pool, Precision, ops};

use super::SentenceEncoder;
use super::layout::{LayerSlots, Slot};
use crate::layers::linear::{Linear, LinearGradients};
use crate::layers::pooling::{self, Kept};
use crate::layers::{embedding, gelu, layer_norm, rows};

/// What a layer keeps of its way forward.
#[derive(Debug, Default)]
struct Saved {
    input: Vec<f32>,
    /// Queries, keys and values.
    qkv: Vec<f32>,
    /// Logarithms of the softmaxes' sums.
    sums: Vec<f32>,
    attended: Vec<f32>,
    /// The residual stream behind attention, before its norm and behind it.
    attention_sum: Vec<f32>,
    middle: Vec<f32>,
    /// The MLP before its activation.
    up: Vec<f32>,
    /// The residual stream behind the MLP, before its norm.
    mlp_sum: Vec<f32>,
}

/// Room that passes use again; it grows to the largest batch.
#[derive(Debug, Default)]
pub struct EncoderRoom {
    precision: Precision,
    saved: Vec<Saved>,
    panels: Panels,
    ids: Vec<u32>,
    positions: Vec<u32>,
    counts: Vec<usize>,
    /// The sum of the tables' rows, before its norm.
    embedded: Vec<f32>,
    hidden: Vec<f32>,
    inner: Vec<f32>,
    /// The residual stream's gradient.
    gradient: Vec<f32>,
    /// The gradient of what goes into a product.
    input_gradient: Vec<f32>,
    qkv_gradient: Vec<f32>,
    pub(super) kept: Kept,
    pub(super) vectors_gradient: Vec<f32>,
}

impl EncoderRoom {
    /// A room whose products are computed in `precision`.
    pub fn new(precision: crate::options::Precision) -> Self {
        let precision = precision.of_products();
        Self {
            precision,
            panels: Panels::new(precision),
            ..Self::default()
        }
    }

    /// The tokens of texts, packed, with their positions.
    fn take(&mut self, texts: &[&[u32]], first_position: u32) {
        self.ids.clear();
        self.positions.clear();
        self.counts.clear();
        for text in texts {
            self.ids.extend_from_slice(text);
            self.counts.push(text.len());
            self.positions.extend((first_position..).take(text.len()));
        }
    }
}

impl SentenceEncoder {
    fn linear(&self, slot: &Slot) -> Linear<'_> {
        Linear {
            weight: self.layout.parameters.at(&slot.weight),
            bias: Some(self.layout.parameters.at(&slot.bias)),
            cols: slot.cols,
        }
    }

    fn attention<'a>(&self, lengths: &'a [usize], precision: Precision) -> PackedAttention<'a> {
        let (heads, head_dim) = (self.config.heads, self.config.hidden / self.config.heads);
        PackedAttention {
            heads,
            kv_heads: heads,
            head_dim,
            scale: 1.0 / (head_dim as f32).sqrt(),
            soft_cap: None,
            is_causal: false,
            window: None,
            precision,
            lengths,
        }
    }

    /// The first position's row of their table.
    fn first_position(&self) -> u32 {
        match self.config.positions {
            Positions::Learned { padding, .. } => padding.map_or(0, |padding| padding + 1),
            Positions::Rotary => 0,
        }
    }

    /// Fills `room.kept` with the texts' vectors, and what each layer keeps.
    pub(super) fn forward(&self, pool: &Pool, texts: &[&[u32]], room: &mut EncoderRoom) {
        room.take(texts, self.first_position());
        let (width, layout) = (self.config.hidden, &self.layout);
        let size = room.ids.len() * width;
        for buffer in [
            &mut room.embedded,
            &mut room.hidden,
            &mut room.input_gradient,
        ] {
            buffer.resize(size, 0.0);
        }
        let zeros = vec![0; room.ids.len()];
        let tables = [
            (&layout.positions, &room.positions),
            (&layout.types, &zeros),
        ];
        let words = layout.parameters.at(&layout.words);
        embedding::forward(pool, words, (&room.ids, 1.0), width, &mut room.embedded);
        for (table, ids) in tables {
            let table = layout.parameters.at(table);
            embedding::forward(pool, table, (ids, 1.0), width, &mut room.input_gradient);
            rows::add(pool, 1.0, &room.input_gradient, &mut room.embedded);
        }
        let norm = layout.parameters.at(&layout.norm);
        layer_norm::forward(
            pool,
            &room.embedded,
            norm,
            self.config.eps,
            &mut room.hidden,
        );
        let mut saved = std::mem::take(&mut room.saved);
        saved.resize_with(layout.layers.len(), Saved::default);
        for (slots, saved) in layout.layers.iter().zip(&mut saved) {
            saved.input.clone_from(&room.hidden);
            self.layer_forward(pool, slots, saved, room);
        }
        room.saved = saved;
        pooling::forward(self.pooled, &room.hidden, &room.counts, &mut room.kept);
    }

    /// Takes `room.hidden` through a layer.
    fn layer_forward(
        &self,
        pool: &Pool,
        slots: &LayerSlots,
        saved: &mut Saved,
        room: &mut EncoderRoom,
    ) {
        let (config, count) = (&self.config, room.ids.len());
        let size = count * config.hidden;
        let panels = &mut room.panels;
        saved.qkv.resize(3 * size, 0.0);
        self.linear(&slots.qkv)
            .forward(pool, panels, &saved.input, &mut saved.qkv);
        saved.attended.resize(size, 0.0);
        saved.sums.resize(count * config.heads, 0.0);
        let attention = self.attention(&room.counts, room.precision);
        let Saved {
            qkv,
            attended,
            sums,
            ..
        } = saved;
        ops::packed_attention(pool, &attention, qkv, attended, sums);
        saved.attention_sum.resize(size, 0.0);
        self.linear(&slots.output)
            .forward(pool, panels, &saved.attended, &mut saved.attention_sum);
        rows::add(pool, 1.0, &saved.input, &mut saved.attention_sum);
        saved.middle.resize(size, 0.0);
        let norm = self.layout.parameters.at(&slots.attention_norm);
        layer_norm::forward(
            pool,
            &saved.attention_sum,
            norm,
            config.eps,
            &mut saved.middle,
        );
        saved.up.resize(count * config.intermediate, 0.0);
        self.linear(&slots.up)
            .forward(pool, panels, &saved.middle, &mut saved.up);
        room.inner.resize(saved.up.len(), 0.0);
        gelu::forward(pool, self.gelu, &saved.up, &mut room.inner);
        saved.mlp_sum.resize(size, 0.0);
        self.linear(&slots.down)
            .forward(pool, panels, &room.inner, &mut saved.mlp_sum);
        rows::add(pool, 1.0, &saved.middle, &mut saved.mlp_sum);
        let norm = self.layout.parameters.at(&slots.mlp_norm);
        layer_norm::forward(pool, &saved.mlp_sum, norm, config.eps, &mut room.hidden);
    }

    /// Adds to `gradients` those that `room.vectors_gradient`, the texts' vectors' own, gives. Of what
    /// layers keep, nothing is left.
    pub(super) fn backward(&self, pool: &Pool, gradients: &mut [f32], room: &mut EncoderRoom) {
        let (layout, width) = (&self.layout, self.config.hidden);
        room.gradient.resize(room.ids.len() * width, 0.0);
        let kept = (&room.kept, &room.counts[..]);
        let of_vectors = &mut room.vectors_gradient;
        pooling::backward(pool, self.pooled, kept, of_vectors, &mut room.gradient);
        let mut saved = std::mem::take(&mut room.saved);
        for (slots, saved) in layout.layers.iter().zip(&mut saved).rev() {
            self.mlp_backward(pool, slots, saved, gradients, room);
            self.attention_backward(pool, slots, saved, gradients, room);
        }
        room.saved = saved;
        self.norm_backward(
            pool,
            &layout.norm,
            &room.embedded,
            &mut room.gradient,
            gradients,
        );
        let zeros = vec![0; room.ids.len()];
        let tables = [
            (&layout.words, &room.ids),
            (&layout.positions, &room.positions),
            (&layout.types, &zeros),
        ];
        for (table, ids) in tables {
            let gradient = &mut gradients[table.clone()];
            embedding::backward(pool, &room.gradient, (ids, 1.0), width, gradient);
        }
    }

    fn norm_backward(
        &self,
        pool: &Pool,
        norm: &Range<usize>,
        x: &[f32],
        dy: &mut [f32],
        gradients: &mut [f32],
    ) {
        let scale = (self.layout.parameters.at(norm), self.config.eps);
        layer_norm::backward(pool, x, scale, dy, &mut gradients[norm.clone()]);
    }

    fn mlp_backward(
        &self,
        pool: &Pool,
        slots: &LayerSlots,
        saved: &mut Saved,
        gradients: &mut [f32],
        room: &mut EncoderRoom,
    ) {
        let inner = self.config.intermediate;
        self.norm_backward(
            pool,
            &slots.mlp_norm,
            &saved.mlp_sum,
            &mut room.gradient,
            gradients,
        );
        room.inner.resize(saved.up.len(), 0.0);
        let panels = &mut room.panels;
        self.linear(&slots.down)
            .backward(pool, panels, &room.gradient, &mut room.inner);
        gelu::backward(pool, self.gelu, inner, &mut saved.up, &mut room.inner);
        // What was before the activation has become what is behind it.
        add(
            pool,
            panels,
            (&slots.down, gradients),
            &saved.up,
            &room.gradient,
        );
        self.projection_backward(
            pool,
            panels,
            (&slots.up, gradients),
            (&saved.middle, &room.inner),
            &mut room.input_gradient,
        );
        rows::add(pool, 1.0, &room.input_gradient, &mut room.gradient);
    }

    fn attention_backward(
        &self,
        pool: &Pool,
        slots: &LayerSlots,
        saved: &mut Saved,
        gradients: &mut [f32],
        room: &mut EncoderRoom,
    ) {
        let norm = &slots.attention_norm;
        self.norm_backward(
            pool,
            norm,
            &saved.attention_sum,
            &mut room.gradient,
            gradients,
        );
        let panels = &mut room.panels;
        self.projection_backward(
            pool,
            panels,
            (&slots.output, gradients),
            (&saved.attended, &room.gradient),
            &mut room.input_gradient,
        );
        room.qkv_gradient.resize(saved.qkv.len(), 0.0);
        let attention = self.attention(&room.counts, room.precision);
        let forward = (&saved.qkv[..], &saved.sums[..]);
        let out = &mut room.qkv_gradient;
        ops::packed_attention_backward(pool, &attention, forward, &room.input_gradient, out);
        self.projection_backward(
            pool,
            panels,
            (&slots.qkv, gradients),
            (&saved.input, &room.qkv_gradient),
            &mut room.input_gradient,
        );
        rows::add(pool, 1.0, &room.input_gradient, &mut room.gradient);
    }

    /// Adds the gradients of a projection of the rows `x`, and writes those of `x` to `dx`.
    fn projection_backward(
        &self,
        pool: &Pool,
        panels: &mut Panels,
        (slot, gradients): (&Slot, &mut [f32]),
        (x, dy): (&[f32], &[f32]),
        dx: &mut Vec<f32>,
    ) {
        add(pool, panels, (slot, gradients), x, dy);
        dx.resize(x.len(), 0.0);
        self.linear(slot).backward(pool, panels, dy, dx);
    }
}

/// Adds the gradients of a projection, whose bias stands behind its matrix.
fn add(
    pool: &Pool,
    panels: &mut Panels,
    (slot, gradients): (&Slot, &mut [f32]),
    x: &[f32],
    dy: &[f32],
) {
    let own = &mut gradients[slot.weight.start..slot.bias.end];
    let (weight, bias) = own.split_at_mut(slot.weight.len());
    let own = LinearGradients {
        weight,
        bias: Some(bias),
    };
    own.add(pool, panels, (x, slot.cols), dy);
}
