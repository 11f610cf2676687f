//! The product of activations with a matrix of weights.

use std::ops::Range;

use crate::aligned::{SharedOut, with_scratch};
use crate::isa::Isa;
use crate::panel_block::{PackedPart, PanelBlock};
use crate::panels::{self, PANEL, even_part};
use crate::quantized::{self, Activations, Columns, Packed};
use crate::row_tiles::{self, RowTask};
use crate::weight::{Layout, dequantize_row};
use crate::{DType, Pool, Weight};

/// Rows of `x` in a task of the packed product: many enough that each panel of weights that comes
/// from far is used often, few enough that the last tasks of the threads end nearly together.
const ROW_BLOCK: usize = 128;
/// Bytes of dequantised weights that a task of the unpacked product holds.
const WEIGHT_BLOCK_BYTES: usize = 256 << 10;
/// Tasks of a quantised product for each thread, so that threads end together.
const TASKS: usize = 4;
/// Up to so many rows of `x`, dequantising in registers costs less than going through memory.
const STORED_ROWS: usize = 8;

/// A matrix by which rows are multiplied, and where the products go.
pub struct Projection<'a> {
    /// The matrix, `(rows, cols)`.
    pub weight: &'a Weight,
    /// What is added to each product, `(rows)`.
    pub bias: Option<&'a [f32]>,
    /// The products, `(m, rows)`.
    pub out: &'a mut [f32],
}

/// Writes `x W^T + bias` to `out`: x `(m, cols)`, W `(rows, cols)`, bias `(rows)`, out
/// `(m, rows)`. The bits of each output depend on its own row of `x` and row of W only.
pub fn linear(pool: &Pool, x: &[f32], weight: &Weight, bias: Option<&[f32]>, out: &mut [f32]) {
    linear_with(
        Isa::best(),
        pool,
        x,
        &mut [Projection { weight, bias, out }],
    );
}

