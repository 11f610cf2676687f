//! From ggml's blocks to floats: each value is computed as ggml's reference does.

mod groups;
mod super_blocks;

use half::bf16;

use crate::DType;
pub(crate) use groups::{IQ4_NL_VALUES, MXFP4_VALUES, half_of_e8m0};
use groups::{iq4_nl, mxfp4, q4_0, q4_1, q5_0, q5_1, q8_0};
pub(crate) use super_blocks::scales_and_minima;
use super_blocks::{q2_k, q3_k, q4_k, q5_k, q6_k};

/// Writes the elements of `row` (whole blocks of `dtype`) to `out`.
#[inline(always)]
pub(crate) fn dequantize(dtype: DType, row: &[u8], out: &mut [f32]) {
    /// Gives each block of `$bytes` bytes with its `$len` values to `$block`: no function, which
    /// the instructions of this one would not reach.
    macro_rules! each {
        ($bytes:literal, $len:literal, $block:path) => {
            for (bytes, values) in row
                .as_chunks::<$bytes>()
                .0
                .iter()
                .zip(out.as_chunks_mut::<$len>().0)
            {
                $block(bytes, values);
            }
        };
    }
    match dtype {
        DType::F32 => {
            for (bytes, value) in row.as_chunks::<4>().0.iter().zip(out) {
                *value = f32::from_le_bytes(*bytes);
            }
        }
        DType::F16 => {
            for (bytes, value) in row.as_chunks::<2>().0.iter().zip(out) {
                *value = half_to_f32(u16::from_le_bytes(*bytes));
            }
        }
        DType::BF16 => {
            for (bytes, value) in row.as_chunks::<2>().0.iter().zip(out) {
                *value = bf16::from_le_bytes(*bytes).to_f32();
            }
        }
        DType::Q8_0 => each!(34, 32, q8_0),
        DType::Q4_0 => each!(18, 32, q4_0),
        DType::Q4_1 => each!(20, 32, q4_1),
        DType::Q5_0 => each!(22, 32, q5_0),
        DType::Q5_1 => each!(24, 32, q5_1),
        DType::IQ4_NL => each!(18, 32, iq4_nl),
        DType::MXFP4 => each!(17, 32, mxfp4),
        DType::Q2_K => each!(84, 256, q2_k),
        DType::Q3_K => each!(110, 256, q3_k),
        DType::Q4_K => each!(144, 256, q4_k),
        DType::Q5_K => each!(176, 256, q5_k),
        DType::Q6_K => each!(210, 256, q6_k),
    }
}

/// A half's value, by integer arithmetic only, so that it vectorises without F16C.
#[inline(always)]
pub(crate) fn half_to_f32(bits: u16) -> f32 {
    let magnitude = u32::from(bits & 0x7fff);
    let sign = u32::from(bits & 0x8000) << 16;
    // Rebiasing by a multiplication makes subnormals come out right; exact, as powers of two are.
    let finite = f32::from_bits(magnitude << 13) * f32::from_bits(0x7780_0000);
    let special = f32::from_bits((magnitude << 13) | 0x7f80_0000);
    let value = if magnitude >= 0x7c00 { special } else { finite };
    f32::from_bits(value.to_bits() | sign)
}

/// The half at a place, as a float.
#[inline(always)]
fn scale(bytes: &[u8], at: usize) -> f32 {
    half_to_f32(u16::from_le_bytes([bytes[at], bytes[at + 1]]))
}

#[cfg(test)]
mod tests {
    use super::*;
    use half::f16;

    #[test]
    fn every_half_is_its_value() {
        for bits in 0..=u16::MAX {
            let expected = f16::from_bits(bits).to_f32();
            let got = half_to_f32(bits);
            assert!(got.to_bits() == expected.to_bits() || (got.is_nan() && expected.is_nan()));
        }
    }

    #[test]
    fn quantised_blocks_follow_ggml() {
        let mut q8 = [0u8; 34];
        q8[..2].copy_from_slice(&f16::from_f32(0.5).to_le_bytes());
        q8[2] = (-128i8) as u8;
        q8[33] = 127;
        let mut out = [0.0; 32];
        dequantize(DType::Q8_0, &q8, &mut out);
        assert_eq!((out[0], out[1], out[31]), (-64.0, 0.0, 63.5));

        let mut q4 = [0u8; 18];
        q4[..2].copy_from_slice(&f16::from_f32(2.0).to_le_bytes());
        q4[2] = 0xf0;
        dequantize(DType::Q4_0, &q4, &mut out);
        assert_eq!((out[0], out[16], out[1]), (-16.0, 14.0, -16.0));

        let mut q4k = [0u8; 144];
        q4k[..2].copy_from_slice(&f16::from_f32(1.0).to_le_bytes());
        q4k[2..4].copy_from_slice(&f16::from_f32(0.5).to_le_bytes());
        q4k[4] = 3; // scale of group 0
        q4k[8] = 2; // minimum of group 0
        q4k[4 + 8] = 0x21; // group 4: scale low bits 1, minimum low bits 2
        q4k[4] |= 0b0100_0000; // group 4: scale high bits
        q4k[16] = 0x0f;
        q4k[16 + 64] = 0x01;
        let mut out = [0.0; 256];
        dequantize(DType::Q4_K, &q4k, &mut out);
        assert_eq!((out[0], out[1]), (44.0, -1.0));
        assert_eq!((out[128], out[129]), (17.0 - 1.0, -1.0));

        let mut q6k = [0u8; 210];
        q6k[208..].copy_from_slice(&f16::from_f32(1.0).to_le_bytes());
        q6k[192..208].fill(1);
        q6k[207] = (-2i8) as u8;
        q6k[0] = 0x0f;
        q6k[128] = 0b11;
        dequantize(DType::Q6_K, &q6k, &mut out);
        assert_eq!((out[0], out[1], out[255]), (31.0, -32.0, 64.0));
    }
}
