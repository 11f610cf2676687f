//! Activations, with an exponential and an error function that vectorise.

use crate::isa::{Isa, versions};
use crate::lanes;

versions!(pub(crate) fn gelu_with(x: &mut [f32]) = gelu_body);
versions!(fn gelu_tanh_with(x: &mut [f32]) = gelu_tanh_body);
versions!(fn silu_with(x: &mut [f32]) = silu_body);
versions!(fn tanh_with(x: &mut [f32]) = tanh_body);
versions!(fn silu_mul_with(gate: &mut [f32], up: &[f32]) = silu_mul_body);
versions!(fn gelu_mul_with(gate: &mut [f32], up: &[f32]) = gelu_mul_body);
versions!(fn gelu_tanh_mul_with(gate: &mut [f32], up: &[f32]) = gelu_tanh_mul_body);
versions!(fn clamped_swiglu_with(gate: &mut [f32], up: &[f32], alpha: f32, limit: f32) = clamped_swiglu_body);
versions!(pub(crate) fn soft_cap_with(x: &mut [f32], scale: f32, cap: f32) = soft_cap_body);
versions!(fn softmax_with(row: &mut [f32]) -> f32 = softmax_body);
versions!(fn scale_with(row: &mut [f32], factor: f32) = scale_body);

/// Replaces each x by `x * Phi(x)`, with the error function (arXiv:1606.08415).
pub fn gelu_in_place(x: &mut [f32]) {
    gelu_with(Isa::best(), x);
}

/// As [`gelu_in_place`], by its approximation with tanh.
pub fn gelu_tanh_in_place(x: &mut [f32]) {
    gelu_tanh_with(Isa::best(), x);
}

/// Replaces each x by `x * sigmoid(x)`.
pub fn silu_in_place(x: &mut [f32]) {
    silu_with(Isa::best(), x);
}

/// Replaces each x by its hyperbolic tangent.
pub fn tanh_in_place(x: &mut [f32]) {
    tanh_with(Isa::best(), x);
}

/// Replaces each g of `gate` by `g * sigmoid(g) * u`, u from `up`.
pub fn silu_mul(gate: &mut [f32], up: &[f32]) {
    assert_eq!(gate.len(), up.len(), "silu_mul: two lengths");
    silu_mul_with(Isa::best(), gate, up);
}

/// Replaces each g of `gate` by `gelu(g) * u`, u from `up`, with the error function.
pub fn gelu_mul(gate: &mut [f32], up: &[f32]) {
    assert_eq!(gate.len(), up.len(), "gelu_mul: two lengths");
    gelu_mul_with(Isa::best(), gate, up);
}

/// As [`gelu_mul`], by gelu's approximation with tanh.
pub fn gelu_tanh_mul(gate: &mut [f32], up: &[f32]) {
    assert_eq!(gate.len(), up.len(), "gelu_tanh_mul: two lengths");
    gelu_tanh_mul_with(Isa::best(), gate, up);
}

/// Replaces each g of `gate` by `g * sigmoid(alpha * g) * (u + 1)`, u from `up`, after g is brought
/// to at most `limit` and u to `-limit..=limit`.
pub fn clamped_swiglu(gate: &mut [f32], up: &[f32], alpha: f32, limit: f32) {
    assert_eq!(gate.len(), up.len(), "clamped_swiglu: two lengths");
    clamped_swiglu_with(Isa::best(), gate, up, alpha, limit);
}

/// Replaces each x by `cap * tanh(scale * x / cap)`.
pub fn soft_cap_in_place(x: &mut [f32], scale: f32, cap: f32) {
    soft_cap_with(Isa::best(), x, scale, cap);
}

/// Replaces a row by its softmax.
pub fn softmax_in_place(row: &mut [f32]) {
    let sum = softmax_with(Isa::best(), row);
    scale_with(Isa::best(), row, 1.0 / sum);
}

/// e to the `x`, to 2 units in the last place; 0 below the smallest normal number.
#[inline(always)]
pub(crate) fn exp(x: f32) -> f32 {
    const ROUND: f32 = 12_582_912.0; // 1.5 * 2^23: adding it leaves a whole number
    let clamped = x.clamp(-87.336_54, 88.722_83);
    let shifted = clamped.mul_add(std::f32::consts::LOG2_E, ROUND);
    let n = shifted - ROUND;
    let r = n.mul_add(-1.428_606_8e-6, n.mul_add(-0.693_145_75, clamped));
    // Taylor's polynomial of degree 7: |r| is at most ln(2)/2.
    let p = r.mul_add(1.0 / 5040.0, 1.0 / 720.0);
    let p = r.mul_add(p, 1.0 / 120.0);
    let p = r.mul_add(p, 1.0 / 24.0);
    let p = r.mul_add(p, 1.0 / 6.0);
    let p = r.mul_add(p, 0.5);
    let p = r.mul_add(p, 1.0);
    let p = r.mul_add(p, 1.0);
    // 2^n in two halves, as n may be 128. The low bits of `shifted` are n.
    let n = (shifted.to_bits() as i32).wrapping_sub(ROUND.to_bits() as i32);
    let half = n >> 1;
    let power = |n: i32| f32::from_bits((n.wrapping_add(127) << 23) as u32);
    let value = p * power(half) * power(n.wrapping_sub(half));
    if x < -87.336_54 { 0.0 } else { value }
}