/// As [`linear`] by several matrices of as many columns, to the bit, for less: quantised ones share
/// the rounding of `x` and the parting of the threads.
pub fn linear_many(pool: &Pool, x: &[f32], projections: &mut [Projection<'_>]) {
    linear_with(Isa::best(), pool, x, projections);
}

pub(crate) fn linear_with(isa: Isa, pool: &Pool, x: &[f32], projections: &mut [Projection<'_>]) {
    let mut quantized = Vec::with_capacity(projections.len());
    for Projection { weight, bias, out } in projections {
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
            bias: *bias,
            out: SharedOut::new(out),
        };
        match weight.layout() {
            Layout::Panels(packed) => job.packed(pool, packed),
            Layout::Rows(data) => job.unpacked(pool, data.as_slice()),
            Layout::Quantized(packed) => quantized.push((job, &**packed)),
            Layout::Bytes(bytes) => bytes.multiply(isa, pool, x, job.bias, job.out),
        }
    }
    if let Some((job, _)) = quantized.first() {
        let cols = job.weight.cols();
        assert!(
            quantized.iter().all(|(job, _)| job.weight.cols() == cols),
            "linear: the matrices differ in columns"
        );
        with_scratch(Activations::room(job.m, cols), |room| {
            let activations = Activations::new(isa, pool, x, cols, room);
            multiply(isa, pool, &activations, &quantized);
        });
    }
}

/// The products of quantised rows with quantised matrices. Tasks are ranges of panels.
fn multiply(isa: Isa, pool: &Pool, x: &Activations<'_>, jobs: &[(Job<'_>, &Packed)]) {
    let panels = |job: &Job<'_>| job.weight.rows().div_ceil(PANEL);
    let total: usize = jobs.iter().map(|(job, _)| panels(job)).sum();
    let chunk = total.div_ceil(TASKS * pool.available()).next_multiple_of(2);
    let tasks: Vec<(usize, usize)> = (0..jobs.len())
        .flat_map(|job| {
            (0..panels(&jobs[job].0))
                .step_by(chunk)
                .map(move |at| (job, at))
        })
        .collect();
    pool.run(tasks.len(), |task| {
        let (job, first) = tasks[task];
        let (job, packed) = &jobs[job];
        job.quantized(packed, x, isa, first..(first + chunk).min(panels(job)));
    });
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
    /// The products with some panels: each pair of panels, which then lies near, with all rows.
    fn quantized(&self, packed: &Packed, x: &Activations<'_>, isa: Isa, panels: Range<usize>) {
        let rows = self.weight.rows();
        for panel in panels.clone().step_by(2) {
            let first = panel * PANEL;
            let count = (2 * PANEL).min(rows.min(panels.end * PANEL) - first);
            let bias = self
                .bias
                .map_or(std::ptr::null(), |bias| bias[first..].as_ptr());
            for tile in &x.tiles {
                // SAFETY: the tile's rows were quantised for as many columns, and this task alone
                // writes these columns of `out`.
                unsafe {
                    let columns = Columns {
                        panel,
                        count,
                        out: self.out.get().add(tile.start * rows + first),
                        stride: rows,
                        bias,
                    };
                    quantized::run(isa, packed, tile.len(), x.records(tile), &columns);
                }
            }
        }
    }

    /// Tasks are blocks of rows of `x` by blocks of panels.
    fn packed(&self, pool: &Pool, packed: &[f32]) {
        let group = panels::widest(self.isa).1 * PANEL;
        // As many for each thread, so that none waits for a last block.
        let row_blocks = match self.m.div_ceil(ROW_BLOCK) {
            blocks @ (0 | 1) => blocks,
            blocks => blocks.next_multiple_of(pool.available()).min(self.m),
        };
        let groups = self.weight.rows().div_ceil(group);
        let wanted = (4 * pool.available()).div_ceil(row_blocks.max(1));
        let column_blocks = match pool.available() {
            1 => 1,
            _ => wanted.min(groups),
        };
        pool.run(row_blocks * column_blocks, |task| {
            let (row, rows) = even_part(self.m, row_blocks, task / column_blocks);
            let block = task % column_blocks;
            let columns = groups * block / column_blocks * group
                ..(groups * (block + 1) / column_blocks * group).min(self.weight.rows());
            self.packed_block(packed, row, rows, columns);
        });
    }

    fn packed_block(&self, packed: &[f32], row: usize, rows: usize, columns: Range<usize>) {
        let (k, n) = (self.weight.cols(), self.weight.rows());
        // SAFETY: this task alone writes these rows and columns of `out`.
        unsafe {
            let block = PanelBlock {
                isa: self.isa,
                x: &self.x[row * k..(row + rows) * k],
                weight: PackedPart::new(packed, k, 0..k),
                bias: self.bias,
                out: self.out.get().add(row * n),
                out_stride: n,
                accumulate: false,
                then: None,
            };
            block.run(columns);
        }
    }

    /// Tasks are blocks of rows of the matrix. For many rows of `x`, each dequantises its rows
    /// once; for few, they go to registers as they are.
    fn unpacked(&self, pool: &Pool, data: &[u8]) {
        let (rows, cols) = (self.weight.rows(), self.weight.cols());
        let fits = (WEIGHT_BLOCK_BYTES / 4 / cols).max(1);
        let shared = rows.div_ceil(8 * pool.available());
        let block = fits.min(shared).next_multiple_of(row_tiles::WEIGHT_ROWS);
        let row_bytes = self.weight.row_bytes();
        pool.run(rows.div_ceil(block), |task| {
            let first = task * block;
            let count = block.min(rows - first);
            // SAFETY: this task alone writes columns `first..first + count` of `out`.
            unsafe {
                let out = self.out.get().add(first);
                self.unpacked_block(&data[first * row_bytes..][..count * row_bytes], out);
                for row in 0..self.m {
                    for (j, bias) in self
                        .bias
                        .iter()
                        .flat_map(|b| &b[first..][..count])
                        .enumerate()
                    {
                        *out.add(row * rows + j) += bias;
                    }
                }
            }
        });
    }

    /// The product with some rows.
    ///
    /// # Safety
    /// `out` may be written for these rows.
    unsafe fn unpacked_block(&self, data: &[u8], out: *mut f32) {
        let (cols, dtype) = (self.weight.cols(), self.weight.dtype());
        let task = RowTask {
            x: self.x,
            weights: data,
            row_bytes: self.weight.row_bytes(),
            cols,
            out,
            out_stride: self.weight.rows(),
        };
        // SAFETY: passed on.
        unsafe {
            if dtype == DType::F32 {
                row_tiles::floats(self.isa, &task);
                return;
            }
            if self.m <= STORED_ROWS && row_tiles::stored(self.isa, dtype, &task) {
                return;
            }
            with_scratch(data.len() / task.row_bytes * cols, |scratch| {
                dequantize_row(self.isa, dtype, data, scratch);
                let weights =
                    std::slice::from_raw_parts(scratch.as_ptr().cast(), scratch.len() * 4);
                row_tiles::floats(
                    self.isa,
                    &RowTask {
                        weights,
                        row_bytes: cols * 4,
                        ..task
                    },
                );
            });
        }
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use crate::Bytes;

    fn numbers(seed: u32, count: usize) -> Vec<f32> {
        let mut state = seed.wrapping_mul(747_796_405) + 1;
        let mut next = || {
            state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
            (state >> 8) as f32 / (1 << 23) as f32 - 1.0
        };
        (0..count).map(|_| next()).collect()
    }

    /// Where the halves of a block stand.
    fn halves(dtype: DType) -> &'static [usize] {
        match dtype {
            DType::Q4_1 | DType::Q5_1 | DType::Q4_K | DType::Q5_K => &[0, 2],
            DType::Q2_K => &[80, 82],
            DType::Q3_K => &[108],
            DType::Q6_K => &[208],
            DType::MXFP4 => &[],
            _ => &[0],
        }
    }

    /// A matrix of random bits, its halves (scales too) finite and of ordinary size.
    fn weight(dtype: DType, rows: usize, cols: usize) -> Weight {
        let len = dtype.row_bytes(cols).unwrap() * rows;
        let mut data: Vec<u8> = numbers(7, len)
            .iter()
            .map(|v| (v * 128.0) as i32 as u8)
            .collect();
        if dtype == DType::F32 {
            return Weight::from_f32(rows, cols, numbers(8, rows * cols)).unwrap();
        }
        for block in data.chunks_exact_mut(dtype.block_bytes()) {
            for at in halves(dtype) {
                block[at + 1] = 0x20 | (block[at + 1] & 0x9f);
            }
            if dtype == DType::MXFP4 {
                block[0] = 120 + block[0] % 16;
            }
        }
        Weight::new(dtype, rows, cols, Bytes::from_vec(data)).unwrap()
    }

    fn product(isa: Isa, x: &[f32], weight: &Weight, bias: &[f32]) -> Vec<u32> {
        let mut out = vec![f32::NAN; x.len() / weight.cols() * weight.rows()];
        let bias = Some(bias);
        let out_ref = &mut out;
        linear_with(
            isa,
            &Pool::new(1),
            x,
            &mut [Projection {
                weight,
                bias,
                out: out_ref,
            }],
        );
        assert!(out.iter().all(|v| v.is_finite()), "{isa:?} {weight:?}");
        out.iter().map(|v| v.to_bits()).collect()
    }

    #[test]
    fn every_isa_and_number_of_rows_gives_the_same_bits() {
        for dtype in DType::ALL {
            let (dtype, cols) = match dtype.block_len() {
                1 => (*dtype, 77),
                block => (*dtype, (512 / block - 1) * block),
            };
            let rows = weight(dtype, 39, cols);
            let bias = numbers(9, 39);
            for weight in [rows.clone(), rows.pack()] {
                let x = numbers(10, 33 * cols);
                let expected = product(Isa::Portable, &x, &weight, &bias);
                for isa in Isa::available() {
                    for m in [1, 2, 3, 4, 7, 8, 9, 16, 33] {
                        let got = product(isa, &x[..m * cols], &weight, &bias);
                        assert_eq!(got, expected[..m * 39], "{isa:?} {weight:?} {m}");
                    }
                }
            }
        }
    }

    #[test]
    fn the_largest_codes_do_not_saturate() {
        for dtype in DType::ALL.iter().copied().filter(|d| d.block_len() > 1) {
            for fill in [0x00, 0x7f, 0x80, 0x88, 0xff] {
                // A stored scale of each byte 0x3c is about one.
                let stored = weight(dtype, 17, 512);
                let mut data = vec![fill; stored.bytes()];
                for block in data.chunks_exact_mut(dtype.block_bytes()) {
                    for at in halves(dtype) {
                        block[*at..at + 2].fill(0x3c);
                    }
                }
                if dtype == DType::MXFP4 {
                    data.iter_mut().step_by(17).for_each(|scale| *scale = 127);
                }
                let weight = Weight::new(dtype, 17, 512, Bytes::from_vec(data))
                    .unwrap()
                    .pack();
                let same = vec![1.0; 5 * 512];
                let mixed: Vec<f32> = (0..5 * 512)
                    .map(|i| if i % 3 == 0 { 1.0 } else { -1.0 })
                    .collect();
                let mut row = vec![0.0; 512];
                weight.dequantize_row(0, &mut row);
                for x in [same, mixed] {
                    let expected: f32 = row.iter().zip(&x).map(|(w, x)| w * x).sum();
                    for isa in Isa::available() {
                        for got in product(isa, &x, &weight, &[0.0; 17]).into_iter().take(17) {
                            let off = (f32::from_bits(got) - expected).abs();
                            assert!(
                                off <= 1e-4 * expected.abs(),
                                "{isa:?} {dtype:?} {fill}: {off} of {expected}"
                            );
                        }
                    }
                }
            }
        }
    }
}
