//! The lanes in registers of AVX2, AVX-512 and AVX-512 with VNNI.

use std::arch::x86_64::*;

use super::PANEL;
use super::lanes::Lanes;

/// Two registers of AVX2.
pub(crate) struct Avx2;

/// One register of AVX-512.
pub(crate) struct Avx512;

/// One register of AVX-512, four products added at once.
pub(crate) struct Vnni;

/// The expression for either half: no closure, whose registers would go through memory.
macro_rules! both {
    ($i:ident => $half:expr) => {
        [
            {
                const $i: usize = 0;
                $half
            },
            {
                const $i: usize = 1;
                $half
            },
        ]
    };
}

// Safety of the blocks below: the contract of the trait.
impl Lanes for Avx2 {
    type Line = [__m256i; 2];
    type Quad = __m256i;
    /// Sixteen bits: two products each.
    type Part = [__m256i; 2];
    type Ints = [__m256i; 2];
    type Floats = [__m256; 2];
    const WIDE: bool = false;
    const SIGNED_EXCESS: i32 = 0;

    #[inline(always)]
    unsafe fn load(p: *const u8) -> [__m256i; 2] {
        unsafe { both!(I => _mm256_loadu_si256(p.add(32 * I).cast())) }
    }
    #[inline(always)]
    unsafe fn and(line: [__m256i; 2], mask: u8) -> [__m256i; 2] {
        unsafe { both!(I => _mm256_and_si256(line[I], _mm256_set1_epi8(mask as i8))) }
    }
    #[inline(always)]
    unsafe fn or(a: [__m256i; 2], b: [__m256i; 2]) -> [__m256i; 2] {
        unsafe { both!(I => _mm256_or_si256(a[I], b[I])) }
    }
    #[inline(always)]
    unsafe fn lower(line: [__m256i; 2]) -> [__m256i; 2] {
        unsafe { both!(I => _mm256_xor_si256(line[I], _mm256_set1_epi8(i8::MIN))) }
    }
    #[inline(always)]
    unsafe fn shift_left(line: [__m256i; 2], bits: u32) -> [__m256i; 2] {
        unsafe { both!(I => _mm256_sll_epi16(line[I], _mm_cvtsi32_si128(bits as i32))) }
    }
    #[inline(always)]
    unsafe fn shift_right(line: [__m256i; 2], bits: u32) -> [__m256i; 2] {
        unsafe { both!(I => _mm256_srl_epi16(line[I], _mm_cvtsi32_si128(bits as i32))) }
    }
    #[inline(always)]
    unsafe fn look_up(table: &[i8; 16], line: [__m256i; 2]) -> [__m256i; 2] {
        unsafe {
            let table = _mm256_broadcastsi128_si256(_mm_loadu_si128(table.as_ptr().cast()));
            both!(I => _mm256_shuffle_epi8(table, line[I]))
        }
    }
    #[inline(always)]
    unsafe fn quad(p: *const i8) -> __m256i {
        unsafe { _mm256_set1_epi32(p.cast::<i32>().read_unaligned()) }
    }
    #[inline(always)]
    unsafe fn splat_int(value: i32) -> [__m256i; 2] {
        unsafe { [_mm256_set1_epi32(value); 2] }
    }
    #[inline(always)]
    unsafe fn add(a: [__m256i; 2], b: [__m256i; 2]) -> [__m256i; 2] {
        unsafe { [_mm256_add_epi32(a[0], b[0]), _mm256_add_epi32(a[1], b[1])] }
    }
    #[inline(always)]
    unsafe fn start(_: [__m256i; 2]) -> [__m256i; 2] {
        unsafe { [_mm256_setzero_si256(); 2] }
    }
    #[inline(always)]
    unsafe fn dot(part: [__m256i; 2], line: [__m256i; 2], quad: __m256i) -> [__m256i; 2] {
        unsafe { both!(I => _mm256_add_epi16(part[I], _mm256_maddubs_epi16(line[I], quad))) }
    }
    #[inline(always)]
    unsafe fn dot_signed(part: [__m256i; 2], line: [__m256i; 2], quad: __m256i) -> [__m256i; 2] {
        // At most 2 * 128 * 127, which sixteen bits hold.
        unsafe {
            both!(I => {
                let signed = _mm256_sign_epi8(quad, line[I]);
                let products = _mm256_maddubs_epi16(_mm256_abs_epi8(line[I]), signed);
                _mm256_add_epi16(part[I], products)
            })
        }
    }
    #[inline(always)]
    unsafe fn flush(part: [__m256i; 2], ints: [__m256i; 2]) -> [__m256i; 2] {
        unsafe {
            let ones = _mm256_set1_epi16(1);
            both!(I => _mm256_add_epi32(ints[I], _mm256_madd_epi16(part[I], ones)))
        }
    }
    #[inline(always)]
    unsafe fn zero() -> [__m256; 2] {
        unsafe { [_mm256_setzero_ps(); 2] }
    }
    #[inline(always)]
    unsafe fn splat(p: *const f32) -> [__m256; 2] {
        unsafe { [_mm256_set1_ps(p.read_unaligned()); 2] }
    }
    #[inline(always)]
    unsafe fn floats(p: *const f32) -> [__m256; 2] {
        unsafe { [_mm256_loadu_ps(p), _mm256_loadu_ps(p.add(8))] }
    }
    #[inline(always)]
    unsafe fn of_ints(ints: [__m256i; 2]) -> [__m256; 2] {
        unsafe { [_mm256_cvtepi32_ps(ints[0]), _mm256_cvtepi32_ps(ints[1])] }
    }
    #[inline(always)]
    unsafe fn of_halves(p: *const u8) -> [__m256; 2] {
        unsafe { both!(I => _mm256_cvtph_ps(_mm_loadu_si128(p.add(16 * I).cast()))) }
    }
    #[inline(always)]
    unsafe fn of_u8(p: *const u8) -> [__m256; 2] {
        unsafe {
            both!(I => {
                let bytes = _mm_loadl_epi64(p.add(8 * I).cast());
                _mm256_cvtepi32_ps(_mm256_cvtepu8_epi32(bytes))
            })
        }
    }
    #[inline(always)]
    unsafe fn of_i8(p: *const u8) -> [__m256; 2] {
        unsafe {
            both!(I => {
                let bytes = _mm_loadl_epi64(p.add(8 * I).cast());
                _mm256_cvtepi32_ps(_mm256_cvtepi8_epi32(bytes))
            })
        }
    }
    #[inline(always)]
    unsafe fn of_e8m0(p: *const u8) -> [__m256; 2] {
        unsafe {
            both!(I => {
                let exponents = _mm256_cvtepu8_epi32(_mm_loadl_epi64(p.add(8 * I).cast()));
                let less = _mm256_sub_epi32(exponents, _mm256_set1_epi32(1));
                let normal = _mm256_slli_epi32::<23>(less);
                // The two lowest are subnormal; above them the normal one is the larger number.
                let lowest = _mm256_min_epi32(exponents, _mm256_set1_epi32(1));
                let subnormal = _mm256_sllv_epi32(_mm256_set1_epi32(0x0020_0000), lowest);
                _mm256_castsi256_ps(_mm256_max_epi32(normal, subnormal))
            })
        }
    }
    #[inline(always)]
    unsafe fn mul(a: [__m256; 2], b: [__m256; 2]) -> [__m256; 2] {
        unsafe { [_mm256_mul_ps(a[0], b[0]), _mm256_mul_ps(a[1], b[1])] }
    }
    #[inline(always)]
    unsafe fn fma(a: [__m256; 2], b: [__m256; 2], c: [__m256; 2]) -> [__m256; 2] {
        unsafe {
            [
                _mm256_fmadd_ps(a[0], b[0], c[0]),
                _mm256_fmadd_ps(a[1], b[1], c[1]),
            ]
        }
    }
    #[inline(always)]
    unsafe fn store(floats: [__m256; 2], out: &mut [f32; PANEL]) {
        unsafe {
            _mm256_storeu_ps(out.as_mut_ptr(), floats[0]);
            _mm256_storeu_ps(out.as_mut_ptr().add(8), floats[1]);
        }
    }
    #[inline(always)]
    unsafe fn prefetch(p: *const u8) {
        unsafe { _mm_prefetch::<_MM_HINT_T0>(p.cast()) }
    }
}

