//! Products of rows that lie along memory, by the reduction of [`crate::lanes`]: the kernel of
//! matrices that are not packed.
//!
//! A tile of weight rows by rows of `x` keeps its sixteen partial sums each in registers: several
//! chains at once hide the latency of one, and each loaded row serves the whole tile.

use crate::isa::Isa;
use crate::lanes::{LANES, reduce};

/// Rows of weights that a tile takes at once.
pub(crate) const WEIGHT_ROWS: usize = 4;

/// Most rows of `x` that [`run`] should be given at once, so that they stay in the first cache.
pub(crate) fn most_x_rows(_isa: Isa) -> usize {
    12
}

/// Writes the dot products of each row of `x` with each row of `weights`, both of `cols`, to
/// `out[i * out_stride + j]`.
///
/// # Safety
/// `out` may be written there, and `isa` is available.
pub(crate) unsafe fn run(
    isa: Isa,
    x: &[f32],
    weights: &[f32],
    cols: usize,
    out: *mut f32,
    out_stride: usize,
) {
    // SAFETY: passed on.
    unsafe {
        match isa {
            #[cfg(target_arch = "x86_64")]
            Isa::Avx512 => avx512(x, weights, cols, out, out_stride),
            #[cfg(target_arch = "x86_64")]
            Isa::Avx2 => avx2(x, weights, cols, out, out_stride),
            Isa::Portable => tiles::<2, 2>(x, weights, cols, out, out_stride),
        }
    }
}

#[cfg(target_arch = "x86_64")]
#[target_feature(enable = "avx512f,avx512bw,avx512dq,avx512vl,avx2,fma,f16c")]
unsafe fn avx512(x: &[f32], weights: &[f32], cols: usize, out: *mut f32, stride: usize) {
    // SAFETY: passed on.
    unsafe { tiles::<4, 4>(x, weights, cols, out, stride) }
}

#[cfg(target_arch = "x86_64")]
#[target_feature(enable = "avx2,fma,f16c")]
unsafe fn avx2(x: &[f32], weights: &[f32], cols: usize, out: *mut f32, stride: usize) {
    // SAFETY: passed on.
    unsafe { tiles::<2, 2>(x, weights, cols, out, stride) }
}

/// Cuts the product into tiles of `W` by `X`, and single rows at the edges.
#[inline(always)]
unsafe fn tiles<const W: usize, const X: usize>(
    x: &[f32],
    weights: &[f32],
    cols: usize,
    out: *mut f32,
    stride: usize,
) {
    let (count, m) = (weights.len() / cols, x.len() / cols);
    let mut j = 0;
    while j < count {
        let w = &weights[j * cols..];
        let wide = count - j >= W;
        let mut i = 0;
        while i < m {
            let rows = &x[i * cols..];
            // SAFETY: the tile lies within the rows that the caller allows.
            unsafe {
                let out = out.add(i * stride + j);
                match (wide, m - i >= X) {
                    (true, true) => tile::<W, X>(rows, w, cols, out, stride),
                    (true, false) => tile::<W, 1>(rows, w, cols, out, stride),
                    (false, true) => tile::<1, X>(rows, w, cols, out, stride),
                    (false, false) => tile::<1, 1>(rows, w, cols, out, stride),
                }
            }
            i += if m - i >= X { X } else { 1 };
        }
        j += if wide { W } else { 1 };
    }
}

/// One tile: the first `X` rows of `x` by the first `W` of `weights`.
#[inline(always)]
unsafe fn tile<const W: usize, const X: usize>(
    x: &[f32],
    weights: &[f32],
    cols: usize,
    out: *mut f32,
    stride: usize,
) {
    let x: [&[f32]; X] = std::array::from_fn(|i| &x[i * cols..(i + 1) * cols]);
    let w: [&[f32]; W] = std::array::from_fn(|j| &weights[j * cols..(j + 1) * cols]);
    let x_steps: [&[[f32; LANES]]; X] = x.map(|row| row.as_chunks().0);
    let w_steps: [&[[f32; LANES]]; W] = w.map(|row| row.as_chunks().0);
    let steps = cols / LANES;
    let mut sums = [[[0.0f32; LANES]; X]; W];
    for step in 0..steps {
        for j in 0..W {
            // SAFETY: every row has `steps` whole steps.
            let a = unsafe { w_steps[j].get_unchecked(step) };
            for i in 0..X {
                // SAFETY: as above.
                let b = unsafe { x_steps[i].get_unchecked(step) };
                for lane in 0..LANES {
                    sums[j][i][lane] = a[lane].mul_add(b[lane], sums[j][i][lane]);
                }
            }
        }
    }
    for j in 0..W {
        for i in 0..X {
            for (lane, k) in (steps * LANES..cols).enumerate() {
                sums[j][i][lane] = w[j][k].mul_add(x[i][k], sums[j][i][lane]);
            }
            // SAFETY: the caller allows this element.
            unsafe { *out.add(i * stride + j) = reduce(&sums[j][i]) };
        }
    }
}
