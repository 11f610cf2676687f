//! The product of a tile of rounded rows with a few panels.

use super::super::lanes::{Lanes, Portable};
use super::super::{LINE, PANEL};
use super::Activations;
use super::BLOCK;
use crate::isa::Isa;

/// Rows and panels of the largest tile.
const MOST: usize = 9 * 3;

/// One tile by one panel or a few.
pub(super) struct Tile {
    /// The first panel's lines; the others' follow.
    pub lines: *const u8,
    /// The first panel's scales; the others' follow.
    pub scales: *const f32,
    pub blocks: usize,
    /// Records of the rows of activations.
    pub records: *const u8,
    /// How many outputs of a row are written.
    pub columns: usize,
    /// The first row's first output; rows are `stride` apart.
    pub out: *mut f32,
    pub stride: usize,
    /// What is added to each output; null for nothing.
    pub bias: *const f32,
    /// Lines that are wanted soon, of which each step asks for one; null for none. They need not be
    /// there.
    pub ahead: *const u8,
}

/// Rows of the largest tile.
pub(super) fn rows(isa: Isa) -> usize {
    match isa {
        #[cfg(target_arch = "x86_64")]
        Isa::Vnni | Isa::Amx => 9,
        #[cfg(target_arch = "x86_64")]
        Isa::Avx512 => 8,
        #[cfg(target_arch = "x86_64")]
        Isa::Avx2 => 4,
        #[cfg(target_arch = "aarch64")]
        Isa::Neon => 4,
        Isa::Portable => 1,
    }
}

/// Panels of the largest tile.
pub(super) fn panels(isa: Isa) -> usize {
    match isa {
        #[cfg(target_arch = "x86_64")]
        Isa::Vnni | Isa::Amx => 3,
        _ => 1,
    }
}

/// Computes the outputs of a tile of `rows` by `panels`, up to the largest.
///
/// # Safety
/// `records` are those of `rows` rows rounded for `blocks` blocks, panels and `bias` hold as many
/// columns, `out` may be written for them and `isa` is available.
pub(super) unsafe fn run(isa: Isa, rows: usize, panels: usize, tile: &Tile) {
    let mut sums = [[0.0; PANEL]; MOST];
    // SAFETY: passed on; there are no more sums than `MOST`.
    unsafe {
        match isa {
            #[cfg(target_arch = "x86_64")]
            Isa::Vnni | Isa::Amx => x86::vnni(rows, panels, tile, &mut sums),
            #[cfg(target_arch = "x86_64")]
            Isa::Avx512 => x86::avx512(rows, tile, &mut sums),
            #[cfg(target_arch = "x86_64")]
            Isa::Avx2 => x86::avx2(rows, tile, &mut sums),
            #[cfg(target_arch = "aarch64")]
            Isa::Neon => neon(rows, tile, &mut sums),
            Isa::Portable => product::<Portable, 1, 1>(tile, &mut sums),
        }
    }
}

/// `R` rows by `Q` panels. The loops have constant bounds, and a block's sums stay in registers.
#[inline(always)]
#[allow(
    clippy::needless_range_loop,
    reason = "plain indices unroll, and read like the contract"
)]
unsafe fn product<L: Lanes, const R: usize, const Q: usize>(
    tile: &Tile,
    sums: &mut [[f32; PANEL]; MOST],
) {
    let panel_bytes = tile.blocks.wrapping_mul(BLOCK * PANEL);
    // SAFETY: the contract of `run`.
    unsafe {
        for block in 0..tile.blocks {
            let record = tile
                .records
                .add(block.wrapping_mul(R * Activations::ROW_BYTES));
            let lines = tile.lines.add(block.wrapping_mul(BLOCK * PANEL));
            let ahead = match tile.ahead.is_null() {
                true => (tile.ahead, 0),
                false => (
                    tile.ahead.wrapping_add(block.wrapping_mul(BLOCK * PANEL)),
                    LINE,
                ),
            };
            let ints = block_sums::<L, R, Q>(record, lines, panel_bytes, ahead);
            // The sums lie in memory between blocks; else the compiler keeps a second copy of them.
            let sums = std::hint::black_box(&mut *sums);
            for q in 0..Q {
                let at = tile.blocks.wrapping_mul(q).wrapping_add(block);
                let scales = L::floats(tile.scales.add(at.wrapping_mul(PANEL)));
                for r in 0..R {
                    let own = L::splat(record.add(R * BLOCK + 4 * r).cast());
                    let sum = &mut sums[r * Q + q];
                    let before = L::floats(sum.as_ptr());
                    let next = L::fma(L::of_ints(ints[r][q]), L::mul(scales, own), before);
                    L::store(next, sum);
                }
            }
        }
        for r in 0..R {
            for q in 0..Q {
                store::<L>(tile, r, q, &sums[r * Q + q]);
            }
        }
    }
}

