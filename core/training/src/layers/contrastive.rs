//! InfoNCE with the negatives of the batch (arXiv:1807.03748, arXiv:1705.00652), forward and backward in
//! one.
//!
//! Each anchor's own candidate, its positive, must be nearer to it than all others: the positives of the
//! other anchors, and the negatives that were given.

use outcrop_tensor::{Matrix, Pool, Product, ops};

/// A score that no softmax counts.
const NEVER: f32 = -1e3;

/// The vectors of a batch, of length 1: those of the anchors, then of as many positives, then of negatives.
#[derive(Clone, Copy)]
pub(crate) struct Pairs<'a> {
    pub vectors: &'a [f32],
    pub width: usize,
    pub anchors: usize,
    /// What cosines are divided by.
    pub temperature: f32,
    /// Pairs of an anchor and a candidate, by their numbers, that do not count: the candidate is no
    /// negative, as its text is the positive's too.
    pub excluded: &'a [(usize, usize)],
}

impl Pairs<'_> {
    fn parts(&self) -> (Matrix<'_>, Matrix<'_>) {
        let (anchors, candidates) = self.vectors.split_at(self.anchors * self.width);
        (
            Matrix::of_rows(anchors, self.width),
            Matrix::of_rows(candidates, self.width),
        )
    }

    /// The sum of the anchors' losses. Where `gradient` is there, that of the vectors of the losses
    /// multiplied by `scale` is written to it.
    pub fn loss(&self, pool: &Pool, scale: f32, gradient: Option<&mut [f32]>) -> f64 {
        let (anchors, candidates) = self.parts();
        let count = self.vectors.len() / self.width - self.anchors;
        let mut scores = vec![0.0; self.anchors * count];
        ops::matmul(pool, anchors, candidates.turned(), into(&mut scores, count));
        for (anchor, candidate) in self.excluded {
            scores[anchor * count + candidate] = NEVER;
        }
        let mut sum = 0.0;
        let sharpness = 1.0 / self.temperature;
        let slope = scale * sharpness;
        for (anchor, row) in scores.chunks_exact_mut(count).enumerate() {
            let own = sharpness * row[anchor];
            sum += f64::from(ops::softmax_log_sum(row, sharpness, slope) - own);
            row[anchor] -= slope;
        }
        for (anchor, candidate) in self.excluded {
            scores[anchor * count + candidate] = 0.0;
        }
        if let Some(gradient) = gradient {
            let slopes = Matrix::of_rows(&scores, count);
            let (of_anchors, of_candidates) = gradient.split_at_mut(self.anchors * self.width);
            ops::matmul(pool, slopes, candidates, into(of_anchors, self.width));
            ops::matmul(
                pool,
                slopes.turned(),
                anchors,
                into(of_candidates, self.width),
            );
        }
        sum
    }
}

/// A product that is written to `data`, in rows of `stride`.
fn into(data: &mut [f32], stride: usize) -> Product<'_> {
    Product {
        data,
        stride,
        accumulate: false,
    }
}
