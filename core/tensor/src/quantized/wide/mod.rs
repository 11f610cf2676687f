//! Matrices of signed bytes with one scale for each 128 elements of a row, multiplied by
//! activations rounded alike.
//!
//! Four times the block of Q8_0 leaves a quarter of the scaling, which else takes nearly as long as
//! the products do. As there, a block's products are summed exactly, and the blocks' sums join an
//! output's float by fused multiply-adds in their order: an output's bits depend on its own row of
//! activations and row of weights only.

mod record;
mod tile;

use super::{LINE, PANEL, activations};
use crate::Pool;
use crate::aligned::{AlignedFloats, SharedOut, with_scratch};
use crate::isa::Isa;
use record::Wide;

/// Elements that share a scale.
pub(crate) const BLOCK: usize = 128;

/// Rows of activations as the kernels of this module read them.
type Activations<'a> = activations::Activations<'a, Wide, BLOCK>;

/// Tasks of a product for each thread, so that threads end together.
const TASKS: usize = 4;

/// A matrix in panels of sixteen rows, the missing rows of the last one zeros.
pub(crate) struct WideBytes {
    rows: usize,
    blocks: usize,
    /// Lines of four elements of sixteen rows each, every code raised by 128.
    codes: AlignedFloats,
    /// `(panels, blocks, 16)`.
    scales: AlignedFloats,
}

impl WideBytes {
    /// Rounds rows of `cols` elements, a multiple of [`BLOCK`], that `row` writes by their number.
    pub(crate) fn new(rows: usize, cols: usize, row: impl Fn(usize, &mut [f32])) -> Self {
        let (blocks, panels) = (cols / BLOCK, rows.div_ceil(PANEL));
        let mut codes = vec![128u8; panels * PANEL * cols];
        let mut scales = AlignedFloats::zeroed(panels * blocks * PANEL);
        let mut values = vec![0.0; cols];
        for index in 0..rows {
            row(index, &mut values);
            let (panel, lane) = (index / PANEL, index % PANEL);
            let panel_codes = &mut codes[panel * PANEL * cols..][..PANEL * cols];
            for (block, values) in values.as_chunks::<BLOCK>().0.iter().enumerate() {
                let largest = values.iter().fold(0.0f32, |most, v| most.max(v.abs()));
                let scale = largest / 127.0;
                let inverse = if scale == 0.0 { 0.0 } else { 1.0 / scale };
                scales[(panel * blocks + block) * PANEL + lane] = scale;
                let lines = panel_codes[block * BLOCK * PANEL..].chunks_exact_mut(LINE);
                for (values, line) in values.as_chunks::<4>().0.iter().zip(lines) {
                    for (code, value) in line[4 * lane..4 * lane + 4].iter_mut().zip(values) {
                        *code = ((value * inverse).round_ties_even() as i8 as u8) ^ 0x80;
                    }
                }
            }
        }
        let mut lines = AlignedFloats::zeroed(codes.len() / 4);
        for (slot, bytes) in lines.iter_mut().zip(codes.as_chunks::<4>().0) {
            *slot = f32::from_ne_bytes(*bytes);
        }
        Self {
            rows,
            blocks,
            codes: lines,
            scales,
        }
    }

    /// Bytes of codes and scales.
    pub(crate) fn row_bytes(cols: usize) -> usize {
        cols + cols / BLOCK * 4
    }

    fn cols(&self) -> usize {
        self.blocks * BLOCK
    }

    /// The lines of a panel.
    fn lines(&self, panel: usize) -> *const u8 {
        self.codes[panel * PANEL * self.cols() / 4..]
            .as_ptr()
            .cast()
    }

    /// The scales of a panel.
    fn panel_scales(&self, panel: usize) -> *const f32 {
        self.scales[panel * self.blocks * PANEL..].as_ptr()
    }

    /// Writes a row as floats.
    pub(crate) fn dequantize_row(&self, row: usize, out: &mut [f32]) {
        let (panel, lane) = (row / PANEL, row % PANEL);
        let lines = &self.codes[panel * PANEL * self.cols() / 4..];
        let scales = &self.scales[panel * self.blocks * PANEL..];
        for (quad, values) in out.as_chunks_mut::<4>().0.iter_mut().enumerate() {
            let scale = scales[quad / (BLOCK / 4) * PANEL + lane];
            let codes = lines[quad * PANEL + lane].to_ne_bytes();
            for (value, code) in values.iter_mut().zip(codes) {
                *value = f32::from((code ^ 0x80) as i8) * scale;
            }
        }
    }

