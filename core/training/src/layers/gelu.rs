//! The middle of an ungated MLP (arXiv:1606.08415), forward and backward.

use outcrop_tensor::{Pool, ops};

use super::rows;

/// Elements of a task.
const ELEMENTS: usize = 1 << 12;

/// Which form is computed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Gelu {
    /// With the error function.
    Exact,
    /// Its approximation with tanh.
    Tanh,
}

/// Writes gelu of `x` to `out`.
pub(crate) fn forward(pool: &Pool, gelu: Gelu, x: &[f32], out: &mut [f32]) {
    pool.run_chunks(out, ELEMENTS, |index, out| {
        out.copy_from_slice(&x[index * ELEMENTS..][..out.len()]);
        match gelu {
            Gelu::Exact => ops::gelu_in_place(out),
            Gelu::Tanh => ops::gelu_tanh_in_place(out),
        }
    });
}

/// Replaces `x` by what [`forward`] wrote, and `dy`, the gradient of that, by the gradient of `x`. Both
/// hold rows of `width`.
pub(crate) fn backward(pool: &Pool, gelu: Gelu, width: usize, x: &mut [f32], dy: &mut [f32]) {
    rows::both(pool, (x, width), (dy, width), |_, x, dy| {
        ops::gelu_backward(gelu == Gelu::Tanh, x, dy);
    });
}
