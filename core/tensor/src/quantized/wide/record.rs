//! What the kernels read of blocks of activations that are as long as the weights'.

use std::ops::Range;

use super::{BLOCK, tile};
use crate::isa::{Isa, versions};
use crate::panels::even_tile;
use crate::quantized::activations::{Record, sum, write_rows};

/// Blocks of 128: behind the codes `R` scales and `R` sums of the codes, times -128.
pub(super) struct Wide;

impl Record<BLOCK> for Wide {
    const NUMBERS: usize = 4 + 4;

    fn tiles(isa: Isa, m: usize) -> Vec<Range<usize>> {
        let most = tile::rows(isa);
        let tile = |index| {
            let (first, rows) = even_tile(m, most, index);
            first..first + rows
        };
        (0..m.div_ceil(most)).map(tile).collect()
    }

    fn write(isa: Isa, x: &[f32], cols: usize, records: &mut [u8]) {
        write_wide(isa, x, cols, records);
    }

    #[inline(always)]
    fn numbers(scale: f32, codes: &[i32; BLOCK], row: usize, rows: usize, out: &mut [u8]) {
        let (scales, sums) = out.split_at_mut(rows * 4);
        let less = sum(codes).wrapping_mul(-128);
        scales[4 * row..4 * row + 4].copy_from_slice(&scale.to_ne_bytes());
        sums[4 * row..4 * row + 4].copy_from_slice(&less.to_ne_bytes());
    }
}

versions!(fn write_wide(x: &[f32], cols: usize, records: &mut [u8]) = write_rows::<Wide, BLOCK>);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_record_holds_codes_scales_and_sums() {
        let mut x = [0.0; BLOCK];
        x[..5].copy_from_slice(&[-254.0, 1.0, 3.0, -5.0, 2.5]);
        x[127] = 100.0;
        for isa in Isa::available() {
            let mut record = [9; BLOCK + Wide::NUMBERS];
            Wide::write(isa, &x, BLOCK, &mut record);
            assert_eq!(record[..6], [129, 0, 2, 254, 1, 0]);
            assert_eq!(record[127], 50);
            assert_eq!(record[128..132], 2.0f32.to_ne_bytes());
            assert_eq!(record[132..], (-76i32 * -128).to_ne_bytes());
        }
    }
}
