//! The memory of passes: what a layer keeps for the way back, and buffers used again.

use outcrop_tensor::{Panels, Pool};

use super::forward::{Buffers, Pass};
use super::low_rank::DropoutKey;
use crate::batch::Batch;
use crate::layers::loss::HeadRoom;
use crate::layers::low_rank::LowRankRoom;
use crate::layers::rotary::Angles;
use crate::options::Precision;

/// What a layer keeps of its way forward.
#[derive(Debug, Default)]
pub(super) struct Saved {
    /// The residual stream as it came.
    pub input: Vec<f32>,
    /// Queries and keys before their norms, where there are such norms.
    pub raw: Vec<f32>,
    /// Queries, keys and values as attention takes them.
    pub qkv: Vec<f32>,
    /// Logarithms of the softmaxes' sums.
    pub sums: Vec<f32>,
    pub attended: Vec<f32>,
    /// What attention gave, where it is normalised.
    pub attention_delta: Vec<f32>,
    /// The residual stream between the halves.
    pub middle: Vec<f32>,
    /// Gates and ups of the MLP.
    pub gate_up: Vec<f32>,
    /// What the MLP gave, where it is normalised.
    pub mlp_delta: Vec<f32>,
    /// `x A^T` of each low-rank change.
    pub inner: Vec<Vec<f32>>,
}

/// Room that passes use again; it grows to the largest batch.
#[derive(Debug, Default)]
pub struct Room {
    /// Keep only each layer's input on the way forward, and compute the rest anew on the way back:
    /// less memory for about a third more time, to the same bits (arXiv:1604.06174).
    pub recompute: bool,
    pub(super) saved: Vec<Saved>,
    /// What a layer keeps while it is computed, where layers are computed anew.
    pub(super) spare: Saved,
    pub(super) angles: Vec<Angles>,
    pub(super) panels: Panels,
    pub(super) head: HeadRoom,
    pub(super) low_rank: LowRankRoom,
    /// The residual stream behind the last layer.
    pub(super) hidden: Vec<f32>,
    pub(super) normed: Vec<f32>,
    pub(super) delta: Vec<f32>,
    pub(super) activated: Vec<f32>,
    /// The rows whose logits are wanted, before and after the last norm.
    pub(super) picked: Vec<f32>,
    pub(super) picked_normed: Vec<f32>,
    pub(super) picked_gradient: Vec<f32>,
    /// The residual stream's gradient.
    pub(super) gradient: Vec<f32>,
    /// The gradient of what goes into a product.
    pub(super) input_gradient: Vec<f32>,
    pub(super) attended_gradient: Vec<f32>,
    pub(super) qkv_gradient: Vec<f32>,
}

impl Room {
    /// A room that keeps everything, or computes layers anew, for products of `precision`.
    pub fn new(recompute: bool, precision: Precision) -> Self {
        let precision = precision.of_products();
        Self {
            recompute,
            panels: Panels::new(precision),
            head: HeadRoom::new(precision),
            ..Self::default()
        }
    }

    /// Takes what `layer` keeps out of the room, to be filled or read.
    pub(super) fn take(&mut self, layer: usize) -> Saved {
        if !self.recompute {
            return std::mem::take(&mut self.saved[layer]);
        }
        let mut saved = std::mem::take(&mut self.spare);
        std::mem::swap(&mut saved.input, &mut self.saved[layer].input);
        saved
    }

    /// Puts back what `layer` keeps.
    pub(super) fn put(&mut self, layer: usize, mut saved: Saved) {
        if self.recompute {
            std::mem::swap(&mut saved.input, &mut self.saved[layer].input);
            self.spare = saved;
        } else {
            self.saved[layer] = saved;
        }
    }

    /// The room as a pass's layers use it.
    pub(super) fn parts<'a>(
        &'a mut self,
        pool: &'a Pool,
        batch: &'a Batch,
        key: Option<DropoutKey>,
    ) -> (Pass<'a>, Buffers<'a>) {
        let pass = Pass {
            pool,
            lengths: &batch.lengths,
            angles: &self.angles,
            key,
            precision: self.panels.precision(),
        };
        let buffers = Buffers {
            panels: &mut self.panels,
            low_rank: &mut self.low_rank,
            normed: &mut self.normed,
            delta: &mut self.delta,
            activated: &mut self.activated,
            hidden: &mut self.hidden,
            gradient: &mut self.gradient,
            input_gradient: &mut self.input_gradient,
            attended_gradient: &mut self.attended_gradient,
            qkv_gradient: &mut self.qkv_gradient,
        };
        (pass, buffers)
    }
}
