//! From the vectors of a text's tokens to its own, of length 1, forward and backward.

use outcrop_tensor::{Pool, ops};

/// How tokens' vectors become a text's.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Pooled {
    /// Their mean.
    Mean,
    /// The first one's.
    First,
}

/// What lengths are at least.
const LEAST: f32 = 1e-12;

/// What [`forward`] keeps for the way back.
#[derive(Debug, Default)]
pub(crate) struct Kept {
    /// The texts' vectors of length 1, `(texts, width)`.
    pub vectors: Vec<f32>,
    /// Their lengths before.
    lengths: Vec<f32>,
}

/// Fills `kept` from `hidden`, `(tokens, width)`, of texts of `counts` tokens.
pub(crate) fn forward(pooled: Pooled, hidden: &[f32], counts: &[usize], kept: &mut Kept) {
    let width = hidden.len() / counts.iter().sum::<usize>().max(1);
    kept.vectors.clear();
    kept.vectors.resize(counts.len() * width, 0.0);
    kept.lengths.clear();
    let mut rest = hidden;
    for (vector, count) in kept.vectors.chunks_exact_mut(width).zip(counts) {
        let (own, others) = rest.split_at(count * width);
        match pooled {
            Pooled::First => vector.copy_from_slice(&own[..width]),
            Pooled::Mean => {
                ops::column_sums(own, vector);
                ops::scale_in_place(vector, 1.0 / *count as f32);
            }
        }
        let length = (ops::square_sum(vector).sqrt() as f32).max(LEAST);
        ops::scale_in_place(vector, 1.0 / length);
        kept.lengths.push(length);
        rest = others;
    }
}

/// Writes the gradient of the tokens' vectors to `dhidden`, from that of the texts', `dvectors`, which
/// becomes the gradient before the scaling.
pub(crate) fn backward(
    pool: &Pool,
    pooled: Pooled,
    (kept, counts): (&Kept, &[usize]),
    dvectors: &mut [f32],
    dhidden: &mut [f32],
) {
    let width = dvectors.len() / counts.len().max(1);
    pool.run_chunks(dvectors, width, |text, gradient| {
        let vector = &kept.vectors[text * width..][..width];
        let along = ops::dot(vector, gradient);
        ops::axpy(-along, vector, gradient);
        ops::scale_in_place(gradient, 1.0 / kept.lengths[text]);
    });
    dhidden.fill(0.0);
    let mut rest = dhidden;
    for (gradient, count) in dvectors.chunks_exact(width).zip(counts) {
        let (own, others) = rest.split_at_mut(count * width);
        match pooled {
            Pooled::First => own[..width].copy_from_slice(gradient),
            Pooled::Mean => {
                let part = 1.0 / *count as f32;
                let rows = own.chunks_exact_mut(width);
                rows.for_each(|row| ops::axpy(part, gradient, row));
            }
        }
        rest = others;
    }
}
