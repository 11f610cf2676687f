//! Sixteen outputs side by side: what the kernels of quantised products are written in.

use super::{LINE, PANEL};
use crate::blocks::{half_of_e8m0, half_to_f32};

/// Sixteen lanes of integers and floats. A line has four codes, a byte each, of each lane.
///
/// # Safety
/// Of all functions: the type's instructions are available, and a pointer may be read (or
/// written) for what the name says. Every function is inlined into one that enables the
/// instructions, and may be called from there only.
pub(crate) trait Lanes {
    /// A line of codes.
    type Line: Copy;
    /// Four bytes of activations, the same for each lane.
    type Quad: Copy;
    /// Sums of products on their way to [`Lanes::Ints`].
    type Part: Copy;
    /// Sixteen 32-bit integers.
    type Ints: Copy;
    /// Sixteen floats.
    type Floats: Copy;
    /// Whether a part has 32 bits; if not, it must be flushed after as many lines as the format
    /// allows.
    const WIDE: bool;
    /// What [`Lanes::dot_signed`] adds to each signed code.
    const SIGNED_EXCESS: i32;

    unsafe fn load(p: *const u8) -> Self::Line;
    unsafe fn and(line: Self::Line, mask: u8) -> Self::Line;
    unsafe fn or(a: Self::Line, b: Self::Line) -> Self::Line;
    /// Each byte less 128.
    unsafe fn lower(line: Self::Line) -> Self::Line;
    /// Bits of one byte may come into its neighbour: mask them.
    unsafe fn shift_left(line: Self::Line, bits: u32) -> Self::Line;
    /// As [`Lanes::shift_left`].
    unsafe fn shift_right(line: Self::Line, bits: u32) -> Self::Line;
    /// The table's entry of each code below 16.
    unsafe fn look_up(table: &[i8; 16], line: Self::Line) -> Self::Line;
    unsafe fn quad(p: *const i8) -> Self::Quad;

    unsafe fn splat_int(value: i32) -> Self::Ints;
    unsafe fn add(a: Self::Ints, b: Self::Ints) -> Self::Ints;
    /// A part to start with, where the sums so far are `ints`.
    unsafe fn start(ints: Self::Ints) -> Self::Part;
    /// Adds each lane's four products, of codes from 0 to 63.
    unsafe fn dot(part: Self::Part, line: Self::Line, quad: Self::Quad) -> Self::Part;
    /// Adds each lane's four products, of signed codes; activations are never -128.
    unsafe fn dot_signed(part: Self::Part, line: Self::Line, quad: Self::Quad) -> Self::Part;
    /// The sums with what the part has.
    unsafe fn flush(part: Self::Part, ints: Self::Ints) -> Self::Ints;

    unsafe fn zero() -> Self::Floats;
    unsafe fn splat(p: *const f32) -> Self::Floats;
    unsafe fn floats(p: *const f32) -> Self::Floats;
    unsafe fn of_ints(ints: Self::Ints) -> Self::Floats;
    unsafe fn of_halves(p: *const u8) -> Self::Floats;
    unsafe fn of_u8(p: *const u8) -> Self::Floats;
    unsafe fn of_i8(p: *const u8) -> Self::Floats;
    /// Halves of the powers of two.
    unsafe fn of_e8m0(p: *const u8) -> Self::Floats;
    unsafe fn mul(a: Self::Floats, b: Self::Floats) -> Self::Floats;
    /// `a * b + c`, fused.
    unsafe fn fma(a: Self::Floats, b: Self::Floats, c: Self::Floats) -> Self::Floats;
    unsafe fn store(floats: Self::Floats, out: &mut [f32; PANEL]);
    /// Asks for the cache line at `p`, which need not be there.
    #[inline(always)]
    unsafe fn prefetch(_p: *const u8) {}
}

/// Arrays: the reference that all others follow.
pub(crate) struct Portable;

// Safety of the blocks below: the contract of the trait.
impl Lanes for Portable {
    type Line = [u8; LINE];
    type Quad = [i8; 4];
    type Part = [i32; PANEL];
    type Ints = [i32; PANEL];
    type Floats = [f32; PANEL];
    const WIDE: bool = true;
    const SIGNED_EXCESS: i32 = 0;

