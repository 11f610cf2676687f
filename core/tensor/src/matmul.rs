//! Products of two matrices in memory, either of them turned: what training multiplies.
//!
//! Each output is one chain of fused multiply-adds in order of the inner dimension, held in a
//! register or continued from memory, so its bits depend on its row and column only: on no tiling
//! and no number of threads. The right matrix is laid in panels of sixteen columns first.

use std::ops::Range;

use crate::Pool;
use crate::aligned::{AlignedFloats, SharedOut, with_scratch};
use crate::isa::Isa;
use crate::panels::{self, PANEL, Tile, even_part, even_tile};
use crate::tiles;

/// Rows of the left matrix in a task.
const ROW_BLOCK: usize = 144;
/// Steps of the inner dimension that stay in the caches, for a task's rows and for some panels.
const INNER_BLOCK: usize = 1024;
/// Steps of the inner dimension that a task of packing copies.
const PACK_ROWS: usize = 64;

/// A matrix over floats in memory, as it lies there or turned.
#[derive(Clone, Copy, Debug)]
pub struct Matrix<'a> {
    data: &'a [f32],
    rows: usize,
    cols: usize,
    stride: usize,
    is_turned: bool,
}

impl<'a> Matrix<'a> {
    /// The matrix `(rows, cols)` whose row `i` starts at `i * stride` of `data`.
    pub fn new(data: &'a [f32], rows: usize, cols: usize, stride: usize) -> Self {
        assert!(cols <= stride, "matrix: {cols} columns, {stride} apart");
        let end = (rows.max(1) - 1) * stride + cols;
        assert!(
            rows == 0 || end <= data.len(),
            "matrix: {end} of {}",
            data.len()
        );
        Self {
            data,
            rows,
            cols,
            stride,
            is_turned: false,
        }
    }

    /// Rows of `cols` elements, one behind the other.
    pub fn of_rows(data: &'a [f32], cols: usize) -> Self {
        assert!(data.len().is_multiple_of(cols), "matrix: ragged rows");
        Self::new(data, data.len() / cols, cols, cols)
    }

    /// The same memory read as the transposed matrix.
    pub fn turned(self) -> Self {
        Self {
            rows: self.cols,
            cols: self.rows,
            is_turned: !self.is_turned,
            ..self
        }
    }

    pub(crate) fn rows(&self) -> usize {
        self.rows
    }

    pub(crate) fn columns(&self) -> usize {
        self.cols
    }

    pub(crate) fn is_turned(&self) -> bool {
        self.is_turned
    }

    /// The memory, and elements from one of its rows to the next.
    pub(crate) fn memory(&self) -> (&'a [f32], usize) {
        (self.data, self.stride)
    }
}

/// What the numbers of a product are rounded to before they are multiplied. Sums are in F32.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Precision {
    /// Not at all.
    #[default]
    Float32,
    /// Eight bits of mantissa, which AMX multiplies a tile at a time; to the same bits elsewhere.
    Bfloat16,
}

/// How many bfloat16 parts of its numbers a product is made of, where it is made of tiles. The least of F32
/// products are left out, so those are not the sums of other instructions to the bit.
fn parts(isa: Isa, precision: Precision) -> Option<usize> {
    match (precision, isa) {
        (Precision::Bfloat16, _) => Some(1),
        (Precision::Float32, isa) => isa.has_tiles().then_some(tiles::THREE),
    }
}

/// Where a product goes: row `i` starts at `i * stride` of `data`.
pub struct Product<'a> {
    /// The memory.
    pub data: &'a mut [f32],
    /// Elements from one row to the next.
    pub stride: usize,
    /// Add to what stands there, instead of replacing it.
    pub accumulate: bool,
}

impl Product<'_> {
    /// It, as it is given to the tasks.
    pub(crate) fn place(self, rows: usize, columns: usize) -> Place {
        let end = (rows.max(1) - 1) * self.stride + columns;
        let fits = columns <= self.stride && end <= self.data.len();
        assert!(rows == 0 || fits, "matmul: out is too small");
        Place {
            out: SharedOut::new(self.data),
            stride: self.stride,
            accumulate: self.accumulate,
        }
    }
}

/// As [`Product`], of memory that other tasks write to beside this product.
#[derive(Clone, Copy)]
pub(crate) struct Place {
    pub out: SharedOut,
    pub stride: usize,
    pub accumulate: bool,
}

/// Part of a right matrix in panels: `inner` of its `height` rows from `first` on, and the columns of
/// its panels from `panel` on.
#[derive(Clone, Copy)]
struct Right<'a> {
    data: &'a [f32],
    height: usize,
    first: usize,
    inner: usize,
    panel: usize,
    columns: usize,
}

