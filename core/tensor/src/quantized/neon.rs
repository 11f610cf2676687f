//! The lanes in four registers of NEON.

use std::arch::aarch64::*;

use super::PANEL;
use super::lanes::{Lanes, Portable};

/// Four registers of NEON.
pub(crate) struct Neon;

#[inline(always)]
unsafe fn four<T>(f: impl Fn(usize) -> T) -> [T; 4] {
    std::array::from_fn(f)
}

// Safety of the blocks below: the contract of the trait.
impl Lanes for Neon {
    type Line = [uint8x16_t; 4];
    type Quad = int8x16_t;
    type Part = [int32x4_t; 4];
    type Ints = [int32x4_t; 4];
    type Floats = [float32x4_t; 4];
    const WIDE: bool = true;
    const SIGNED_EXCESS: i32 = 0;

    #[inline(always)]
    unsafe fn load(p: *const u8) -> [uint8x16_t; 4] {
        unsafe { four(|i| vld1q_u8(p.add(16 * i))) }
    }
    #[inline(always)]
    unsafe fn and(line: [uint8x16_t; 4], mask: u8) -> [uint8x16_t; 4] {
        unsafe { four(|i| vandq_u8(line[i], vdupq_n_u8(mask))) }
    }
    #[inline(always)]
    unsafe fn or(a: [uint8x16_t; 4], b: [uint8x16_t; 4]) -> [uint8x16_t; 4] {
        unsafe { four(|i| vorrq_u8(a[i], b[i])) }
    }
    #[inline(always)]
    unsafe fn lower(line: [uint8x16_t; 4]) -> [uint8x16_t; 4] {
        unsafe { four(|i| veorq_u8(line[i], vdupq_n_u8(0x80))) }
    }
    #[inline(always)]
    unsafe fn shift_left(line: [uint8x16_t; 4], bits: u32) -> [uint8x16_t; 4] {
        unsafe { four(|i| vshlq_u8(line[i], vdupq_n_s8(bits as i8))) }
    }
    #[inline(always)]
    unsafe fn shift_right(line: [uint8x16_t; 4], bits: u32) -> [uint8x16_t; 4] {
        unsafe { four(|i| vshlq_u8(line[i], vdupq_n_s8(-(bits as i8)))) }
    }
    #[inline(always)]
    unsafe fn look_up(table: &[i8; 16], line: [uint8x16_t; 4]) -> [uint8x16_t; 4] {
        unsafe {
            let table = vld1q_u8(table.as_ptr().cast());
            four(|i| vqtbl1q_u8(table, line[i]))
        }
    }
    #[inline(always)]
    unsafe fn quad(p: *const i8) -> int8x16_t {
        unsafe { vreinterpretq_s8_s32(vdupq_n_s32(p.cast::<i32>().read_unaligned())) }
    }
    #[inline(always)]
    unsafe fn splat_int(value: i32) -> [int32x4_t; 4] {
        unsafe { four(|_| vdupq_n_s32(value)) }
    }
    #[inline(always)]
    unsafe fn add(a: [int32x4_t; 4], b: [int32x4_t; 4]) -> [int32x4_t; 4] {
        unsafe { four(|i| vaddq_s32(a[i], b[i])) }
    }
    #[inline(always)]
    unsafe fn start(ints: [int32x4_t; 4]) -> [int32x4_t; 4] {
        ints
    }
    #[inline(always)]
    unsafe fn dot(part: [int32x4_t; 4], line: [uint8x16_t; 4], quad: int8x16_t) -> [int32x4_t; 4] {
        unsafe { Self::dot_signed(part, line, quad) }
    }
    #[inline(always)]
    unsafe fn dot_signed(
        part: [int32x4_t; 4],
        line: [uint8x16_t; 4],
        quad: int8x16_t,
    ) -> [int32x4_t; 4] {
        unsafe {
            four(|i| {
                let codes = vreinterpretq_s8_u8(line[i]);
                let low = vmull_s8(vget_low_s8(codes), vget_low_s8(quad));
                let high = vmull_high_s8(codes, quad);
                let pairs = vpaddq_s32(vpaddlq_s16(low), vpaddlq_s16(high));
                vaddq_s32(part[i], pairs)
            })
        }
    }
    #[inline(always)]
    unsafe fn flush(part: [int32x4_t; 4], _: [int32x4_t; 4]) -> [int32x4_t; 4] {
        part
    }
    #[inline(always)]
    unsafe fn zero() -> [float32x4_t; 4] {
        unsafe { four(|_| vdupq_n_f32(0.0)) }
    }
    #[inline(always)]
    unsafe fn splat(p: *const f32) -> [float32x4_t; 4] {
        unsafe { four(|_| vdupq_n_f32(p.read_unaligned())) }
    }
    #[inline(always)]
    unsafe fn floats(p: *const f32) -> [float32x4_t; 4] {
        unsafe { four(|i| vld1q_f32(p.add(4 * i))) }
    }
    #[inline(always)]
    unsafe fn of_ints(ints: [int32x4_t; 4]) -> [float32x4_t; 4] {
        unsafe { four(|i| vcvtq_f32_s32(ints[i])) }
    }
    #[inline(always)]
    unsafe fn of_halves(p: *const u8) -> [float32x4_t; 4] {
        unsafe { from_array(Portable::of_halves(p)) }
    }
    #[inline(always)]
    unsafe fn of_u8(p: *const u8) -> [float32x4_t; 4] {
        unsafe { from_array(Portable::of_u8(p)) }
    }
    #[inline(always)]
    unsafe fn of_i8(p: *const u8) -> [float32x4_t; 4] {
        unsafe { from_array(Portable::of_i8(p)) }
    }
    #[inline(always)]
    unsafe fn of_e8m0(p: *const u8) -> [float32x4_t; 4] {
        unsafe { from_array(Portable::of_e8m0(p)) }
    }
    #[inline(always)]
    unsafe fn mul(a: [float32x4_t; 4], b: [float32x4_t; 4]) -> [float32x4_t; 4] {
        unsafe { four(|i| vmulq_f32(a[i], b[i])) }
    }
    #[inline(always)]
    unsafe fn fma(
        a: [float32x4_t; 4],
        b: [float32x4_t; 4],
        c: [float32x4_t; 4],
    ) -> [float32x4_t; 4] {
        unsafe { four(|i| vfmaq_f32(c[i], a[i], b[i])) }
    }
    #[inline(always)]
    unsafe fn store(floats: [float32x4_t; 4], out: &mut [f32; PANEL]) {
        for (i, part) in floats.into_iter().enumerate() {
            unsafe { vst1q_f32(out.as_mut_ptr().add(4 * i), part) };
        }
    }
}

/// Sixteen floats in registers.
#[inline(always)]
unsafe fn from_array(values: [f32; PANEL]) -> [float32x4_t; 4] {
    unsafe { four(|i| vld1q_f32(values.as_ptr().add(4 * i))) }
}
