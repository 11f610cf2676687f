//! Stored rows, sixteen elements at a time, as values in registers: each is to the bit what
//! [`crate::blocks`] writes.

use std::arch::x86_64::*;

use crate::blocks::{half_to_f32, q4_k_scales};
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

pub(crate) struct Q8_0;
impl Format for Q8_0 {
    const LEN: usize = 32;
    const BYTES: usize = 34;
    #[inline(always)]
    unsafe fn block<S: Simd, const X: usize>(
        b: *const u8,
        x: *const f32,
        stride: usize,
        sums: &mut [S; X],
    ) {
        unsafe {
            let d = S::splat_half(b);
            let first = S::from_i8(_mm_loadu_si128(b.add(2).cast()));
            feed(first.mul(d), x, stride, sums);
            let second = S::from_i8(_mm_loadu_si128(b.add(18).cast()));
            feed(second.mul(d), x.add(16), stride, sums);
        }
    }
}

pub(crate) struct Q4_0;
impl Format for Q4_0 {
    const LEN: usize = 32;
    const BYTES: usize = 18;
    #[inline(always)]
    unsafe fn block<S: Simd, const X: usize>(
        b: *const u8,
        x: *const f32,
        stride: usize,
        sums: &mut [S; X],
    ) {
        unsafe {
            let ramp = S::centred(S::splat_half(b));
            let codes = S::codes(b.add(2));
            feed(S::low(codes, ramp), x, stride, sums);
            feed(S::high(codes, ramp), x.add(16), stride, sums);
        }
    }
}

pub(crate) struct Q4K;
impl Format for Q4K {
    const LEN: usize = 256;
    const BYTES: usize = 144;
    #[inline(always)]
    unsafe fn block<S: Simd, const X: usize>(
        b: *const u8,
        x: *const f32,
        stride: usize,
        sums: &mut [S; X],
    ) {
        unsafe {
            let d = half_to_f32(b.cast::<u16>().read_unaligned());
            let dmin = half_to_f32(b.add(2).cast::<u16>().read_unaligned());
            let (scales, minima) = q4_k_scales(b.add(4).cast::<[u32; 3]>().read_unaligned());
            let (scales, minima) = (eight(scales, d), eight(minima, dmin));
            for pair in 0..4 {
                let first = S::affine(scales[2 * pair], minima[2 * pair]);
                let second = S::affine(scales[2 * pair + 1], minima[2 * pair + 1]);
                let bytes = b.add(16 + 32 * pair);
                let (left, right) = (S::codes(bytes), S::codes(bytes.add(16)));
                let x = x.add(64 * pair);
                feed(S::low(left, first), x, stride, sums);
                feed(S::low(right, first), x.add(16), stride, sums);
                feed(S::high(left, second), x.add(32), stride, sums);
                feed(S::high(right, second), x.add(48), stride, sums);
            }
        }
    }
}

/// Eight bytes as numbers, times `factor`.
#[inline(always)]
unsafe fn eight(bytes: u64, factor: f32) -> [f32; 8] {
    let mut out = [0.0; 8];
    // SAFETY: AVX2 is there, and `out` has room for eight.
    unsafe {
        let wide = _mm256_cvtepu8_epi32(_mm_cvtsi64_si128(bytes as i64));
        let scaled = _mm256_mul_ps(_mm256_cvtepi32_ps(wide), _mm256_set1_ps(factor));
        _mm256_storeu_ps(out.as_mut_ptr(), scaled);
    }
    out
}

pub(crate) struct Q6K;
impl Format for Q6K {
    const LEN: usize = 256;
    const BYTES: usize = 210;
    #[inline(always)]
    unsafe fn block<S: Simd, const X: usize>(
        b: *const u8,
        x: *const f32,
        stride: usize,
        sums: &mut [S; X],
    ) {
        unsafe {
            let mut scales = [0.0f32; 16];
            let wide = S::from_i8(_mm_loadu_si128(b.add(192).cast()));
            wide.mul(S::splat_half(b.add(208)))
                .store(scales.as_mut_ptr());
            for half in 0..2 {
                let (ql, qh) = (b.add(64 * half), b.add(128 + 32 * half));
                for part in 0..4 {
                    let low_shift = _mm_cvtsi32_si128(4 * (part >> 1));
                    let high_shift = _mm_cvtsi32_si128(2 * part);
                    let part = part as usize;
                    for group in 0..2 {
                        let low = _mm_loadu_si128(ql.add(32 * (part & 1) + 16 * group).cast());
                        let low = _mm_and_si128(_mm_srl_epi16(low, low_shift), _mm_set1_epi8(15));
                        let high = _mm_loadu_si128(qh.add(16 * group).cast());
                        let high = _mm_and_si128(_mm_srl_epi16(high, high_shift), _mm_set1_epi8(3));
                        let codes = _mm_or_si128(low, _mm_slli_epi16::<4>(high));
                        let codes = S::from_i8(_mm_sub_epi8(codes, _mm_set1_epi8(32)));
                        let scale = S::splat(scales[8 * half + 2 * part + group]);
                        feed(
                            codes.mul(scale),
                            x.add(128 * half + 32 * part + 16 * group),
                            stride,
                            sums,
                        );
                    }
                }
            }
        }
    }
}
