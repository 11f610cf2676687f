//! From stored rows to the lines and scales of a panel.

use super::format::{Format, Iq4Nl, Mxfp4, Q4_0, Q4_1, Q4K, Q5_0, Q5_1, Q5K, Q6K, Q8_0};
use super::{BLOCK, LINE, PANEL};
use crate::DType;
use crate::blocks::scales_and_minima;
use crate::isa::versions;

versions!(pub(super) fn repack(dtype: DType, rows: &[u8], lines: &mut [u8], scales: &mut [u8]) = panel);

/// Writes up to sixteen whole rows of `dtype` to their lanes.
#[inline(always)]
fn panel(dtype: DType, rows: &[u8], lines: &mut [u8], scales: &mut [u8]) {
    /// Gives each of the rows' units, stored in `$bytes` bytes, with its place to `$write`: no
    /// function, which the instructions of this one would not reach.
    macro_rules! each {
        ($bytes:literal, $format:ty, $write:expr) => {{
            let unit_bytes = <$format>::UNIT * <$format>::LINE_BYTES;
            let units = lines.len() / unit_bytes;
            for (index, stored) in rows.as_chunks::<$bytes>().0.iter().enumerate() {
                let (lane, unit) = (index / units, index % units);
                let scale_bytes = <$format>::UNIT_BYTES;
                let mut place = Unit {
                    lane,
                    lines: &mut lines[unit * unit_bytes..(unit + 1) * unit_bytes],
                    scales: &mut scales[unit * scale_bytes..(unit + 1) * scale_bytes],
                };
                $write(stored, &mut place);
            }
        }};
    }
    match dtype {
        DType::Q8_0 => each!(34, Q8_0, q8_0),
        DType::Q4_0 => each!(18, Q4_0, four_bits::<18, 2>),
        DType::IQ4_NL => each!(18, Iq4Nl, four_bits::<18, 2>),
        DType::MXFP4 => each!(17, Mxfp4, four_bits::<17, 1>),
        DType::Q4_1 => each!(20, Q4_1, four_bits::<20, 4>),
        DType::Q5_0 => each!(22, Q5_0, five_bits::<22, 2>),
        DType::Q5_1 => each!(24, Q5_1, five_bits::<24, 4>),
        DType::Q4_K => each!(144, Q4K, q4_k),
        DType::Q5_K => each!(176, Q5K, q5_k),
        DType::Q6_K => each!(210, Q6K, q6_k),
        _ => {}
    }
}

/// The place of one row's unit: blocks that share scales.
struct Unit<'a> {
    lane: usize,
    lines: &'a mut [u8],
    scales: &'a mut [u8],
}

impl Unit<'_> {
    #[inline(always)]
    fn put_line(&mut self, line: usize, word: u32) {
        let at = line * LINE + 4 * self.lane;
        self.lines[at..at + 4].copy_from_slice(&word.to_ne_bytes());
    }

    /// Writes the row's `bytes` of the scales that stand from `at` on.
    #[inline(always)]
    fn put_scale(&mut self, at: usize, bytes: &[u8]) {
        let at = at + self.lane * bytes.len();
        self.scales[at..at + bytes.len()].copy_from_slice(bytes);
    }

    /// Writes a block's codes of `BITS` (4, 5, 6 or 8) bits.
    #[inline(always)]
    fn put_codes<const BITS: usize>(&mut self, block: usize, codes: &[u8; BLOCK]) {
        let start = block * BITS;
        let words: [u32; 8] = std::array::from_fn(|t| {
            u32::from_ne_bytes([
                codes[4 * t],
                codes[4 * t + 1],
                codes[4 * t + 2],
                codes[4 * t + 3],
            ])
        });
        if BITS == 8 {
            for (t, word) in words.into_iter().enumerate() {
                self.put_line(start + t, word);
            }
            return;
        }
        for t in 0..4 {
            let pair = words[t] & 0x0f0f_0f0f | (words[t + 4] & 0x0f0f_0f0f) << 4;
            self.put_line(start + t, pair);
        }
        let high = |t: usize| (words[t] >> 4) & 0x0303_0303;
        if BITS == 5 {
            let all = (0..8).fold(0, |all, t| all | high(t) << t);
            self.put_line(start + 4, all);
        } else if BITS == 6 {
            for half in 0..2 {
                let all = (0..4).fold(0, |all, t| all | high(4 * half + t) << (2 * t));
                self.put_line(start + 4 + half, all);
            }
        }
    }
}

