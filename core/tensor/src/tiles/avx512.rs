//! Tiles filled by AVX-512: conversion in pairs of vectors, and turning in registers.

use std::arch::x86_64::*;

use super::pack::Part;
use super::{Operand, SIDE, STEPS, Tile};

/// Fills `tile` as the portable form does.
///
/// # Safety
/// The machine has AVX-512 F, BW and BF16, and `part` is within its memory.
#[target_feature(enable = "avx512f,avx512bw,avx512bf16")]
pub(super) unsafe fn fill(part: &Part<'_>, tile: &mut Tile) {
    let mut pairs = [_mm512_setzero_si512(); SIDE];
    // SAFETY: rows and columns that are not there are masked, or not reached.
    unsafe {
        if part.by_steps {
            of_steps(part, &mut pairs);
        } else {
            of_lines(part, &mut pairs);
        }
    }
    // Pairs stand as rows of lines or as rows of steps; tiles want the one or the other.
    if part.by_steps == (part.operand == Operand::Left) {
        turn(&mut pairs);
    }
    let out: *mut Tile = tile;
    for (row, pairs) in pairs.iter().enumerate() {
        // SAFETY: a tile is sixteen aligned vectors.
        unsafe { _mm512_store_si512(out.cast::<__m512i>().add(row), *pairs) };
    }
}

fn mask(columns: usize) -> __mmask16 {
    ((1u32 << columns.min(SIDE)) - 1) as __mmask16
}

/// One vector a line: its 32 steps in order.
#[target_feature(enable = "avx512f,avx512bw,avx512bf16")]
unsafe fn of_lines(part: &Part<'_>, pairs: &mut [__m512i; SIDE]) {
    let low = mask(part.columns);
    let high = mask(part.columns.saturating_sub(SIDE));
    let is_whole = part.columns == STEPS;
    for (row, pairs) in pairs.iter_mut().enumerate().take(part.rows) {
        // SAFETY: row `row` has `columns` elements; the others are masked.
        unsafe {
            let start = part.data.as_ptr().add(row * part.stride);
            let next = start.wrapping_add(SIDE);
            let below = start.wrapping_add(SIDE * part.stride);
            _mm_prefetch::<_MM_HINT_T1>(below.cast());
            _mm_prefetch::<_MM_HINT_T1>(below.wrapping_add(SIDE).cast());
            let (first, second) = if is_whole {
                (_mm512_loadu_ps(start), _mm512_loadu_ps(next))
            } else {
                (
                    _mm512_maskz_loadu_ps(low, start),
                    _mm512_maskz_loadu_ps(high, next),
                )
            };
            *pairs = std::mem::transmute::<__m512bh, __m512i>(_mm512_cvtne2ps_pbh(second, first));
        }
    }
}

/// One vector a pair of steps: the two steps of each line side by side.
#[target_feature(enable = "avx512f,avx512bw,avx512bf16")]
unsafe fn of_steps(part: &Part<'_>, pairs: &mut [__m512i; SIDE]) {
    let zip: [u16; 32] = std::array::from_fn(|i| (i / 2 + 16 * (i % 2)) as u16);
    let lanes = mask(part.columns);
    for (pair, pairs) in pairs.iter_mut().enumerate().take(part.rows.div_ceil(2)) {
        // SAFETY: row `2 * pair` is there; the one behind it is read where it is.
        unsafe {
            let zip = _mm512_loadu_si512(zip.as_ptr().cast());
            let start = part.data.as_ptr().add(2 * pair * part.stride);
            let below = start.wrapping_add(STEPS * part.stride);
            _mm_prefetch::<_MM_HINT_T1>(below.cast());
            _mm_prefetch::<_MM_HINT_T1>(below.wrapping_add(part.stride).cast());
            let first = _mm512_maskz_loadu_ps(lanes, start);
            let second = if 2 * pair + 1 < part.rows {
                _mm512_maskz_loadu_ps(lanes, start.add(part.stride))
            } else {
                _mm512_setzero_ps()
            };
            let both = std::mem::transmute::<__m512bh, __m512i>(_mm512_cvtne2ps_pbh(second, first));
            *pairs = _mm512_permutexvar_epi16(zip, both);
        }
    }
}

/// Turns sixteen rows of sixteen words.
#[target_feature(enable = "avx512f")]
#[inline]
fn turn(rows: &mut [__m512i; SIDE]) {
    let mut twos = [_mm512_setzero_si512(); SIDE];
    for i in 0..SIDE / 2 {
        twos[2 * i] = _mm512_unpacklo_epi32(rows[2 * i], rows[2 * i + 1]);
        twos[2 * i + 1] = _mm512_unpackhi_epi32(rows[2 * i], rows[2 * i + 1]);
    }
    let mut fours = [_mm512_setzero_si512(); SIDE];
    for i in 0..SIDE / 4 {
        for half in 0..2 {
            let (first, second) = (twos[4 * i + half], twos[4 * i + 2 + half]);
            fours[4 * i + 2 * half] = _mm512_unpacklo_epi64(first, second);
            fours[4 * i + 2 * half + 1] = _mm512_unpackhi_epi64(first, second);
        }
    }
    // `fours[4 * i + j]` holds, in its four quarters q, words 4 * q + j of rows 4 * i to 4 * i + 3.
    for j in 0..4 {
        let (a, b) = (fours[j], fours[4 + j]);
        let (c, d) = (fours[8 + j], fours[12 + j]);
        let low = _mm512_shuffle_i32x4::<0x88>(a, b);
        let high = _mm512_shuffle_i32x4::<0xdd>(a, b);
        let low_next = _mm512_shuffle_i32x4::<0x88>(c, d);
        let high_next = _mm512_shuffle_i32x4::<0xdd>(c, d);
        rows[j] = _mm512_shuffle_i32x4::<0x88>(low, low_next);
        rows[8 + j] = _mm512_shuffle_i32x4::<0xdd>(low, low_next);
        rows[4 + j] = _mm512_shuffle_i32x4::<0x88>(high, high_next);
        rows[12 + j] = _mm512_shuffle_i32x4::<0xdd>(high, high_next);
    }
}
