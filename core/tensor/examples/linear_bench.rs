//! Speed of the products of each dtype as JSON lines, beside the memory's: what bounds them.
//!
//! `cargo run --release -p outcrop-tensor --example linear_bench -- [THREADS] [ROWS] [COLS] [DTYPE ...]`
//!
//! `gb_s` is bytes of weights by time, to be held against `read`; `gop_s` two operations for each
//! weight and row of activations. Weights are cycled through a set that no cache holds. `cpu` is
//! the share of the threads' time that the process really had.

#![allow(missing_docs, reason = "an example has no callers")]

use std::time::Instant;

use outcrop_tensor::{Bytes, DType, Pool, Weight, ops};

/// Bytes of the set of weights.
const SET: usize = 600 << 20;

type Failure = Box<dyn std::error::Error>;

fn main() -> Result<(), Failure> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let number = |at: usize, default| arguments.get(at).map_or(Ok(default), |n| n.parse());
    let (threads, rows, cols) = (number(0, 1)?, number(1, 4864)?, number(2, 1024)?);
    let pool = Pool::new(threads);
    read(&pool);
    for dtype in DType::ALL {
        let is_named = arguments.iter().skip(3).any(|name| name == dtype.name());
        if arguments.len() > 3 && !is_named {
            continue;
        }
        for m in [1, 2, 4, 8, 64, 512] {
            bench(&pool, *dtype, (rows, cols), m)?;
        }
    }
    Ok(())
}

/// Sums a large buffer of words: the bandwidth of reading.
fn read(pool: &Pool) {
    let words = vec![1u64; SET / 8];
    let parts: Vec<&[u64]> = words.chunks(1 << 17).collect();
    let mut times = Vec::new();
    for parts in parts.chunks(8).cycle().take(2 * parts.len() / 8) {
        let started = Instant::now();
        pool.run(parts.len(), |part| {
            let mut sums = [0u64; 32];
            for words in parts[part].as_chunks::<32>().0 {
                for (sum, word) in sums.iter_mut().zip(words) {
                    *sum = sum.wrapping_add(*word);
                }
            }
            std::hint::black_box(sums);
        });
        times.push(started.elapsed().as_secs_f64());
    }
    println!(
        r#"{{"measure": "read", "threads": {}, "gb_s": {:.2}}}"#,
        pool.threads(),
        (8usize << 20) as f64 / undisturbed(times) / 1e9,
    );
}

fn bench(pool: &Pool, dtype: DType, (rows, cols): (usize, usize), m: usize) -> Result<(), Failure> {
    let bytes = dtype.row_bytes(cols).ok_or("whole blocks")? * rows;
    let count = if m > 8 { 1 } else { SET.div_ceil(bytes) };
    let weights: Vec<Weight> = (0..count)
        .map(|seed| {
            // Whatever they are read as, numbers of ordinary size.
            let data = (0..bytes)
                .map(|i| (32 + (i * 31 + seed) % 29) as u8)
                .collect();
            Weight::new(dtype, rows, cols, Bytes::from_vec(data)).map(Weight::pack)
        })
        .collect::<Result<_, _>>()?;
    let x: Vec<f32> = (0..m * cols)
        .map(|i| ((i * 37) % 101) as f32 - 50.0)
        .collect();
    let mut out = vec![0.0; m * rows];
    let mut times = Vec::new();
    let (began, cpu) = (Instant::now(), cpu_seconds());
    for weight in weights.iter().cycle() {
        let started = Instant::now();
        ops::linear(pool, &x, weight, None, &mut out);
        times.push(started.elapsed().as_secs_f64());
        if times.len() > 20 && began.elapsed().as_secs_f64() > 0.8 {
            break;
        }
    }
    let share = (cpu_seconds() - cpu) / began.elapsed().as_secs_f64() / pool.threads() as f64;
    let best = undisturbed(times);
    println!(
        r#"{{"measure": "linear", "dtype": "{}", "m": {m}, "threads": {}, "gb_s": {:.2}, "gop_s": {:.1}, "cpu": {share:.2}}}"#,
        dtype.name(),
        pool.threads(),
        bytes as f64 / best / 1e9,
        2.0 * (m * rows * cols) as f64 / best / 1e9,
    );
    Ok(())
}

/// The time that a tenth of the repetitions stayed below: others may have had the cores in the rest.
fn undisturbed(mut times: Vec<f64>) -> f64 {
    times.sort_by(f64::total_cmp);
    times[times.len() / 10]
}

/// CPU time of this process's threads, where the system tells it as Linux does; else not a number.
fn cpu_seconds() -> f64 {
    let Ok(tasks) = std::fs::read_dir("/proc/self/task") else {
        return f64::NAN;
    };
    let nanoseconds = |task: std::fs::DirEntry| {
        let text = std::fs::read_to_string(task.path().join("schedstat")).ok()?;
        text.split(' ').next()?.parse::<f64>().ok()
    };
    tasks
        .filter_map(|task| nanoseconds(task.ok()?))
        .sum::<f64>()
        / 1e9
}
