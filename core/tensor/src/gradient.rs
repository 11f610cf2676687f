//! The backward halves of the operations on rows, and what an optimiser does with gradients.
//!
//! A row's results depend on that row only; sums over rows go in order of the rows.

use crate::activation::{Gate, exp, gated_with_gradient};
use crate::isa::{Isa, versions};
use crate::lanes;

versions!(fn rms_norm_backward_with(x: &[f32], weight: &[f32], eps: f32, dy: &mut [f32], weight_gradient: Option<&mut [f32]>) = rms_norm_backward_body);
versions!(fn layer_norm_backward_with(x: &[f32], weight: &[f32], eps: f32, dy: &mut [f32], gradients: Option<(&mut [f32], &mut [f32])>) = layer_norm_backward_body);
versions!(fn gate_backward_with(gate: Gate, gates: &mut [f32], ups: &mut [f32], outs: &mut [f32]) = gate_backward_body);
versions!(fn gelu_backward_with(tanh: bool, x: &mut [f32], dy: &mut [f32]) = gelu_backward_body);
versions!(fn softmax_log_sum_with(row: &mut [f32], scale: f32, factor: f32) -> f32 = softmax_log_sum_body);
versions!(fn exp_less_with(row: &mut [f32], scale: f32, less: f32) = exp_less_body);
versions!(fn softmax_backward_with(probabilities: &[f32], gradient: &mut [f32], scale: f32) = softmax_backward_body);
versions!(fn column_sums_with(x: &[f32], sums: &mut [f32]) = column_sums_body);
versions!(fn square_sum_with(x: &[f32]) -> f64 = square_sum_body);
versions!(fn adamw_with(step: &AdamwStep, state: AdamwRows<'_>) = adamw_body);

/// Replaces `dy`, the gradient of [`crate::ops::rms_norm`]'s output, by that of its input `x`
/// `(rows, weight.len())`, and adds the weight's to `weight_gradient` where it is wanted.
pub fn rms_norm_backward(
    x: &[f32],
    weight: &[f32],
    eps: f32,
    dy: &mut [f32],
    weight_gradient: Option<&mut [f32]>,
) {
    assert_eq!(x.len(), dy.len(), "rms_norm_backward: two lengths");
    assert!(
        x.len().is_multiple_of(weight.len()),
        "rms_norm_backward: ragged rows"
    );
    rms_norm_backward_with(Isa::best(), x, weight, eps, dy, weight_gradient);
}

/// Replaces `dy`, the gradient of [`crate::ops::layer_norm`]'s output, by that of its input `x`, and
/// adds those of weight and bias to `gradients` where they are wanted.
pub fn layer_norm_backward(
    x: &[f32],
    weight: &[f32],
    eps: f32,
    dy: &mut [f32],
    gradients: Option<(&mut [f32], &mut [f32])>,
) {
    assert_eq!(x.len(), dy.len(), "layer_norm_backward: two lengths");
    assert!(
        x.len().is_multiple_of(weight.len()),
        "layer_norm_backward: ragged rows"
    );
    layer_norm_backward_with(Isa::best(), x, weight, eps, dy, gradients);
}

/// Goes back through `gate(g) * u`. In: the gates, the ups, and the gradient of the product in
/// `outs`. Out: the gates' gradient, the ups' gradient, and the product itself, in their places.
pub fn gate_backward(gate: Gate, gates: &mut [f32], ups: &mut [f32], outs: &mut [f32]) {
    assert!(
        gates.len() == ups.len() && ups.len() == outs.len(),
        "gate_backward: lengths"
    );
    gate_backward_with(Isa::best(), gate, gates, ups, outs);
}

/// Goes back through gelu, with the error function or its approximation with tanh. In: its input
/// and the gradient of its output. Out: its output, and the gradient of its input.
pub fn gelu_backward(tanh: bool, x: &mut [f32], dy: &mut [f32]) {
    assert_eq!(x.len(), dy.len(), "gelu_backward: two lengths");
    gelu_backward_with(Isa::best(), tanh, x, dy);
}

/// Replaces a row by its softmax before which it is multiplied by `scale`, above 0, and behind which by
/// `factor`; gives the logarithm of the sum of `exp(scale * x)`.
pub fn softmax_log_sum(row: &mut [f32], scale: f32, factor: f32) -> f32 {
    softmax_log_sum_with(Isa::best(), row, scale, factor)
}

/// Replaces each x by `exp(scale * x - less)`: the softmax, where `less` is what [`softmax_log_sum`] gave.
pub fn exp_less(row: &mut [f32], scale: f32, less: f32) {
    exp_less_with(Isa::best(), row, scale, less);
}

/// Replaces the gradient of a softmax's row by that of its input before `scale`.
pub fn softmax_backward(probabilities: &[f32], gradient: &mut [f32], scale: f32) {
    assert_eq!(
        probabilities.len(),
        gradient.len(),
        "softmax_backward: two lengths"
    );
    softmax_backward_with(Isa::best(), probabilities, gradient, scale);
}

/// Adds the rows of `x` `(rows, sums.len())` to `sums`.
pub fn column_sums(x: &[f32], sums: &mut [f32]) {
    assert!(
        x.len().is_multiple_of(sums.len()),
        "column_sums: ragged rows"
    );
    column_sums_with(Isa::best(), x, sums);
}

/// The sum of the squares, in double precision.
pub fn square_sum(x: &[f32]) -> f64 {
    square_sum_with(Isa::best(), x)
}

/// One step of AdamW (arXiv:1711.05101), as PyTorch computes it.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct AdamwStep {
    /// The learning rate of this step.
    pub learning_rate: f32,
    /// Decay of the mean of gradients.
    pub beta1: f32,
    /// Decay of the mean of their squares.
    pub beta2: f32,
    /// Added to the root of the mean of squares.
    pub eps: f32,
    /// Decoupled decay of the weights.
    pub weight_decay: f32,
    /// Multiplies the gradients: below 1 where they are clipped.
    pub gradient_scale: f32,
    /// The step's number, from 1.
    pub step: u32,
}

/// Weights with their gradients and moments, of one length.
#[derive(Debug)]
pub struct AdamwRows<'a> {
    /// The weights.
    pub weights: &'a mut [f32],
    /// Their gradients.
    pub gradients: &'a [f32],
    /// Means of gradients.
    pub means: &'a mut [f32],
    /// Means of squares of gradients.
    pub squares: &'a mut [f32],
}

