//! Sixteen partial sums: the order in which rows that lie along memory are reduced.
//!
//! Element `k` of a row goes to lane `k % 16` in order of `k`, by a fused multiply-add; at the end
//! the lanes are halved four times, lane `i` taking in lane `i + n/2`.

/// Number of partial sums.
pub(crate) const LANES: usize = 16;

/// The sum of the lanes, in the fixed order.
#[inline(always)]
pub(crate) fn reduce(lanes: &[f32; LANES]) -> f32 {
    let mut sums = *lanes;
    let mut width = LANES / 2;
    while width > 0 {
        for i in 0..width {
            sums[i] += sums[i + width];
        }
        width /= 2;
    }
    sums[0]
}

/// The dot product of two rows of one length.
#[inline(always)]
pub(crate) fn dot(a: &[f32], b: &[f32]) -> f32 {
    let mut lanes = [0.0; LANES];
    let (a_chunks, a_rest) = a.as_chunks::<LANES>();
    let (b_chunks, b_rest) = b.as_chunks::<LANES>();
    for (a, b) in a_chunks.iter().zip(b_chunks) {
        for i in 0..LANES {
            lanes[i] = a[i].mul_add(b[i], lanes[i]);
        }
    }
    for (i, (a, b)) in a_rest.iter().zip(b_rest).enumerate() {
        lanes[i] = a.mul_add(*b, lanes[i]);
    }
    reduce(&lanes)
}

/// The sum of `map` of each element of a row.
#[inline(always)]
pub(crate) fn sum(row: &[f32], map: impl Fn(f32) -> f32) -> f32 {
    let mut lanes = [0.0; LANES];
    let (chunks, rest) = row.as_chunks::<LANES>();
    for chunk in chunks {
        for i in 0..LANES {
            lanes[i] += map(chunk[i]);
        }
    }
    for (i, value) in rest.iter().enumerate() {
        lanes[i] += map(*value);
    }
    reduce(&lanes)
}

/// The largest element; negative infinity of an empty row. Its order does not matter.
#[inline(always)]
pub(crate) fn max(row: &[f32]) -> f32 {
    let mut lanes = [f32::NEG_INFINITY; LANES];
    let (chunks, rest) = row.as_chunks::<LANES>();
    for chunk in chunks {
        for i in 0..LANES {
            lanes[i] = if chunk[i] > lanes[i] {
                chunk[i]
            } else {
                lanes[i]
            };
        }
    }
    for (i, value) in rest.iter().enumerate() {
        lanes[i] = lanes[i].max(*value);
    }
    lanes.iter().copied().fold(f32::NEG_INFINITY, f32::max)
}
