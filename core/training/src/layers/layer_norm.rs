//! LayerNorm of rows (arXiv:1607.06450), forward and backward.

use outcrop_tensor::{Pool, ops};

use super::rows::{self, BLOCK};

/// Writes the normalised rows of `x` to `out`. `scale` holds the weight, and the bias behind it.
pub(crate) fn forward(pool: &Pool, x: &[f32], scale: &[f32], eps: f32, out: &mut [f32]) {
    let (weight, bias) = scale.split_at(scale.len() / 2);
    let block = BLOCK * weight.len();
    pool.run_chunks(out, block, |index, out| {
        ops::layer_norm(&x[index * block..][..out.len()], weight, bias, eps, out);
    });
}

/// Replaces `dy`, the gradient of the output, by that of the input, and adds those of weight and bias
/// to `gradient`, one behind the other.
pub(crate) fn backward(
    pool: &Pool,
    x: &[f32],
    (scale, eps): (&[f32], f32),
    dy: &mut [f32],
    gradient: &mut [f32],
) {
    let width = scale.len() / 2;
    let weight = &scale[..width];
    rows::summed(pool, (dy, width), gradient, |index, dy, part| {
        let x = &x[index * BLOCK * width..][..dy.len()];
        let (weight_part, bias_part) = part.split_at_mut(width);
        ops::layer_norm_backward(x, weight, eps, dy, Some((weight_part, bias_part)));
    });
}
