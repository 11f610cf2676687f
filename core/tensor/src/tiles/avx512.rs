//! Tiles filled by AVX-512: conversion in pairs of vectors, and turning in registers.

use std::arch::x86_64::*;

use super::pack::Part;
use super::{Operand, SIDE, STEPS, Tile};

/// Sixteen rows of pairs.
type Pairs = [__m512i; SIDE];

/// Fills the tiles of the parts as the portable form does.
///
/// # Safety
/// The machine has AVX-512 F, BW and BF16, and `part` is within its memory.
#[target_feature(enable = "avx512f,avx512bw,avx512bf16")]
pub(super) unsafe fn fill<const PARTS: usize>(part: &Part<'_>, tiles: [&mut Tile; PARTS]) {
    let mut tiles = tiles.map(|tile| {
        let tile: *mut Tile = tile;
        tile.cast::<__m512i>()
    });
    // SAFETY: rows and columns that are not there are masked, or not reached; a tile is sixteen
    // aligned vectors.
    unsafe {
        let there = if part.by_steps {
            of_steps(part, &mut tiles);
            part.rows.div_ceil(2)
        } else {
            of_lines(part, &mut tiles);
            part.rows
        };
        for tile in tiles {
            for row in there..SIDE {
                _mm512_store_si512(tile.add(row), _mm512_setzero_si512());
            }
            // Pairs stand as rows of lines or as rows of steps; tiles want the one or the other.
            if part.by_steps == (part.operand == Operand::Left) {
                let mut rows: Pairs = std::array::from_fn(|row| _mm512_load_si512(tile.add(row)));
                turn(&mut rows);
                for (row, pairs) in rows.iter().enumerate() {
                    _mm512_store_si512(tile.add(row), *pairs);
                }
            }
        }
    }
}

/// The upper halves of two vectors' words, rounded or as they are, joined by `join`.
#[target_feature(enable = "avx512f,avx512bw,avx512bf16")]
#[inline]
unsafe fn split<const PARTS: usize>(
    (mut first, mut second): (__m512, __m512),
    join: impl Fn(__m512i, __m512i) -> __m512i,
    mut put: impl FnMut(usize, __m512i),
) {
    let half = _mm512_set1_epi32(0x8000);
    let upper = _mm512_set1_epi32(0xffff_0000_u32.cast_signed());
    let rounded = |x| _mm512_and_si512(_mm512_add_epi32(_mm512_castps_si512(x), half), upper);
    for part in 0..PARTS {
        if part + 1 == PARTS {
            // What is left has no more bits than these.
            put(
                part,
                join(_mm512_castps_si512(first), _mm512_castps_si512(second)),
            );
        } else {
            let (a, b) = (rounded(first), rounded(second));
            put(part, join(a, b));
            first = _mm512_sub_ps(first, _mm512_castsi512_ps(a));
            second = _mm512_sub_ps(second, _mm512_castsi512_ps(b));
        }
    }
}

fn mask(columns: usize) -> __mmask16 {
    ((1u32 << columns.min(SIDE)) - 1) as __mmask16
}

/// One vector a line: its 32 steps in order.
#[target_feature(enable = "avx512f,avx512bw,avx512bf16")]
unsafe fn of_lines<const PARTS: usize>(part: &Part<'_>, tiles: &mut [*mut __m512i; PARTS]) {
    let low = mask(part.columns);
    let high = mask(part.columns.saturating_sub(SIDE));
    let is_whole = part.columns == STEPS;
    // Of the quarters that a pack of words makes, those of the first vector first.
    let order = _mm512_setr_epi64(0, 2, 4, 6, 1, 3, 5, 7);
    let join = |a, b| {
        let both = _mm512_packus_epi32(_mm512_srli_epi32::<16>(a), _mm512_srli_epi32::<16>(b));
        _mm512_permutexvar_epi64(order, both)
    };
    for row in 0..part.rows {
        // SAFETY: row `row` has `columns` elements; the others are masked.
        unsafe {
            let start = part.data.as_ptr().add(row * part.stride);
            let next = start.wrapping_add(SIDE);
            let below = start.wrapping_add(SIDE * part.stride);
            _mm_prefetch::<_MM_HINT_T1>(below.cast());
            _mm_prefetch::<_MM_HINT_T1>(below.wrapping_add(SIDE).cast());
            let both = if is_whole {
                (_mm512_loadu_ps(start), _mm512_loadu_ps(next))
            } else {
                (
                    _mm512_maskz_loadu_ps(low, start),
                    _mm512_maskz_loadu_ps(high, next),
                )
            };
            if PARTS == 1 {
                _mm512_store_si512(tiles[0].add(row), nearest(both));
            } else {
                let put = |part: usize, pairs| _mm512_store_si512(tiles[part].add(row), pairs);
                split::<PARTS>(both, join, put);
            }
        }
    }
}

/// One vector a pair of steps: the two steps of each line side by side.
#[target_feature(enable = "avx512f,avx512bw,avx512bf16")]
unsafe fn of_steps<const PARTS: usize>(part: &Part<'_>, tiles: &mut [*mut __m512i; PARTS]) {
    let zip: [u16; 32] = std::array::from_fn(|i| (i / 2 + 16 * (i % 2)) as u16);
    let upper = _mm512_set1_epi32(0xffff_0000_u32.cast_signed());
    let join = |a, b| _mm512_or_si512(_mm512_srli_epi32::<16>(a), _mm512_and_si512(b, upper));
    let lanes = mask(part.columns);
    for pair in 0..part.rows.div_ceil(2) {
        // SAFETY: row `2 * pair` is there; the one behind it is read where it is.
        unsafe {
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
            if PARTS == 1 {
                let zip = _mm512_loadu_si512(zip.as_ptr().cast());
                let pairs = _mm512_permutexvar_epi16(zip, nearest((first, second)));
                _mm512_store_si512(tiles[0].add(pair), pairs);
            } else {
                let put = |part: usize, pairs| _mm512_store_si512(tiles[part].add(pair), pairs);
                split::<PARTS>((first, second), join, put);
            }
        }
    }
}

/// The nearest bfloat16 numbers to two vectors, those of the first in the low half.
#[target_feature(enable = "avx512f,avx512bw,avx512bf16")]
#[inline]
fn nearest((first, second): (__m512, __m512)) -> __m512i {
    // SAFETY: the same bits.
    unsafe { std::mem::transmute::<__m512bh, __m512i>(_mm512_cvtne2ps_pbh(second, first)) }
}

/// Turns sixteen rows of sixteen words.
#[target_feature(enable = "avx512f")]
#[inline]
fn turn(rows: &mut Pairs) {
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
