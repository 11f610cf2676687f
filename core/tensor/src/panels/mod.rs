//! The product of a few rows with panels of sixteen columns: the kernel of packed matrices and of
//! attention.
//!
//! Each output is one chain of fused multiply-adds in order of `k`, in a register, so its bits
//! depend on its row and column only. A tile of outputs is held in registers, which hides the latency of the chains.

#[cfg(target_arch = "x86_64")]
mod x86;

use crate::isa::Isa;

/// Columns of a panel.
pub(crate) const PANEL: usize = 16;

/// Rows of the largest tile of any [`Isa`].
pub(crate) const MOST_ROWS: usize = 14;

/// One tile: `c[i][j] = sum over p of a[i][p] * b[p][j]`, and then the bias.
///
/// Memory contract: element `p` of row `i` is at `a + i * a_row + p * a_step`, one of the two
/// strides being 1: rows as they are, or side by side; panel `q` of `b` holds `k` groups, `b_stride` apart, of 16 floats from `b + q * panel_stride`; `c` has
/// rows `c_stride` apart, of which `columns` are written; `bias` is null or holds `columns`.
#[derive(Clone, Copy)]
pub(crate) struct Tile {
    pub k: usize,
    pub a: *const f32,
    pub a_row: usize,
    pub a_step: usize,
    pub b: *const f32,
    pub b_stride: usize,
    pub panel_stride: usize,
    pub c: *mut f32,
    pub c_stride: usize,
    pub columns: usize,
    pub bias: *const f32,
    /// Memory that is wanted soon, of which every two steps of `k` ask for sixteen floats; null
    /// for none. It need not be there.
    pub ahead: *const f32,
    /// Continue the chains that `c` holds, instead of starting at zero.
    pub accumulate: bool,
}

/// Rows and panels of the largest tile of few columns.
pub(crate) fn largest(isa: Isa) -> (usize, usize) {
    match isa {
        Isa::Portable => (4, 1),
        #[cfg(target_arch = "x86_64")]
        Isa::Avx2 => (6, 1),
        #[cfg(target_arch = "x86_64")]
        Isa::Avx512 | Isa::Vnni | Isa::Amx => (MOST_ROWS, 2),
        #[cfg(target_arch = "aarch64")]
        Isa::Neon => (4, 1),
    }
}

/// Rows and panels of the tile that many columns are cut into.
pub(crate) fn widest(isa: Isa) -> (usize, usize) {
    match isa {
        #[cfg(target_arch = "x86_64")]
        Isa::Avx512 | Isa::Vnni | Isa::Amx => (9, 3),
        _ => largest(isa),
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

/// Computes one tile of `rows` by `panels`, up to the largest or the widest.
///
/// # Safety
/// The memory contract of [`Tile`] holds, and `isa` is available.
pub(crate) unsafe fn run(isa: Isa, rows: usize, panels: usize, tile: &Tile) {
    debug_assert!(
        [largest(isa), widest(isa)]
            .iter()
            .any(|most| rows <= most.0 && panels <= most.1)
    );
    debug_assert!(tile.a_row == 1 || tile.a_step == 1);
    // SAFETY: passed on.
    unsafe {
        match isa {
            #[cfg(target_arch = "x86_64")]
            Isa::Avx2 => x86::run_avx2(rows, tile),
            #[cfg(target_arch = "x86_64")]
            Isa::Avx512 | Isa::Vnni | Isa::Amx => x86::run_avx512(rows, panels, tile),
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
                let a = *tile.a.add(p * tile.a_step + i * tile.a_row);
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
