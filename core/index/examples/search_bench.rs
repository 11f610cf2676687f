//! Times exact search at 100,000 x 384 and prints a JSON line for each batch size.
//!
//! `search_bench [rows] [dims] [threads] [seconds a line]`
#![allow(clippy::unwrap_used, clippy::expect_used, missing_docs)]

use std::time::Instant;

use outcrop_index::FlatIndex;
use outcrop_tensor::Pool;

fn values(n: usize, dims: usize, seed: u32) -> Vec<f32> {
    let mut state = seed;
    let mut next = || {
        state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
        (state >> 8) as f32 / (1 << 23) as f32 - 1.0
    };
    let mut values: Vec<f32> = (0..n * dims).map(|_| next()).collect();
    for row in values.chunks_mut(dims) {
        let norm = row.iter().map(|v| v * v).sum::<f32>().sqrt();
        row.iter_mut().for_each(|v| *v /= norm);
    }
    values
}

fn main() {
    let arguments: Vec<f64> = std::env::args()
        .skip(1)
        .map(|a| a.parse().unwrap())
        .collect();
    let argument = |i: usize, default: f64| arguments.get(i).copied().unwrap_or(default);
    let (n, dims) = (argument(0, 100_000.0) as usize, argument(1, 384.0) as usize);
    let pool = Pool::new(argument(2, 2.0) as usize);
    let seconds = argument(3, 0.5);
    let rows = values(n, dims, 1);
    let index = FlatIndex::new(dims, vec![&rows]).unwrap();
    for batch in [1, 8, 64] {
        let queries = values(batch, dims, 2);
        index.search(&pool, &queries, 10, None).unwrap();
        let (start, mut times) = (Instant::now(), Vec::new());
        while start.elapsed().as_secs_f64() < seconds || times.len() < 5 {
            let call = Instant::now();
            let hits = index.search(&pool, &queries, 10, None).unwrap();
            times.push(call.elapsed().as_secs_f64());
            assert_eq!(hits.len(), batch);
        }
        times.sort_by(f64::total_cmp);
        let median = times[times.len() / 2];
        println!(
            "{{\"bench\":\"search\",\"engine\":\"outcrop\",\"rows\":{n},\"dims\":{dims},\"batch\":{batch},\
             \"threads\":{},\"k\":10,\"median_ms\":{:.3},\"best_ms\":{:.3},\"queries_per_s\":{:.1}}}",
            pool.threads(),
            median * 1e3,
            times[0] * 1e3,
            batch as f64 / median
        );
    }
}
