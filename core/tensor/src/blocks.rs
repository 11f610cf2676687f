//! From ggml's blocks to floats: each value is computed as ggml's reference does.

use half::bf16;

use crate::DType;

/// Writes the elements of `row` (whole blocks of `dtype`) to `out`.
#[inline(always)]
pub(crate) fn dequantize(dtype: DType, row: &[u8], out: &mut [f32]) {
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
        DType::Q8_0 => each::<34, 32>(row, out, q8_0),
        DType::Q4_0 => each::<18, 32>(row, out, q4_0),
        DType::Q4_K => each::<144, 256>(row, out, q4_k),
        DType::Q6_K => each::<210, 256>(row, out, q6_k),
    }
}

#[inline(always)]
fn each<const BYTES: usize, const LEN: usize>(
    row: &[u8],
    out: &mut [f32],
    block: impl Fn(&[u8; BYTES], &mut [f32; LEN]),
) {
    let blocks = row.as_chunks::<BYTES>().0;
    for (bytes, values) in blocks.iter().zip(out.as_chunks_mut::<LEN>().0) {
        block(bytes, values);
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

#[inline(always)]
fn scale(bytes: &[u8], at: usize) -> f32 {
    half_to_f32(u16::from_le_bytes([bytes[at], bytes[at + 1]]))
}

#[inline(always)]
fn q8_0(block: &[u8; 34], out: &mut [f32; 32]) {
    let d = scale(block, 0);
    for i in 0..32 {
        out[i] = f32::from(block[2 + i] as i8) * d;
    }
}

#[inline(always)]
fn q4_0(block: &[u8; 18], out: &mut [f32; 32]) {
    let d = scale(block, 0);
    for i in 0..16 {
        let byte = block[2 + i];
        out[i] = (f32::from(byte & 15) - 8.0) * d;
        out[i + 16] = (f32::from(byte >> 4) - 8.0) * d;
    }
}

/// The six-bit scales and minima of a Q4_K block's eight groups, a byte each, from three
/// little-endian words.
#[inline(always)]
pub(crate) fn q4_k_scales(packed: [u32; 3]) -> (u64, u64) {
    let [a, b, c] = packed.map(u32::from_le);
    let six = |word: u32| u64::from(word & 0x3f3f_3f3f);
    let high = |word: u32| ((word >> 6) & 0x0303_0303) << 4;
    (
        six(a) | u64::from((c & 0x0f0f_0f0f) | high(a)) << 32,
        six(b) | u64::from(((c >> 4) & 0x0f0f_0f0f) | high(b)) << 32,
    )
}

#[inline(always)]
fn q4_k(block: &[u8; 144], out: &mut [f32; 256]) {
    let (d, dmin) = (scale(block, 0), scale(block, 2));
    let word =
        |at: usize| u32::from_ne_bytes([block[at], block[at + 1], block[at + 2], block[at + 3]]);
    let (scales, minima) = q4_k_scales([word(4), word(8), word(12)]);
    let (scales, minima) = (scales.to_le_bytes(), minima.to_le_bytes());
    for pair in 0..4 {
        let (s0, m0) = (scales[2 * pair], minima[2 * pair]);
        let (s1, m1) = (scales[2 * pair + 1], minima[2 * pair + 1]);
        let (d0, o0) = (d * f32::from(s0), dmin * f32::from(m0));
        let (d1, o1) = (d * f32::from(s1), dmin * f32::from(m1));
        let quants = &block[16 + 32 * pair..48 + 32 * pair];
        let (low, high) = out[64 * pair..64 * pair + 64].split_at_mut(32);
        for i in 0..32 {
            low[i] = d0 * f32::from(quants[i] & 15) - o0;
            high[i] = d1 * f32::from(quants[i] >> 4) - o1;
        }
    }
}

#[inline(always)]
fn q6_k(block: &[u8; 210], out: &mut [f32; 256]) {
    let d = scale(block, 208);
    for half in 0..2 {
        let ql = &block[64 * half..64 * half + 64];
        let qh = &block[128 + 32 * half..160 + 32 * half];
        let scales = &block[192 + 8 * half..200 + 8 * half];
        let out = &mut out[128 * half..128 * half + 128];
        for part in 0..4 {
            let bytes = &ql[32 * (part & 1)..32 * (part & 1) + 32];
            let (low_shift, high_shift) = (4 * (part as u32 >> 1), 2 * part as u32);
            let values = &mut out[32 * part..32 * part + 32];
            for group in 0..2 {
                let scaled = d * f32::from(scales[2 * part + group] as i8);
                for i in 16 * group..16 * group + 16 {
                    let low = (bytes[i] >> low_shift) & 15;
                    let high = ((qh[i] >> high_shift) & 3) << 4;
                    values[i] = scaled * (f32::from(low | high) - 32.0);
                }
            }
        }
    }
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
