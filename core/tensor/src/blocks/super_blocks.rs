//! Blocks of 256 elements in groups, whose scales are quantised themselves.

use super::scale;

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

/// The same from the twelve bytes of a Q4_K or Q5_K block.
#[inline(always)]
pub(crate) fn scales_and_minima(packed: &[u8]) -> ([u8; 8], [u8; 8]) {
    let word = |at: usize| {
        u32::from_ne_bytes([packed[at], packed[at + 1], packed[at + 2], packed[at + 3]])
    };
    let (scales, minima) = q4_k_scales([word(0), word(4), word(8)]);
    (scales.to_le_bytes(), minima.to_le_bytes())
}

#[inline(always)]
pub(super) fn q4_k(block: &[u8; 144], out: &mut [f32; 256]) {
    let (d, dmin) = (scale(block, 0), scale(block, 2));
    let (scales, minima) = scales_and_minima(&block[4..16]);
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
pub(super) fn q6_k(block: &[u8; 210], out: &mut [f32; 256]) {
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

#[inline(always)]
pub(super) fn q5_k(block: &[u8; 176], out: &mut [f32; 256]) {
    let (d, dmin) = (scale(block, 0), scale(block, 2));
    let (scales, minima) = scales_and_minima(&block[4..16]);
    let fifth = &block[16..48];
    for group in 0..8 {
        let (scale, offset) = (
            d * f32::from(scales[group]),
            dmin * f32::from(minima[group]),
        );
        let bytes = &block[48 + 32 * (group / 2)..80 + 32 * (group / 2)];
        let values = &mut out[32 * group..32 * group + 32];
        for i in 0..32 {
            let low = (bytes[i] >> (4 * (group % 2))) & 15;
            let high = ((fifth[i] >> group) & 1) << 4;
            values[i] = scale * f32::from(low | high) - offset;
        }
    }
}

#[inline(always)]
pub(super) fn q2_k(block: &[u8; 84], out: &mut [f32; 256]) {
    let (d, dmin) = (scale(block, 80), scale(block, 82));
    for group in 0..16 {
        let packed = block[group];
        let (scale, offset) = (d * f32::from(packed & 15), dmin * f32::from(packed >> 4));
        let bytes = &block[16 + 32 * (group / 8) + 16 * (group % 2)..];
        let values = &mut out[16 * group..16 * group + 16];
        for i in 0..16 {
            let code = (bytes[i] >> (2 * (group % 8 / 2))) & 3;
            values[i] = scale * f32::from(code) - offset;
        }
    }
}

/// The sixteen six-bit scales, less 32, of a Q3_K block: four low bits each, two to a byte, and
/// behind them two high bits each, four to a byte.
#[inline(always)]
fn q3_k_scales(packed: &[u8]) -> [i8; 16] {
    std::array::from_fn(|group| {
        let low = (packed[group % 8] >> (4 * (group / 8))) & 15;
        let high = (packed[8 + group % 4] >> (2 * (group / 4))) & 3;
        (low | high << 4) as i8 - 32
    })
}

#[inline(always)]
pub(super) fn q3_k(block: &[u8; 110], out: &mut [f32; 256]) {
    let d = scale(block, 108);
    let scales = q3_k_scales(&block[96..108]);
    for group in 0..16 {
        let scale = d * f32::from(scales[group]);
        let third = &block[16 * (group % 2)..];
        let bytes = &block[32 + 32 * (group / 8) + 16 * (group % 2)..];
        let values = &mut out[16 * group..16 * group + 16];
        for i in 0..16 {
            let low = (bytes[i] >> (2 * (group % 8 / 2))) & 3;
            let high = ((third[i] >> (group / 2)) & 1) << 2;
            values[i] = scale * (f32::from(low | high) - 4.0);
        }
    }
}
