//! Sixteen floats in registers: what the kernels of rows are written in, once for AVX-512 and AVX2.
//!
//! Every function is inlined into one that enables the instructions of its type, and may be called
//! from there only.

use std::arch::x86_64::*;

/// Sixteen lanes, and how quantised codes become their values.
///
/// # Safety
/// Of all functions: the type's instructions are available, and a pointer may be read (or
/// written) for sixteen elements.
pub(crate) trait Simd: Copy {
    /// Sixteen bytes, each with two codes of four bits.
    type Codes: Copy;
    /// The values of the sixteen codes of four bits.
    type Ramp: Copy;
    unsafe fn zero() -> Self;
    unsafe fn splat(value: f32) -> Self;
    /// The half at `p` (two bytes) in all lanes.
    unsafe fn splat_half(p: *const u8) -> Self;
    unsafe fn load(p: *const f32) -> Self;
    unsafe fn load_f16(p: *const u8) -> Self;
    unsafe fn load_bf16(p: *const u8) -> Self;
    unsafe fn from_i8(bytes: __m128i) -> Self;
    unsafe fn store(self, p: *mut f32);
    unsafe fn mul(self, other: Self) -> Self;
    /// `self * other + sum`, fused.
    unsafe fn fma(self, other: Self, sum: Self) -> Self;
    unsafe fn codes(p: *const u8) -> Self::Codes;
    /// `scale * code - offset`.
    unsafe fn affine(scale: f32, offset: f32) -> Self::Ramp;
    /// `(code - 8) * scale`.
    unsafe fn centred(scale: Self) -> Self::Ramp;
    /// The values of the low codes.
    unsafe fn low(codes: Self::Codes, ramp: Self::Ramp) -> Self;
    /// The values of the high codes.
    unsafe fn high(codes: Self::Codes, ramp: Self::Ramp) -> Self;
}

/// One register of AVX-512.
#[derive(Clone, Copy)]
pub(crate) struct Avx512(__m512);

// Safety of the blocks below: the contract of the trait.
impl Simd for Avx512 {
    type Codes = __m512i;
    type Ramp = __m512;

    #[inline(always)]
    unsafe fn zero() -> Self {
        Self(unsafe { _mm512_setzero_ps() })
    }
    #[inline(always)]
    unsafe fn splat(value: f32) -> Self {
        Self(unsafe { _mm512_set1_ps(value) })
    }
    #[inline(always)]
    unsafe fn splat_half(p: *const u8) -> Self {
        Self(unsafe { _mm512_cvtph_ps(_mm256_set1_epi16(p.cast::<i16>().read_unaligned())) })
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
    unsafe fn from_i8(bytes: __m128i) -> Self {
        Self(unsafe { _mm512_cvtepi32_ps(_mm512_cvtepi8_epi32(bytes)) })
    }
    #[inline(always)]
    unsafe fn store(self, p: *mut f32) {
        unsafe { _mm512_storeu_ps(p, self.0) }
    }
    #[inline(always)]
    unsafe fn mul(self, other: Self) -> Self {
        Self(unsafe { _mm512_mul_ps(self.0, other.0) })
    }
    #[inline(always)]
    unsafe fn fma(self, other: Self, sum: Self) -> Self {
        Self(unsafe { _mm512_fmadd_ps(self.0, other.0, sum.0) })
    }
    #[inline(always)]
    unsafe fn codes(p: *const u8) -> __m512i {
        unsafe { _mm512_cvtepu8_epi32(_mm_loadu_si128(p.cast())) }
    }
    #[inline(always)]
    unsafe fn affine(scale: f32, offset: f32) -> __m512 {
        unsafe {
            let scaled = _mm512_mul_ps(_mm512_set1_ps(scale), code_values());
            _mm512_sub_ps(scaled, _mm512_set1_ps(offset))
        }
    }
    #[inline(always)]
    unsafe fn centred(scale: Self) -> __m512 {
        unsafe { _mm512_mul_ps(_mm512_sub_ps(code_values(), _mm512_set1_ps(8.0)), scale.0) }
    }
    // A look-up reads the lowest four bits of each index.
    #[inline(always)]
    unsafe fn low(codes: __m512i, ramp: __m512) -> Self {
        Self(unsafe { _mm512_permutexvar_ps(codes, ramp) })
    }
    #[inline(always)]
    unsafe fn high(codes: __m512i, ramp: __m512) -> Self {
        Self(unsafe { _mm512_permutexvar_ps(_mm512_srli_epi32::<4>(codes), ramp) })
    }
}

#[inline(always)]
unsafe fn code_values() -> __m512 {
    // SAFETY: called by `Avx512` only.
    unsafe {
        _mm512_setr_ps(
            0.0, 1.0, 2.0, 3.0, 4.0, 5.0, 6.0, 7.0, 8.0, 9.0, 10.0, 11.0, 12.0, 13.0, 14.0, 15.0,
        )
    }
}

/// Two registers of AVX2.
#[derive(Clone, Copy)]
pub(crate) struct Avx2(__m256, __m256);

/// `(code - before) * scale - after`.
#[derive(Clone, Copy)]
pub(crate) struct Avx2Ramp {
    before: __m256,
    scale: __m256,
    after: __m256,
}

impl Avx2 {
    #[inline(always)]
    unsafe fn of_codes(bytes: __m128i, ramp: Avx2Ramp) -> Self {
        unsafe {
            let codes = Self::from_i8(_mm_and_si128(bytes, _mm_set1_epi8(15)));
            let value = |code| {
                let scaled = _mm256_mul_ps(_mm256_sub_ps(code, ramp.before), ramp.scale);
                _mm256_sub_ps(scaled, ramp.after)
            };
            Self(value(codes.0), value(codes.1))
        }
    }
}

impl Simd for Avx2 {
    type Codes = __m128i;
    type Ramp = Avx2Ramp;