/// The functions that both forms of AVX-512 share.
macro_rules! avx512 {
    () => {
        type Line = __m512i;
        type Quad = __m512i;
        type Ints = __m512i;
        type Floats = __m512;

        #[inline(always)]
        unsafe fn load(p: *const u8) -> __m512i {
            unsafe { _mm512_loadu_si512(p.cast()) }
        }
        #[inline(always)]
        unsafe fn and(line: __m512i, mask: u8) -> __m512i {
            unsafe { _mm512_and_si512(line, _mm512_set1_epi8(mask as i8)) }
        }
        #[inline(always)]
        unsafe fn or(a: __m512i, b: __m512i) -> __m512i {
            unsafe { _mm512_or_si512(a, b) }
        }
        #[inline(always)]
        unsafe fn lower(line: __m512i) -> __m512i {
            unsafe { _mm512_xor_si512(line, _mm512_set1_epi8(i8::MIN)) }
        }
        #[inline(always)]
        unsafe fn shift_left(line: __m512i, bits: u32) -> __m512i {
            unsafe { _mm512_sll_epi16(line, _mm_cvtsi32_si128(bits as i32)) }
        }
        #[inline(always)]
        unsafe fn shift_right(line: __m512i, bits: u32) -> __m512i {
            unsafe { _mm512_srl_epi16(line, _mm_cvtsi32_si128(bits as i32)) }
        }
        #[inline(always)]
        unsafe fn look_up(table: &[i8; 16], line: __m512i) -> __m512i {
            unsafe {
                let table = _mm512_broadcast_i32x4(_mm_loadu_si128(table.as_ptr().cast()));
                _mm512_shuffle_epi8(table, line)
            }
        }
        #[inline(always)]
        unsafe fn quad(p: *const i8) -> __m512i {
            unsafe { _mm512_set1_epi32(p.cast::<i32>().read_unaligned()) }
        }
        #[inline(always)]
        unsafe fn splat_int(value: i32) -> __m512i {
            unsafe { _mm512_set1_epi32(value) }
        }
        #[inline(always)]
        unsafe fn add(a: __m512i, b: __m512i) -> __m512i {
            unsafe { _mm512_add_epi32(a, b) }
        }
        #[inline(always)]
        unsafe fn zero() -> __m512 {
            unsafe { _mm512_setzero_ps() }
        }
        #[inline(always)]
        unsafe fn splat(p: *const f32) -> __m512 {
            unsafe { _mm512_set1_ps(p.read_unaligned()) }
        }
        #[inline(always)]
        unsafe fn floats(p: *const f32) -> __m512 {
            unsafe { _mm512_loadu_ps(p) }
        }
        #[inline(always)]
        unsafe fn of_ints(ints: __m512i) -> __m512 {
            unsafe { _mm512_cvtepi32_ps(ints) }
        }
        #[inline(always)]
        unsafe fn of_halves(p: *const u8) -> __m512 {
            unsafe { _mm512_cvtph_ps(_mm256_loadu_si256(p.cast())) }
        }
        #[inline(always)]
        unsafe fn of_u8(p: *const u8) -> __m512 {
            unsafe { _mm512_cvtepi32_ps(_mm512_cvtepu8_epi32(_mm_loadu_si128(p.cast()))) }
        }
        #[inline(always)]
        unsafe fn of_i8(p: *const u8) -> __m512 {
            unsafe { _mm512_cvtepi32_ps(_mm512_cvtepi8_epi32(_mm_loadu_si128(p.cast()))) }
        }
        #[inline(always)]
        unsafe fn of_e8m0(p: *const u8) -> __m512 {
            // As in AVX2.
            unsafe {
                let exponents = _mm512_cvtepu8_epi32(_mm_loadu_si128(p.cast()));
                let less = _mm512_sub_epi32(exponents, _mm512_set1_epi32(1));
                let normal = _mm512_slli_epi32::<23>(less);
                let lowest = _mm512_min_epi32(exponents, _mm512_set1_epi32(1));
                let subnormal = _mm512_sllv_epi32(_mm512_set1_epi32(0x0020_0000), lowest);
                _mm512_castsi512_ps(_mm512_max_epi32(normal, subnormal))
            }
        }
        #[inline(always)]
        unsafe fn mul(a: __m512, b: __m512) -> __m512 {
            unsafe { _mm512_mul_ps(a, b) }
        }
        #[inline(always)]
        unsafe fn fma(a: __m512, b: __m512, c: __m512) -> __m512 {
            unsafe { _mm512_fmadd_ps(a, b, c) }
        }
        #[inline(always)]
        unsafe fn store(floats: __m512, out: &mut [f32; PANEL]) {
            unsafe { _mm512_storeu_ps(out.as_mut_ptr(), floats) }
        }
        #[inline(always)]
        unsafe fn prefetch(p: *const u8) {
            unsafe { _mm_prefetch::<_MM_HINT_T0>(p.cast()) }
        }
    };
}