    /// Writes `x W^T + bias` to `out`, as [`crate::ops::linear`] does.
    pub(crate) fn multiply(
        &self,
        isa: Isa,
        pool: &Pool,
        x: &[f32],
        bias: Option<&[f32]>,
        out: SharedOut,
    ) {
        let m = x.len() / self.cols();
        with_scratch(Activations::room(m, self.cols()), |room| {
            let activations = Activations::new(isa, pool, x, self.cols(), room);
            let panels = self.rows.div_ceil(PANEL);
            let group = tile::panels(isa);
            let chunk = match pool.available() {
                1 => panels,
                threads => panels.div_ceil(TASKS * threads).next_multiple_of(group),
            };
            pool.run(panels.div_ceil(chunk), |task| {
                let end = (chunk * (task + 1)).min(panels);
                for panel in (chunk * task..end).step_by(group) {
                    let count = group.min(end - panel);
                    self.columns(isa, &activations, panel, count, bias, out);
                }
            });
        });
    }

    /// The outputs of a few panels, of all rows of `x`.
    fn columns(
        &self,
        isa: Isa,
        x: &Activations<'_>,
        panel: usize,
        count: usize,
        bias: Option<&[f32]>,
        out: SharedOut,
    ) {
        let first = panel * PANEL;
        let bias = bias.map_or(std::ptr::null(), |bias| bias[first..].as_ptr());
        for (index, rows) in x.tiles.iter().enumerate() {
            // The first tiles ask for the next panels, one each.
            let next = panel + count + index;
            let ahead = match index < count && next * PANEL < self.rows {
                true => self.lines(next),
                false => std::ptr::null(),
            };
            // SAFETY: the tile's rows were rounded for as many columns, and this task alone writes
            // these columns of `out`, which has `self.rows` of them.
            unsafe {
                let tile = tile::Tile {
                    lines: self.lines(panel),
                    scales: self.panel_scales(panel),
                    blocks: self.blocks,
                    records: x.records(rows),
                    columns: (self.rows - first).min(count * PANEL),
                    out: out.get().add(rows.start * self.rows + first),
                    stride: self.rows,
                    bias,
                    ahead,
                };
                tile::run(isa, rows.len(), count, &tile);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn numbers(seed: usize, count: usize) -> Vec<f32> {
        (0..count)
            .map(|i| ((i * 7919 + seed * 104_729) % 2003) as f32 / 1001.0 - 1.0)
            .collect()
    }

    #[test]
    fn every_isa_and_any_rows_give_the_bits_of_the_formula() {
        for (m, rows, cols) in [(1, 16, 128), (23, 70, 384), (9, 49, 256), (31, 5, 512)] {
            let (x, w) = (numbers(1, m * cols), numbers(2, rows * cols));
            let bias = numbers(3, rows);
            let weight = WideBytes::new(rows, cols, |row, out| {
                out.copy_from_slice(&w[row * cols..(row + 1) * cols]);
            });
            let mut first: Option<Vec<u32>> = None;
            for isa in Isa::available() {
                for threads in [1, 3] {
                    let mut out = vec![f32::NAN; m * rows];
                    let pool = Pool::new(threads);
                    weight.multiply(isa, &pool, &x, Some(&bias), SharedOut::new(&mut out));
                    let bits: Vec<u32> = out.iter().map(|v| v.to_bits()).collect();
                    assert_eq!(*first.get_or_insert(bits.clone()), bits, "{isa:?}");
                    let mut last = vec![f32::NAN; rows];
                    let own = &x[(m - 1) * cols..];
                    weight.multiply(isa, &pool, own, Some(&bias), SharedOut::new(&mut last));
                    assert_eq!(last, out[(m - 1) * rows..], "{isa:?}");
                }
            }
            let mut row = vec![0.0; cols];
            for j in 0..rows {
                weight.dequantize_row(j, &mut row);
                let largest = row.iter().zip(&w[j * cols..]).map(|(a, b)| (a - b).abs());
                assert!(largest.fold(0.0, f32::max) <= 0.51 / 127.0);
                let got = f32::from_bits(first.as_ref().map_or(0, |bits| bits[j]));
                let exact: f32 = row.iter().zip(&x).map(|(a, b)| a * b).sum::<f32>() + bias[j];
                assert!(
                    (got - exact).abs() < 0.01 * (cols as f32).sqrt(),
                    "{got} {exact}"
                );
            }
        }
    }
}
