//! The product of a few rows with panels of sixteen columns: the kernel of packed matrices and of
//! attention.
//!
//! Each output is one chain of fused multiply-adds in order of `k`, in a register, so its bits
//! depend on its row and column only. A tile of up to `max_rows` x `max_panels * 16` outputs is
//! held in registers, which hides the latency of the chains.

use crate::isa::Isa;

/// Columns of a panel.
pub(crate) const PANEL: usize = 16;

/// Rows of the largest tile of any [`Isa`].
pub(crate) const MOST_ROWS: usize = 14;

/// One tile: `c[i][j] = sum over p of a[p][i] * b[p][j]`, and then the bias.
///
/// Memory contract: `a` holds `k` groups, `a_stride` floats apart, of the tile's rows; panel `q`
/// of `b` holds `k` groups, `b_stride` apart, of 16 floats from `b + q * panel_stride`; `c` has
/// rows `c_stride` apart, of which `columns` are written; `bias` is null or holds `columns`.
#[derive(Clone, Copy)]
pub(crate) struct Tile {
    pub k: usize,
    pub a: *const f32,
    pub a_stride: usize,
    pub b: *const f32,
    pub b_stride: usize,
    pub panel_stride: usize,
    pub c: *mut f32,
    pub c_stride: usize,
    pub columns: usize,
    pub bias: *const f32,
    /// Continue the chains that `c` holds, instead of starting at zero.
    pub accumulate: bool,
}

/// Rows and panels of the largest tile.
pub(crate) fn largest(isa: Isa) -> (usize, usize) {
    match isa {
        Isa::Portable => (4, 1),
        #[cfg(target_arch = "x86_64")]
        Isa::Avx2 => (6, 1),
        #[cfg(target_arch = "x86_64")]
        Isa::Avx512 | Isa::Vnni => (MOST_ROWS, 2),
        #[cfg(target_arch = "aarch64")]
        Isa::Neon => (4, 1),
    }
}

/// Cuts `rows` into tiles of nearly one size, none above `most`: `(first, rows)` of tile `index`.
pub(crate) fn even_tile(rows: usize, most: usize, index: usize) -> (usize, usize) {
    even_part(rows, rows.div_ceil(most), index)
}

/// Cuts `rows` into `parts` of nearly one size: `(first, rows)` of part `index`.
pub(crate) fn even_part(rows: usize, parts: usize, index: usize) -> (usize, usize) {
    let (base, extra) = (rows / parts, rows % parts);
    (
        index * base + index.min(extra),
        base + usize::from(index < extra),
    )
}

/// Computes one tile of `rows` (up to the largest) by `panels`.
///
/// # Safety
/// The memory contract of [`Tile`] holds, and `isa` is available.
pub(crate) unsafe fn run(isa: Isa, rows: usize, panels: usize, tile: &Tile) {
    debug_assert!(rows <= largest(isa).0 && panels <= largest(isa).1);
    // SAFETY: passed on.
    unsafe {
        match isa {
            #[cfg(target_arch = "x86_64")]
            Isa::Avx2 => x86::run_avx2(rows, tile),
            #[cfg(target_arch = "x86_64")]
            Isa::Avx512 | Isa::Vnni => x86::run_avx512(rows, panels, tile),
            _ => portable(rows, tile),
        }
    }
}

unsafe fn portable(rows: usize, tile: &Tile) {
    for i in 0..rows {
        let mut sums = [0.0f32; PANEL];
        // SAFETY: the contract of `Tile`.
        unsafe {
            let c = tile.c.add(i * tile.c_stride);
            if tile.accumulate {
                for (j, sum) in sums.iter_mut().enumerate().take(tile.columns) {
                    *sum = *c.add(j);
                }
            }
            for p in 0..tile.k {
                let a = *tile.a.add(p * tile.a_stride + i);
                let b = tile.b.add(p * tile.b_stride);
                for (j, sum) in sums.iter_mut().enumerate() {
                    *sum = a.mul_add(*b.add(j), *sum);
                }
            }
            for (j, sum) in sums.iter().enumerate().take(tile.columns) {
                let bias = if tile.bias.is_null() {
                    0.0
                } else {
                    *tile.bias.add(j)
                };
                *c.add(j) = if tile.bias.is_null() {
                    *sum
                } else {
                    *sum + bias
                };
            }
        }
    }
}

#[cfg(target_arch = "x86_64")]
// Constant bounds over arrays of registers: plain indices unroll, and read like the contract.
#[allow(clippy::needless_range_loop)]
mod x86 {
    use super::{PANEL, Tile};
    use std::arch::x86_64::*;

    macro_rules! by_rows {
        ($kernel:ident, $panels:literal, $rows:expr, $tile:expr, $($n:literal)*) => {
            match $rows {
                // SAFETY: passed on.
                $($n => unsafe { $kernel::<$n, $panels>($tile) },)*
                _ => debug_assert!(false, "no tile of {} rows", $rows),
            }
        };
    }

    pub(super) unsafe fn run_avx512(rows: usize, panels: usize, tile: &Tile) {
        if panels == 2 {
            by_rows!(avx512, 2, rows, tile, 1 2 3 4 5 6 7 8 9 10 11 12 13 14);
        } else {
            by_rows!(avx512, 1, rows, tile, 1 2 3 4 5 6 7 8 9 10 11 12 13 14);
        }
    }

    pub(super) unsafe fn run_avx2(rows: usize, tile: &Tile) {
        by_rows!(avx2, 2, rows, tile, 1 2 3 4 5 6);
    }

    /// The lanes of panel `q` that are written.
    fn mask(columns: usize, q: usize) -> __mmask16 {
        let valid = columns.saturating_sub(q * PANEL).min(PANEL);
        ((1u32 << valid) - 1) as __mmask16
    }

    #[target_feature(enable = "avx512f")]
    unsafe fn avx512<const ROWS: usize, const PANELS: usize>(tile: &Tile) {
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
            let (mut a, mut b) = (tile.a, tile.b);
            for _ in 0..tile.k {
                let mut columns = [_mm512_setzero_ps(); PANELS];
                for q in 0..PANELS {
                    columns[q] = _mm512_loadu_ps(b.add(q * tile.panel_stride));
                }
                for i in 0..ROWS {
                    let value = _mm512_set1_ps(*a.add(i));
                    for q in 0..PANELS {
                        sums[i][q] = _mm512_fmadd_ps(value, columns[q], sums[i][q]);
                    }
                }
                a = a.wrapping_add(tile.a_stride);
                b = b.wrapping_add(tile.b_stride);
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
    unsafe fn avx2<const ROWS: usize, const HALVES: usize>(tile: &Tile) {
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
            let (mut a, mut b) = (tile.a, tile.b);
            for _ in 0..tile.k {
                let low = _mm256_loadu_ps(b);
                let high = _mm256_loadu_ps(b.add(8));
                for i in 0..ROWS {
                    let value = _mm256_set1_ps(*a.add(i));
                    sums[i][0] = _mm256_fmadd_ps(value, low, sums[i][0]);
                    sums[i][1] = _mm256_fmadd_ps(value, high, sums[i][1]);
                }
                a = a.wrapping_add(tile.a_stride);
                b = b.wrapping_add(tile.b_stride);
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
}
