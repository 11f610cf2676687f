//! Blocks of one group of 32 elements.

use super::scale;

#[inline(always)]
pub(super) fn q8_0(block: &[u8; 34], out: &mut [f32; 32]) {
    let d = scale(block, 0);
    for i in 0..32 {
        out[i] = f32::from(block[2 + i] as i8) * d;
    }
}

#[inline(always)]
pub(super) fn q4_0(block: &[u8; 18], out: &mut [f32; 32]) {
    let d = scale(block, 0);
    for i in 0..16 {
        let byte = block[2 + i];
        out[i] = (f32::from(byte & 15) - 8.0) * d;
        out[i + 16] = (f32::from(byte >> 4) - 8.0) * d;
    }
}

#[inline(always)]
pub(super) fn q4_1(block: &[u8; 20], out: &mut [f32; 32]) {
    let (d, m) = (scale(block, 0), scale(block, 2));
    for i in 0..16 {
        let byte = block[4 + i];
        out[i] = f32::from(byte & 15) * d + m;
        out[i + 16] = f32::from(byte >> 4) * d + m;
    }
}

/// The five-bit numbers of a block: four low bits each, two to a byte, and the fifth bits of all in
/// a word.
#[inline(always)]
fn five_bits(fifth: &[u8], low: &[u8], code: impl Fn(u8) -> f32, out: &mut [f32; 32]) {
    let fifth = u32::from_le_bytes([fifth[0], fifth[1], fifth[2], fifth[3]]);
    for i in 0..16 {
        let high = |at: usize| ((fifth >> at) as u8 & 1) << 4;
        out[i] = code(low[i] & 15 | high(i));
        out[i + 16] = code(low[i] >> 4 | high(i + 16));
    }
}

#[inline(always)]
pub(super) fn q5_0(block: &[u8; 22], out: &mut [f32; 32]) {
    let d = scale(block, 0);
    let code = |code| (f32::from(code) - 16.0) * d;
    five_bits(&block[2..6], &block[6..], code, out);
}

#[inline(always)]
pub(super) fn q5_1(block: &[u8; 24], out: &mut [f32; 32]) {
    let (d, m) = (scale(block, 0), scale(block, 2));
    let code = |code| f32::from(code) * d + m;
    five_bits(&block[4..8], &block[8..], code, out);
}

/// The values of IQ4_NL's sixteen codes.
pub(crate) const IQ4_NL_VALUES: [i8; 16] = [
    -127, -104, -83, -65, -49, -35, -22, -10, 1, 13, 25, 38, 53, 69, 89, 113,
];

/// Twice the values of E2M1's sixteen codes.
pub(crate) const MXFP4_VALUES: [i8; 16] = [0, 1, 2, 3, 4, 6, 8, 12, 0, -1, -2, -3, -4, -6, -8, -12];

/// Half of E8M0's power of two, which goes with twice the values.
#[inline(always)]
pub(crate) fn half_of_e8m0(exponent: u8) -> f32 {
    match exponent {
        0 | 1 => f32::from_bits(0x0020_0000 << exponent),
        _ => f32::from_bits(u32::from(exponent - 1) << 23),
    }
}

#[inline(always)]
fn table(codes: &[u8], values: &[i8; 16], d: f32, out: &mut [f32; 32]) {
    for i in 0..16 {
        out[i] = f32::from(values[usize::from(codes[i] & 15)]) * d;
        out[i + 16] = f32::from(values[usize::from(codes[i] >> 4)]) * d;
    }
}

#[inline(always)]
pub(super) fn iq4_nl(block: &[u8; 18], out: &mut [f32; 32]) {
    table(&block[2..], &IQ4_NL_VALUES, scale(block, 0), out);
}

#[inline(always)]
pub(super) fn mxfp4(block: &[u8; 17], out: &mut [f32; 32]) {
    table(&block[1..], &MXFP4_VALUES, half_of_e8m0(block[0]), out);
}
