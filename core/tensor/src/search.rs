//! Dot products of many rows with a few queries: the inner loop of exact nearest-neighbour search.
//!
//! What is computed: `out[q, r] = rows[r] · queries[q]`, all f32. One product is summed in 16 lanes, lane `l`
//! taking the elements `l, l + 16, …` with fused multiply-add, the last partial step padded by zeros; the lanes
//! are then added as `l + (l + 8)`, neighbours, neighbours of those, and low half to high half. Every
//! implementation keeps this order, so a product's bits depend on its row and its query alone, not on the
//! machine, the batch or the threads.
//!
//! Memory contract: rows are read once for every call, in order; a tile of 4 rows by 6 queries stays in
//! registers (AVX-512), so that with many queries the rows should come in blocks that fit the second-level cache.

/// Lanes of a sum.
const LANES: usize = 16;
/// Rows of a tile.
const TILE_ROWS: usize = 4;

/// Writes the dot products of `rows`, (rows, dims) row-major, with `queries`, (queries, dims), to `out`,
/// (queries, rows).
///
/// # Panics
/// Where `dims` is 0, or the slices' lengths do not fit each other.
pub fn dot_products(rows: &[f32], queries: &[f32], dims: usize, out: &mut [f32]) {
    assert!(dims > 0, "dims: expected 1 or more, got 0");
    let (n, m) = (rows.len() / dims, queries.len() / dims);
    assert_eq!(rows.len(), n * dims, "rows: expected whole rows of {dims}");
    assert_eq!(
        queries.len(),
        m * dims,
        "queries: expected whole rows of {dims}"
    );
    assert_eq!(out.len(), n * m, "out: expected {m} x {n}");
    #[cfg(target_arch = "x86_64")]
    {
        if std::arch::is_x86_feature_detected!("avx512f") {
            // SAFETY: the features were just detected; lengths were checked above.
            return unsafe { avx512::dot_products(rows, queries, dims, out) };
        }
        if std::arch::is_x86_feature_detected!("avx2") && std::arch::is_x86_feature_detected!("fma")
        {
            // SAFETY: as above.
            return unsafe { avx2::dot_products(rows, queries, dims, out) };
        }
    }
    reference(rows, queries, dims, out);
}

/// The same in plain Rust: the meaning of the other implementations, and the way where there is no SIMD.
fn reference(rows: &[f32], queries: &[f32], dims: usize, out: &mut [f32]) {
    let n = rows.len() / dims;
    for (query, out) in queries
        .chunks_exact(dims)
        .zip(out.chunks_exact_mut(n.max(1)))
    {
        for (row, out) in rows.chunks_exact(dims).zip(out) {
            *out = reference_dot(row, query);
        }
    }
}

fn reference_dot(a: &[f32], b: &[f32]) -> f32 {
    let mut lanes = [0f32; LANES];
    for (a, b) in a.chunks(LANES).zip(b.chunks(LANES)) {
        let (a, b) = (padded(a), padded(b));
        for ((lane, a), b) in lanes.iter_mut().zip(a).zip(b) {
            *lane = a.mul_add(b, *lane);
        }
    }
    let l: [f32; 8] = std::array::from_fn(|i| lanes[i] + lanes[i + 8]);
    ((l[0] + l[1]) + (l[2] + l[3])) + ((l[4] + l[5]) + (l[6] + l[7]))
}

/// Up to 16 elements, with zeros behind them.
fn padded(part: &[f32]) -> [f32; LANES] {
    let mut full = [0f32; LANES];
    for (full, part) in full.iter_mut().zip(part) {
        *full = *part;
    }
    full
}

#[cfg(target_arch = "x86_64")]
mod avx512 {
    use std::arch::x86_64::*;

    use super::{LANES, TILE_ROWS};

    /// Queries of a tile: 24 sums, 4 rows and a query take 29 of 32 registers.
    const TILE_QUERIES: usize = 6;