/// The exact sums of a block.
#[inline(always)]
#[allow(
    clippy::needless_range_loop,
    reason = "plain indices unroll, and read like the contract"
)]
unsafe fn block_sums<L: Lanes, const R: usize, const Q: usize>(
    record: *const u8,
    lines: *const u8,
    panel_bytes: usize,
    (mut ahead, ahead_step): (*const u8, usize),
) -> [[L::Ints; Q]; R] {
    // SAFETY: as in `product`.
    unsafe {
        let raised = L::SIGNED_EXCESS != 0;
        let mut ints = [[L::splat_int(0); Q]; R];
        if raised {
            for r in 0..R {
                let less = record.add(R * (BLOCK + 4) + 4 * r).cast::<i32>();
                ints[r] = [L::splat_int(less.read_unaligned()); Q];
            }
        }
        let mut parts = [[L::start(ints[0][0]); Q]; R];
        for r in 0..R {
            parts[r] = [L::start(ints[r][0]); Q];
        }
        for t in 0..BLOCK / 4 {
            L::prefetch(ahead);
            ahead = ahead.wrapping_add(ahead_step);
            let mut line = [L::load(lines.add(t * LINE)); Q];
            for q in 1..Q {
                let panel = lines.wrapping_add(panel_bytes.wrapping_mul(q));
                line[q] = L::load(panel.add(t * LINE));
            }
            for r in 0..R {
                let quad = L::quad(record.add(r * BLOCK + 4 * t).cast());
                for q in 0..Q {
                    parts[r][q] = match raised {
                        true => L::dot(parts[r][q], line[q], quad),
                        false => L::dot_signed(parts[r][q], L::lower(line[q]), quad),
                    };
                    if !L::WIDE {
                        ints[r][q] = L::flush(parts[r][q], ints[r][q]);
                        parts[r][q] = L::start(ints[r][q]);
                    }
                }
            }
        }
        if L::WIDE {
            for r in 0..R {
                for q in 0..Q {
                    ints[r][q] = L::flush(parts[r][q], ints[r][q]);
                }
            }
        }
        ints
    }
}

/// Writes the outputs of row `r` and panel `q`.
#[inline(always)]
unsafe fn store<L: Lanes>(tile: &Tile, r: usize, q: usize, sums: &[f32; PANEL]) {
    let first = q * PANEL;
    let count = PANEL.min(tile.columns.saturating_sub(first));
    // SAFETY: within the columns.
    unsafe {
        let out = tile
            .out
            .wrapping_add(tile.stride.wrapping_mul(r))
            .add(first);
        if count == PANEL {
            let mut floats = L::floats(sums.as_ptr());
            if !tile.bias.is_null() {
                floats = L::fma(L::floats(tile.bias.add(first)), L::splat(&1.0), floats);
            }
            L::store(floats, &mut *out.cast::<[f32; PANEL]>());
            return;
        }
        for (i, sum) in sums.iter().enumerate().take(count) {
            *out.add(i) = match tile.bias.is_null() {
                true => *sum,
                false => *sum + *tile.bias.add(first.wrapping_add(i)),
            };
        }
    }
}

macro_rules! by_rows {
    ($lanes:ty, $panels:literal, $rows:expr, $tile:expr, $sums:expr, $($n:literal)*) => {
        match $rows {
            // SAFETY: passed on.
            $($n => unsafe { product::<$lanes, $n, $panels>($tile, $sums) },)*
            _ => debug_assert!(false, "no tile of {} rows", $rows),
        }
    };
}

#[cfg(target_arch = "aarch64")]
unsafe fn neon(rows: usize, tile: &Tile, sums: &mut [[f32; PANEL]; MOST]) {
    by_rows!(super::super::neon::Neon, 1, rows, tile, sums, 1 2 3 4)
}

#[cfg(target_arch = "x86_64")]
mod x86 {
    use super::super::super::x86::{Avx2, Avx512, Vnni};
    use super::{MOST, PANEL, Tile, product};

    #[target_feature(enable = "avx2,fma,f16c")]
    pub(super) unsafe fn avx2(rows: usize, tile: &Tile, sums: &mut [[f32; PANEL]; MOST]) {
        by_rows!(Avx2, 1, rows, tile, sums, 1 2 3 4)
    }

    #[target_feature(enable = "avx512f,avx512bw,avx512dq,avx512vl,avx2,fma,f16c")]
    pub(super) unsafe fn avx512(rows: usize, tile: &Tile, sums: &mut [[f32; PANEL]; MOST]) {
        by_rows!(Avx512, 1, rows, tile, sums, 1 2 3 4 5 6 7 8)
    }

    #[target_feature(enable = "avx512vnni,avx512f,avx512bw,avx512dq,avx512vl,avx2,fma,f16c")]
    pub(super) unsafe fn vnni(
        rows: usize,
        panels: usize,
        tile: &Tile,
        sums: &mut [[f32; PANEL]; MOST],
    ) {
        match panels {
            3 => by_rows!(Vnni, 3, rows, tile, sums, 1 2 3 4 5 6 7 8 9),
            2 => by_rows!(Vnni, 2, rows, tile, sums, 1 2 3 4 5 6 7 8 9),
            _ => by_rows!(Vnni, 1, rows, tile, sums, 1 2 3 4 5 6 7 8 9),
        }
    }
}
