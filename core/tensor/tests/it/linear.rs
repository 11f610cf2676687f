//! The product with a matrix, for each dtype and layout.

use half::{bf16, f16};
use outcrop_tensor::{Bytes, DType, Pool, Weight, ops};
use proptest::prelude::*;

use crate::{bits, numbers};

const DTYPES: [DType; 7] = [
    DType::F32,
    DType::F16,
    DType::BF16,
    DType::Q8_0,
    DType::Q4_0,
    DType::Q4_K,
    DType::Q6_K,
];

/// A matrix of random bits whose scales are small numbers.
fn weight(dtype: DType, rows: usize, cols: usize, seed: u64) -> Weight {
    let values = numbers(seed, rows * cols);
    let data: Vec<u8> = match dtype {
        DType::F32 => values.iter().flat_map(|v| v.to_le_bytes()).collect(),
        DType::F16 => values
            .iter()
            .flat_map(|v| f16::from_f32(*v).to_le_bytes())
            .collect(),
        DType::BF16 => values
            .iter()
            .flat_map(|v| bf16::from_f32(*v).to_le_bytes())
            .collect(),
        _ => {
            let len = dtype.row_bytes(cols).unwrap() * rows;
            let mut data: Vec<u8> = numbers(seed, len)
                .iter()
                .map(|v| (v * 128.0) as i32 as u8)
                .collect();
            let scales: &[usize] = match dtype {
                DType::Q4_K => &[0, 2],
                DType::Q6_K => &[208],
                _ => &[0],
            };
            for (i, block) in data.chunks_exact_mut(dtype.block_bytes()).enumerate() {
                for at in scales {
                    let scale = f16::from_f32(0.001 * (1 + i % 7) as f32);
                    block[*at..at + 2].copy_from_slice(&scale.to_le_bytes());
                }
            }
            data
        }
    };
    Weight::new(dtype, rows, cols, Bytes::from_vec(data)).unwrap()
}

fn product(pool: &Pool, x: &[f32], weight: &Weight, bias: Option<&[f32]>) -> Vec<f32> {
    let mut out = vec![f32::NAN; x.len() / weight.cols() * weight.rows()];
    ops::linear(pool, x, weight, bias, &mut out);
    out
}

fn check(weight: &Weight, m: usize, seed: u64) {
    let (rows, cols) = (weight.rows(), weight.cols());
    let (one, two) = (Pool::new(1), Pool::new(2));
    let (x, bias) = (numbers(seed + 1, m * cols), numbers(seed + 2, rows));
    let got = product(&one, &x, weight, Some(&bias));
    assert_eq!(
        bits(&got),
        bits(&product(&two, &x, weight, Some(&bias))),
        "two threads"
    );
    let mut row = vec![0.0; cols];
    for j in 0..rows {
        weight.dequantize_row(j, &mut row);
        for i in 0..m {
            let products = x[i * cols..]
                .iter()
                .zip(&row)
                .map(|(a, b)| f64::from(*a) * f64::from(*b));
            let (mut sum, mut size) = (0.0, 0.0);
            products.for_each(|p| {
                sum += p;
                size += p.abs();
            });
            let error = (sum + f64::from(bias[j]) - f64::from(got[i * rows + j])).abs();
            assert!(error <= 1e-6 * (size + 1.0), "({i}, {j}): off by {error}");
        }
    }
    for i in 0..m {
        let single = product(&two, &x[i * cols..(i + 1) * cols], weight, Some(&bias));
        assert_eq!(
            bits(&single),
            bits(&got[i * rows..(i + 1) * rows]),
            "row {i} alone"
        );
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(24))]

    #[test]
    fn floats_in_any_shape(m in 1usize..40, rows in 1usize..90, cols in 1usize..70, packed: bool, seed in 0u64..1000) {
        let weight = weight(DType::F32, rows, cols, seed);
        check(&if packed { weight.pack() } else { weight }, m, seed);
    }

    #[test]
    fn blocks_in_any_shape(which in 1usize..7, m in 1usize..9, rows in 1usize..40, blocks in 1usize..4, seed in 0u64..1000) {
        let dtype = DTYPES[which];
        let cols = if dtype.block_len() == 1 { blocks * 23 } else { blocks * dtype.block_len() };
        check(&weight(dtype, rows, cols, seed), m, seed);
    }
}

#[test]
fn many_rows_cross_the_blocks_of_a_task() {
    for weight in [
        weight(DType::F32, 70, 33, 5).pack(),
        weight(DType::Q8_0, 300, 64, 6),
    ] {
        check(&weight, 250, 7);
    }
}