/// A right matrix `(inner, columns)` in panels of sixteen columns, in memory that is used again.
#[derive(Default)]
pub struct Panels {
    precision: Precision,
    /// Parts of the numbers in tiles; none where they stand in panels.
    parts: Option<usize>,
    data: AlignedFloats,
    tiles: Vec<tiles::Tile>,
    inner: usize,
    columns: usize,
}

impl std::fmt::Debug for Panels {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(formatter, "Panels({}, {})", self.inner, self.columns)
    }
}

impl Panels {
    /// Panels of no matrix yet, whose products are of `precision`.
    pub fn new(precision: Precision) -> Self {
        Self {
            precision,
            ..Self::default()
        }
    }

    /// Lays `matrix` in panels.
    pub fn pack(&mut self, pool: &Pool, matrix: Matrix<'_>) {
        self.pack_as(Isa::best(), pool, matrix);
    }

    /// As [`Panels::pack`], by other instructions.
    pub(crate) fn pack_as(&mut self, isa: Isa, pool: &Pool, matrix: Matrix<'_>) {
        self.pack_in(isa, pool, matrix, parts(isa, self.precision));
    }

    /// As [`Panels::pack`], in so many parts of bfloat16, or none.
    pub(crate) fn pack_in(
        &mut self,
        isa: Isa,
        pool: &Pool,
        matrix: Matrix<'_>,
        parts: Option<usize>,
    ) {
        (self.inner, self.columns) = (matrix.rows, matrix.cols);
        self.parts = parts;
        match parts {
            None => {
                let room = self.data.reserve(panel_floats(matrix));
                pack(pool, matrix, room);
            }
            Some(parts) => {
                let right = (matrix, tiles::Operand::Right);
                tiles::pack_whole(isa, pool, right, parts, &mut self.tiles);
            }
        }
    }

    /// All of it.
    pub(crate) fn whole(&self) -> Packed<'_> {
        self.part(0..self.inner, 0..self.columns)
    }

    /// What its products are of.
    pub fn precision(&self) -> Precision {
        self.precision
    }

    /// Rows of the matrix.
    pub(crate) fn rows(&self) -> usize {
        self.inner
    }

    /// Columns of it.
    pub(crate) fn columns(&self) -> usize {
        self.columns
    }

    /// Some rows and columns of it, which begin at whole tiles.
    pub(crate) fn part(&self, rows: Range<usize>, columns: Range<usize>) -> Packed<'_> {
        debug_assert!(
            rows.start.is_multiple_of(tiles::STEPS) && columns.start.is_multiple_of(PANEL)
        );
        Packed {
            panels: self,
            rows,
            columns,
        }
    }
}

/// Rows and columns of a right matrix that is packed.
#[derive(Clone)]
pub(crate) struct Packed<'a> {
    panels: &'a Panels,
    rows: Range<usize>,
    columns: Range<usize>,
}

impl Packed<'_> {
    /// Columns of a product with it.
    pub(crate) fn columns(&self) -> usize {
        self.columns.len()
    }

    /// Writes `left` times it to `place`.
    ///
    /// # Safety
    /// As [`multiply`].
    pub(crate) unsafe fn multiply(self, isa: Isa, pool: &Pool, left: Matrix<'_>, place: Place) {
        let Panels { data, tiles, .. } = self.panels;
        let height = self.panels.inner;
        // SAFETY: passed on.
        unsafe {
            match self.panels.parts {
                None => {
                    let right = Right {
                        data,
                        height,
                        first: self.rows.start,
                        inner: self.rows.len(),
                        panel: self.columns.start / PANEL,
                        columns: self.columns.len(),
                    };
                    multiply(isa, pool, left, right, place);
                }
                Some(parts) => {
                    let right = tiles::Right {
                        tiles,
                        parts,
                        depth: height.div_ceil(tiles::STEPS),
                        first: self.rows.start / tiles::STEPS,
                        inner: self.rows.len(),
                        line: self.columns.start / tiles::SIDE,
                        columns: self.columns.len(),
                    };
                    tiles::multiply(isa, pool, left, right, place);
                }
            }
        }
    }
}

fn panel_floats(matrix: Matrix<'_>) -> usize {
    matrix.cols.div_ceil(PANEL) * matrix.rows * PANEL
}

