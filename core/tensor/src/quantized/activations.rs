//! Rows of activations as signed bytes.
//!
//! Each 32 elements of a row are rounded, ties to even, to multiples of a 127th of the largest.
//! Rows lie by the tiles that the kernels take: for a tile of `R` rows, a record for each block,
//! of `R` times 32 codes, `R` scales, `R` scaled sums of the codes and `R` pairs of the sums of the
//! first and the last 16 codes.

use super::BLOCK;
use crate::Pool;
use crate::isa::{Isa, versions};

/// Bytes of a row in a record.
const ROW_BYTES: usize = BLOCK + 4 + 4 + 8;

/// From so many elements on, threads share the work.
const SHARED: usize = 1 << 14;

/// Rows that one tile takes at most.
const fn largest_tile(isa: Isa) -> usize {
    match isa {
        #[cfg(target_arch = "x86_64")]
        Isa::Avx512 | Isa::Vnni => 8,
        #[cfg(target_arch = "x86_64")]
        Isa::Avx2 => 4,
        #[cfg(target_arch = "aarch64")]
        Isa::Neon => 4,
        Isa::Portable => 1,
    }
}

/// Rows of the next tile where `left` rows are left: a size that there is a kernel of.
fn next_tile(isa: Isa, left: usize) -> usize {
    let most = largest_tile(isa).min(left);
    [8, 4, 2]
        .into_iter()
        .find(|rows| *rows <= most)
        .unwrap_or(1)
}

/// Some rows, one after the other, of one tile.
#[derive(Clone, Copy)]
pub(crate) struct ActivationTile {
    /// The first row.
    pub first: usize,
    /// How many rows.
    pub rows: usize,
}

/// Quantised rows, in a borrowed room.
pub(crate) struct Activations<'a> {
    room: &'a [u8],
    blocks: usize,
    /// The tiles that hold the rows in their order.
    pub tiles: Vec<ActivationTile>,
}

impl<'a> Activations<'a> {
    /// Floats of the room that `m` rows of `cols` elements need.
    pub(crate) fn room(m: usize, cols: usize) -> usize {
        m * cols / BLOCK * ROW_BYTES / 4
    }

    /// Quantises `x`, `(m, cols)`, into `room`.
    pub(crate) fn new(
        isa: Isa,
        pool: &Pool,
        x: &[f32],
        cols: usize,
        room: &'a mut [f32],
    ) -> Activations<'a> {
        let (m, blocks) = (x.len() / cols, cols / BLOCK);
        let mut tiles = Vec::new();
        let mut first = 0;
        while first < m {
            let rows = next_tile(isa, m - first);
            tiles.push(ActivationTile { first, rows });
            first += rows;
        }
        // SAFETY: a float is four bytes, and any bytes are a float.
        let bytes = unsafe {
            std::slice::from_raw_parts_mut(room.as_mut_ptr().cast::<u8>(), room.len() * 4)
        };
        let row_bytes = blocks * ROW_BYTES;
        let mut parts = Vec::with_capacity(tiles.len());
        let mut rest = &mut bytes[..m * row_bytes];
        for tile in &tiles {
            let (part, after) = rest.split_at_mut(tile.rows * row_bytes);
            rest = after;
            parts.push((&x[tile.first * cols..(tile.first + tile.rows) * cols], part));
        }
        let work = |(x, part): &mut (&[f32], &mut [u8])| quantize(isa, x, cols, part);
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
        }
    }

    /// The records of a tile.
    pub(crate) fn records(&self, tile: ActivationTile) -> *const u8 {
        self.room[tile.first * self.blocks * ROW_BYTES..].as_ptr()
    }
}

versions!(fn quantize(x: &[f32], cols: usize, records: &mut [u8]) = quantize_rows);

/// Writes the records of the rows of one tile.
#[inline(always)]
fn quantize_rows(x: &[f32], cols: usize, records: &mut [u8]) {
    let rows = x.len() / cols;
    for (r, row) in x.chunks_exact(cols).enumerate() {
        let records = records.chunks_exact_mut(rows * ROW_BYTES);
        for (values, record) in row.as_chunks::<BLOCK>().0.iter().zip(records) {
            let (codes, rest) = record.split_at_mut(rows * BLOCK);
            let (scales, rest) = rest.split_at_mut(rows * 4);
            let (weighted, sums) = rest.split_at_mut(rows * 4);
            let codes = &mut codes[r * BLOCK..(r + 1) * BLOCK];
            let (scale, [first, last]) = quantize_block(values, codes);
            let sum = scale * (first + last) as f32;
            scales[4 * r..4 * r + 4].copy_from_slice(&scale.to_ne_bytes());
            weighted[4 * r..4 * r + 4].copy_from_slice(&sum.to_ne_bytes());
            sums[8 * r..8 * r + 4].copy_from_slice(&first.to_ne_bytes());
            sums[8 * r + 4..8 * r + 8].copy_from_slice(&last.to_ne_bytes());
        }
    }
}

/// Writes a block's codes; gives its scale and the sums of each half's codes.
#[inline(always)]
fn quantize_block(values: &[f32; BLOCK], codes: &mut [u8]) -> (f32, [i32; 2]) {
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
    let mut rounded = [0i32; BLOCK];
    for (code, value) in rounded.iter_mut().zip(values) {
        *code = ((value * inverse + ROUND).to_bits() as i32).wrapping_sub(ROUND.to_bits() as i32);
    }
    let mut sums = [0i32; 2];
    for (sum, half) in sums.iter_mut().zip(rounded.as_chunks::<16>().0) {
        for code in half {
            *sum = sum.wrapping_add(*code);
        }
    }
    for (code, rounded) in codes.iter_mut().zip(rounded) {
        *code = rounded as u8;
    }
    (largest / 127.0, sums)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_block_is_rounded_to_a_127th_of_its_largest() {
        let mut values = [0.0; BLOCK];
        values[..5].copy_from_slice(&[-254.0, 1.0, 3.0, -5.0, 2.5]);
        values[31] = 100.0;
        let mut codes = [0; BLOCK];
        let (scale, sums) = quantize_block(&values, &mut codes);
        assert_eq!(scale, 2.0);
        // Halves are rounded to even.
        assert_eq!(codes[..5], [-127i8, 0, 2, -2, 1].map(|code| code as u8));
        assert_eq!((codes[31], sums), (50, [-126, 50]));
    }

    #[test]
    fn zeros_tiny_and_broken_numbers() {
        let mut codes = [1; BLOCK];
        assert_eq!(quantize_block(&[0.0; BLOCK], &mut codes), (0.0, [0; 2]));
        assert_eq!(codes, [0; BLOCK]);
        // Too small for an inverse: as good as zeros.
        let (scale, sums) = quantize_block(&[1e-40; BLOCK], &mut codes);
        assert!(scale < 1e-41 && sums == [0; 2]);
        let mut values = [1.0; BLOCK];
        values[3] = f32::NAN;
        assert!(quantize_block(&values, &mut codes).0.is_nan());
        values[3] = f32::NEG_INFINITY;
        assert!(quantize_block(&values, &mut codes).0.is_infinite());
    }
}