/// e to the `x`, which is at most 0, to 1 unit in the last place; 0 below the smallest normal number.
#[inline(always)]
pub(crate) fn exp_down(x: f32) -> f32 {
    const LEAST: f32 = -87.336_54;
    const ROUND: f32 = 12_582_912.0; // as in `exp`
    // Not `max`, which would make a number of none.
    let clamped = if x < LEAST { LEAST } else { x };
    let shifted = clamped.mul_add(std::f32::consts::LOG2_E, ROUND);
    let n = shifted - ROUND;
    let r = n.mul_add(-1.428_606_8e-6, n.mul_add(-0.693_145_75, clamped));
    // The polynomial of degree 6 that is nearest, where |r| is at most ln(2)/2.
    let p = r.mul_add(1.381_458_4e-3, 8.368_724e-3);
    let p = r.mul_add(p, 4.166_839e-2);
    let p = r.mul_add(p, 0.166_665_21);
    let p = r.mul_add(p, 0.499_999_94);
    let p = r.mul_add(p, 1.0);
    let p = r.mul_add(p, 1.0);
    // The low bits of `shifted` are n, from -126 to 0: what stands above them is shifted out.
    let power = f32::from_bits((shifted.to_bits() << 23).wrapping_add(127 << 23));
    if x < LEAST { 0.0 } else { p * power }
}

/// The error function by the polynomial of degree 13 of its square that is nearest, within 4e-7;
/// 1 where that ends.
#[inline(always)]
fn erf(x: f32) -> f32 {
    const END: f32 = 3.72;
    // From the highest power down, of t, which goes from -1 to 1 as the square goes to that of END.
    const POWERS: [f32; 13] = [
        0.004_244_264,
        -0.003_816_925_7,
        0.005_325_439_4,
        -0.014_689_587,
        0.025_976_034,
        -0.036_914_27,
        0.052_053_604,
        -0.070_854_51,
        0.090_729_47,
        -0.112_378_78,
        0.140_179_44,
        -0.189_486_53,
        0.380_089_25,
    ];
    let near = x.clamp(-END, END);
    let t = (near * near).mul_add(2.0 / (END * END), -1.0);
    let mut p = -0.001_639_774_2;
    for power in POWERS {
        p = t.mul_add(p, power);
    }
    // Not a number is not below it either.
    if x.abs() >= END {
        1.0f32.copysign(x)
    } else {
        near * p
    }
}

/// What a gated MLP does with its gates.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Gate {
    /// `x * sigmoid(x)`.
    Silu,
    /// Gelu with the error function.
    Gelu,
    /// Gelu's approximation with tanh.
    GeluTanh,
}

/// The value at `x` and the slope there.
#[inline(always)]
pub(crate) fn gated_with_gradient(gate: Gate, x: f32) -> (f32, f32) {
    match gate {
        Gate::Silu => {
            let value = x / (1.0 + exp(-x));
            let sigmoid = 1.0 / (1.0 + exp(-x));
            (value, (1.0 - sigmoid).mul_add(value, sigmoid))
        }
        Gate::Gelu => {
            const DENSITY: f32 = 0.398_942_3; // 1 / sqrt(2 pi)
            let below = 0.5f32.mul_add(erf(x * std::f32::consts::FRAC_1_SQRT_2), 0.5);
            let density = DENSITY * exp(-0.5 * x * x);
            (gelu(x), x.mul_add(density, below))
        }
        Gate::GeluTanh => {
            let sigmoid = 1.0 / (1.0 + exp(-1.595_769 * (x * x * x).mul_add(0.044_715, x)));
            let inner = 1.595_769 * (x * x).mul_add(3.0 * 0.044_715, 1.0);
            (
                gelu_tanh(x),
                (x * sigmoid * (1.0 - sigmoid)).mul_add(inner, sigmoid),
            )
        }
    }
}

