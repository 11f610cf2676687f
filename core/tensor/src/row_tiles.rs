//! Products of rows that lie along memory, by the reduction of [`crate::lanes`]: the kernel of
//! matrices that are not packed.

use crate::isa::Isa;
use crate::vector::dot_with;

/// Rows of weights that a tile takes at once.
pub(crate) const WEIGHT_ROWS: usize = 4;

/// Most rows of `x` that [`run`] should be given at once, so that they stay in the first cache.
pub(crate) fn most_x_rows(isa: Isa) -> usize {
    match isa {
        Isa::Portable => 4,
        #[cfg(target_arch = "x86_64")]
        Isa::Avx2 => 3,
        #[cfg(target_arch = "x86_64")]
        Isa::Avx512 => 6,
    }
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
    for (i, x) in x.chunks_exact(cols).enumerate() {
        for (j, weight) in weights.chunks_exact(cols).enumerate() {
            // SAFETY: the caller allows this element.
            unsafe { *out.add(i * out_stride + j) = dot_with(isa, x, weight) };
        }
    }
}
