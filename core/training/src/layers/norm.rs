//! RMSNorm of rows (arXiv:1910.07467), forward and backward.

use outcrop_tensor::{Pool, ops};

use super::rows::{self, BLOCK};

/// Writes the normalised rows of `x` to `out`.
pub(crate) fn forward(pool: &Pool, x: &[f32], weight: &[f32], eps: f32, out: &mut [f32]) {
    let block = BLOCK * weight.len();
    pool.run_chunks(out, block, |index, out| {
        ops::rms_norm(&x[index * block..][..out.len()], weight, eps, out);
    });
}

/// Replaces `dy`, the gradient of the output, by that of the input, and adds the weight's to
/// `gradient` where it is wanted.
pub(crate) fn backward(
    pool: &Pool,
    x: &[f32],
    (weight, eps): (&[f32], f32),
    dy: &mut [f32],
    gradient: Option<&mut [f32]>,
) {
    let block = BLOCK * weight.len();
    let own = |index: usize, len: usize| &x[index * block..][..len];
    match gradient {
        Some(gradient) => rows::summed(pool, (dy, weight.len()), gradient, |index, dy, part| {
            let x = own(index, dy.len());
            ops::rms_norm_backward(x, weight, eps, dy, Some(part));
        }),
        None => pool.run_chunks(dy, block, |index, dy| {
            ops::rms_norm_backward(own(index, dy.len()), weight, eps, dy, None);
        }),
    }
}
