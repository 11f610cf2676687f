//! AdamW (arXiv:1711.05101) with clipped gradients.

use std::sync::{Mutex, PoisonError};

use outcrop_tensor::{AdamwRows, AdamwStep, Pool, ops};

/// Elements of a task; sums of squares are made by such blocks, in order.
const BLOCK: usize = 1 << 15;

/// What the optimiser is told once.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct AdamWOptions {
    /// Decay of the mean of gradients (0.9).
    pub beta1: f32,
    /// Decay of the mean of their squares (0.999).
    pub beta2: f32,
    /// Added to the root of the mean of squares (1e-8).
    pub eps: f32,
    /// Decoupled decay of every trained tensor (0.01).
    pub weight_decay: f32,
    /// The largest norm of all gradients together; above it they are scaled down (none).
    pub clip: Option<f32>,
}

impl Default for AdamWOptions {
    fn default() -> Self {
        Self {
            beta1: 0.9,
            beta2: 0.999,
            eps: 1e-8,
            weight_decay: 0.01,
            clip: None,
        }
    }
}

/// The optimiser's moments, and how many steps it has made.
#[derive(Clone, Debug, PartialEq)]
pub struct AdamW {
    options: AdamWOptions,
    pub(crate) means: Vec<f32>,
    pub(crate) squares: Vec<f32>,
    pub(crate) step: u32,
}

impl AdamW {
    /// An optimiser of `len` weights that has made no step.
    pub fn new(options: AdamWOptions, len: usize) -> Self {
        Self {
            options,
            means: vec![0.0; len],
            squares: vec![0.0; len],
            step: 0,
        }
    }

    /// Moves `weights` by one step and gives the norm of the gradients before they were clipped.
    pub fn step(
        &mut self,
        pool: &Pool,
        weights: &mut [f32],
        gradients: &[f32],
        learning_rate: f32,
    ) -> f64 {
        let norm = norm(pool, gradients);
        let clip = self.options.clip.map(f64::from);
        let scale = match clip {
            Some(clip) if norm > clip => (clip / norm) as f32,
            _ => 1.0,
        };
        self.step += 1;
        let step = AdamwStep {
            learning_rate,
            beta1: self.options.beta1,
            beta2: self.options.beta2,
            eps: self.options.eps,
            weight_decay: self.options.weight_decay,
            gradient_scale: scale,
            step: self.step,
        };
        let blocks = weights.chunks_mut(BLOCK).zip(gradients.chunks(BLOCK)).zip(
            self.means
                .chunks_mut(BLOCK)
                .zip(self.squares.chunks_mut(BLOCK)),
        );
        let blocks: Vec<_> = blocks.map(Mutex::new).collect();
        pool.run(blocks.len(), |index| {
            // No block is taken twice, so nobody waits for this lock.
            let mut block = blocks[index].lock().unwrap_or_else(PoisonError::into_inner);
            let ((weights, gradients), (means, squares)) = &mut *block;
            let rows = AdamwRows {
                weights,
                gradients,
                means,
                squares,
            };
            ops::adamw(&step, rows);
        });
        norm
    }
}

/// The root of the sum of squares.
pub(crate) fn norm(pool: &Pool, gradients: &[f32]) -> f64 {
    let mut sums = vec![0.0; gradients.len().div_ceil(BLOCK)];
    pool.run_chunks(&mut sums, 1, |index, sum| {
        let end = gradients.len().min((index + 1) * BLOCK);
        sum[0] = ops::square_sum(&gradients[index * BLOCK..end]);
    });
    sums.iter().sum::<f64>().sqrt()
}
