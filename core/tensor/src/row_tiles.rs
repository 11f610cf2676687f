//! Products of rows that lie along memory, by the reduction of [`crate::lanes`]: the kernel of
//! matrices that are not packed.
//!
//! A tile of weight rows by rows of `x` keeps its sixteen partial sums each in registers: several
//! chains at once hide the latency of one, and each loaded row serves the whole tile. Stored
//! weights become values in registers, in the same order, so it does not matter to the bits
//! whether they were dequantised before.

use crate::isa::Isa;
use crate::lanes;

/// Rows of weights that a tile takes at once.
pub(crate) const WEIGHT_ROWS: usize = 4;

/// The rows of one task.
#[derive(Clone, Copy)]
pub(crate) struct RowTask<'a> {
    /// Rows of `x`, of `cols` each.
    pub x: &'a [f32],
    /// Weight rows, `row_bytes` each.
    pub weights: &'a [u8],
    pub row_bytes: usize,
    pub cols: usize,
    /// Element `(row of x, weight row)` goes to `row * out_stride + weight row`.
    pub out: *mut f32,
    pub out_stride: usize,
}

/// Writes the dot products of each row of `x` with each row of single floats.
///
/// # Safety
/// `out` may be written as [`RowTask`] says, and `isa` is available.
pub(crate) unsafe fn floats(isa: Isa, task: &RowTask<'_>) {
    match isa {
        #[cfg(target_arch = "x86_64")]
        // SAFETY: passed on.
        Isa::Avx512 | Isa::Vnni | Isa::Amx => unsafe { x86::avx512::<crate::formats::F32>(task) },
        #[cfg(target_arch = "x86_64")]
        // SAFETY: passed on.
        Isa::Avx2 => unsafe { x86::avx2::<crate::formats::F32>(task) },
        // SAFETY: passed on.
        _ => unsafe { portable(task) },
    }
}

/// As [`floats`], of rows of halves; false where `isa` has no such kernel.
///
/// # Safety
/// As [`floats`].
#[cfg(target_arch = "x86_64")]
pub(crate) unsafe fn stored(isa: Isa, dtype: crate::DType, task: &RowTask<'_>) -> bool {
    use crate::DType;
    use crate::formats::{Bf16, F16};
    macro_rules! run {
        ($format:ty) => {
            match isa {
                // SAFETY: passed on.
                Isa::Avx512 | Isa::Vnni | Isa::Amx => unsafe { x86::avx512::<$format>(task) },
                // SAFETY: passed on.
                Isa::Avx2 => unsafe { x86::avx2::<$format>(task) },
                Isa::Portable => return false,
            }
        };
    }
    match dtype {
        DType::F16 => run!(F16),
        DType::BF16 => run!(Bf16),
        _ => return false,
    }
    true
}

/// As [`floats`]; there is no such kernel here.
///
/// # Safety
/// As [`floats`].
#[cfg(not(target_arch = "x86_64"))]
pub(crate) unsafe fn stored(_: Isa, _: crate::DType, _: &RowTask<'_>) -> bool {
    false
}

unsafe fn portable(task: &RowTask<'_>) {
    let mut row = vec![0.0f32; task.cols];
    for (j, bytes) in task.weights.chunks_exact(task.row_bytes).enumerate() {
        for (value, bytes) in row.iter_mut().zip(bytes.as_chunks::<4>().0) {
            *value = f32::from_ne_bytes(*bytes);
        }
        for (i, x) in task.x.chunks_exact(task.cols).enumerate() {
            // SAFETY: passed on.
            unsafe { *task.out.add(i * task.out_stride + j) = lanes::dot(&row, x) };
        }
    }
}

#[cfg(target_arch = "x86_64")]
mod x86 {
    use super::RowTask;
    use crate::formats::Format;
    use crate::lanes::{LANES, reduce};
    use crate::simd::{self, Simd};

    #[target_feature(enable = "avx512f,avx512bw,avx512dq,avx512vl,avx2,fma,f16c")]
    pub(super) unsafe fn avx512<F: Format>(task: &RowTask<'_>) {
        let m = task.x.len() / task.cols;
        let mut i = 0;
        // SAFETY: passed on; the tiles lie within `x`.
        unsafe {
            while i < m {
                match m - i {
                    1 => rows::<F, simd::Avx512, 4, 1>(task, i),
                    2 => rows::<F, simd::Avx512, 4, 2>(task, i),
                    3 => rows::<F, simd::Avx512, 4, 3>(task, i),
                    _ => rows::<F, simd::Avx512, 4, 4>(task, i),
                }
                i += 4;
            }
        }
    }

    #[target_feature(enable = "avx2,fma,f16c")]
    pub(super) unsafe fn avx2<F: Format>(task: &RowTask<'_>) {
        let m = task.x.len() / task.cols;
        let mut i = 0;
        // SAFETY: passed on; the tiles lie within `x`.
        unsafe {
            while i < m {
                if m - i == 1 {
                    rows::<F, simd::Avx2, 4, 1>(task, i);
                } else {
                    rows::<F, simd::Avx2, 2, 2>(task, i);
                }
                i += 2;
            }
        }
    }

    /// `X` rows of `x` from row `i`, by all weight rows, `R` (1, 2 or 4) at once.
    #[inline(always)]
    unsafe fn rows<F: Format, S: Simd, const R: usize, const X: usize>(
        task: &RowTask<'_>,
        i: usize,
    ) {
        let count = task.weights.len() / task.row_bytes;
        let mut j = 0;
        // SAFETY: passed on.
        unsafe {
            while j + R <= count {
                tile::<F, S, R, X>(task, i, j);
                j += R;
            }
            while j < count {
                tile::<F, S, 1, X>(task, i, j);
                j += 1;
            }
        }
    }

    #[inline(always)]
    unsafe fn tile<F: Format, S: Simd, const R: usize, const X: usize>(
        task: &RowTask<'_>,
        i: usize,
        j: usize,
    ) {
        let (cols, row_bytes) = (task.cols, task.row_bytes);
        // SAFETY: rows `j..j + R` of the weights and `i..i + X` of `x` are there.
        unsafe {
            let x = task.x.as_ptr().add(i * cols);
            let w = task.weights.as_ptr().add(j * row_bytes);
            let mut sums = [[S::zero(); X]; R];
            for block in 0..cols / F::LEN {
                let x = x.add(block * F::LEN);
                let w = w.add(block * F::BYTES);
                // Plain indices: the sums must stay in registers, whatever the compiler unrolls.
                F::block(w, x, cols, &mut sums[0]);
                if R > 1 {
                    F::block(w.add(row_bytes), x, cols, &mut sums[1]);
                }
                if R > 2 {
                    F::block(w.add(2 * row_bytes), x, cols, &mut sums[2]);
                    F::block(w.add(3 * row_bytes), x, cols, &mut sums[3]);
                }
            }
            for (r, sums) in sums.iter().enumerate() {
                for (q, sum) in sums.iter().enumerate() {
                    let mut lanes = [0.0; LANES];
                    sum.store(lanes.as_mut_ptr());
                    for (lane, k) in (cols / F::LEN * F::LEN..cols).enumerate() {
                        let weight = F::element(w.add(r * row_bytes), k);
                        lanes[lane] = weight.mul_add(*x.add(q * cols + k), lanes[lane]);
                    }
                    *task.out.add((i + q) * task.out_stride + j + r) = reduce(&lanes);
                }
            }
        }
    }
}
