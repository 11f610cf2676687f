//! The tile in registers of AVX-512 and AVX2.

// Constant bounds over arrays of registers: plain indices unroll, and read like the contract.
#![allow(clippy::needless_range_loop)]

use std::arch::asm;
use std::arch::x86_64::*;

use super::{PANEL, Tile};

/// Rows that are reached from one address.
const GROUP: usize = 3;

macro_rules! by_rows {
    ($kernel:ident, $panels:literal, $is_by_rows:literal, $rows:expr, $tile:expr, $($n:literal)*) => {
        match $rows {
            // SAFETY: passed on.
            $($n => unsafe { $kernel::<$n, $panels, $is_by_rows>($tile) },)*
            _ => debug_assert!(false, "no tile of {} rows", $rows),
        }
    };
}

pub(super) unsafe fn run_avx512(rows: usize, panels: usize, tile: &Tile) {
    match (panels, tile.a_step) {
        (3, 1) => by_rows!(avx512, 3, true, rows, tile, 1 2 3 4 5 6 7 8 9),
        (2, 1) => by_rows!(avx512, 2, true, rows, tile, 1 2 3 4 5 6 7 8 9),
        (_, 1) => by_rows!(avx512, 1, true, rows, tile, 1 2 3 4 5 6 7 8 9),
        (3, _) => by_rows!(avx512, 3, false, rows, tile, 1 2 3 4 5 6 7 8 9),
        (2, _) => by_rows!(avx512, 2, false, rows, tile, 1 2 3 4 5 6 7 8 9 10 11 12 13 14),
        _ => by_rows!(avx512, 1, false, rows, tile, 1 2 3 4 5 6 7 8 9 10 11 12 13 14),
    }
}

pub(super) unsafe fn run_avx2(rows: usize, tile: &Tile) {
    match tile.a_step {
        1 => by_rows!(avx2, 2, true, rows, tile, 1 2 3 4 5 6),
        _ => by_rows!(avx2, 2, false, rows, tile, 1 2 3 4 5 6),
    }
}

/// The lanes of panel `q` that are written.
fn mask(columns: usize, q: usize) -> __mmask16 {
    let valid = columns.saturating_sub(q * PANEL).min(PANEL);
    ((1u32 << valid) - 1) as __mmask16
}

/// The address in a register of its own, and no load across this place. Otherwise the compiler
/// makes all addresses of a step from one, by additions that take the places of multiplications,
/// and holds two steps' columns at once, for which there are no registers.
#[inline(always)]
fn own(p: *const f32) -> *const f32 {
    let mut address = p;
    // SAFETY: nothing is done.
    unsafe { asm!("/* {0} */", inout(reg) address, options(nostack, preserves_flags)) };
    address
}

/// The addresses of up to nine rows, [`GROUP`] from each, at one step of `k`.
#[derive(Clone, Copy)]
struct Rows<const ROWS: usize, const BY_ROWS: bool> {
    starts: [*const f32; 3],
    row: usize,
}

impl<const ROWS: usize, const BY_ROWS: bool> Rows<ROWS, BY_ROWS> {
    #[inline(always)]
    fn new(tile: &Tile) -> Self {
        let row = tile.a_row;
        let start = |group: usize| match BY_ROWS {
            true => tile.a.wrapping_add(row.wrapping_mul(group * GROUP)),
            false => tile.a,
        };
        Self {
            starts: [start(0), start(1), start(2)],
            row,
        }
        .forward(0)
    }

    /// Element `i` of the step `ahead` of this one, which only rows as they are have.
    #[inline(always)]
    fn at(self, i: usize, ahead: usize) -> *const f32 {
        if !BY_ROWS {
            return self.starts[0].wrapping_add(i);
        }
        // Constant indices, so that the addresses stay in registers.
        let start = match i / GROUP {
            0 => self.starts[0],
            1 => self.starts[1],
            _ => self.starts[2],
        };
        start.wrapping_add(self.row.wrapping_mul(i % GROUP).wrapping_add(ahead))
    }

    #[inline(always)]
    fn forward(self, step: usize) -> Self {
        let [a, b, c] = self.starts;
        let next = |start: *const f32, group: usize| match BY_ROWS && ROWS > group * GROUP {
            true => own(start.wrapping_add(step)),
            false => start.wrapping_add(step),
        };
        Self {
            starts: [next(a, 0), next(b, 1), next(c, 2)],
            ..self
        }
    }
}

