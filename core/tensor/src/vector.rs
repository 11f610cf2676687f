//! Operations on single vectors.

use crate::isa::{Isa, versions};
use crate::lanes;

versions!(pub(crate) fn dot_with(a: &[f32], b: &[f32]) -> f32 = lanes::dot);
versions!(fn sum_into_with(alpha: f32, x: &[f32], y: &[f32], out: &mut [f32]) = sum_into_body);
versions!(fn axpy_with(alpha: f32, x: &[f32], y: &mut [f32]) = axpy_body);

/// The dot product of two vectors of one length.
pub fn dot(a: &[f32], b: &[f32]) -> f32 {
    assert_eq!(a.len(), b.len(), "dot: two lengths");
    dot_with(Isa::best(), a, b)
}

/// Adds `alpha * x` to `y`, fused.
pub fn axpy(alpha: f32, x: &[f32], y: &mut [f32]) {
    assert_eq!(x.len(), y.len(), "axpy: two lengths");
    axpy_with(Isa::best(), alpha, x, y);
}

/// Writes `alpha * x + y` to `out`, fused.
pub fn sum_into(alpha: f32, x: &[f32], y: &[f32], out: &mut [f32]) {
    assert!(
        x.len() == out.len() && y.len() == out.len(),
        "sum_into: lengths"
    );
    sum_into_with(Isa::best(), alpha, x, y, out);
}

#[inline(always)]
fn sum_into_body(alpha: f32, x: &[f32], y: &[f32], out: &mut [f32]) {
    for ((out, x), y) in out.iter_mut().zip(x).zip(y) {
        *out = alpha.mul_add(*x, *y);
    }
}

#[inline(always)]
fn axpy_body(alpha: f32, x: &[f32], y: &mut [f32]) {
    for (y, x) in y.iter_mut().zip(x) {
        *y = alpha.mul_add(*x, *y);
    }
}

/// Adds `x` to `y`.
pub fn add_in_place(y: &mut [f32], x: &[f32]) {
    assert_eq!(x.len(), y.len(), "add_in_place: two lengths");
    for (y, x) in y.iter_mut().zip(x) {
        *y += x;
    }
}

/// Multiplies each element by `factor`.
pub fn scale_in_place(x: &mut [f32], factor: f32) {
    for x in x {
        *x *= factor;
    }
}

/// Multiplies each element of `y` by that of `x`.
pub fn multiply_in_place(y: &mut [f32], x: &[f32]) {
    assert_eq!(x.len(), y.len(), "multiply_in_place: two lengths");
    for (y, x) in y.iter_mut().zip(x) {
        *y *= x;
    }
}
