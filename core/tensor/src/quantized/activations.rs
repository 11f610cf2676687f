//! Rows of activations as signed bytes.
//!
//! Each block of a row is rounded, ties to even, to multiples of a 127th of its largest. Rows lie by
//! the tiles that the kernels take: for a tile of `R` rows, a record for each block, of `R` times
//! its codes, and the numbers of `R` blocks that a [`Record`] puts behind them.

use std::marker::PhantomData;
use std::ops::Range;

use super::BLOCK;
use crate::Pool;
use crate::isa::{Isa, versions};

/// From so many elements on, threads share the work.
const SHARED: usize = 1 << 14;

/// What a kernel reads of blocks of `N` elements.
pub(crate) trait Record<const N: usize> {
    /// Bytes of a row's numbers.
    const NUMBERS: usize;

    /// The rows of each tile, `m` in all, each a size that there is a kernel of.
    fn tiles(isa: Isa, m: usize) -> Vec<Range<usize>>;

    /// Writes the records of the rows of one tile: [`write_rows`], as compiled for `isa`.
    fn write(isa: Isa, x: &[f32], cols: usize, records: &mut [u8]);

    /// Writes the numbers of row `row` of `rows` behind a record's codes.
    fn numbers(scale: f32, codes: &[i32; N], row: usize, rows: usize, out: &mut [u8]);
}

/// Rounded rows, in a borrowed room.
pub(crate) struct Activations<'a, R, const N: usize> {
    room: &'a [u8],
    blocks: usize,
    /// The rows of each tile, in their order.
    pub tiles: Vec<Range<usize>>,
    record: PhantomData<R>,
}

impl<'a, R: Record<N>, const N: usize> Activations<'a, R, N> {
    /// Bytes of a row in a record.
    pub(crate) const ROW_BYTES: usize = N + R::NUMBERS;

    /// Floats of the room that `m` rows of `cols` elements need.
    pub(crate) fn room(m: usize, cols: usize) -> usize {
        m * cols / N * Self::ROW_BYTES / 4
    }

    /// Rounds `x`, `(m, cols)`, into `room`.
    pub(crate) fn new(isa: Isa, pool: &Pool, x: &[f32], cols: usize, room: &'a mut [f32]) -> Self {
        let (m, blocks) = (x.len() / cols, cols / N);
        let tiles = R::tiles(isa, m);
        // SAFETY: a float is four bytes, and any bytes are a float.
        let bytes = unsafe {
            std::slice::from_raw_parts_mut(room.as_mut_ptr().cast::<u8>(), room.len() * 4)
        };
        let row_bytes = blocks * Self::ROW_BYTES;
        let mut parts = Vec::with_capacity(tiles.len());
        let mut rest = &mut bytes[..m * row_bytes];
        for rows in &tiles {
            let (part, after) = rest.split_at_mut(rows.len() * row_bytes);
            rest = after;
            parts.push((&x[rows.start * cols..rows.end * cols], part));
        }
        let work = |(x, part): &mut (&[f32], &mut [u8])| R::write(isa, x, cols, part);
        if x.len() < SHARED {
            parts.iter_mut().for_each(work);
        } else {
            let chunk = parts.len().div_ceil(4 * pool.available()).max(1);
            pool.run_chunks(&mut parts, chunk, |_, parts| {
                parts.iter_mut().for_each(work)
            });
        }
        Self {
            room: bytes,
            blocks,
            tiles,
            record: PhantomData,
        }
    }

    /// The records of a tile's rows.
    pub(crate) fn records(&self, rows: &Range<usize>) -> *const u8 {
        self.room[rows.start * self.blocks * Self::ROW_BYTES..].as_ptr()
    }
}

/// Writes the records of the rows of one tile.
#[inline(always)]
pub(super) fn write_rows<R: Record<N>, const N: usize>(x: &[f32], cols: usize, records: &mut [u8]) {
    let rows = x.len() / cols;
    for (r, row) in x.chunks_exact(cols).enumerate() {
        let records = records.chunks_exact_mut(rows * (N + R::NUMBERS));
        for (values, record) in row.as_chunks::<N>().0.iter().zip(records) {
            let (codes, numbers) = record.split_at_mut(rows * N);
            if let Some(codes) = codes.as_chunks_mut::<N>().0.get_mut(r) {
                let (scale, rounded) = round_block(values);
                for (code, rounded) in codes.iter_mut().zip(rounded) {
                    *code = rounded as u8;
                }
                R::numbers(scale, &rounded, r, rows, numbers);
            }
        }
    }
}

/// A block's scale and codes.
#[inline(always)]
fn round_block<const N: usize>(values: &[f32; N]) -> (f32, [i32; N]) {
    /// Adding it leaves a small number's integer, rounded to even, in the lowest bits.
    const ROUND: f32 = 12_582_912.0;
    // As integers the sizes of floats compare alike, and not-a-number is the largest: it must not
    // be lost.
    let mut largest = 0;
    for value in values {
        let size = value.to_bits() & 0x7fff_ffff;
        largest = if size > largest { size } else { largest };
    }
    let largest = f32::from_bits(largest);
    let inverse = if largest > 0.0 { 127.0 / largest } else { 0.0 };
    let inverse = if inverse.is_finite() { inverse } else { 0.0 };
    let mut rounded = [0i32; N];
    for (code, value) in rounded.iter_mut().zip(values) {
        *code = ((value * inverse + ROUND).to_bits() as i32).wrapping_sub(ROUND.to_bits() as i32);
    }
    (largest / 127.0, rounded)
}