#[target_feature(enable = "avx512f")]
unsafe fn avx512<const ROWS: usize, const PANELS: usize, const BY_ROWS: bool>(tile: &Tile) {
    let mut sums = [[_mm512_setzero_ps(); PANELS]; ROWS];
    // SAFETY: the contract of `Tile`; partial panels of `c` and `bias` are masked.
    unsafe {
        if tile.accumulate {
            for i in 0..ROWS {
                for q in 0..PANELS {
                    let c = tile.c.add(i * tile.c_stride + q * PANEL);
                    sums[i][q] = _mm512_maskz_loadu_ps(mask(tile.columns, q), c);
                }
            }
        }
        let (mut a, mut b) = (Rows::<ROWS, BY_ROWS>::new(tile), tile.b);
        macro_rules! step {
            ($ahead:literal) => {
                let mut columns = [_mm512_setzero_ps(); PANELS];
                for q in 0..PANELS {
                    columns[q] = _mm512_loadu_ps(b.add(q * tile.panel_stride));
                }
                for i in 0..ROWS {
                    let value = _mm512_set1_ps(*a.at(i, $ahead));
                    for q in 0..PANELS {
                        sums[i][q] = _mm512_fmadd_ps(value, columns[q], sums[i][q]);
                    }
                }
            };
        }
        let mut left = tile.k;
        let mut ahead = tile.ahead;
        let ahead_step = if ahead.is_null() { 0 } else { PANEL };
        if BY_ROWS {
            while left >= 2 {
                step!(0);
                b = own(b.wrapping_add(tile.b_stride));
                step!(1);
                _mm_prefetch::<_MM_HINT_T1>(ahead.cast());
                ahead = ahead.wrapping_add(ahead_step);
                (a, b) = (a.forward(2), b.wrapping_add(tile.b_stride));
                left -= 2;
            }
        }
        while left > 0 {
            step!(0);
            let step = if BY_ROWS { 1 } else { tile.a_step };
            (a, b) = (a.forward(step), b.wrapping_add(tile.b_stride));
            left -= 1;
        }
        for q in 0..PANELS {
            let mask = mask(tile.columns, q);
            for i in 0..ROWS {
                let mut sum = sums[i][q];
                if !tile.bias.is_null() {
                    let bias = _mm512_maskz_loadu_ps(mask, tile.bias.add(q * PANEL));
                    sum = _mm512_add_ps(sum, bias);
                }
                let c = tile.c.add(i * tile.c_stride + q * PANEL);
                _mm512_mask_storeu_ps(c, mask, sum);
            }
        }
    }
}

#[target_feature(enable = "avx2,fma")]
unsafe fn avx2<const ROWS: usize, const HALVES: usize, const BY_ROWS: bool>(tile: &Tile) {
    let mut sums = [[_mm256_setzero_ps(); HALVES]; ROWS];
    let whole = tile.columns >= PANEL;
    let valid = tile.columns.min(PANEL);
    let mut edge = [[0.0f32; PANEL]; 2];
    // SAFETY: the contract of `Tile`; partial panels of `c` and `bias` go through `edge`.
    unsafe {
        if tile.accumulate {
            for i in 0..ROWS {
                let c = tile.c.add(i * tile.c_stride);
                std::ptr::copy_nonoverlapping(c, edge[0].as_mut_ptr(), valid);
                for h in 0..2 {
                    sums[i][h] = _mm256_loadu_ps(edge[0].as_ptr().add(8 * h));
                }
            }
        }
        let (mut a, mut b) = (Rows::<ROWS, BY_ROWS>::new(tile), tile.b);
        macro_rules! step {
            ($ahead:literal) => {
                let low = _mm256_loadu_ps(b);
                let high = _mm256_loadu_ps(b.add(8));
                for i in 0..ROWS {
                    let value = _mm256_set1_ps(*a.at(i, $ahead));
                    sums[i][0] = _mm256_fmadd_ps(value, low, sums[i][0]);
                    sums[i][1] = _mm256_fmadd_ps(value, high, sums[i][1]);
                }
            };
        }
        let mut left = tile.k;
        let mut ahead = tile.ahead;
        let ahead_step = if ahead.is_null() { 0 } else { PANEL };
        if BY_ROWS {
            while left >= 2 {
                step!(0);
                b = own(b.wrapping_add(tile.b_stride));
                step!(1);
                _mm_prefetch::<_MM_HINT_T1>(ahead.cast());
                ahead = ahead.wrapping_add(ahead_step);
                (a, b) = (a.forward(2), b.wrapping_add(tile.b_stride));
                left -= 2;
            }
        }
        while left > 0 {
            step!(0);
            let step = if BY_ROWS { 1 } else { tile.a_step };
            (a, b) = (a.forward(step), b.wrapping_add(tile.b_stride));
            left -= 1;
        }
        if !tile.bias.is_null() {
            std::ptr::copy_nonoverlapping(tile.bias, edge[1].as_mut_ptr(), valid);
            for h in 0..2 {
                let bias = _mm256_loadu_ps(edge[1].as_ptr().add(8 * h));
                for i in 0..ROWS {
                    sums[i][h] = _mm256_add_ps(sums[i][h], bias);
                }
            }
        }
        for i in 0..ROWS {
            let c = tile.c.add(i * tile.c_stride);
            if whole {
                _mm256_storeu_ps(c, sums[i][0]);
                _mm256_storeu_ps(c.add(8), sums[i][1]);
            } else {
                _mm256_storeu_ps(edge[0].as_mut_ptr(), sums[i][0]);
                _mm256_storeu_ps(edge[0].as_mut_ptr().add(8), sums[i][1]);
                std::ptr::copy_nonoverlapping(edge[0].as_ptr(), c, valid);
            }
        }
    }
}
