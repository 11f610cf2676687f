//! Sixteen floats in registers: what the kernels of rows are written in, once for AVX-512 and AVX2.
//!
//! Every function is inlined into one that enables the instructions of its type, and may be called
//! from there only.

use std::arch::x86_64::*;

/// Sixteen lanes.
///
/// # Safety
/// Of all functions: the type's instructions are available, and a pointer may be read (or
/// written) for sixteen elements.
pub(crate) trait Simd: Copy {
    unsafe fn zero() -> Self;
    unsafe fn load(p: *const f32) -> Self;
    unsafe fn load_f16(p: *const u8) -> Self;
    unsafe fn load_bf16(p: *const u8) -> Self;
    unsafe fn store(self, p: *mut f32);
    /// `self * other + sum`, fused.
    unsafe fn fma(self, other: Self, sum: Self) -> Self;
}

/// One register of AVX-512.
#[derive(Clone, Copy)]
pub(crate) struct Avx512(__m512);

// Safety of the blocks below: the contract of the trait.
impl Simd for Avx512 {
    #[inline(always)]
    unsafe fn zero() -> Self {
        Self(unsafe { _mm512_setzero_ps() })
    }
    #[inline(always)]
    unsafe fn load(p: *const f32) -> Self {
        Self(unsafe { _mm512_loadu_ps(p) })
    }
    #[inline(always)]
    unsafe fn load_f16(p: *const u8) -> Self {
        Self(unsafe { _mm512_cvtph_ps(_mm256_loadu_si256(p.cast())) })
    }
    #[inline(always)]
    unsafe fn load_bf16(p: *const u8) -> Self {
        unsafe {
            let wide = _mm512_cvtepu16_epi32(_mm256_loadu_si256(p.cast()));
            Self(_mm512_castsi512_ps(_mm512_slli_epi32::<16>(wide)))
        }
    }
    #[inline(always)]
    unsafe fn store(self, p: *mut f32) {
        unsafe { _mm512_storeu_ps(p, self.0) }
    }
    #[inline(always)]
    unsafe fn fma(self, other: Self, sum: Self) -> Self {
        Self(unsafe { _mm512_fmadd_ps(self.0, other.0, sum.0) })
    }
}

/// Two registers of AVX2.
#[derive(Clone, Copy)]
pub(crate) struct Avx2(__m256, __m256);

impl Simd for Avx2 {
    #[inline(always)]
    unsafe fn zero() -> Self {
        unsafe { Self(_mm256_setzero_ps(), _mm256_setzero_ps()) }
    }
    #[inline(always)]
    unsafe fn load(p: *const f32) -> Self {
        unsafe { Self(_mm256_loadu_ps(p), _mm256_loadu_ps(p.add(8))) }
    }
    #[inline(always)]
    unsafe fn load_f16(p: *const u8) -> Self {
        unsafe {
            let half = |at| _mm256_cvtph_ps(_mm_loadu_si128(p.add(at).cast()));
            Self(half(0), half(16))
        }
    }
    #[inline(always)]
    unsafe fn load_bf16(p: *const u8) -> Self {
        unsafe {
            let half = |at| {
                let wide = _mm256_cvtepu16_epi32(_mm_loadu_si128(p.add(at).cast()));
                _mm256_castsi256_ps(_mm256_slli_epi32::<16>(wide))
            };
            Self(half(0), half(16))
        }
    }
    #[inline(always)]
    unsafe fn store(self, p: *mut f32) {
        unsafe {
            _mm256_storeu_ps(p, self.0);
            _mm256_storeu_ps(p.add(8), self.1);
        }
    }
    #[inline(always)]
    unsafe fn fma(self, other: Self, sum: Self) -> Self {
        unsafe {
            Self(
                _mm256_fmadd_ps(self.0, other.0, sum.0),
                _mm256_fmadd_ps(self.1, other.1, sum.1),
            )
        }
    }
}