#[inline(always)]
fn q8_0(stored: &[u8; 34], unit: &mut Unit<'_>) {
    unit.put_scale(0, &stored[..2]);
    let codes = std::array::from_fn(|i| stored[2 + i]);
    unit.put_codes::<8>(0, &codes);
}

/// Bytes of one of a block's halves in a panel.
const HALVES: usize = 2 * PANEL;

/// The scale of `HEAD` bytes, or the half scale and the half minimum.
#[inline(always)]
fn put_head<const HEAD: usize>(stored: &[u8], unit: &mut Unit<'_>) {
    unit.put_scale(0, &stored[..HEAD.min(2)]);
    if HEAD == 4 {
        unit.put_scale(HALVES, &stored[2..4]);
    }
}

/// A block of `HEAD` bytes of scale, and codes two to a byte.
#[inline(always)]
fn four_bits<const BYTES: usize, const HEAD: usize>(stored: &[u8; BYTES], unit: &mut Unit<'_>) {
    put_head::<HEAD>(stored, unit);
    let codes = std::array::from_fn(|i| stored[HEAD + i % 16] >> (4 * (i / 16)) & 15);
    unit.put_codes::<4>(0, &codes);
}

/// A block of `HEAD` bytes of scale, a word of fifth bits, and the low bits two to a byte.
#[inline(always)]
fn five_bits<const BYTES: usize, const HEAD: usize>(stored: &[u8; BYTES], unit: &mut Unit<'_>) {
    put_head::<HEAD>(stored, unit);
    let codes = std::array::from_fn(|i| {
        let fifth = stored[HEAD + i / 8] >> (i % 8) & 1;
        stored[HEAD + 4 + i % 16] >> (4 * (i / 16)) & 15 | fifth << 4
    });
    unit.put_codes::<5>(0, &codes);
}

/// The scales and minima of a Q4_K or Q5_K block, the minima negated: they are added.
#[inline(always)]
fn put_k_scales(stored: &[u8], unit: &mut Unit<'_>) {
    unit.put_scale(0, &stored[..2]);
    unit.put_scale(HALVES, &[stored[2], stored[3] ^ 0x80]);
    let (scales, minima) = scales_and_minima(&stored[4..16]);
    for block in 0..8 {
        let at = 2 * HALVES + block * 2 * PANEL;
        unit.put_scale(at, &[scales[block]]);
        unit.put_scale(at + PANEL, &[minima[block]]);
    }
}

#[inline(always)]
fn q4_k(stored: &[u8; 144], unit: &mut Unit<'_>) {
    put_k_scales(stored, unit);
    for block in 0..8 {
        let bytes = &stored[16 + 32 * (block / 2)..48 + 32 * (block / 2)];
        let codes = std::array::from_fn(|i| bytes[i] >> (4 * (block % 2)) & 15);
        unit.put_codes::<4>(block, &codes);
    }
}

#[inline(always)]
fn q5_k(stored: &[u8; 176], unit: &mut Unit<'_>) {
    put_k_scales(stored, unit);
    let fifth = &stored[16..48];
    for block in 0..8 {
        let bytes = &stored[48 + 32 * (block / 2)..80 + 32 * (block / 2)];
        let codes = std::array::from_fn(|i| {
            bytes[i] >> (4 * (block % 2)) & 15 | (fifth[i] >> block & 1) << 4
        });
        unit.put_codes::<5>(block, &codes);
    }
}

#[inline(always)]
fn q6_k(stored: &[u8; 210], unit: &mut Unit<'_>) {
    unit.put_scale(0, &stored[208..]);
    for block in 0..8 {
        // Each 128 elements have 64 bytes of low bits and 32 of high ones.
        let (half, part) = (block / 4, block % 4);
        let low = &stored[64 * half + 32 * (part % 2)..][..32];
        let high = &stored[128 + 32 * half..][..32];
        let codes = std::array::from_fn(|i| {
            low[i] >> (4 * (part / 2)) & 15 | (high[i] >> (2 * part) & 3) << 4
        });
        unit.put_codes::<6>(block, &codes);
        let at = HALVES + block * 2 * PANEL;
        unit.put_scale(at, &[stored[192 + 2 * block]]);
        unit.put_scale(at + PANEL, &[stored[193 + 2 * block]]);
    }
}
