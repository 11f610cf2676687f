//! Stored rows, sixteen elements at a time, as values in registers: each is to the bit what
//! [`crate::blocks`] writes.

use crate::blocks::half_to_f32;
use crate::simd::Simd;

/// A dtype whose blocks are whole groups of sixteen elements.
pub(crate) trait Format {
    /// Elements of a block.
    const LEN: usize;
    /// Bytes of a block.
    const BYTES: usize;

    /// Adds the products of one block with the same elements of `X` rows of `x`, `stride` apart,
    /// to the rows' sums.
    ///
    /// # Safety
    /// The block and the elements of `x` may be read, and the instructions of `S` are available.
    unsafe fn block<S: Simd, const X: usize>(
        block: *const u8,
        x: *const f32,
        stride: usize,
        sums: &mut [S; X],
    );

    /// Element `index` of a row, of a dtype whose rows may end within a block of sixteen.
    ///
    /// # Safety
    /// The element may be read.
    unsafe fn element(_row: *const u8, _index: usize) -> f32 {
        0.0
    }
}

#[inline(always)]
unsafe fn feed<S: Simd, const X: usize>(w: S, x: *const f32, stride: usize, sums: &mut [S; X]) {
    for (i, sum) in sums.iter_mut().enumerate() {
        // SAFETY: passed on.
        *sum = unsafe { w.fma(S::load(x.add(i * stride)), *sum) };
    }
}

// Safety of the blocks below: the contract of `block` and `element`.

pub(crate) struct F32;
impl Format for F32 {
    const LEN: usize = 16;
    const BYTES: usize = 64;
    #[inline(always)]
    unsafe fn block<S: Simd, const X: usize>(
        b: *const u8,
        x: *const f32,
        stride: usize,
        sums: &mut [S; X],
    ) {
        unsafe { feed(S::load(b.cast()), x, stride, sums) }
    }
    #[inline(always)]
    unsafe fn element(row: *const u8, index: usize) -> f32 {
        unsafe { row.cast::<f32>().add(index).read_unaligned() }
    }
}

pub(crate) struct F16;
impl Format for F16 {
    const LEN: usize = 16;
    const BYTES: usize = 32;
    #[inline(always)]
    unsafe fn block<S: Simd, const X: usize>(
        b: *const u8,
        x: *const f32,
        stride: usize,
        sums: &mut [S; X],
    ) {
        unsafe { feed(S::load_f16(b), x, stride, sums) }
    }
    #[inline(always)]
    unsafe fn element(row: *const u8, index: usize) -> f32 {
        half_to_f32(unsafe { row.cast::<u16>().add(index).read_unaligned() })
    }
}

pub(crate) struct Bf16;
impl Format for Bf16 {
    const LEN: usize = 16;
    const BYTES: usize = 32;
    #[inline(always)]
    unsafe fn block<S: Simd, const X: usize>(
        b: *const u8,
        x: *const f32,
        stride: usize,
        sums: &mut [S; X],
    ) {
        unsafe { feed(S::load_bf16(b), x, stride, sums) }
    }
    #[inline(always)]
    unsafe fn element(row: *const u8, index: usize) -> f32 {
        let bits = unsafe { row.cast::<u16>().add(index).read_unaligned() };
        f32::from_bits(u32::from(bits) << 16)
    }
}