/// Writes `matrix` in panels to `out`: tasks are ranges of its rows.
fn pack(pool: &Pool, matrix: Matrix<'_>, out: &mut [f32]) {
    let (inner, columns) = (matrix.rows, matrix.cols);
    let shared = SharedOut::new(out);
    pool.run(inner.div_ceil(PACK_ROWS), |task| {
        let first = task * PACK_ROWS;
        let count = PACK_ROWS.min(inner - first);
        for column in (0..columns).step_by(PANEL) {
            let width = PANEL.min(columns - column);
            // SAFETY: this task alone writes rows `first..first + count` of each panel.
            let panel = unsafe {
                let start = shared
                    .get()
                    .add((column / PANEL) * inner * PANEL + first * PANEL);
                std::slice::from_raw_parts_mut(start, count * PANEL)
            };
            if matrix.is_turned {
                turn(matrix, (first, count), (column, width), panel);
            } else {
                for (row, lanes) in panel.as_chunks_mut::<PANEL>().0.iter_mut().enumerate() {
                    let source = &matrix.data[(first + row) * matrix.stride + column..][..width];
                    lanes[..width].copy_from_slice(source);
                    lanes[width..].fill(0.0);
                }
            }
        }
    });
}

/// Part of a panel from memory whose rows are the matrix's columns.
fn turn(
    matrix: Matrix<'_>,
    (first, count): (usize, usize),
    (column, width): (usize, usize),
    panel: &mut [f32],
) {
    let panel = panel.as_chunks_mut::<PANEL>().0;
    for lane in 0..PANEL {
        if lane < width {
            let source = &matrix.data[(column + lane) * matrix.stride + first..][..count];
            for (lanes, value) in panel.iter_mut().zip(source) {
                lanes[lane] = *value;
            }
        } else {
            panel.iter_mut().for_each(|lanes| lanes[lane] = 0.0);
        }
    }
}

/// Writes `left right` to `out`: left `(rows, inner)`, right `(inner, columns)`.
pub fn matmul(pool: &Pool, left: Matrix<'_>, right: Matrix<'_>, out: Product<'_>) {
    with_scratch(panel_floats(right), |room| {
        pack(pool, right, room);
        let place = out.place(left.rows, right.cols);
        let right = Right {
            data: room,
            height: right.rows,
            first: 0,
            inner: right.rows,
            panel: 0,
            columns: right.cols,
        };
        // SAFETY: `out` is borrowed mutably.
        unsafe { multiply(Isa::best(), pool, left, right, place) };
    });
}

/// As [`matmul`], by a right matrix that is in panels already.
pub fn matmul_panels(pool: &Pool, left: Matrix<'_>, right: &Panels, out: Product<'_>) {
    let place = out.place(left.rows, right.columns);
    // SAFETY: `out` is borrowed mutably.
    unsafe { right.whole().multiply(Isa::best(), pool, left, place) };
}

/// Writes `left right` to `place`.
///
/// # Safety
/// `place` may be written for the product's rows and columns, and nobody else does.
unsafe fn multiply(isa: Isa, pool: &Pool, left: Matrix<'_>, right: Right<'_>, place: Place) {
    assert_eq!(
        left.cols, right.inner,
        "matmul: the inner dimensions differ"
    );
    let columns = right.columns;
    let panels = right.panel + columns.div_ceil(PANEL);
    let fits = right.first + right.inner <= right.height;
    assert!(
        fits && panels * right.height * PANEL <= right.data.len(),
        "matmul: right"
    );
    if left.rows == 0 || columns == 0 {
        return;
    }
    let job = Job {
        isa,
        left,
        right,
        place,
    };
    let group = panels::widest(isa).1 * PANEL;
    let groups = columns.div_ceil(group);
    let threads = pool.available();
    let row_blocks = match left.rows.div_ceil(ROW_BLOCK) {
        1 => 1,
        blocks => blocks.next_multiple_of(threads).min(left.rows),
    };
    let column_blocks = match threads {
        1 => 1,
        _ => (4 * threads).div_ceil(row_blocks).min(groups),
    };
    pool.run(row_blocks * column_blocks, |task| {
        let rows = even_part(left.rows, row_blocks, task / column_blocks);
        let (first, count) = even_part(groups, column_blocks, task % column_blocks);
        let end = ((first + count) * group).min(columns);
        job.block(rows, first * group..end);
    });
}

/// One product: what its tasks share.
#[derive(Clone, Copy)]
struct Job<'a> {
    isa: Isa,
    left: Matrix<'a>,
    right: Right<'a>,
    place: Place,
}

