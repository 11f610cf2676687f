//! The product of activations with a matrix of weights.

use crate::aligned::{SharedOut, with_scratch};
use crate::isa::Isa;
use crate::panels::{self, PANEL, Tile, even_tile};
use crate::row_tiles;
use crate::weight::{Layout, dequantize_row};
use crate::{DType, Pool, Weight};

/// Rows of `x` that a task of the packed product holds packed: its share of the second cache.
const ROW_BLOCK: usize = 112;
/// Bytes of dequantised weights that a task of the unpacked product holds.
const WEIGHT_BLOCK_BYTES: usize = 256 << 10;

/// Writes `x W^T + bias` to `out`: x `(m, cols)`, W `(rows, cols)`, bias `(rows)`, out
/// `(m, rows)`. The bits of each output depend on its own row of `x` and row of W only.
pub fn linear(pool: &Pool, x: &[f32], weight: &Weight, bias: Option<&[f32]>, out: &mut [f32]) {
    linear_with(Isa::best(), pool, x, weight, bias, out);
}

pub(crate) fn linear_with(
    isa: Isa,
    pool: &Pool,
    x: &[f32],
    weight: &Weight,
    bias: Option<&[f32]>,
    out: &mut [f32],
) {
    let (rows, cols) = (weight.rows(), weight.cols());
    assert!(
        x.len().is_multiple_of(cols),
        "linear: x has {} elements, not rows of {cols}",
        x.len()
    );
    let m = x.len() / cols;
    assert_eq!(out.len(), m * rows, "linear: out is not ({m}, {rows})");
    assert!(
        bias.is_none_or(|b| b.len() == rows),
        "linear: bias is not ({rows})"
    );
    let job = Job {
        isa,
        x,
        m,
        weight,
        bias,
        out: SharedOut::new(out),
    };
    match weight.layout() {
        Layout::Panels(packed) => job.packed(pool, packed),
        Layout::Rows(data) => job.unpacked(pool, data.as_slice(), data.as_f32()),
    }
}

/// One product: what its tasks share.
#[derive(Clone, Copy)]
struct Job<'a> {
    isa: Isa,
    x: &'a [f32],
    m: usize,
    weight: &'a Weight,
    bias: Option<&'a [f32]>,
    out: SharedOut,
}

impl Job<'_> {
    /// Tasks are blocks of rows of `x` by blocks of panels.
    fn packed(&self, pool: &Pool, packed: &[f32]) {
        let group = panels::largest(self.isa).1 * PANEL;
        let row_blocks = self.m.div_ceil(ROW_BLOCK);
        let groups = self.weight.rows().div_ceil(group);
        let wanted = (4 * pool.threads()).div_ceil(row_blocks.max(1));
        let column_blocks = if pool.threads() == 1 {
            1
        } else {
            wanted.min(groups)
        };
        pool.run(row_blocks * column_blocks, |task| {
            let (row, rows) = even_tile(self.m, ROW_BLOCK, task / column_blocks);
            let block = task % column_blocks;
            let columns = groups * block / column_blocks * group
                ..(groups * (block + 1) / column_blocks * group).min(self.weight.rows());
            with_scratch(rows * self.weight.cols(), |scratch| {
                self.packed_block(packed, row, rows, columns, scratch);
            });
        });
    }

    fn packed_block(
        &self,
        packed: &[f32],
        row: usize,
        rows: usize,
        columns: std::ops::Range<usize>,
        scratch: &mut [f32],
    ) {
        let (k, n) = (self.weight.cols(), self.weight.rows());
        let (most_rows, most_panels) = panels::largest(self.isa);
        let tiles = rows.div_ceil(most_rows);
        for tile in 0..tiles {
            let (first, count) = even_tile(rows, most_rows, tile);
            let source = &self.x[(row + first) * k..(row + first + count) * k];
            interleave(
                source,
                k,
                count,
                &mut scratch[first * k..(first + count) * k],
            );
        }
        for column in columns.clone().step_by(most_panels * PANEL) {
            let width = (columns.end - column).min(most_panels * PANEL);
            let b = &packed[column * k..];
            let bias = self
                .bias
                .map_or(std::ptr::null(), |bias| bias[column..].as_ptr());
            for tile in 0..tiles {
                let (first, count) = even_tile(rows, most_rows, tile);
                // SAFETY: `b` holds the panels of `width` columns, `scratch` the tile's rows, and
                // this task alone writes these rows and columns of `out`.
                unsafe {
                    let c = self.out.get().add((row + first) * n + column);
                    let tile = Tile {
                        k,
                        a: scratch[first * k..].as_ptr(),
                        a_stride: count,
                        b: b.as_ptr(),
                        b_stride: PANEL,
                        panel_stride: k * PANEL,
                        c,
                        c_stride: n,
                        columns: width,
                        bias,
                        accumulate: false,
                    };
                    panels::run(self.isa, count, width.div_ceil(PANEL), &tile);
                }
            }
        }
    }

    /// Tasks are blocks of rows of the matrix; each dequantises its rows once.
    fn unpacked(&self, pool: &Pool, data: &[u8], floats: Option<&[f32]>) {
        let (rows, cols) = (self.weight.rows(), self.weight.cols());
        let floats = floats.filter(|_| self.weight.dtype() == DType::F32);
        let fits = (WEIGHT_BLOCK_BYTES / 4 / cols).max(1);
        let shared = rows.div_ceil(8 * pool.threads());
        let block = fits.min(shared).next_multiple_of(row_tiles::WEIGHT_ROWS);
        let row_bytes = self.weight.row_bytes();
        pool.run(rows.div_ceil(block), |task| {
            let first = task * block;
            let count = block.min(rows - first);
            if let Some(floats) = floats {
                self.unpacked_block(&floats[first * cols..(first + count) * cols], first, count);
                return;
            }
            with_scratch(count * cols, |scratch| {
                let bytes = &data[first * row_bytes..(first + count) * row_bytes];
                dequantize_row(self.isa, self.weight.dtype(), bytes, scratch);
                self.unpacked_block(scratch, first, count);
            });
        });
    }

    fn unpacked_block(&self, weights: &[f32], first: usize, count: usize) {
        let (n, cols) = (self.weight.rows(), self.weight.cols());
        let most = row_tiles::most_x_rows(self.isa);
        for tile in 0..self.m.div_ceil(most) {
            let (row, rows) = even_tile(self.m, most, tile);
            let x = &self.x[row * cols..(row + rows) * cols];
            // SAFETY: this task alone writes columns `first..first + count` of `out`.
            unsafe {
                let out = self.out.get().add(row * n + first);
                row_tiles::run(self.isa, x, weights, cols, out, n);
                if let Some(bias) = self.bias {
                    for i in 0..rows {
                        for j in 0..count {
                            *out.add(i * n + j) += bias[first + j];
                        }
                    }
                }
            }
        }
    }
}

/// Writes `count` rows of `k` to `out` as `(k, count)`.
fn interleave(rows: &[f32], k: usize, count: usize, out: &mut [f32]) {
    if count == 1 {
        out.copy_from_slice(rows);
        return;
    }
    for (i, row) in rows.chunks_exact(k).enumerate() {
        for (slot, value) in out[i..].iter_mut().step_by(count).zip(row) {
            *slot = *value;
        }
    }
}
