//! The product with a matrix, for each dtype and layout.

use half::{bf16, f16};
use outcrop_tensor::{Bytes, DType, Pool, Projection, Weight, ops};
use proptest::prelude::*;

use crate::{bits, numbers};

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
                DType::Q4_1 | DType::Q5_1 | DType::Q4_K | DType::Q5_K => &[0, 2],
                DType::Q2_K => &[80, 82],
                DType::Q3_K => &[108],
                DType::Q6_K => &[208],
                DType::MXFP4 => &[],
                _ => &[0],
            };
            for (i, block) in data.chunks_exact_mut(dtype.block_bytes()).enumerate() {
                for at in scales {
                    let scale = f16::from_f32(0.001 * (1 + i % 7) as f32);
                    block[*at..at + 2].copy_from_slice(&scale.to_le_bytes());
                }
                if dtype == DType::MXFP4 {
                    block[0] = 118 + (i % 7) as u8;
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

/// Rounds each 32 elements to multiples of a 127th of the largest, as packed quantised matrices
/// take activations.
fn rounded(x: &[f32]) -> Vec<f32> {
    let mut out = Vec::with_capacity(x.len());
    for block in x.chunks(32) {
        let largest = block.iter().fold(0.0f32, |most, v| most.max(v.abs()));
        let inverse = 127.0 / largest;
        let scale = f64::from(largest) / 127.0;
        out.extend(
            block
                .iter()
                .map(|v| (f64::from((v * inverse).round_ties_even()) * scale) as f32),
        );
    }
    out
}

/// Whether a packed matrix of this dtype is multiplied as integers.
fn is_integer(dtype: DType) -> bool {
    use DType::{BF16, F16, F32, Q2_K, Q3_K};
    !matches!(dtype, F32 | F16 | BF16 | Q2_K | Q3_K)
}

fn check(weight: &Weight, m: usize, seed: u64) {
    check_against(weight, m, seed, |x| x.to_vec());
}

/// Checks the products of `x` against those of `taken(x)` in double precision.
fn check_against(weight: &Weight, m: usize, seed: u64, taken: impl Fn(&[f32]) -> Vec<f32>) {
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
    let taken = taken(&x);
    for j in 0..rows {
        weight.dequantize_row(j, &mut row);
        for i in 0..m {
            let products = taken[i * cols..]
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
    fn blocks_in_any_shape(which in 1..DType::ALL.len(), m in 1usize..34, rows in 1usize..90, blocks in 1usize..4, packed: bool, seed in 0u64..1000) {
        let dtype = DType::ALL[which];
        let cols = if dtype.block_len() == 1 { blocks * 23 } else { blocks * dtype.block_len() };
        let weight = weight(dtype, rows, cols, seed);
        if packed && is_integer(dtype) {
            check_against(&weight.pack(), m, seed, rounded);
        } else {
            check(&weight, m, seed);
        }
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
    check_against(&weight(DType::Q4_K, 300, 256, 6).pack(), 250, 7, rounded);
}

#[test]
fn packing_keeps_the_values_of_every_dtype() {
    for dtype in DType::ALL {
        let stored = weight(*dtype, 37, 512, 11);
        let packed = stored.clone().pack();
        let (mut expected, mut got) = (vec![0.0; 512], vec![0.0; 512]);
        for row in 0..37 {
            stored.dequantize_row(row, &mut expected);
            packed.dequantize_row(row, &mut got);
            assert_eq!(bits(&got), bits(&expected), "{dtype:?} row {row}");
        }
    }
}

#[test]
fn several_matrices_at_once_are_each_alone() {
    let pool = Pool::new(2);
    let x = numbers(3, 5 * 512);
    let weights = [DType::Q8_0, DType::F32, DType::Q4_K, DType::Q6_K]
        .map(|dtype| weight(dtype, 50, 512, 12).pack());
    let bias = numbers(4, 50);
    let mut outs = [const { Vec::new() }; 4];
    let mut projections = Vec::new();
    for (i, (weight, out)) in weights.iter().zip(&mut outs).enumerate() {
        *out = vec![f32::NAN; 5 * 50];
        let bias = (i % 2 == 0).then_some(&bias[..]);
        projections.push(Projection { weight, bias, out });
    }
    ops::linear_many(&pool, &x, &mut projections);
    for (i, (weight, out)) in weights.iter().zip(&outs).enumerate() {
        let alone = product(&pool, &x, weight, (i % 2 == 0).then_some(&bias[..]));
        assert_eq!(bits(&alone), bits(out));
    }
}