impl Job<'_> {
    /// The product of some rows with some columns, which this task alone writes.
    fn block(&self, (row, rows): (usize, usize), columns: std::ops::Range<usize>) {
        let (inner, height) = (self.right.inner, self.right.height);
        let (most_rows, most_panels) = panels::widest(self.isa);
        let (a_row, a_step) = match self.left.is_turned {
            true => (1, self.left.stride),
            false => (self.left.stride, 1),
        };
        for start in (0..inner.max(1)).step_by(INNER_BLOCK) {
            let k = INNER_BLOCK.min(inner - start);
            for column in columns.clone().step_by(most_panels * PANEL) {
                let width = (columns.end - column).min(most_panels * PANEL);
                for tile in 0..rows.div_ceil(most_rows) {
                    let (first, count) = even_tile(rows, most_rows, tile);
                    let first = row + first;
                    // SAFETY: `left` holds the tile's rows and `panels` its columns from `start`
                    // on, by the checks of their making; nobody else writes this part of `out`.
                    unsafe {
                        let a = self.left.data.as_ptr().add(first * a_row + start * a_step);
                        let b = self.right.data.as_ptr().add(
                            (self.right.panel * PANEL + column) * height
                                + (self.right.first + start) * PANEL,
                        );
                        let tile = Tile {
                            k,
                            a,
                            a_row,
                            a_step,
                            b,
                            b_stride: PANEL,
                            panel_stride: height * PANEL,
                            c: self.place.out.get().add(first * self.place.stride + column),
                            c_stride: self.place.stride,
                            columns: width,
                            bias: std::ptr::null(),
                            ahead: std::ptr::null(),
                            accumulate: self.place.accumulate || start > 0,
                        };
                        panels::run(self.isa, count, width.div_ceil(PANEL), &tile);
                    }
                }
            }
        }
    }
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;

    pub(crate) fn numbers(seed: usize, count: usize) -> Vec<f32> {
        (0..count)
            .map(|i| ((i * 7919 + seed * 104_729) % 1009) as f32 / 504.5 - 1.0)
            .collect()
    }

    pub(crate) fn turned(values: &[f32], cols: usize) -> Vec<f32> {
        let rows = values.len() / cols;
        (0..rows * cols)
            .map(|i| values[(i % rows) * cols + i / rows])
            .collect()
    }

    #[test]
    fn every_form_thread_and_isa_gives_the_bits_of_one_chain() {
        for (m, k, n) in [(1, 1, 1), (5, 37, 16), (150, 40, 50), (33, 1100, 49)] {
            let (a, b, start) = (numbers(1, m * k), numbers(2, k * n), numbers(3, m * n));
            let mut expected = start.clone();
            for (i, sum) in expected.iter_mut().enumerate() {
                for p in 0..k {
                    *sum = a[i / n * k + p].mul_add(b[p * n + i % n], *sum);
                }
            }
            let (a_turned, b_turned) = (turned(&a, k), turned(&b, n));
            let lefts = [
                Matrix::of_rows(&a, k),
                Matrix::of_rows(&a_turned, m).turned(),
            ];
            let rights = [
                Matrix::of_rows(&b, n),
                Matrix::of_rows(&b_turned, k).turned(),
            ];
            for (left, right) in lefts
                .iter()
                .flat_map(|l| rights.iter().map(move |r| (l, r)))
            {
                let chains = Isa::available()
                    .into_iter()
                    .filter(|isa| parts(*isa, Precision::Float32).is_none());
                for (isa, threads) in chains.flat_map(|i| [(i, 1), (i, 3)]) {
                    let (pool, mut panels) = (Pool::new(threads), Panels::default());
                    panels.pack_as(isa, &pool, *right);
                    let mut out = start.clone();
                    let product = Product {
                        data: &mut out,
                        stride: n,
                        accumulate: true,
                    };
                    let place = product.place(m, n);
                    // SAFETY: `out` is this test's alone.
                    unsafe { panels.whole().multiply(isa, &pool, *left, place) };
                    assert_eq!(out, expected, "{isa:?} {threads} ({m}, {k}, {n})");
                }
            }
        }
    }

    #[test]
    fn a_product_in_wider_rows_leaves_what_lies_between() {
        let (a, b) = (numbers(1, 6), numbers(2, 6));
        let mut out = vec![7.0; 10];
        let product = Product {
            data: &mut out,
            stride: 5,
            accumulate: false,
        };
        matmul(
            &Pool::new(1),
            Matrix::of_rows(&a, 3),
            Matrix::of_rows(&b, 2),
            product,
        );
        assert_eq!([&out[2..5], &out[7..]].concat(), [7.0; 6]);
        assert!((out[5] - (a[3] * b[0] + a[4] * b[2] + a[5] * b[4])).abs() < 1e-6);
    }
}