/// Moves weights by one step.
pub fn adamw(step: &AdamwStep, state: AdamwRows<'_>) {
    let len = state.weights.len();
    assert!(
        state.gradients.len() == len && state.means.len() == len && state.squares.len() == len,
        "adamw: lengths"
    );
    adamw_with(Isa::best(), step, state);
}

#[inline(always)]
fn rms_norm_backward_body(
    x: &[f32],
    weight: &[f32],
    eps: f32,
    dy: &mut [f32],
    mut weight_gradient: Option<&mut [f32]>,
) {
    let width = weight.len();
    for (x, dy) in x.chunks_exact(width).zip(dy.chunks_exact_mut(width)) {
        let factor = 1.0 / (lanes::dot(x, x) / width as f32 + eps).sqrt();
        if let Some(gradient) = weight_gradient.as_deref_mut() {
            for ((sum, x), dy) in gradient.iter_mut().zip(x).zip(&*dy) {
                *sum = (x * factor).mul_add(*dy, *sum);
            }
        }
        for (dy, weight) in dy.iter_mut().zip(weight) {
            *dy *= weight;
        }
        let along = lanes::dot(dy, x) / width as f32 * factor * factor;
        for (dy, x) in dy.iter_mut().zip(x) {
            *dy = (*dy - x * along) * factor;
        }
    }
}

