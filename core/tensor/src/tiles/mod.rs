//! Products of bfloat16 numbers with sums in F32, of matrices laid in tiles: what AMX multiplies.
//!
//! An F32 number is the sum of three bfloat16 ones, so a product of F32 numbers is that of six of
//! bfloat16, but for less than a unit of the last place. Its tiles stand in threes, the greatest
//! parts first.
//!
//! A tile of the left matrix is sixteen rows of sixteen pairs of steps of the inner dimension; one of
//! the right matrix sixteen pairs of steps of sixteen columns. What one tile gives with another is, for
//! each output, a chain of fused multiply-adds over the even steps and one over the odd ones,
//! both from zero, then the sum of the two, then its sum with what the tiles before it gave; numbers
//! below the smallest normal one are zeros everywhere. That is how TDPBF16PS computes (Intel 64 and
//! IA-32 Architectures Software Developer's Manual, volume 2), and the portable form does the same.

#[cfg(target_arch = "x86_64")]
pub(crate) mod amx;
#[cfg(target_arch = "x86_64")]
mod avx512;
mod block;
mod pack;
mod portable;
mod product;
#[cfg(test)]
mod tests;

use pack::pack;
pub(crate) use pack::pack_whole;
pub(crate) use product::{Right, multiply};

/// Rows of a left tile, columns of a right one.
pub(crate) const SIDE: usize = 16;
/// Steps of the inner dimension in a tile.
pub(crate) const STEPS: usize = 32;

/// One tile: 16 rows (or pairs of steps) of 16 pairs of bfloat16, the even step's in the low half.
#[repr(C, align(64))]
#[derive(Clone, Copy, Debug)]
pub(crate) struct Tile(pub [u32; SIDE * SIDE]);

impl Tile {
    pub const ZERO: Self = Self([0; SIDE * SIDE]);
}

/// Parts of an F32 number.
pub(crate) const THREE: usize = 3;

/// Which parts of left and right are multiplied, least first: the greatest sum is rounded least. One of
/// the two stays from one product to the next.
pub(crate) const PRODUCTS: [(usize, usize); 6] = [(2, 0), (1, 0), (1, 1), (0, 1), (0, 2), (0, 0)];

/// Which of the two matrices of a product tiles are of.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Operand {
    /// Tiles of rows.
    Left,
    /// Tiles of columns.
    Right,
}

/// The upper half of the nearest bfloat16 to `x`, ties to even; zero for what is below the normal numbers.
#[inline(always)]
pub(crate) fn bf16(x: f32) -> u32 {
    let bits = x.to_bits();
    let magnitude = bits & 0x7fff_ffff;
    let rounded = bits.wrapping_add(0x7fff + (bits >> 16 & 1)) >> 16;
    let number = if magnitude > 0x7f80_0000 {
        bits >> 16 | 0x40
    } else {
        rounded
    };
    if magnitude < 0x0080_0000 {
        bits >> 16 & 0x8000
    } else {
        number
    }
}
