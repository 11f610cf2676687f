//! Products in tiles, whose bits are those that AMX gives, of numbers of every size.

use super::THREE;
use crate::Pool;
use crate::isa::Isa;
use crate::matmul::tests::{numbers, turned};
use crate::matmul::{Matrix, Panels, Precision, Product};

/// As the manual of TDPBF16PS describes it, number by number.
fn in_tiles(a: &[f32], b: &[f32], (k, n): (usize, usize), start: &[f32]) -> Vec<f32> {
    let flush = |x: f32| {
        if x.abs() < f32::MIN_POSITIVE {
            0.0 * x
        } else {
            x
        }
    };
    let round = |x: f32| half::bf16::from_f32(flush(x)).to_f32();
    let mut out = start.to_vec();
    for (i, sum) in out.iter_mut().enumerate() {
        for first in (0..k).step_by(32) {
            let mut chains = [0.0f32; 2];
            for p in first..k.min(first + 32) {
                let (a, b) = (round(a[i / n * k + p]), round(b[p * n + i % n]));
                chains[p % 2] = flush(a.mul_add(b, chains[p % 2]));
            }
            *sum = flush(flush(*sum) + flush(chains[0] + chains[1]));
        }
    }
    out
}

#[test]
fn products_of_bfloat16_have_the_bits_that_amx_gives() {
    if !Isa::available()
        .iter()
        .any(|isa| format!("{isa:?}") == "Amx")
    {
        println!("skipped in part: this machine or system has no AMX");
    }
    // Of many sizes, so that sums and products leave the normal numbers too.
    let wide = |seed, count| -> Vec<f32> {
        let scale = |i: usize| 2.0f32.powi(((i * 31 + seed * 17) % 130) as i32 - 100);
        let all = numbers(seed, count).into_iter().enumerate();
        all.map(|(i, x)| x * scale(i)).collect()
    };
    for (m, k, n) in [
        (1, 1, 1),
        (5, 37, 16),
        (150, 40, 50),
        (33, 1100, 49),
        (64, 512, 96),
    ] {
        for numbers in [numbers, wide] {
            let (a, b, start) = (numbers(1, m * k), numbers(2, k * n), numbers(3, m * n));
            let expected = in_tiles(&a, &b, (k, n), &start);
            let (a_turned, b_turned) = (turned(&a, k), turned(&b, n));
            let lefts = [
                Matrix::of_rows(&a, k),
                Matrix::of_rows(&a_turned, m).turned(),
            ];
            let rights = [
                Matrix::of_rows(&b, n),
                Matrix::of_rows(&b_turned, k).turned(),
            ];
            let forms = (0..2).flat_map(|l| (0..2).map(move |r| (l, r)));
            for ((left, right), isa) in
                forms.flat_map(|form| Isa::available().into_iter().map(move |isa| (form, isa)))
            {
                let pool = Pool::new(1 + 2 * left);
                let mut panels = Panels::new(Precision::Bfloat16);
                panels.pack_as(isa, &pool, rights[right]);
                let mut out = start.clone();
                let product = Product {
                    data: &mut out,
                    stride: n,
                    accumulate: true,
                };
                let place = product.place(m, n);
                // SAFETY: `out` is this test's alone.
                unsafe { panels.whole().multiply(isa, &pool, lefts[left], place) };
                let bits = |all: &[f32]| -> Vec<u32> { all.iter().map(|x| x.to_bits()).collect() };
                assert_eq!(
                    bits(&out),
                    bits(&expected),
                    "{isa:?} {left} {right} ({m}, {k}, {n})"
                );
            }
        }
    }
}

#[test]
fn f32_products_of_parts_are_as_near_as_chains_and_the_same_by_amx() {
    let spread = |seed, count| -> Vec<f32> {
        let all = numbers(seed, count).into_iter().enumerate();
        all.map(|(i, x)| x * 1.000_123 * (1.0 + (i * 37 % 101) as f32 / 7.0))
            .collect()
    };
    for (m, k, n) in [(1, 1, 1), (5, 37, 16), (40, 384, 49), (33, 1536, 33)] {
        let (a, b) = (spread(1, m * k), spread(2, k * n));
        let (mut exact, mut chain, mut size) = (vec![0.0f64; m * n], vec![0.0f32; m * n], 0.0);
        for (i, (exact, chain)) in exact.iter_mut().zip(&mut chain).enumerate() {
            for p in 0..k {
                let (a, b) = (a[i / n * k + p], b[p * n + i % n]);
                *exact += f64::from(a) * f64::from(b);
                *chain = a.mul_add(b, *chain);
            }
            size += *exact * *exact;
        }
        let error = |got: &[f32]| -> f64 {
            let square = |(g, e): (&f32, &f64)| (f64::from(*g) - e).powi(2);
            (got.iter().zip(&exact).map(square).sum::<f64>() / size).sqrt()
        };
        let mut first: Option<Vec<f32>> = None;
        for (isa, threads) in Isa::available().into_iter().zip([1, 2, 3, 1, 2]) {
            let pool = Pool::new(threads);
            let mut panels = Panels::new(Precision::Float32);
            panels.pack_in(isa, &pool, Matrix::of_rows(&b, n), Some(THREE));
            let mut out = vec![f32::NAN; m * n];
            let product = Product {
                data: &mut out,
                stride: n,
                accumulate: false,
            };
            let place = product.place(m, n);
            // SAFETY: `out` is this test's alone.
            unsafe {
                panels
                    .whole()
                    .multiply(isa, &pool, Matrix::of_rows(&a, k), place)
            };
            let (own, usual) = (error(&out), error(&chain));
            println!("({m}, {k}, {n}) {isa:?}: {own:.2e}, a chain {usual:.2e}");
            assert!(
                own <= 1.5 * usual + 1e-7,
                "{isa:?} ({m}, {k}, {n}): {own} {usual}"
            );
            assert_eq!(*first.get_or_insert(out.clone()), out, "{isa:?}");
        }
    }
}

#[test]
fn what_is_no_number_stays_none() {
    let all = Isa::available().into_iter();
    for (isa, parts) in all.flat_map(|isa| [(isa, Some(1)), (isa, Some(THREE))]) {
        for wrong in [
            f32::NAN,
            f32::INFINITY,
            f32::from_bits(0x7f80_0001),
            f32::from_bits(u32::MAX),
        ] {
            let (mut a, b) = (numbers(1, 16 * 40), numbers(2, 40 * 16));
            a[41] = wrong;
            let (pool, mut panels) = (Pool::new(1), Panels::new(Precision::Bfloat16));
            panels.pack_in(isa, &pool, Matrix::of_rows(&b, 16), parts);
            let mut out = vec![0.0; 256];
            let product = Product {
                data: &mut out,
                stride: 16,
                accumulate: false,
            };
            let place = product.place(16, 16);
            // SAFETY: `out` is this test's alone.
            unsafe {
                panels
                    .whole()
                    .multiply(isa, &pool, Matrix::of_rows(&a, 40), place)
            };
            let is_wrong = |row: &[f32]| row.iter().all(|x| !x.is_finite());
            assert!(out[..16].iter().all(|x| x.is_finite()), "{isa:?}");
            assert!(is_wrong(&out[16..32]), "{isa:?} {:?}", &out[16..32]);
        }
    }
}