#[inline(always)]
fn layer_norm_backward_body(
    x: &[f32],
    weight: &[f32],
    eps: f32,
    dy: &mut [f32],
    mut gradients: Option<(&mut [f32], &mut [f32])>,
) {
    let width = weight.len();
    let count = width as f32;
    for (x, dy) in x.chunks_exact(width).zip(dy.chunks_exact_mut(width)) {
        let mean = lanes::sum(x, |x| x) / count;
        let variance = lanes::sum(x, |x| (x - mean) * (x - mean)) / count;
        let factor = 1.0 / (variance + eps).sqrt();
        if let Some((weights, biases)) = &mut gradients {
            for (((weight, bias), x), dy) in
                weights.iter_mut().zip(biases.iter_mut()).zip(x).zip(&*dy)
            {
                *weight = ((x - mean) * factor).mul_add(*dy, *weight);
                *bias += dy;
            }
        }
        for (dy, weight) in dy.iter_mut().zip(weight) {
            *dy *= weight;
        }
        let level = lanes::sum(dy, |dy| dy) / count;
        let along = (lanes::dot(dy, x) / count - level * mean) * factor * factor;
        for (dy, x) in dy.iter_mut().zip(x) {
            *dy = (*dy - level - (x - mean) * along) * factor;
        }
    }
}

#[inline(always)]
fn gate_backward_body(gate: Gate, gates: &mut [f32], ups: &mut [f32], outs: &mut [f32]) {
    // A loop for each gate: one that asks for it at every number is not made of vectors.
    match gate {
        Gate::Silu => gated_back(|g| gated_with_gradient(Gate::Silu, g), gates, ups, outs),
        Gate::Gelu => gated_back(|g| gated_with_gradient(Gate::Gelu, g), gates, ups, outs),
        Gate::GeluTanh => gated_back(|g| gated_with_gradient(Gate::GeluTanh, g), gates, ups, outs),
    }
}

#[inline(always)]
fn gated_back(
    gated: impl Fn(f32) -> (f32, f32),
    gates: &mut [f32],
    ups: &mut [f32],
    outs: &mut [f32],
) {
    for ((g, u), out) in gates.iter_mut().zip(ups).zip(outs) {
        let (value, slope) = gated(*g);
        let gradient = *out;
        *out = value * *u;
        *g = gradient * *u * slope;
        *u = gradient * value;
    }
}

#[inline(always)]
fn gelu_backward_body(tanh: bool, x: &mut [f32], dy: &mut [f32]) {
    let gate = if tanh { Gate::GeluTanh } else { Gate::Gelu };
    for (x, dy) in x.iter_mut().zip(dy) {
        let (value, slope) = gated_with_gradient(gate, *x);
        *x = value;
        *dy *= slope;
    }
}

#[inline(always)]
fn softmax_log_sum_body(row: &mut [f32], scale: f32, factor: f32) -> f32 {
    let most = scale * lanes::max(row);
    let (chunks, rest) = row.as_chunks_mut::<{ lanes::LANES }>();
    let mut sums = [0.0; lanes::LANES];
    for chunk in chunks {
        for (x, sum) in chunk.iter_mut().zip(&mut sums) {
            *x = exp(scale.mul_add(*x, -most));
            *sum += *x;
        }
    }
    for (x, sum) in rest.iter_mut().zip(&mut sums) {
        *x = exp(scale.mul_add(*x, -most));
        *sum += *x;
    }
    let sum = lanes::reduce(&sums);
    let share = factor / sum;
    for x in row {
        *x *= share;
    }
    most + sum.ln()
}

#[inline(always)]
fn exp_less_body(row: &mut [f32], scale: f32, less: f32) {
    for x in row {
        *x = exp(scale.mul_add(*x, -less));
    }
}

#[inline(always)]
fn softmax_backward_body(probabilities: &[f32], gradient: &mut [f32], scale: f32) {
    let along = lanes::dot(probabilities, gradient);
    for (gradient, probability) in gradient.iter_mut().zip(probabilities) {
        *gradient = (*gradient - along) * probability * scale;
    }
}

#[inline(always)]
fn column_sums_body(x: &[f32], sums: &mut [f32]) {
    for row in x.chunks_exact(sums.len()) {
        for (sum, x) in sums.iter_mut().zip(row) {
            *sum += x;
        }
    }
}

