//! Rows laid side by side: element `p` of row `i` goes to `p * stride + i`.

use crate::isa::Isa;

/// Writes up to sixteen rows of one length `k` to `out` as `(k, stride)`; `stride` is at least the
/// number of rows, and what lies between is left alone.
pub(crate) fn interleave(isa: Isa, rows: &[&[f32]], stride: usize, out: &mut [f32]) {
    let Some(k) = rows.first().map(|row| row.len()) else {
        return;
    };
    assert!(rows.iter().all(|row| row.len() == k) && rows.len() <= stride);
    assert!(k == 0 || out.len() >= (k - 1) * stride + rows.len());
    let mut done = 0;
    #[cfg(target_arch = "x86_64")]
    if isa != Isa::Portable && rows.len() > 1 {
        for (i, eight) in rows.chunks(8).enumerate() {
            // SAFETY: AVX2 is there with both; the lengths were checked.
            unsafe { x86::eight(eight, k, stride, out.as_mut_ptr().add(8 * i)) };
        }
        done = k / 8 * 8;
    }
    let _ = isa;
    for (i, row) in rows.iter().enumerate() {
        for (p, value) in row.iter().enumerate().skip(done) {
            out[p * stride + i] = *value;
        }
    }
}

#[cfg(target_arch = "x86_64")]
mod x86 {
    use std::arch::x86_64::*;

    /// Whole eights of the elements of up to eight rows.
    ///
    /// # Safety
    /// The rows hold `k` elements, and `out` may be written for them.
    #[target_feature(enable = "avx2")]
    pub(super) unsafe fn eight(rows: &[&[f32]], k: usize, stride: usize, out: *mut f32) {
        let count = rows.len();
        // A missing row reads the last one again, and its lane is not written.
        let starts: [*const f32; 8] = std::array::from_fn(|i| rows[i.min(count - 1)].as_ptr());
        let lanes = _mm256_setr_epi32(0, 1, 2, 3, 4, 5, 6, 7);
        let mask = _mm256_cmpgt_epi32(_mm256_set1_epi32(count as i32), lanes);
        // SAFETY: within the rows and `out`, as the caller says.
        unsafe {
            for p in (0..k / 8).map(|step| 8 * step) {
                let columns = transpose(starts.map(|start| _mm256_loadu_ps(start.add(p))));
                let out = out.add(p * stride);
                for (i, column) in columns.into_iter().enumerate() {
                    if count == 8 {
                        _mm256_storeu_ps(out.add(i * stride), column);
                    } else {
                        _mm256_maskstore_ps(out.add(i * stride), mask, column);
                    }
                }
            }
        }
    }

    #[target_feature(enable = "avx2")]
    #[inline]
    fn transpose(r: [__m256; 8]) -> [__m256; 8] {
        let [a, b, c, d] = [0, 2, 4, 6].map(|i| {
            (
                _mm256_unpacklo_ps(r[i], r[i + 1]),
                _mm256_unpackhi_ps(r[i], r[i + 1]),
            )
        });
        let fours = |x: (__m256, __m256), y: (__m256, __m256)| {
            [
                _mm256_shuffle_ps::<0x44>(x.0, y.0),
                _mm256_shuffle_ps::<0xee>(x.0, y.0),
                _mm256_shuffle_ps::<0x44>(x.1, y.1),
                _mm256_shuffle_ps::<0xee>(x.1, y.1),
            ]
        };
        let (low, high) = (fours(a, b), fours(c, d));
        std::array::from_fn(|i| {
            if i < 4 {
                _mm256_permute2f128_ps::<0x20>(low[i], high[i])
            } else {
                _mm256_permute2f128_ps::<0x31>(low[i - 4], high[i - 4])
            }
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_element_arrives_and_nothing_else_is_written() {
        for (count, k, stride) in [
            (1, 5, 1),
            (3, 8, 16),
            (8, 17, 8),
            (14, 31, 14),
            (16, 40, 16),
            (13, 7, 20),
        ] {
            let data: Vec<f32> = (0..count * k).map(|i| i as f32).collect();
            let rows: Vec<&[f32]> = data.chunks_exact(k).collect();
            for isa in Isa::available() {
                let mut out = vec![-1.0; k * stride];
                interleave(isa, &rows, stride, &mut out);
                for (at, value) in out.iter().enumerate() {
                    let (p, i) = (at / stride, at % stride);
                    let expected = if i < count { data[i * k + p] } else { -1.0 };
                    assert_eq!(*value, expected, "{isa:?} {count} {k} {stride} {at}");
                }
            }
        }
    }
}