    /// # Safety
    /// AVX-512F is there, and the lengths are as [`super::dot_products`] checks them.
    #[target_feature(enable = "avx512f,avx2,fma")]
    pub(super) unsafe fn dot_products(rows: &[f32], queries: &[f32], dims: usize, out: &mut [f32]) {
        let (n, m) = (rows.len() / dims, queries.len() / dims);
        let (rows, queries, out) = (rows.as_ptr(), queries.as_ptr(), out.as_mut_ptr());
        for q in (0..m).step_by(TILE_QUERIES) {
            let width = (m - q).min(TILE_QUERIES);
            let mut r = 0;
            while r < n {
                let height = if n - r >= TILE_ROWS { TILE_ROWS } else { 1 };
                // SAFETY: rows r..r + height and queries q..q + width exist, and so do their products.
                unsafe {
                    let at = (
                        rows.add(r * dims),
                        queries.add(q * dims),
                        out.add(q * n + r),
                    );
                    match (height, width) {
                        (TILE_ROWS, 6) => tile::<TILE_ROWS, 6>(at, dims, n),
                        (TILE_ROWS, 5) => tile::<TILE_ROWS, 5>(at, dims, n),
                        (TILE_ROWS, 4) => tile::<TILE_ROWS, 4>(at, dims, n),
                        (TILE_ROWS, 3) => tile::<TILE_ROWS, 3>(at, dims, n),
                        (TILE_ROWS, 2) => tile::<TILE_ROWS, 2>(at, dims, n),
                        (TILE_ROWS, _) => tile::<TILE_ROWS, 1>(at, dims, n),
                        _ => {
                            for i in 0..width {
                                tile::<1, 1>((at.0, at.1.add(i * dims), at.2.add(i * n)), dims, n);
                            }
                        }
                    }
                }
                r += height;
            }
        }
    }

    /// # Safety
    /// `R` rows, `Q` queries and their products, `stride` apart, lie behind the pointers.
    #[target_feature(enable = "avx512f,avx2,fma")]
    #[inline]
    unsafe fn tile<const R: usize, const Q: usize>(
        (rows, queries, out): (*const f32, *const f32, *mut f32),
        dims: usize,
        stride: usize,
    ) {
        let mut sums = [[_mm512_setzero_ps(); R]; Q];
        let whole = dims / LANES * LANES;
        // SAFETY: every load is of elements below `dims` of a row or a query that the caller vouches for.
        unsafe {
            let mut d = 0;
            while d < whole {
                let row: [__m512; R] =
                    std::array::from_fn(|r| _mm512_loadu_ps(rows.add(r * dims + d)));
                for (q, sums) in sums.iter_mut().enumerate() {
                    let query = _mm512_loadu_ps(queries.add(q * dims + d));
                    for (sum, row) in sums.iter_mut().zip(row) {
                        *sum = _mm512_fmadd_ps(row, query, *sum);
                    }
                }
                d += LANES;
            }
            if d < dims {
                let mask: __mmask16 = (1 << (dims - d)) - 1;
                for (q, sums) in sums.iter_mut().enumerate() {
                    let query = _mm512_maskz_loadu_ps(mask, queries.add(q * dims + d));
                    for (r, sum) in sums.iter_mut().enumerate() {
                        let row = _mm512_maskz_loadu_ps(mask, rows.add(r * dims + d));
                        *sum = _mm512_fmadd_ps(row, query, *sum);
                    }
                }
            }
            for (q, sums) in sums.iter().enumerate() {
                let halves: [__m256; TILE_ROWS] =
                    std::array::from_fn(|r| fold(sums[if R == TILE_ROWS { r } else { 0 }]));
                let totals = super::avx2::add_lanes(halves);
                let out = out.add(q * stride);
                if R == TILE_ROWS {
                    _mm_storeu_ps(out, totals);
                } else {
                    *out = _mm_cvtss_f32(totals);
                }
            }
        }
    }

    /// Lane `l` plus lane `l + 8`.
    #[target_feature(enable = "avx512f,avx2,fma")]
    #[inline]
    fn fold(sum: __m512) -> __m256 {
        let high = _mm256_castpd_ps(_mm512_extractf64x4_pd::<1>(_mm512_castps_pd(sum)));
        _mm256_add_ps(_mm512_castps512_ps256(sum), high)
    }
}

#[cfg(target_arch = "x86_64")]
mod avx2 {
    use std::arch::x86_64::*;

    use super::{LANES, TILE_ROWS, padded};

    /// # Safety
    /// AVX2 and FMA are there, and the lengths are as [`super::dot_products`] checks them.
    #[target_feature(enable = "avx2,fma")]
    pub(super) unsafe fn dot_products(rows: &[f32], queries: &[f32], dims: usize, out: &mut [f32]) {
        let (n, m) = (rows.len() / dims, queries.len() / dims);
        let mut r = 0;
        while r < n {
            let height = if n - r >= TILE_ROWS { TILE_ROWS } else { 1 };
            for q in 0..m {
                let query = &queries[q * dims..][..dims];
                let out = &mut out[q * n + r..][..height];
                let rows = &rows[r * dims..][..height * dims];
                if height == TILE_ROWS {
                    tile::<TILE_ROWS>(rows, query, out);
                } else {
                    tile::<1>(rows, query, out);
                }
            }
            r += height;
        }
    }

