//! The product of a tile of rows of activations with panels.

use super::format::{Format, with_format};
use super::lanes::{Lanes, Portable};
use super::{BLOCK, LINE, PANEL, Packed};
use crate::isa::Isa;

/// Bytes of weights that are asked for ahead of their use.
const AHEAD: usize = 1 << 12;

/// Where the outputs of some panels go.
#[derive(Clone, Copy)]
pub(crate) struct Columns {
    /// The first panel.
    pub panel: usize,
    /// How many outputs are written, from the first panel's first.
    pub count: usize,
    /// The first row's first output; rows are `stride` apart.
    pub out: *mut f32,
    pub stride: usize,
    /// What is added to each output; null for nothing.
    pub bias: *const f32,
}

/// One tile by one panel.
#[derive(Clone, Copy)]
struct Tile {
    /// The panel's lines and scales, of `blocks` blocks.
    lines: *const u8,
    units: *const u8,
    blocks: usize,
    /// Records of the rows of activations.
    records: *const u8,
    /// As in [`Columns`], from this panel on.
    count: usize,
    out: *mut f32,
    stride: usize,
    bias: *const f32,
}

/// Computes the outputs of a tile of `rows` rows (a size of [`super::Activations`]' tiles for `isa`).
///
/// # Safety
/// `records` are those of `rows` rows quantised for as many columns as the weight has, `columns`
/// may be written and `isa` is available.
pub(crate) unsafe fn run(
    isa: Isa,
    weight: &Packed,
    rows: usize,
    records: *const u8,
    columns: &Columns,
) {
    for done in (0..columns.count).step_by(PANEL) {
        let panel = columns.panel + done / PANEL;
        let tile = Tile {
            lines: weight.lines(panel),
            units: weight.units(panel),
            blocks: weight.blocks(),
            records,
            count: (columns.count - done).min(PANEL),
            out: columns.out.wrapping_add(done),
            stride: columns.stride,
            bias: match columns.bias.is_null() {
                true => columns.bias,
                false => columns.bias.wrapping_add(done),
            },
        };
        with_format!(
            weight.dtype(),
            // SAFETY: passed on.
            F => unsafe { run_format::<F>(isa, rows, &tile) },
            debug_assert!(false, "{:?} is not packed", weight.dtype())
        );
    }
}

unsafe fn run_format<F: Format>(isa: Isa, rows: usize, tile: &Tile) {
    // SAFETY: passed on.
    unsafe {
        match isa {
            #[cfg(target_arch = "x86_64")]
            Isa::Vnni | Isa::Amx => x86::vnni::<F>(rows, tile),
            #[cfg(target_arch = "x86_64")]
            Isa::Avx512 => x86::avx512::<F>(rows, tile),
            #[cfg(target_arch = "x86_64")]
            Isa::Avx2 => x86::avx2::<F>(rows, tile),
            #[cfg(target_arch = "aarch64")]
            Isa::Neon => neon::<F>(rows, tile),
            Isa::Portable => product::<Portable, F, 1>(tile),
        }
    }
}

/// `R` rows by one panel. The loops have constant bounds, and the sums stay in registers.
#[inline(always)]
#[allow(
    clippy::needless_range_loop,
    reason = "plain indices unroll, and read like the contract"
)]
unsafe fn product<L: Lanes, F: Format, const R: usize>(tile: &Tile) {
    // SAFETY: the contract of `run`: records and panel have `blocks` blocks.
    unsafe {
        let mut floats = [L::zero(); R];
        let (mut lines, mut unit) = (tile.lines, tile.units);
        let mut record = tile.records;
        for block in 0..tile.blocks {
            let within = block % F::UNIT;
            for i in 0..F::LINE_BYTES / LINE {
                L::prefetch(lines.wrapping_add(AHEAD + i * LINE));
            }
            for part in 0..F::PARTS {
                let ints = block_sums::<L, F, R>(record, lines, part);
                let scales = F::scales::<L>(unit, within, part);
                for r in 0..R {
                    let own = L::splat(record.add(R * BLOCK + 4 * r).cast());
                    floats[r] = L::fma(L::of_ints(ints[r]), L::mul(scales, own), floats[r]);
                }
            }
            if F::HAS_MINIMA {
                let minima = F::minima::<L>(unit, within);
                for r in 0..R {
                    let weighted = L::splat(record.add(R * (BLOCK + 4) + 4 * r).cast());
                    floats[r] = L::fma(minima, weighted, floats[r]);
                }
            }
            record = record.wrapping_add(R * (BLOCK + 16));
            lines = lines.wrapping_add(F::LINE_BYTES);
            if within + 1 == F::UNIT {
                unit = unit.wrapping_add(F::UNIT_BYTES);
            }
        }
        for r in 0..R {
            store::<L>(tile, r, floats[r]);
        }
    }
}