#[inline(always)]
fn gelu(x: f32) -> f32 {
    let half = 0.5 * x;
    half.mul_add(erf(x * std::f32::consts::FRAC_1_SQRT_2), half)
}

#[inline(always)]
fn gelu_tanh(x: f32) -> f32 {
    let cube = x * x * x;
    let inner = 1.595_769 * cube.mul_add(0.044_715, x); // 2 sqrt(2 / pi)
    x / (1.0 + exp(-inner))
}

#[inline(always)]
fn tanh(x: f32) -> f32 {
    let e = exp(-2.0 * x.abs());
    // Below this the quotient loses digits that the series keeps.
    let small = x - x * x * x * (1.0 / 3.0);
    let large = ((1.0 - e) / (1.0 + e)).copysign(x);
    if x.abs() < 0.01 { small } else { large }
}

#[inline(always)]
fn gelu_body(x: &mut [f32]) {
    for x in x {
        *x = gelu(*x);
    }
}

#[inline(always)]
fn gelu_tanh_body(x: &mut [f32]) {
    for x in x {
        *x = gelu_tanh(*x);
    }
}

#[inline(always)]
fn silu_body(x: &mut [f32]) {
    for x in x {
        *x /= 1.0 + exp(-*x);
    }
}

#[inline(always)]
fn tanh_body(x: &mut [f32]) {
    for x in x {
        *x = tanh(*x);
    }
}

#[inline(always)]
fn gelu_mul_body(gate: &mut [f32], up: &[f32]) {
    for (gate, up) in gate.iter_mut().zip(up) {
        *gate = gelu(*gate) * up;
    }
}

#[inline(always)]
fn gelu_tanh_mul_body(gate: &mut [f32], up: &[f32]) {
    for (gate, up) in gate.iter_mut().zip(up) {
        *gate = gelu_tanh(*gate) * up;
    }
}

#[inline(always)]
fn clamped_swiglu_body(gate: &mut [f32], up: &[f32], alpha: f32, limit: f32) {
    for (gate, up) in gate.iter_mut().zip(up) {
        let g = if *gate > limit { limit } else { *gate };
        *gate = g / (1.0 + exp(-alpha * g)) * (up.clamp(-limit, limit) + 1.0);
    }
}

#[inline(always)]
fn soft_cap_body(x: &mut [f32], scale: f32, cap: f32) {
    for x in x {
        *x = cap * tanh(*x * scale / cap);
    }
}

#[inline(always)]
fn silu_mul_body(gate: &mut [f32], up: &[f32]) {
    for (gate, up) in gate.iter_mut().zip(up) {
        *gate = *gate / (1.0 + exp(-*gate)) * up;
    }
}

/// Replaces each x by `exp(x - max)` and returns their sum.
#[inline(always)]
pub(crate) fn softmax_body(row: &mut [f32]) -> f32 {
    let max = lanes::max(row);
    let (chunks, rest) = row.as_chunks_mut::<{ lanes::LANES }>();
    let mut sums = [0.0; lanes::LANES];
    for chunk in chunks {
        for i in 0..lanes::LANES {
            chunk[i] = exp_down(chunk[i] - max);
            sums[i] += chunk[i];
        }
    }
    for (value, sum) in rest.iter_mut().zip(&mut sums) {
        *value = exp_down(*value - max);
        *sum += *value;
    }
    lanes::reduce(&sums)
}

