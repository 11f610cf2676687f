//! How each dtype's codes and scales lie in a panel.
//!
//! A panel holds the lines of all its blocks, and behind them the scales. A block's eight lines
//! have elements `4 t..4 t + 4` of sixteen rows each. Codes of four bits share their bytes, line
//! `t` below line `t + 4`; fifth bits of all lines share one line more, fifth and sixth bits two.
//! Scales are kept as ggml keeps them, so the stored values are the same to the bit.

use super::lanes::Lanes;
use super::{LINE, PANEL};
use crate::blocks::{IQ4_NL_VALUES, MXFP4_VALUES};

/// A dtype as it lies in panels.
///
/// # Safety
/// Of all functions: `lines` is a block's first line and `scales` the scales of the block's unit,
/// of which it is block `block`; the instructions of `L` are available.
pub(crate) trait Format {
    /// Bytes of a block's lines.
    const LINE_BYTES: usize;
    /// Blocks that share scales.
    const UNIT: usize;
    /// Bytes of a unit's scales.
    const UNIT_BYTES: usize;
    /// Scales of a block: one, or one for each half.
    const PARTS: usize = 1;
    /// Codes are signed bytes; else unsigned below 64.
    const SIGNED: bool = false;
    /// What each unsigned code is too large by.
    const EXCESS: i32 = 0;
    /// Lines of unsigned codes whose products sixteen bits can hold.
    const LINES_A_PART: usize = 1;
    /// Whether there are minima.
    const HAS_MINIMA: bool = false;

    /// Line `t` of a block.
    unsafe fn line<L: Lanes>(lines: *const u8, t: usize) -> L::Line;
    /// The scales of part `part`.
    unsafe fn scales<L: Lanes>(scales: *const u8, block: usize, part: usize) -> L::Floats;
    /// What is added to each scaled code.
    unsafe fn minima<L: Lanes>(_scales: *const u8, _block: usize) -> L::Floats {
        // SAFETY: as the caller's.
        unsafe { L::zero() }
    }
}

/// Bytes of a half for each row.
const HALVES: usize = 2 * PANEL;

// Safety of the blocks below: the contract of the trait.

#[inline(always)]
unsafe fn four_bits<L: Lanes>(lines: *const u8, t: usize) -> L::Line {
    unsafe {
        let both = L::load(lines.add(LINE * (t % 4)));
        let bits = if t < 4 { both } else { L::shift_right(both, 4) };
        L::and(bits, 15)
    }
}

#[inline(always)]
unsafe fn five_bits<L: Lanes>(lines: *const u8, t: usize) -> L::Line {
    unsafe {
        let all = L::load(lines.add(4 * LINE));
        let fifth = if t < 4 {
            L::shift_left(all, 4 - t as u32)
        } else {
            L::shift_right(all, t as u32 - 4)
        };
        L::or(four_bits::<L>(lines, t), L::and(fifth, 16))
    }
}

#[inline(always)]
unsafe fn six_bits<L: Lanes>(lines: *const u8, t: usize) -> L::Line {
    unsafe {
        let all = L::load(lines.add(4 * LINE + LINE * (t / 4)));
        let high = match t % 4 {
            0 => L::shift_left(all, 4),
            1 => L::shift_left(all, 2),
            2 => all,
            _ => L::shift_right(all, 2),
        };
        L::or(four_bits::<L>(lines, t), L::and(high, 48))
    }
}

#[inline(always)]
unsafe fn eight_bits<L: Lanes>(lines: *const u8, t: usize) -> L::Line {
    unsafe { L::load(lines.add(LINE * t)) }
}

#[inline(always)]
unsafe fn iq4_nl_values<L: Lanes>(lines: *const u8, t: usize) -> L::Line {
    unsafe { L::look_up(&IQ4_NL_VALUES, four_bits::<L>(lines, t)) }
}

/// A block has one half a row, of `$line`'s codes.
macro_rules! with_halves {
    ($name:ident, $lines:literal, $line:ident, $($constant:ident: $type:ty = $value:expr),*) => {
        pub(crate) struct $name;
        impl Format for $name {
            const LINE_BYTES: usize = $lines * LINE;
            const UNIT: usize = 1;
            const UNIT_BYTES: usize = HALVES;
            $(const $constant: $type = $value;)*
            #[inline(always)]
            unsafe fn line<L: Lanes>(lines: *const u8, t: usize) -> L::Line {
                unsafe { $line::<L>(lines, t) }
            }
            #[inline(always)]
            unsafe fn scales<L: Lanes>(scales: *const u8, _: usize, _: usize) -> L::Floats {
                unsafe { L::of_halves(scales) }
            }
        }
    };
}

with_halves!(Q8_0, 8, eight_bits, SIGNED: bool = true);
with_halves!(Q4_0, 4, four_bits, EXCESS: i32 = 8, LINES_A_PART: usize = 8);
with_halves!(Q5_0, 5, five_bits, EXCESS: i32 = 16, LINES_A_PART: usize = 4);
with_halves!(Iq4Nl, 4, iq4_nl_values, SIGNED: bool = true);

