//! Launches of `activation.cu`: what a gated MLP does between its projections, and the logits' end.

use crate::{CudaError, Device, Grid, Kernel, Parameters, View, ViewMut};

/// What is done with the gate `g` and the other half `u`.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Gated {
    /// `silu(g) * u`.
    Silu,
    /// `gelu(g) * u`, with the error function.
    Gelu,
    /// `gelu(g) * u`, by the approximation with tanh.
    GeluTanh,
    /// `g * sigmoid(alpha * g) * (u + 1)`, g at most `limit` and u within `limit` of 0.
    ClampedSwiglu {
        /// Steepness of the sigmoid.
        alpha: f32,
        /// Bound of both halves.
        limit: f32,
    },
    /// `tanh(g) * u`.
    Tanh,
}

#[repr(C)]
#[derive(Clone, Copy)]
struct GatedArgs {
    gate: u64,
    up: u64,
    count: u64,
    kind: u32,
    alpha: f32,
    limit: f32,
    padding: u32,
}

// SAFETY: as the struct of that name in activation.cu, its end spelled out.
unsafe impl Parameters for GatedArgs {}

/// Replaces the first `count` elements of `gate` by what `kind` makes of them; without an `up` of the
/// gate alone, which [`Gated::ClampedSwiglu`] does not take.
///
/// # Errors
/// [`CudaError::Shape`] for views that are too short; what the driver says.
pub fn gated(
    device: &Device,
    kind: Gated,
    gate: ViewMut<'_, f32>,
    up: Option<View<'_, f32>>,
    count: usize,
) -> Result<(), CudaError> {
    let (number, alpha, limit) = match kind {
        Gated::Silu => (0, 0.0, 0.0),
        Gated::Gelu => (1, 0.0, 0.0),
        Gated::GeluTanh => (2, 0.0, 0.0),
        Gated::ClampedSwiglu { alpha, limit } => (3, alpha, limit),
        Gated::Tanh => (4, 0.0, 0.0),
    };
    let lacks_up = up.map_or(number == 3, |up| up.len < count);
    if gate.len < count || lacks_up {
        return Err(CudaError::Shape(format!(
            "an activation of {count} elements: a view is shorter"
        )));
    }
    let arguments = GatedArgs {
        gate: gate.address,
        up: up.map_or(0, |up| up.address),
        count: count as u64,
        kind: number,
        alpha,
        limit,
        padding: 0,
    };
    launch(device, "gated", count, &arguments)
}

#[repr(C)]
#[derive(Clone, Copy)]
struct FinishArgs {
    x: u64,
    count: u64,
    scale: f32,
    cap: f32,
}

// SAFETY: as the struct of that name in activation.cu, without padding.
unsafe impl Parameters for FinishArgs {}

/// Multiplies the first `count` logits by `scale` and bounds them by `cap * tanh(x / cap)`, where there
/// is a cap.
///
/// # Errors
/// As [`gated`].
pub fn finish_logits(
    device: &Device,
    x: ViewMut<'_, f32>,
    count: usize,
    (scale, cap): (f32, Option<f32>),
) -> Result<(), CudaError> {
    if x.len < count {
        return Err(CudaError::Shape(format!("{count} logits of {}", x.len)));
    }
    let arguments = FinishArgs {
        x: x.address,
        count: count as u64,
        scale,
        cap: cap.unwrap_or(0.0),
    };
    launch(device, "finish_logits", count, &arguments)
}

fn launch<P: Parameters>(
    device: &Device,
    name: &'static str,
    count: usize,
    arguments: &P,
) -> Result<(), CudaError> {
    let kernel = Kernel {
        file: "activation",
        name,
    };
    let blocks = (count.div_ceil(256) as u32, 1, 1);
    // SAFETY: the lengths were held against the count.
    unsafe { device.launch(kernel, Grid::new(blocks, 256), arguments) }
}