#[inline(always)]
fn scale_body(row: &mut [f32], factor: f32) {
    for value in row {
        *value *= factor;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn grid() -> Vec<f32> {
        (-2000..=2000).map(|i| i as f32 * 0.01).collect()
    }

    /// The error function by its series in double precision.
    fn erf64(x: f64) -> f64 {
        if x.abs() > 6.0 {
            return x.signum();
        }
        // All terms of one sign, so that nothing cancels.
        let (mut term, mut sum) = (x, x);
        for n in 1..300 {
            term *= 2.0 * x * x / f64::from(2 * n + 1);
            sum += term;
        }
        sum * (-x * x).exp() * std::f64::consts::FRAC_2_SQRT_PI
    }

    #[test]
    fn exp_is_accurate_and_ends_at_zero() {
        for x in (-8700..=8800).map(|i| i as f32 * 0.01) {
            let expected = f64::from(x).exp();
            assert!((f64::from(exp(x)) / expected - 1.0).abs() < 2.5e-7, "{x}");
        }
        for x in (-8733..=0).map(|i| i as f32 * 0.01) {
            let expected = f64::from(x).exp();
            assert!(
                (f64::from(exp_down(x)) / expected - 1.0).abs() < 1.2e-7,
                "{x}"
            );
        }
        for exp in [exp, exp_down] {
            assert_eq!(exp(f32::NEG_INFINITY), 0.0);
            assert_eq!(exp(-87.4), 0.0);
            assert_eq!(exp(0.0), 1.0);
            assert!(exp(f32::NAN).is_nan());
        }
    }

    #[test]
    fn the_error_function_is_near_and_ends_at_one() {
        for x in (-80_000..=80_000).map(|i| i as f32 * 1e-4) {
            let error = (f64::from(erf(x)) - erf64(f64::from(x))).abs();
            assert!(error < 4e-7, "{x}: {error}");
        }
        assert_eq!(
            [erf(9.0), erf(f32::NEG_INFINITY), erf(0.0)],
            [1.0, -1.0, 0.0]
        );
        assert!(erf(f32::NAN).is_nan());
    }

    #[test]
    fn activations_match_their_formulas() {
        let (mut gelu, mut gelu_tanh, mut tanh, mut silu) = (grid(), grid(), grid(), grid());
        gelu_in_place(&mut gelu);
        gelu_tanh_in_place(&mut gelu_tanh);
        tanh_in_place(&mut tanh);
        silu_mul(&mut silu, &vec![2.0; grid().len()]);
        let (mut gelu_up, mut tanh_up, mut clamped, mut capped) = (grid(), grid(), grid(), grid());
        gelu_mul(&mut gelu_up, &vec![3.0; grid().len()]);
        gelu_tanh_mul(&mut tanh_up, &vec![3.0; grid().len()]);
        let up: Vec<f32> = grid().iter().rev().copied().collect();
        clamped_swiglu(&mut clamped, &up, 1.702, 7.0);
        soft_cap_in_place(&mut capped, 0.5, 3.0);
        for (i, x) in grid().into_iter().map(f64::from).enumerate() {
            let near = |got: f32, expected: f64| {
                let error = (f64::from(got) - expected).abs();
                assert!(error <= 5e-7 * (1.0 + x.abs()), "{x}: {got} {expected}");
            };
            near(gelu[i], 0.5 * x * (1.0 + erf64(x / 2f64.sqrt())));
            let inner = (2.0 / std::f64::consts::PI).sqrt() * (x + 0.044715 * x.powi(3));
            near(gelu_tanh[i], 0.5 * x * (1.0 + inner.tanh()));
            near(tanh[i], x.tanh());
            near(silu[i], 2.0 * x / (1.0 + (-x).exp()));
            assert_eq!(
                [gelu_up[i], tanh_up[i]],
                [3.0 * gelu[i], 3.0 * gelu_tanh[i]]
            );
            let (g, u) = (x.min(7.0), (-x).clamp(-7.0, 7.0));
            let expected = g / (1.0 + (-1.702 * g).exp()) * (u + 1.0);
            assert!((f64::from(clamped[i]) - expected).abs() <= 5e-7 * (1.0 + expected.abs()));
            near(capped[i], 3.0 * (0.5 * x / 3.0).tanh());
        }
    }

    #[test]
    fn every_isa_gives_the_same_bits() {
        let mut first: Option<Vec<u32>> = None;
        for isa in Isa::available() {
            let (mut gelu, mut soft, mut silu, mut tanh) = (grid(), grid(), grid(), grid());
            gelu_with(isa, &mut gelu);
            gelu_tanh_with(isa, &mut silu);
            tanh_with(isa, &mut tanh);
            let up = grid();
            let (mut gelu_up, mut tanh_up, mut clamped, mut capped) =
                (grid(), grid(), grid(), grid());
            gelu_mul_with(isa, &mut gelu_up, &up);
            gelu_tanh_mul_with(isa, &mut tanh_up, &up);
            clamped_swiglu_with(isa, &mut clamped, &up, 1.702, 7.0);
            soft_cap_with(isa, &mut capped, 0.5, 3.0);
            let sum = softmax_with(isa, &mut soft);
            let all = gelu
                .iter()
                .chain(&soft)
                .chain(&silu)
                .chain(&tanh)
                .chain(&gelu_up)
                .chain(&tanh_up)
                .chain(&clamped)
                .chain(&capped)
                .chain([&sum]);
            let bits: Vec<u32> = all.map(|v| v.to_bits()).collect();
            assert_eq!(*first.get_or_insert(bits.clone()), bits, "{isa:?}");
        }
    }

    #[test]
    fn softmax_sums_to_one() {
        let mut row = vec![1.0, f32::NEG_INFINITY, 3.0, 1000.0, 1000.0];
        softmax_in_place(&mut row);
        assert_eq!(row, [0.0, 0.0, 0.0, 0.5, 0.5]);
    }
}