/// The exact sums of one part of a block.
#[inline(always)]
#[allow(
    clippy::needless_range_loop,
    reason = "plain indices unroll, and read like the contract"
)]
unsafe fn block_sums<L: Lanes, F: Format, const R: usize>(
    record: *const u8,
    lines: *const u8,
    part: usize,
) -> [L::Ints; R] {
    // SAFETY: as in `product`.
    unsafe {
        let excess = if F::SIGNED {
            L::SIGNED_EXCESS
        } else {
            F::EXCESS
        };
        let mut ints = [L::splat_int(0); R];
        let mut parts = [L::start(ints[0]); R];
        if L::WIDE && excess != 0 {
            for r in 0..R {
                parts[r] = L::start(L::splat_int(less_excess::<F, R>(record, r, part, excess)));
            }
        }
        let count = 8 / F::PARTS;
        for step in 0..8 / F::PARTS {
            let t = part * count + step;
            let line = F::line::<L>(lines, t);
            for r in 0..R {
                let quad = L::quad(record.add(r * BLOCK + 4 * t).cast());
                parts[r] = if F::SIGNED {
                    L::dot_signed(parts[r], line, quad)
                } else {
                    L::dot(parts[r], line, quad)
                };
            }
            if !L::WIDE && (step + 1) % F::LINES_A_PART == 0 || step + 1 == count {
                for r in 0..R {
                    ints[r] = L::flush(parts[r], ints[r]);
                    parts[r] = L::start(ints[r]);
                }
            }
        }
        if !L::WIDE && excess != 0 {
            for r in 0..R {
                let less = L::splat_int(less_excess::<F, R>(record, r, part, excess));
                ints[r] = L::add(ints[r], less);
            }
        }
        ints
    }
}

/// What the excess of each code adds to a row's sums, negated.
#[inline(always)]
unsafe fn less_excess<F: Format, const R: usize>(
    record: *const u8,
    r: usize,
    part: usize,
    excess: i32,
) -> i32 {
    // SAFETY: within the record.
    let (first, last) = unsafe {
        let sums = record.add(R * (BLOCK + 8) + 8 * r).cast::<i32>();
        (sums.read_unaligned(), sums.add(1).read_unaligned())
    };
    let sum = match (F::PARTS, part) {
        (1, _) => first.wrapping_add(last),
        (_, 0) => first,
        _ => last,
    };
    sum.wrapping_mul(-excess)
}

/// Writes the outputs of row `r`.
#[inline(always)]
unsafe fn store<L: Lanes>(tile: &Tile, r: usize, floats: L::Floats) {
    let mut values = [0.0; PANEL];
    // SAFETY: within the columns.
    unsafe {
        L::store(floats, &mut values);
        let out = tile.out.wrapping_add(r.wrapping_mul(tile.stride));
        for (i, value) in values.iter().enumerate().take(tile.count) {
            *out.add(i) = if tile.bias.is_null() {
                *value
            } else {
                *value + *tile.bias.add(i)
            };
        }
    }
}

#[cfg(target_arch = "aarch64")]
unsafe fn neon<F: Format>(rows: usize, tile: &Tile) {
    use super::neon::Neon;
    // SAFETY: passed on; NEON is always there.
    unsafe {
        match rows {
            4 => product::<Neon, F, 4>(tile),
            2 => product::<Neon, F, 2>(tile),
            _ => product::<Neon, F, 1>(tile),
        }
    }
}

#[cfg(target_arch = "x86_64")]
mod x86 {
    use super::super::x86::{Avx2, Avx512, Vnni};
    use super::{Format, Tile, product};

    #[target_feature(enable = "avx2,fma,f16c")]
    pub(super) unsafe fn avx2<F: Format>(rows: usize, tile: &Tile) {
        // SAFETY: passed on.
        unsafe {
            match rows {
                4 => product::<Avx2, F, 4>(tile),
                2 => product::<Avx2, F, 2>(tile),
                _ => product::<Avx2, F, 1>(tile),
            }
        }
    }

    #[target_feature(enable = "avx512f,avx512bw,avx512dq,avx512vl,avx2,fma,f16c")]
    pub(super) unsafe fn avx512<F: Format>(rows: usize, tile: &Tile) {
        // SAFETY: passed on.
        unsafe {
            match rows {
                8 => product::<Avx512, F, 8>(tile),
                4 => product::<Avx512, F, 4>(tile),
                2 => product::<Avx512, F, 2>(tile),
                _ => product::<Avx512, F, 1>(tile),
            }
        }
    }

    #[target_feature(enable = "avx512vnni,avx512f,avx512bw,avx512dq,avx512vl,avx2,fma,f16c")]
    pub(super) unsafe fn vnni<F: Format>(rows: usize, tile: &Tile) {
        // SAFETY: passed on.
        unsafe {
            match rows {
                8 => product::<Vnni, F, 8>(tile),
                4 => product::<Vnni, F, 4>(tile),
                2 => product::<Vnni, F, 2>(tile),
                _ => product::<Vnni, F, 1>(tile),
            }
        }
    }
}
