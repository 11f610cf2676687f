//! The product of tiles by AMX, and whether this process may use it.

use std::arch::asm;

use super::{SIDE, Tile};

/// Whether the machine multiplies bfloat16 in tiles, and the system lets this process: it gives
/// the registers' memory to those that ask (Linux, `Documentation/arch/x86/xstate.rst`).
#[cfg(target_os = "linux")]
pub(crate) fn is_available() -> bool {
    use std::arch::is_x86_feature_detected as has;
    use std::arch::x86_64::{__cpuid, __cpuid_count};
    const REQUEST: libc::c_long = 0x1023;
    const TILE_DATA: libc::c_long = 18;
    if __cpuid(0).eax < 7 || !has!("avx512f") || !has!("avx512bf16") {
        return false;
    }
    let features = __cpuid_count(7, 0).edx;
    let (tiles, bf16, int8) = (1 << 24, 1 << 22, 1 << 25);
    let all = tiles | bf16 | int8;
    // SAFETY: a question to the system, which changes no memory of ours.
    features & all == all && unsafe { libc::syscall(libc::SYS_arch_prctl, REQUEST, TILE_DATA) } == 0
}

/// Elsewhere nobody asks yet.
#[cfg(not(target_os = "linux"))]
pub(crate) fn is_available() -> bool {
    false
}

/// The shapes of the registers: LDTILECFG's memory.
#[repr(C, align(64))]
struct Shapes {
    palette: u8,
    start: u8,
    reserved: [u8; 14],
    bytes: [u16; 16],
    rows: [u8; 16],
}

/// Eight tiles of sixteen rows of sixty-four bytes.
static WHOLE: Shapes = Shapes {
    palette: 1,
    start: 0,
    reserved: [0; 14],
    bytes: [64, 64, 64, 64, 64, 64, 64, 64, 0, 0, 0, 0, 0, 0, 0, 0],
    rows: [16, 16, 16, 16, 16, 16, 16, 16, 0, 0, 0, 0, 0, 0, 0, 0],
};

/// Asks for a cache line that will be written. It need not be there.
#[inline(always)]
pub(super) fn prefetch_to_write(place: *const f32) {
    // SAFETY: a hint, which no address makes fail.
    unsafe { asm!("prefetchw [{}]", in(reg) place, options(nostack, preserves_flags)) };
}

/// The tile registers of this thread, shaped until it is dropped.
pub(super) struct Registers(());

impl Registers {
    /// # Safety
    /// [`is_available`] has said so.
    pub unsafe fn shaped() -> Self {
        // SAFETY: `WHOLE` is what the instruction reads.
        unsafe { asm!("ldtilecfg [{}]", in(reg) &raw const WHOLE, options(nostack, readonly)) };
        Self(())
    }

    /// Multiplies two lines of `count` left tiles with two lines of right ones, of one or three
    /// parts, into 32 rows of 32 floats at `out`, `stride` apart, or adds them. A line may be named twice: its sums are the same then, and must not go to
    /// memory of others.
    ///
    /// # Safety
    /// The lines hold `count` tiles, and `out` its rows.
    pub unsafe fn multiply(
        &self,
        left: [*const Tile; 2],
        right: [*const Tile; 2],
        (count, parts): (usize, usize),
        (out, stride): (*mut f32, usize),
        accumulate: bool,
    ) {
        let bytes = 4 * stride;
        let columns = out.wrapping_add(SIDE);
        let rows = out.wrapping_add(SIDE * stride);
        let corner = rows.wrapping_add(SIDE);
        // SAFETY: passed on; no compiled code uses tile registers.
        unsafe {
            if accumulate {
                asm!(
                    "tileloadd tmm0, [{0} + {4}*1]",
                    "tileloadd tmm1, [{1} + {4}*1]",
                    "tileloadd tmm2, [{2} + {4}*1]",
                    "tileloadd tmm3, [{3} + {4}*1]",
                    in(reg) out, in(reg) columns, in(reg) rows, in(reg) corner, in(reg) bytes,
                    options(nostack, readonly, preserves_flags),
                );
            } else {
                asm!(
                    "tilezero tmm0",
                    "tilezero tmm1",
                    "tilezero tmm2",
                    "tilezero tmm3",
                    options(nostack, nomem, preserves_flags),
                );
            }
            match parts {
                1 => Self::products(left, right, count),
                _ => Self::products_of_three(left, right, count),
            }
            asm!(
                "tilestored [{0} + {4}*1], tmm0",
                "tilestored [{1} + {4}*1], tmm1",
                "tilestored [{2} + {4}*1], tmm2",
                "tilestored [{3} + {4}*1], tmm3",
                in(reg) out, in(reg) columns, in(reg) rows, in(reg) corner, in(reg) bytes,
                options(nostack, preserves_flags),
            );
        }
    }