    #[inline(always)]
    unsafe fn zero() -> Self {
        unsafe { Self(_mm256_setzero_ps(), _mm256_setzero_ps()) }
    }
    #[inline(always)]
    unsafe fn splat(value: f32) -> Self {
        unsafe { Self(_mm256_set1_ps(value), _mm256_set1_ps(value)) }
    }
    #[inline(always)]
    unsafe fn splat_half(p: *const u8) -> Self {
        unsafe {
            let value = _mm256_cvtph_ps(_mm_set1_epi16(p.cast::<i16>().read_unaligned()));
            Self(value, value)
        }
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
    unsafe fn from_i8(bytes: __m128i) -> Self {
        unsafe {
            let high = _mm_unpackhi_epi64(bytes, bytes);
            Self(
                _mm256_cvtepi32_ps(_mm256_cvtepi8_epi32(bytes)),
                _mm256_cvtepi32_ps(_mm256_cvtepi8_epi32(high)),
            )
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
    unsafe fn mul(self, other: Self) -> Self {
        unsafe {
            Self(
                _mm256_mul_ps(self.0, other.0),
                _mm256_mul_ps(self.1, other.1),
            )
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
    #[inline(always)]
    unsafe fn codes(p: *const u8) -> __m128i {
        unsafe { _mm_loadu_si128(p.cast()) }
    }
    #[inline(always)]
    unsafe fn affine(scale: f32, offset: f32) -> Avx2Ramp {
        unsafe {
            Avx2Ramp {
                before: _mm256_setzero_ps(),
                scale: _mm256_set1_ps(scale),
                after: _mm256_set1_ps(offset),
            }
        }
    }
    #[inline(always)]
    unsafe fn centred(scale: Self) -> Avx2Ramp {
        unsafe {
            Avx2Ramp {
                before: _mm256_set1_ps(8.0),
                scale: scale.0,
                after: _mm256_setzero_ps(),
            }
        }
    }
    #[inline(always)]
    unsafe fn low(codes: __m128i, ramp: Avx2Ramp) -> Self {
        unsafe { Self::of_codes(codes, ramp) }
    }
    #[inline(always)]
    unsafe fn high(codes: __m128i, ramp: Avx2Ramp) -> Self {
        unsafe { Self::of_codes(_mm_srli_epi16::<4>(codes), ramp) }
    }
}