/// The sum of some codes.
#[inline(always)]
pub(super) fn sum(codes: &[i32]) -> i32 {
    codes.iter().fold(0, |sum, code| sum.wrapping_add(*code))
}

/// Blocks of 32: behind the codes `R` scales, `R` scaled sums of the codes and `R` pairs of the sums
/// of the first and the last 16 codes.
pub(crate) struct Narrow;

impl Record<BLOCK> for Narrow {
    const NUMBERS: usize = 4 + 4 + 8;

    fn tiles(isa: Isa, m: usize) -> Vec<Range<usize>> {
        let mut tiles = Vec::new();
        let mut first = 0;
        while first < m {
            let rows = next_tile(isa, m - first);
            tiles.push(first..first + rows);
            first += rows;
        }
        tiles
    }

    fn write(isa: Isa, x: &[f32], cols: usize, records: &mut [u8]) {
        write_narrow(isa, x, cols, records);
    }

    #[inline(always)]
    fn numbers(scale: f32, codes: &[i32; BLOCK], row: usize, rows: usize, out: &mut [u8]) {
        let (first, last) = (sum(&codes[..BLOCK / 2]), sum(&codes[BLOCK / 2..]));
        let (scales, rest) = out.split_at_mut(rows * 4);
        let (weighted, sums) = rest.split_at_mut(rows * 4);
        let scaled = scale * (first + last) as f32;
        scales[4 * row..4 * row + 4].copy_from_slice(&scale.to_ne_bytes());
        weighted[4 * row..4 * row + 4].copy_from_slice(&scaled.to_ne_bytes());
        sums[8 * row..8 * row + 4].copy_from_slice(&first.to_ne_bytes());
        sums[8 * row + 4..8 * row + 8].copy_from_slice(&last.to_ne_bytes());
    }
}

versions!(fn write_narrow(x: &[f32], cols: usize, records: &mut [u8]) = write_rows::<Narrow, BLOCK>);

/// Rows that one tile takes at most.
const fn largest_tile(isa: Isa) -> usize {
    match isa {
        #[cfg(target_arch = "x86_64")]
        Isa::Avx512 | Isa::Vnni | Isa::Amx => 8,
        #[cfg(target_arch = "x86_64")]
        Isa::Avx2 => 4,
        #[cfg(target_arch = "aarch64")]
        Isa::Neon => 4,
        Isa::Portable => 1,
    }
}

/// Rows of the next tile where `left` rows are left.
fn next_tile(isa: Isa, left: usize) -> usize {
    let most = largest_tile(isa).min(left);
    [8, 4, 2]
        .into_iter()
        .find(|rows| *rows <= most)
        .unwrap_or(1)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_block_is_rounded_to_a_127th_of_its_largest() {
        let mut values = [0.0; BLOCK];
        values[..5].copy_from_slice(&[-254.0, 1.0, 3.0, -5.0, 2.5]);
        values[31] = 100.0;
        let (scale, codes) = round_block(&values);
        assert_eq!(scale, 2.0);
        // Halves are rounded to even.
        assert_eq!(codes[..5], [-127, 0, 2, -2, 1]);
        assert_eq!((codes[5], codes[31]), (0, 50));
    }

    #[test]
    fn a_record_holds_codes_scales_and_sums() {
        let mut x = [0.0; 2 * BLOCK];
        x[0] = -254.0;
        x[BLOCK - 1] = 100.0;
        x[BLOCK] = 127.0;
        let mut record = [9; 2 * (BLOCK + Narrow::NUMBERS)];
        for isa in Isa::available() {
            Narrow::write(isa, &x, BLOCK, &mut record);
            let float = |at: usize| f32::from_ne_bytes([0, 1, 2, 3].map(|i| record[at + i]));
            let whole = |at: usize| i32::from_ne_bytes([0, 1, 2, 3].map(|i| record[at + i]));
            assert_eq!([record[0], record[31], record[32]], [129, 50, 127]);
            assert_eq!([64, 68, 72, 76].map(float), [2.0, 1.0, -154.0, 127.0]);
            assert_eq!([80, 84, 88, 92].map(whole), [-127, 50, 127, 0]);
        }
    }

    #[test]
    fn zeros_tiny_and_broken_numbers() {
        assert_eq!(round_block(&[0.0; BLOCK]), (0.0, [0; BLOCK]));
        // Too small for an inverse: as good as zeros.
        let (scale, codes) = round_block(&[1e-40; BLOCK]);
        assert!(scale < 1e-41 && codes == [0; BLOCK]);
        let mut values = [1.0; BLOCK];
        values[3] = f32::NAN;
        assert!(round_block(&values).0.is_nan());
        values[3] = f32::NEG_INFINITY;
        assert!(round_block(&values).0.is_infinite());
    }
}
