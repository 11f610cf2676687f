//! Rows of keys and values as floats, from the forms in which pages store them.

use half::f16;

use crate::attention::{BLOCK, BLOCK_BYTES};
use crate::blocks::half_to_f32;
use crate::isa::versions;

versions!(pub(crate) fn floats_of_halves(halves: &[f16], out: &mut [f32]) = halves_body);

versions!(pub(crate) fn floats_of_blocks(blocks: &[u8], out: &mut [f32]) = blocks_body);

#[inline(always)]
fn halves_body(halves: &[f16], out: &mut [f32]) {
    for (out, half) in out.iter_mut().zip(halves) {
        *out = half_to_f32(half.to_bits());
    }
}

/// `blocks` of a scale and 32 signed bytes each.
#[inline(always)]
fn blocks_body(blocks: &[u8], out: &mut [f32]) {
    let blocks = blocks.as_chunks::<BLOCK_BYTES>().0;
    for (block, out) in blocks.iter().zip(out.as_chunks_mut::<BLOCK>().0) {
        let scale = half_to_f32(u16::from_le_bytes([block[0], block[1]]));
        for i in 0..BLOCK {
            out[i] = scale * f32::from(block[2 + i] as i8);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::attention::{halve_kv, quantize_kv};
    use crate::isa::Isa;

    #[test]
    fn every_isa_reads_the_same_numbers() {
        let values: Vec<f32> = (0..96)
            .map(|i| ((i * 7919) % 2003) as f32 / 777.0 - 1.3)
            .collect();
        let mut halves = vec![f16::ZERO; 96];
        halve_kv(&values, &mut halves);
        let mut blocks = vec![0u8; 96 / BLOCK * BLOCK_BYTES];
        quantize_kv(&values, &mut blocks);
        let exact: Vec<f32> = halves.iter().map(|half| half.to_f32()).collect();
        for isa in Isa::available() {
            // A head's length need be a multiple of nothing.
            let mut out = vec![f32::NAN; 91];
            floats_of_halves(isa, &halves[..91], &mut out);
            assert_eq!(out, exact[..91], "{isa:?}");
            let mut out = vec![f32::NAN; 96];
            floats_of_blocks(isa, &blocks, &mut out);
            for (block, out) in blocks
                .chunks_exact(BLOCK_BYTES)
                .zip(out.chunks_exact(BLOCK))
            {
                let scale = f16::from_le_bytes([block[0], block[1]]).to_f32();
                let expected: Vec<f32> = block[2..]
                    .iter()
                    .map(|code| scale * f32::from(*code as i8))
                    .collect();
                assert_eq!(out, expected, "{isa:?}");
            }
        }
    }
}