/// A block has a half scale and a half minimum a row.
macro_rules! with_minima {
    ($name:ident, $lines:literal, $line:ident, $lines_a_part:literal) => {
        pub(crate) struct $name;
        impl Format for $name {
            const LINE_BYTES: usize = $lines * LINE;
            const UNIT: usize = 1;
            const UNIT_BYTES: usize = 2 * HALVES;
            const LINES_A_PART: usize = $lines_a_part;
            const HAS_MINIMA: bool = true;
            #[inline(always)]
            unsafe fn line<L: Lanes>(lines: *const u8, t: usize) -> L::Line {
                unsafe { $line::<L>(lines, t) }
            }
            #[inline(always)]
            unsafe fn scales<L: Lanes>(scales: *const u8, _: usize, _: usize) -> L::Floats {
                unsafe { L::of_halves(scales) }
            }
            #[inline(always)]
            unsafe fn minima<L: Lanes>(scales: *const u8, _: usize) -> L::Floats {
                unsafe { L::of_halves(scales.add(HALVES)) }
            }
        }
    };
}

with_minima!(Q4_1, 4, four_bits, 8);
with_minima!(Q5_1, 5, five_bits, 4);

pub(crate) struct Mxfp4;
impl Format for Mxfp4 {
    const LINE_BYTES: usize = 4 * LINE;
    const UNIT: usize = 1;
    const UNIT_BYTES: usize = PANEL;
    const SIGNED: bool = true;
    #[inline(always)]
    unsafe fn line<L: Lanes>(lines: *const u8, t: usize) -> L::Line {
        unsafe { L::look_up(&MXFP4_VALUES, four_bits::<L>(lines, t)) }
    }
    #[inline(always)]
    unsafe fn scales<L: Lanes>(scales: *const u8, _: usize, _: usize) -> L::Floats {
        unsafe { L::of_e8m0(scales) }
    }
}

/// A unit of eight blocks has a half scale and a half of the minima, negated, a row; each block a
/// byte of scale and a byte of minimum.
macro_rules! with_bytes {
    ($name:ident, $lines:literal, $line:ident, $lines_a_part:literal) => {
        pub(crate) struct $name;
        impl Format for $name {
            const LINE_BYTES: usize = $lines * LINE;
            const UNIT: usize = 8;
            const UNIT_BYTES: usize = 2 * HALVES + 8 * 2 * PANEL;
            const LINES_A_PART: usize = $lines_a_part;
            const HAS_MINIMA: bool = true;
            #[inline(always)]
            unsafe fn line<L: Lanes>(lines: *const u8, t: usize) -> L::Line {
                unsafe { $line::<L>(lines, t) }
            }
            #[inline(always)]
            unsafe fn scales<L: Lanes>(scales: *const u8, block: usize, _: usize) -> L::Floats {
                unsafe {
                    let bytes = scales.add(2 * HALVES).wrapping_add(block << 5);
                    L::mul(L::of_halves(scales), L::of_u8(bytes))
                }
            }
            #[inline(always)]
            unsafe fn minima<L: Lanes>(scales: *const u8, block: usize) -> L::Floats {
                unsafe {
                    let bytes = scales.add(2 * HALVES + PANEL).wrapping_add(block << 5);
                    L::mul(L::of_halves(scales.add(HALVES)), L::of_u8(bytes))
                }
            }
        }
    };
}

with_bytes!(Q4K, 4, four_bits, 8);
with_bytes!(Q5K, 5, five_bits, 4);

/// A unit of eight blocks has a half scale a row; each half of a block a signed byte of scale.
pub(crate) struct Q6K;
impl Format for Q6K {
    const LINE_BYTES: usize = 6 * LINE;
    const UNIT: usize = 8;
    const UNIT_BYTES: usize = HALVES + 8 * 2 * PANEL;
    const PARTS: usize = 2;
    const EXCESS: i32 = 32;
    const LINES_A_PART: usize = 2;
    #[inline(always)]
    unsafe fn line<L: Lanes>(lines: *const u8, t: usize) -> L::Line {
        unsafe { six_bits::<L>(lines, t) }
    }
    #[inline(always)]
    unsafe fn scales<L: Lanes>(scales: *const u8, block: usize, part: usize) -> L::Floats {
        unsafe {
            let bytes = scales.add(HALVES + PANEL * part).wrapping_add(block << 5);
            L::mul(L::of_halves(scales), L::of_i8(bytes))
        }
    }
}

/// Runs `$body` with `$format` as the format of `$dtype`, or `$other` where it has none.
macro_rules! with_format {
    ($dtype:expr, $format:ident => $body:expr, $other:expr) => {{
        use $crate::quantized::format as formats;
        macro_rules! body {
            ($name:ident) => {{
                type $format = formats::$name;
                $body
            }};
        }
        match $dtype {
            $crate::DType::Q8_0 => body!(Q8_0),
            $crate::DType::Q4_0 => body!(Q4_0),
            $crate::DType::Q4_1 => body!(Q4_1),
            $crate::DType::Q5_0 => body!(Q5_0),
            $crate::DType::Q5_1 => body!(Q5_1),
            $crate::DType::IQ4_NL => body!(Iq4Nl),
            $crate::DType::MXFP4 => body!(Mxfp4),
            $crate::DType::Q4_K => body!(Q4K),
            $crate::DType::Q5_K => body!(Q5K),
            $crate::DType::Q6_K => body!(Q6K),
            _ => $other,
        }
    }};
}
pub(crate) use with_format;