    #[inline(always)]
    unsafe fn load(p: *const u8) -> [u8; LINE] {
        unsafe { p.cast::<[u8; LINE]>().read_unaligned() }
    }
    #[inline(always)]
    unsafe fn and(line: [u8; LINE], mask: u8) -> [u8; LINE] {
        line.map(|byte| byte & mask)
    }
    #[inline(always)]
    unsafe fn or(a: [u8; LINE], b: [u8; LINE]) -> [u8; LINE] {
        std::array::from_fn(|i| a[i] | b[i])
    }
    #[inline(always)]
    unsafe fn lower(line: [u8; LINE]) -> [u8; LINE] {
        line.map(|byte| byte ^ 0x80)
    }
    #[inline(always)]
    unsafe fn shift_left(line: [u8; LINE], bits: u32) -> [u8; LINE] {
        line.map(|byte| byte << bits)
    }
    #[inline(always)]
    unsafe fn shift_right(line: [u8; LINE], bits: u32) -> [u8; LINE] {
        line.map(|byte| byte >> bits)
    }
    #[inline(always)]
    unsafe fn look_up(table: &[i8; 16], line: [u8; LINE]) -> [u8; LINE] {
        line.map(|code| table[usize::from(code & 15)] as u8)
    }
    #[inline(always)]
    unsafe fn quad(p: *const i8) -> [i8; 4] {
        unsafe { p.cast::<[i8; 4]>().read_unaligned() }
    }
    #[inline(always)]
    unsafe fn splat_int(value: i32) -> [i32; PANEL] {
        [value; PANEL]
    }
    #[inline(always)]
    unsafe fn add(a: [i32; PANEL], b: [i32; PANEL]) -> [i32; PANEL] {
        std::array::from_fn(|i| a[i].wrapping_add(b[i]))
    }
    #[inline(always)]
    unsafe fn start(ints: [i32; PANEL]) -> [i32; PANEL] {
        ints
    }
    #[inline(always)]
    unsafe fn dot(part: [i32; PANEL], line: [u8; LINE], quad: [i8; 4]) -> [i32; PANEL] {
        unsafe { Self::dot_signed(part, line, quad) }
    }
    #[inline(always)]
    unsafe fn dot_signed(mut part: [i32; PANEL], line: [u8; LINE], quad: [i8; 4]) -> [i32; PANEL] {
        for (sum, codes) in part.iter_mut().zip(line.as_chunks::<4>().0) {
            for (code, x) in codes.iter().zip(quad) {
                *sum = sum.wrapping_add(i32::from(*code as i8) * i32::from(x));
            }
        }
        part
    }
    #[inline(always)]
    unsafe fn flush(part: [i32; PANEL], _: [i32; PANEL]) -> [i32; PANEL] {
        part
    }
    #[inline(always)]
    unsafe fn zero() -> [f32; PANEL] {
        [0.0; PANEL]
    }
    #[inline(always)]
    unsafe fn splat(p: *const f32) -> [f32; PANEL] {
        [unsafe { p.read_unaligned() }; PANEL]
    }
    #[inline(always)]
    unsafe fn floats(p: *const f32) -> [f32; PANEL] {
        unsafe { p.cast::<[f32; PANEL]>().read_unaligned() }
    }
    #[inline(always)]
    unsafe fn of_ints(ints: [i32; PANEL]) -> [f32; PANEL] {
        ints.map(|value| value as f32)
    }
    #[inline(always)]
    unsafe fn of_halves(p: *const u8) -> [f32; PANEL] {
        let halves = unsafe { p.cast::<[[u8; 2]; PANEL]>().read_unaligned() };
        halves.map(|half| half_to_f32(u16::from_le_bytes(half)))
    }
    #[inline(always)]
    unsafe fn of_u8(p: *const u8) -> [f32; PANEL] {
        unsafe { p.cast::<[u8; PANEL]>().read_unaligned() }.map(f32::from)
    }
    #[inline(always)]
    unsafe fn of_i8(p: *const u8) -> [f32; PANEL] {
        unsafe { p.cast::<[i8; PANEL]>().read_unaligned() }.map(f32::from)
    }
    #[inline(always)]
    unsafe fn of_e8m0(p: *const u8) -> [f32; PANEL] {
        unsafe { p.cast::<[u8; PANEL]>().read_unaligned() }.map(half_of_e8m0)
    }
    #[inline(always)]
    unsafe fn mul(a: [f32; PANEL], b: [f32; PANEL]) -> [f32; PANEL] {
        std::array::from_fn(|i| a[i] * b[i])
    }
    #[inline(always)]
    unsafe fn fma(a: [f32; PANEL], b: [f32; PANEL], c: [f32; PANEL]) -> [f32; PANEL] {
        std::array::from_fn(|i| a[i].mul_add(b[i], c[i]))
    }
    #[inline(always)]
    unsafe fn store(floats: [f32; PANEL], out: &mut [f32; PANEL]) {
        *out = floats;
    }
}
