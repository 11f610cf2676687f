//! A low-rank change of a projection (LoRA, arXiv:2106.09685), forward and backward.
//!
//! What goes into it is dropped at random, element by element: the mask is a function of a key and
//! the element's number, so going back makes it anew.

use std::ops::Range;

use outcrop_tensor::{Matrix, Panels, Pool, Product, ops};

use super::linear::{add_part, part};
use super::rows::BLOCK;
use crate::random::{STEP, mixed};

/// The matrices A `(rank, cols)` and B `(rows, rank)` of a change of the output features `outputs`.
#[derive(Clone, Copy)]
pub(crate) struct LowRank<'a> {
    pub down: &'a [f32],
    pub up: &'a [f32],
    pub rank: usize,
    pub scale: f32,
    pub dropout: Dropout,
}

/// How many of the elements are dropped, and which.
#[derive(Clone, Copy, Default)]
pub(crate) struct Dropout {
    pub probability: f32,
    pub key: u64,
}

/// Room that passes use again.
#[derive(Debug, Default)]
pub(crate) struct LowRankRoom {
    dropped: Vec<f32>,
    inner: Vec<f32>,
    wide: Vec<f32>,
}

impl Dropout {
    /// Writes `x` without the elements that are dropped, the others raised in turn, to `out`.
    fn apply(self, pool: &Pool, x: &[f32], out: &mut Vec<f32>) {
        const ELEMENTS: usize = 1 << 12;
        out.resize(x.len(), 0.0);
        let limit = (f64::from(self.probability) * 65_536.0).round() as u64;
        let raise = (1.0 / (1.0 - limit as f64 / 65_536.0)) as f32;
        pool.run_chunks(out, ELEMENTS, |index, out| {
            let own = x[index * ELEMENTS..].chunks(4).zip(out.chunks_mut(4));
            for (group, (x, out)) in own.enumerate() {
                let number = (index * ELEMENTS / 4 + group) as u64;
                let bits = mixed(self.key.wrapping_add(number.wrapping_mul(STEP)));
                for (lane, (x, out)) in x.iter().zip(out).enumerate() {
                    let is_kept = (bits >> (16 * lane)) & 0xffff >= limit;
                    *out = if is_kept { x * raise } else { 0.0 };
                }
            }
        });
    }
}

impl LowRank<'_> {
    fn cols(&self) -> usize {
        self.down.len() / self.rank
    }

    /// Adds the change that `x` makes to columns `outputs` of `out`, and leaves `x A^T` in `inner`.
    pub fn forward(
        &self,
        pool: &Pool,
        (panels, room): (&mut Panels, &mut LowRankRoom),
        x: &[f32],
        inner: &mut Vec<f32>,
        (out, stride, outputs): (&mut [f32], usize, Range<usize>),
    ) {
        let (cols, rank) = (self.cols(), self.rank);
        let rows = x.len() / cols;
        inner.resize(rows * rank, 0.0);
        let x = self.input(pool, x, &mut room.dropped);
        panels.pack(pool, Matrix::of_rows(self.down, cols).turned());
        let product = whole(inner, rank, false);
        ops::matmul_panels(pool, Matrix::of_rows(x, cols), panels, product);
        room.wide.resize(rows * outputs.len(), 0.0);
        panels.pack(pool, Matrix::of_rows(self.up, rank).turned());
        let product = whole(&mut room.wide, outputs.len(), false);
        ops::matmul_panels(pool, Matrix::of_rows(inner, rank), panels, product);
        add_part(pool, self.scale, &room.wide, (out, stride), outputs);
    }

    fn input<'a>(&self, pool: &Pool, x: &'a [f32], room: &'a mut Vec<f32>) -> &'a [f32] {
        if self.dropout.probability == 0.0 {
            return x;
        }
        self.dropout.apply(pool, x, room);
        room
    }

    /// Adds the gradients of A and B to `down` and `up`, and that of `x` to `dx`, from columns
    /// `outputs` of `dy` and the `inner` of the forward pass.
    pub fn backward(
        &self,
        pool: &Pool,
        room: &mut LowRankRoom,
        panels: &mut Panels,
        (x, inner): (&[f32], &[f32]),
        (dy, stride, outputs): (&[f32], usize, Range<usize>),
        (down, up, dx): (&mut [f32], &mut [f32], &mut [f32]),
    ) {
        let (cols, rank) = (self.cols(), self.rank);
        let rows = x.len() / cols;
        // `scale` goes to the small matrix: B's gradient is of scaled rows of `inner`.
        room.inner.clear();
        room.inner.extend(inner.iter().map(|v| v * self.scale));
        let dy = part(dy, stride, outputs);
        panels.pack(pool, Matrix::of_rows(&room.inner, rank));
        ops::matmul_panels(pool, dy.turned(), panels, whole(up, rank, true));
        panels.pack(pool, Matrix::of_rows(self.up, rank));
        ops::matmul_panels(pool, dy, panels, whole(&mut room.inner, rank, false));
        ops::scale_in_place(&mut room.inner, self.scale);
        let gradient = Matrix::of_rows(&room.inner, rank);
        let x = self.input(pool, x, &mut room.dropped);
        panels.pack(pool, Matrix::of_rows(x, cols));
        ops::matmul_panels(pool, gradient.turned(), panels, whole(down, cols, true));
        room.wide.resize(rows * cols, 0.0);
        panels.pack(pool, Matrix::of_rows(self.down, cols));
        ops::matmul_panels(pool, gradient, panels, whole(&mut room.wide, cols, false));
        let change = self.input(pool, &room.wide, &mut room.dropped);
        pool.run_chunks(dx, BLOCK * cols, |index, dx| {
            ops::add_in_place(dx, &change[index * BLOCK * cols..][..dx.len()]);
        });
    }
}

fn whole(data: &mut [f32], stride: usize, accumulate: bool) -> Product<'_> {
    Product {
        data,
        stride,
        accumulate,
    }
}