impl Lanes for Avx512 {
    avx512!();
    /// Sixteen bits: two products each.
    type Part = __m512i;
    const WIDE: bool = false;
    const SIGNED_EXCESS: i32 = 0;

    #[inline(always)]
    unsafe fn start(_: __m512i) -> __m512i {
        unsafe { _mm512_setzero_si512() }
    }
    #[inline(always)]
    unsafe fn dot(part: __m512i, line: __m512i, quad: __m512i) -> __m512i {
        unsafe { _mm512_add_epi16(part, _mm512_maddubs_epi16(line, quad)) }
    }
    #[inline(always)]
    unsafe fn dot_signed(part: __m512i, line: __m512i, quad: __m512i) -> __m512i {
        unsafe {
            let negative = _mm512_movepi8_mask(line);
            let signed = _mm512_mask_sub_epi8(quad, negative, _mm512_setzero_si512(), quad);
            let products = _mm512_maddubs_epi16(_mm512_abs_epi8(line), signed);
            _mm512_add_epi16(part, products)
        }
    }
    #[inline(always)]
    unsafe fn flush(part: __m512i, ints: __m512i) -> __m512i {
        unsafe { _mm512_add_epi32(ints, _mm512_madd_epi16(part, _mm512_set1_epi16(1))) }
    }
}

impl Lanes for Vnni {
    avx512!();
    type Part = __m512i;
    const WIDE: bool = true;
    const SIGNED_EXCESS: i32 = 128;

    #[inline(always)]
    unsafe fn start(ints: __m512i) -> __m512i {
        ints
    }
    #[inline(always)]
    unsafe fn dot(part: __m512i, line: __m512i, quad: __m512i) -> __m512i {
        unsafe { _mm512_dpbusd_epi32(part, line, quad) }
    }
    #[inline(always)]
    unsafe fn dot_signed(part: __m512i, line: __m512i, quad: __m512i) -> __m512i {
        unsafe {
            let line = _mm512_xor_si512(line, _mm512_set1_epi8(i8::MIN));
            _mm512_dpbusd_epi32(part, line, quad)
        }
    }
    #[inline(always)]
    unsafe fn flush(part: __m512i, _: __m512i) -> __m512i {
        part
    }
}
