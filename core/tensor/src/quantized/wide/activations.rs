//! Rows of activations as signed bytes, with one scale for each 128.
//!
//! Each block is rounded, ties to even, to multiples of a 127th of its largest. Rows lie by the
//! tiles that the kernels take: for a tile of `R` rows, a record for each block, of `R` times 128
//! codes, `R` scales and `R` sums of the codes, times -128.

use std::ops::Range;

use super::{BLOCK, tile};
use crate::Pool;
use crate::isa::{Isa, versions};
use crate::panels::even_tile;

/// Bytes of a row in a record.
pub(super) const ROW_BYTES: usize = BLOCK + 4 + 4;

/// From so many elements on, threads share the work.
const SHARED: usize = 1 << 14;

/// Rounded rows, in a borrowed room.
pub(super) struct Activations<'a> {
    room: &'a [u8],
    blocks: usize,
    /// The rows of each tile.
    pub tiles: Vec<Range<usize>>,
}

impl<'a> Activations<'a> {
    /// Floats of the room that `m` rows of `cols` elements need.
    pub fn room(m: usize, cols: usize) -> usize {
        m * cols / BLOCK * ROW_BYTES / 4
    }

    /// Rounds `x`, `(m, cols)`, into `room`.
    pub fn new(isa: Isa, pool: &Pool, x: &[f32], cols: usize, room: &'a mut [f32]) -> Self {
        let (m, blocks) = (x.len() / cols, cols / BLOCK);
        let most = tile::rows(isa);
        // SAFETY: a float is four bytes, and any bytes are a float.
        let bytes = unsafe {
            std::slice::from_raw_parts_mut(room.as_mut_ptr().cast::<u8>(), room.len() * 4)
        };
        let mut tiles = Vec::with_capacity(m.div_ceil(most));
        let mut parts = Vec::with_capacity(m.div_ceil(most));
        let mut rest = &mut bytes[..m * blocks * ROW_BYTES];
        for index in 0..m.div_ceil(most) {
            let (first, rows) = even_tile(m, most, index);
            let (part, after) = rest.split_at_mut(rows * blocks * ROW_BYTES);
            rest = after;
            parts.push((&x[first * cols..(first + rows) * cols], part));
            tiles.push(first..first + rows);
        }
        let work = |(x, part): &mut (&[f32], &mut [u8])| round(isa, x, cols, part);
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

    /// The records of a tile's rows.
    pub fn records(&self, rows: &Range<usize>) -> *const u8 {
        self.room[rows.start * self.blocks * ROW_BYTES..].as_ptr()
    }
}

versions!(fn round(x: &[f32], cols: usize, records: &mut [u8]) = round_rows);

/// Writes the records of the rows of one tile.
#[inline(always)]
fn round_rows(x: &[f32], cols: usize, records: &mut [u8]) {
    let rows = x.len() / cols;
    for (r, row) in x.chunks_exact(cols).enumerate() {
        let records = records.chunks_exact_mut(rows * ROW_BYTES);
        for (values, record) in row.as_chunks::<BLOCK>().0.iter().zip(records) {
            let (codes, rest) = record.split_at_mut(rows * BLOCK);
            let (scales, sums) = rest.split_at_mut(rows * 4);
            if let Some(codes) = codes.as_chunks_mut::<BLOCK>().0.get_mut(r) {
                let (scale, sum) = round_block(values, codes);
                scales[4 * r..4 * r + 4].copy_from_slice(&scale.to_ne_bytes());
                let less = sum.wrapping_mul(-128);
                sums[4 * r..4 * r + 4].copy_from_slice(&less.to_ne_bytes());
            }
        }
    }
}

/// Writes a block's codes; gives its scale and the sum of the codes.
#[inline(always)]
fn round_block(values: &[f32; BLOCK], codes: &mut [u8; BLOCK]) -> (f32, i32) {
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
    let mut sum = 0i32;
    for code in &rounded {
        sum = sum.wrapping_add(*code);
    }
    for (code, rounded) in codes.iter_mut().zip(rounded) {
        *code = rounded as u8;
    }
    (largest / 127.0, sum)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_block_is_rounded_to_a_127th_of_its_largest() {
        let mut values = [0.0; BLOCK];
        values[..5].copy_from_slice(&[-254.0, 1.0, 3.0, -5.0, 2.5]);
        values[127] = 100.0;
        let mut codes = [9; BLOCK];
        assert_eq!(round_block(&values, &mut codes), (2.0, -76));
        // Halves are rounded to even.
        assert_eq!(codes[..5], [-127i8, 0, 2, -2, 1].map(|code| code as u8));
        assert_eq!((codes[5], codes[127]), (0, 50));
        values[3] = f32::NAN;
        assert!(round_block(&values, &mut codes).0.is_nan());
        assert_eq!(round_block(&[0.0; BLOCK], &mut codes), (0.0, 0));
    }
}