    #[target_feature(enable = "avx2,fma")]
    #[inline]
    fn tile<const R: usize>(rows: &[f32], query: &[f32], out: &mut [f32]) {
        let dims = query.len();
        let mut sums = [[_mm256_setzero_ps(); 2]; R];
        let whole = dims / LANES * LANES;
        for d in (0..whole).step_by(LANES) {
            let query = load(&query[d..][..LANES]);
            for (r, sums) in sums.iter_mut().enumerate() {
                let row = load(&rows[r * dims + d..][..LANES]);
                sums[0] = _mm256_fmadd_ps(row[0], query[0], sums[0]);
                sums[1] = _mm256_fmadd_ps(row[1], query[1], sums[1]);
            }
        }
        if whole < dims {
            let query = load(&padded(&query[whole..]));
            for (r, sums) in sums.iter_mut().enumerate() {
                let row = load(&padded(&rows[r * dims + whole..][..dims - whole]));
                sums[0] = _mm256_fmadd_ps(row[0], query[0], sums[0]);
                sums[1] = _mm256_fmadd_ps(row[1], query[1], sums[1]);
            }
        }
        let halves: [__m256; TILE_ROWS] = std::array::from_fn(|r| {
            let [low, high] = sums[if R == TILE_ROWS { r } else { 0 }];
            _mm256_add_ps(low, high)
        });
        let mut totals = [0f32; TILE_ROWS];
        // SAFETY: `totals` has room for four values.
        unsafe { _mm_storeu_ps(totals.as_mut_ptr(), add_lanes(halves)) };
        out.copy_from_slice(&totals[..R]);
    }

    #[target_feature(enable = "avx2,fma")]
    #[inline]
    fn load(part: &[f32]) -> [__m256; 2] {
        assert!(part.len() == LANES);
        let start = part.as_ptr();
        // SAFETY: 16 elements lie behind the pointer.
        unsafe { [_mm256_loadu_ps(start), _mm256_loadu_ps(start.add(8))] }
    }

    /// The sums of the lanes of four vectors: neighbours, neighbours of those, low half to high half.
    #[target_feature(enable = "avx2,fma")]
    #[inline]
    pub(super) fn add_lanes(v: [__m256; TILE_ROWS]) -> __m128 {
        let pairs = _mm256_hadd_ps(_mm256_hadd_ps(v[0], v[1]), _mm256_hadd_ps(v[2], v[3]));
        _mm_add_ps(
            _mm256_castps256_ps128(pairs),
            _mm256_extractf128_ps::<1>(pairs),
        )
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn values(n: usize, seed: u32) -> Vec<f32> {
        let mut state = seed;
        let mut next = || {
            state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
            (state >> 8) as f32 / (1 << 23) as f32 - 1.0
        };
        (0..n).map(|_| next()).collect()
    }

    fn bits(values: &[f32]) -> Vec<u32> {
        values.iter().map(|v| v.to_bits()).collect()
    }

    #[test]
    fn every_implementation_gives_the_bits_of_the_reference() {
        for dims in [1, 3, 8, 15, 16, 17, 31, 64, 100, 384, 385] {
            for (n, m) in [
                (0, 1),
                (1, 1),
                (3, 2),
                (4, 1),
                (5, 5),
                (9, 6),
                (8, 7),
                (13, 13),
            ] {
                let (rows, queries) = (values(n * dims, 1), values(m * dims, 2));
                let mut expected = vec![0.0; n * m];
                reference(&rows, &queries, dims, &mut expected);
                let mut out = vec![0.0; n * m];
                dot_products(&rows, &queries, dims, &mut out);
                assert_eq!(bits(&out), bits(&expected), "{dims} {n} {m}");
                #[cfg(target_arch = "x86_64")]
                if std::arch::is_x86_feature_detected!("avx2")
                    && std::arch::is_x86_feature_detected!("fma")
                {
                    out.fill(0.0);
                    // SAFETY: the features were detected, and the lengths fit.
                    unsafe { avx2::dot_products(&rows, &queries, dims, &mut out) };
                    assert_eq!(bits(&out), bits(&expected), "avx2 {dims} {n} {m}");
                }
            }
        }
    }

    #[test]
    fn it_is_a_dot_product() {
        let (a, b) = (values(384, 3), values(384, 4));
        let exact: f64 = a
            .iter()
            .zip(&b)
            .map(|(a, b)| f64::from(*a) * f64::from(*b))
            .sum();
        let mut out = [0.0];
        dot_products(&a, &b, 384, &mut out);
        assert!((f64::from(out[0]) - exact).abs() < 1e-4);
    }
}