#[inline(always)]
fn square_sum_body(x: &[f32]) -> f64 {
    let mut sums = [0.0f64; 8];
    let (chunks, rest) = x.as_chunks::<8>();
    for chunk in chunks {
        for (sum, x) in sums.iter_mut().zip(chunk) {
            let x = f64::from(*x);
            *sum = x.mul_add(x, *sum);
        }
    }
    let tail: f64 = rest.iter().map(|x| f64::from(*x) * f64::from(*x)).sum();
    sums.iter().sum::<f64>() + tail
}

#[inline(always)]
fn adamw_body(step: &AdamwStep, state: AdamwRows<'_>) {
    let correction1 = 1.0 - f64::from(step.beta1).powi(step.step as i32);
    let correction2 = (1.0 - f64::from(step.beta2).powi(step.step as i32)).sqrt();
    let size = (f64::from(step.learning_rate) / correction1) as f32;
    let root = (1.0 / correction2) as f32;
    let keep = 1.0 - step.learning_rate * step.weight_decay;
    let (new1, new2) = (1.0 - step.beta1, 1.0 - step.beta2);
    let rows = state.weights.iter_mut().zip(state.gradients);
    for (((weight, gradient), mean), square) in rows.zip(state.means).zip(state.squares) {
        let gradient = gradient * step.gradient_scale;
        *mean = step.beta1.mul_add(*mean, new1 * gradient);
        *square = step.beta2.mul_add(*square, new2 * gradient * gradient);
        let change = *mean / square.sqrt().mul_add(root, step.eps);
        *weight = (*weight * keep) - size * change;
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ops;

    fn numbers(seed: usize, count: usize) -> Vec<f32> {
        (0..count)
            .map(|i| ((i * 7919 + seed * 104_729) % 1009) as f32 / 504.5 - 1.0)
            .collect()
    }

    /// Holds `gradient` against differences of `loss` about `x`.
    fn check(x: &[f32], gradient: &[f32], loss: impl Fn(&[f32]) -> f64) {
        for i in 0..x.len() {
            let at = |shift: f32| {
                let mut moved = x.to_vec();
                moved[i] += shift;
                loss(&moved)
            };
            let step = 1e-2;
            let expected = (at(step) - at(-step)) / (2.0 * f64::from(step));
            let error = (f64::from(gradient[i]) - expected).abs();
            assert!(
                error < 2e-3 * (1.0 + expected.abs()),
                "{i}: {} {expected}",
                gradient[i]
            );
        }
    }

    fn weighted(values: &[f32], by: &[f32]) -> f64 {
        values
            .iter()
            .zip(by)
            .map(|(v, b)| f64::from(*v) * f64::from(*b))
            .sum()
    }

    #[test]
    fn norms_go_back_as_their_differences() {
        let (x, weight, dy) = (numbers(1, 40), numbers(2, 20), numbers(3, 40));
        let rms = |x: &[f32], w: &[f32]| {
            let mut out = vec![0.0; 40];
            ops::rms_norm(x, w, 1e-5, &mut out);
            weighted(&out, &dy)
        };
        let (mut dx, mut dw) = (dy.clone(), vec![0.0; 20]);
        rms_norm_backward(&x, &weight, 1e-5, &mut dx, Some(&mut dw));
        check(&x, &dx, |x| rms(x, &weight));
        check(&weight, &dw, |w| rms(&x, w));
        let bias = numbers(4, 20);
        let layer = |x: &[f32], w: &[f32], b: &[f32]| {
            let mut out = vec![0.0; 40];
            ops::layer_norm(x, w, b, 1e-5, &mut out);
            weighted(&out, &dy)
        };
        let (mut dx, mut dw, mut db) = (dy.clone(), vec![0.0; 20], vec![0.0; 20]);
        layer_norm_backward(&x, &weight, 1e-5, &mut dx, Some((&mut dw, &mut db)));
        check(&x, &dx, |x| layer(x, &weight, &bias));
        check(&weight, &dw, |w| layer(&x, w, &bias));
        check(&bias, &db, |b| layer(&x, &weight, b));
    }

    #[test]
    fn gates_go_back_as_their_differences() {
        let (x, up, dy) = (numbers(1, 50), numbers(2, 50), numbers(3, 50));
        let x: Vec<f32> = x.iter().map(|x| x * 4.0).collect();
        for gate in [Gate::Silu, Gate::Gelu, Gate::GeluTanh] {
            let product = |x: &[f32], up: &[f32]| {
                let mut out = x.to_vec();
                match gate {
                    Gate::Silu => ops::silu_mul(&mut out, up),
                    Gate::Gelu => ops::gelu_mul(&mut out, up),
                    Gate::GeluTanh => ops::gelu_tanh_mul(&mut out, up),
                }
                out
            };
            let (mut dg, mut du, mut out) = (x.clone(), up.clone(), dy.clone());
            gate_backward(gate, &mut dg, &mut du, &mut out);
            assert_eq!(out, product(&x, &up));
            check(&x, &dg, |x| weighted(&product(x, &up), &dy));
            check(&up, &du, |up| weighted(&product(&x, up), &dy));
        }
    }

    #[test]
    fn softmax_goes_back_as_its_differences() {
        let (x, dy) = (numbers(1, 30), numbers(2, 30));
        let softmax = |x: &[f32]| {
            let mut row = x.to_vec();
            softmax_log_sum(&mut row, 1.7, 1.0);
            row
        };
        let row = softmax(&x);
        let (mut other, mut scaled) = (x.clone(), x.clone());
        exp_less(&mut other, 1.7, softmax_log_sum(&mut scaled, 1.7, 0.5));
        for ((row, other), scaled) in row.iter().zip(&other).zip(&scaled) {
            assert!((row - other).abs() < 1e-6 && (row - 2.0 * scaled).abs() < 1e-6);
        }
        assert!((row.iter().sum::<f32>() - 1.0).abs() < 1e-5);
        let mut dx = dy.clone();
        softmax_backward(&row, &mut dx, 1.7);
        check(&x, &dx, |x| weighted(&softmax(x), &dy));
    }

    #[test]
    fn every_isa_gives_the_same_bits() {
        let (x, weight) = (numbers(1, 148), numbers(2, 37));
        let mut first: Option<Vec<u32>> = None;
        for isa in Isa::available() {
            let (mut dx, mut dw) = (numbers(3, 148), vec![0.0; 37]);
            rms_norm_backward_with(isa, &x, &weight, 1e-5, &mut dx, Some(&mut dw));
            layer_norm_backward_with(isa, &x, &weight, 1e-5, &mut dx, None);
            let (mut g, mut u, mut o) = (x.clone(), dx.clone(), numbers(4, 148));
            gate_backward_with(isa, Gate::Gelu, &mut g, &mut u, &mut o);
            gate_backward_with(isa, Gate::Silu, &mut o, &mut u, &mut g);
            let sum = softmax_log_sum_with(isa, &mut g.clone(), 0.3, 0.7);
            exp_less_with(isa, &mut g, 0.3, sum);
            softmax_backward_with(isa, &g, &mut u, 0.3);
            column_sums_with(isa, &u, &mut dw);
            let step = AdamwStep {
                learning_rate: 0.1,
                beta1: 0.9,
                beta2: 0.99,
                eps: 1e-8,
                weight_decay: 0.1,
                gradient_scale: 0.5,
                step: 3,
            };
            let (mut means, mut squares) = (vec![0.1; 148], vec![0.2; 148]);
            let state = AdamwRows {
                weights: &mut o,
                gradients: &x,
                means: &mut means,
                squares: &mut squares,
            };
            adamw_with(isa, &step, state);
            let all = dx
                .iter()
                .chain(&dw)
                .chain(&g)
                .chain(&u)
                .chain(&o)
                .chain(&squares);
            let mut bits: Vec<u32> = all.map(|v| v.to_bits()).collect();
            bits.push(square_sum_with(isa, &dx).to_bits() as u32);
            assert_eq!(*first.get_or_insert(bits.clone()), bits, "{isa:?}");
        }
    }
}
