//! The middle of a gated MLP, forward and backward: rows hold the gates and then the ups.

use outcrop_inference::GatedActivation;
use outcrop_tensor::{Gate, Pool, ops};

use super::rows::{self, BLOCK};

/// The gate that goes back, of those that a description may name.
pub(crate) fn gate(activation: GatedActivation) -> Option<Gate> {
    match activation {
        GatedActivation::Silu => Some(Gate::Silu),
        GatedActivation::Gelu => Some(Gate::Gelu),
        GatedActivation::GeluTanh => Some(Gate::GeluTanh),
        GatedActivation::ClampedSwiglu { .. } => None,
    }
}

/// Writes `gate(g) * u` of the rows of `x`, `(rows, 2 * width)`, to `out`, `(rows, width)`.
pub(crate) fn forward(pool: &Pool, gate: Gate, x: &[f32], width: usize, out: &mut [f32]) {
    pool.run_chunks(out, BLOCK * width, |index, out| {
        let rows = x[index * BLOCK * 2 * width..].chunks_exact(2 * width);
        for (out, row) in out.chunks_exact_mut(width).zip(rows) {
            let (gates, ups) = row.split_at(width);
            out.copy_from_slice(gates);
            match gate {
                Gate::Silu => ops::silu_mul(out, ups),
                Gate::Gelu => ops::gelu_mul(out, ups),
                Gate::GeluTanh => ops::gelu_tanh_mul(out, ups),
            }
        }
    });
}

/// Replaces the rows of `x` by their gradients, and `out`, the gradient of what
/// [`forward`] wrote, by what it wrote.
pub(crate) fn backward(pool: &Pool, gate: Gate, x: &mut [f32], width: usize, out: &mut [f32]) {
    rows::both(pool, (x, 2 * width), (out, width), |_, x, out| {
        for (row, out) in x
            .chunks_exact_mut(2 * width)
            .zip(out.chunks_exact_mut(width))
        {
            let (gates, ups) = row.split_at_mut(width);
            ops::gate_backward(gate, gates, ups, out);
        }
    });
}
