//! The product of tiles where there is no AMX, to the same bits.

use super::{PRODUCTS, SIDE, Tile};
use crate::isa::versions;

/// Sixteen rows of sixteen sums.
pub(super) type Sums = [[f32; SIDE]; SIDE];

versions!(pub(super) fn add(left: &[Tile], right: &[Tile], parts: usize, sums: &mut Sums) = add_body);

/// Zero in the place of a number below the normal ones.
#[inline(always)]
fn flushed(x: f32) -> f32 {
    let bits = x.to_bits();
    let is_small = bits & 0x7f80_0000 == 0;
    f32::from_bits(if is_small { bits & 0x8000_0000 } else { bits })
}

/// Adds the products of a line of left tiles with a line of right ones.
#[inline(always)]
fn add_body(left: &[Tile], right: &[Tile], parts: usize, sums: &mut Sums) {
    let products = if parts == 1 { &[(0, 0)][..] } else { &PRODUCTS };
    for (left, right) in left.chunks_exact(parts).zip(right.chunks_exact(parts)) {
        for (l, r) in products {
            add_tiles(&left[*l], &right[*r], sums);
        }
    }
}

#[inline(always)]
fn add_tiles(left: &Tile, right: &Tile, sums: &mut Sums) {
    let (lefts, rights) = (left.0.as_chunks::<SIDE>().0, right.0.as_chunks::<SIDE>().0);
    for (pairs, sums) in lefts.iter().zip(sums.iter_mut()) {
        let (mut even, mut odd) = ([0.0f32; SIDE], [0.0f32; SIDE]);
        for (a, b) in pairs.iter().zip(rights) {
            let (a_even, a_odd) = halves(*a);
            for (j, b) in b.iter().enumerate() {
                let (b_even, b_odd) = halves(*b);
                even[j] = flushed(a_even.mul_add(b_even, even[j]));
                odd[j] = flushed(a_odd.mul_add(b_odd, odd[j]));
            }
        }
        for (sum, (even, odd)) in sums.iter_mut().zip(even.iter().zip(&odd)) {
            *sum = flushed(flushed(*sum) + flushed(even + odd));
        }
    }
}

#[inline(always)]
fn halves(pair: u32) -> (f32, f32) {
    (
        f32::from_bits(pair << 16),
        f32::from_bits(pair & 0xffff_0000),
    )
}
