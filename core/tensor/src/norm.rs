//! Normalisation of rows.

use crate::isa::{Isa, versions};
use crate::lanes;

versions!(fn rms_norm_with(x: &[f32], weight: &[f32], eps: f32, out: &mut [f32]) = rms_norm_body);
versions!(fn layer_norm_with(x: &[f32], weight: &[f32], bias: &[f32], eps: f32, out: &mut [f32]) = layer_norm_body);

/// Divides each row of `x` `(rows, weight.len())` by the root of its mean square plus `eps`, then
/// multiplies by `weight` (arXiv:1910.07467).
pub fn rms_norm(x: &[f32], weight: &[f32], eps: f32, out: &mut [f32]) {
    assert_eq!(x.len(), out.len(), "rms_norm: two lengths");
    assert!(
        x.len().is_multiple_of(weight.len()),
        "rms_norm: ragged rows"
    );
    rms_norm_with(Isa::best(), x, weight, eps, out);
}

/// Brings each row of `x` `(rows, weight.len())` to mean 0 and variance 1 (plus `eps`), then
/// multiplies by `weight` and adds `bias` (arXiv:1607.06450).
pub fn layer_norm(x: &[f32], weight: &[f32], bias: &[f32], eps: f32, out: &mut [f32]) {
    assert_eq!(x.len(), out.len(), "layer_norm: two lengths");
    assert_eq!(weight.len(), bias.len(), "layer_norm: weight and bias");
    assert!(
        x.len().is_multiple_of(weight.len()),
        "layer_norm: ragged rows"
    );
    layer_norm_with(Isa::best(), x, weight, bias, eps, out);
}

/// As [`layer_norm`], each row replaced by its result.
pub fn layer_norm_in_place(x: &mut [f32], weight: &[f32], bias: &[f32], eps: f32) {
    assert_eq!(weight.len(), bias.len(), "layer_norm: weight and bias");
    assert!(
        x.len().is_multiple_of(weight.len()),
        "layer_norm: ragged rows"
    );
    layer_norm_in_place_with(Isa::best(), x, weight, bias, eps);
}

/// Adds `delta` to `x` and brings each row to mean 0 and variance 1 as [`layer_norm`] does, in one
/// pass.
pub fn add_layer_norm(x: &mut [f32], delta: &[f32], weight: &[f32], bias: &[f32], eps: f32) {
    assert_eq!(x.len(), delta.len(), "add_layer_norm: two lengths");
    assert_eq!(weight.len(), bias.len(), "add_layer_norm: weight and bias");
    assert!(
        x.len().is_multiple_of(weight.len()),
        "add_layer_norm: ragged rows"
    );
    add_layer_norm_with(Isa::best(), x, delta, weight, bias, eps);
}

versions!(fn add_layer_norm_with(x: &mut [f32], delta: &[f32], weight: &[f32], bias: &[f32], eps: f32) = add_layer_norm_body);

#[inline(always)]
fn add_layer_norm_body(x: &mut [f32], delta: &[f32], weight: &[f32], bias: &[f32], eps: f32) {
    let width = weight.len();
    for (row, delta) in x.chunks_exact_mut(width).zip(delta.chunks_exact(width)) {
        for (x, delta) in row.iter_mut().zip(delta) {
            *x += delta;
        }
        layer_norm_in_place_body(row, weight, bias, eps);
    }
}

versions!(fn layer_norm_in_place_with(x: &mut [f32], weight: &[f32], bias: &[f32], eps: f32) = layer_norm_in_place_body);

#[inline(always)]
fn layer_norm_in_place_body(x: &mut [f32], weight: &[f32], bias: &[f32], eps: f32) {
    let width = weight.len();
    for row in x.chunks_exact_mut(width) {
        let (mean, factor) = moments(row, eps);
        for ((x, weight), bias) in row.iter_mut().zip(weight).zip(bias) {
            *x = ((*x - mean) * factor).mul_add(*weight, *bias);
        }
    }
}

/// A row's mean, and one over its standard deviation.
#[inline(always)]
fn moments(row: &[f32], eps: f32) -> (f32, f32) {
    let width = row.len() as f32;
    let mean = lanes::sum(row, |x| x) / width;
    let variance = lanes::sum(row, |x| (x - mean) * (x - mean)) / width;
    (mean, 1.0 / (variance + eps).sqrt())
}

#[inline(always)]
fn rms_norm_body(x: &[f32], weight: &[f32], eps: f32, out: &mut [f32]) {
    let width = weight.len();
    for (x, out) in x.chunks_exact(width).zip(out.chunks_exact_mut(width)) {
        let mean_square = lanes::dot(x, x) / width as f32;
        let factor = 1.0 / (mean_square + eps).sqrt();
        for ((out, x), weight) in out.iter_mut().zip(x).zip(weight) {
            *out = x * factor * weight;
        }
    }
}

#[inline(always)]
fn layer_norm_body(x: &[f32], weight: &[f32], bias: &[f32], eps: f32, out: &mut [f32]) {
    let width = weight.len();
    for (x, out) in x.chunks_exact(width).zip(out.chunks_exact_mut(width)) {
        let (mean, factor) = moments(x, eps);
        for (((out, x), weight), bias) in out.iter_mut().zip(x).zip(weight).zip(bias) {
            *out = ((x - mean) * factor).mul_add(*weight, *bias);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn norms_match_their_formulas_on_every_isa() {
        let x: Vec<f32> = (0..37)
            .map(|i| ((i * 31 % 17) as f32 - 8.0) * 0.3)
            .collect();
        let weight: Vec<f32> = (0..37).map(|i| 1.0 + i as f32 * 0.01).collect();
        let bias: Vec<f32> = (0..37).map(|i| i as f32 * 0.1).collect();
        let mean = x.iter().map(|v| f64::from(*v)).sum::<f64>() / 37.0;
        let variance = x
            .iter()
            .map(|v| (f64::from(*v) - mean).powi(2))
            .sum::<f64>()
            / 37.0;
        let square = x.iter().map(|v| f64::from(*v).powi(2)).sum::<f64>() / 37.0;
        let mut first = None;
        for isa in Isa::available() {
            let (mut layer, mut rms) = (vec![0.0; 37], vec![0.0; 37]);
            layer_norm_with(isa, &x, &weight, &bias, 1e-5, &mut layer);
            rms_norm_with(isa, &x, &weight, 1e-5, &mut rms);
            for i in 0..37 {
                let (xi, wi, bi) = (f64::from(x[i]), f64::from(weight[i]), f64::from(bias[i]));
                let expected = (xi - mean) / (variance + 1e-5).sqrt() * wi + bi;
                assert!((expected - f64::from(layer[i])).abs() < 2e-6);
                let expected = xi / (square + 1e-5).sqrt() * wi;
                assert!((expected - f64::from(rms[i])).abs() < 2e-6);
            }
            let mut sum: Vec<f32> = x.iter().map(|x| x - 0.25).collect();
            add_layer_norm_with(isa, &mut sum, &[0.25; 37], &weight, &bias, 1e-5);
            let mut summed: Vec<f32> = x.iter().map(|x| x - 0.25 + 0.25).collect();
            layer_norm_in_place_with(isa, &mut summed, &weight, &bias, 1e-5);
            assert_eq!(sum, summed, "{isa:?}");
            let bits: Vec<u32> = layer.iter().chain(&rms).map(|v| v.to_bits()).collect();
            assert_eq!(*first.get_or_insert(bits.clone()), bits, "{isa:?}");
        }
    }
}