    /// Adds the products of two lines with two to the first four registers.
    ///
    /// # Safety
    /// The lines hold `count` tiles.
    unsafe fn products(left: [*const Tile; 2], right: [*const Tile; 2], count: usize) {
        // SAFETY: passed on.
        unsafe {
            asm!(
                "test {count}, {count}",
                "jz 3f",
                "2:",
                "tileloadd tmm4, [{a} + {row}*1]",
                "tileloadd tmm6, [{b} + {row}*1]",
                "tileloadd tmm7, [{d} + {row}*1]",
                "tdpbf16ps tmm0, tmm4, tmm6",
                "tileloadd tmm5, [{c} + {row}*1]",
                "tdpbf16ps tmm1, tmm4, tmm7",
                "add {a}, 1024",
                "add {b}, 1024",
                "tdpbf16ps tmm2, tmm5, tmm6",
                "add {c}, 1024",
                "add {d}, 1024",
                "tdpbf16ps tmm3, tmm5, tmm7",
                "dec {count}",
                "jnz 2b",
                "3:",
                a = inout(reg) left[0] => _,
                c = inout(reg) left[1] => _,
                b = inout(reg) right[0] => _,
                d = inout(reg) right[1] => _,
                count = inout(reg) count => _,
                row = in(reg) 64usize,
                options(nostack, readonly),
            );
        }
    }

    /// As [`Self::products`], of tiles in threes.
    ///
    /// # Safety
    /// As there.
    unsafe fn products_of_three(left: [*const Tile; 2], right: [*const Tile; 2], count: usize) {
        // The order of `PRODUCTS`.
        // SAFETY: passed on.
        unsafe {
            asm!(
                "test {count}, {count}",
                "jz 3f",
                "2:",
                "tileloadd tmm4, [{a} + {row}*1 + 2048]",
                "tileloadd tmm6, [{b} + {row}*1]",
                "tileloadd tmm7, [{d} + {row}*1]",
                "tileloadd tmm5, [{c} + {row}*1 + 2048]",
                "tdpbf16ps tmm0, tmm4, tmm6",
                "tdpbf16ps tmm1, tmm4, tmm7",
                "tdpbf16ps tmm2, tmm5, tmm6",
                "tdpbf16ps tmm3, tmm5, tmm7",
                "tileloadd tmm4, [{a} + {row}*1 + 1024]",
                "tileloadd tmm5, [{c} + {row}*1 + 1024]",
                "tdpbf16ps tmm0, tmm4, tmm6",
                "tdpbf16ps tmm1, tmm4, tmm7",
                "tdpbf16ps tmm2, tmm5, tmm6",
                "tdpbf16ps tmm3, tmm5, tmm7",
                "tileloadd tmm6, [{b} + {row}*1 + 1024]",
                "tileloadd tmm7, [{d} + {row}*1 + 1024]",
                "tdpbf16ps tmm0, tmm4, tmm6",
                "tdpbf16ps tmm1, tmm4, tmm7",
                "tdpbf16ps tmm2, tmm5, tmm6",
                "tdpbf16ps tmm3, tmm5, tmm7",
                "tileloadd tmm4, [{a} + {row}*1]",
                "tileloadd tmm5, [{c} + {row}*1]",
                "tdpbf16ps tmm0, tmm4, tmm6",
                "tdpbf16ps tmm1, tmm4, tmm7",
                "tdpbf16ps tmm2, tmm5, tmm6",
                "tdpbf16ps tmm3, tmm5, tmm7",
                "tileloadd tmm6, [{b} + {row}*1 + 2048]",
                "tileloadd tmm7, [{d} + {row}*1 + 2048]",
                "tdpbf16ps tmm0, tmm4, tmm6",
                "tdpbf16ps tmm1, tmm4, tmm7",
                "tdpbf16ps tmm2, tmm5, tmm6",
                "tdpbf16ps tmm3, tmm5, tmm7",
                "tileloadd tmm6, [{b} + {row}*1]",
                "tileloadd tmm7, [{d} + {row}*1]",
                "tdpbf16ps tmm0, tmm4, tmm6",
                "tdpbf16ps tmm1, tmm4, tmm7",
                "tdpbf16ps tmm2, tmm5, tmm6",
                "tdpbf16ps tmm3, tmm5, tmm7",
                "add {a}, 3072",
                "add {b}, 3072",
                "add {c}, 3072",
                "add {d}, 3072",
                "dec {count}",
                "jnz 2b",
                "3:",
                a = inout(reg) left[0] => _,
                c = inout(reg) left[1] => _,
                b = inout(reg) right[0] => _,
                d = inout(reg) right[1] => _,
                count = inout(reg) count => _,
                row = in(reg) 64usize,
                options(nostack, readonly),
            );
        }
    }
}

impl Drop for Registers {
    fn drop(&mut self) {
        // SAFETY: nothing of ours is in the registers any more.
        unsafe { asm!("tilerelease", options(nostack, nomem, preserves_flags)) };
    }
}
