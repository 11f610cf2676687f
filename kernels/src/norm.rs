//! Launches of `norm.cu`: normalisation of rows, with the residual stream's addition in front.

use crate::{CudaError, Device, Grid, Kernel, Parameters, View, ViewMut};

/// A normalisation of `rows` rows.
#[derive(Debug)]
pub struct Norm<'a> {
    /// `(rows, width)`: what is normalised; the delta is added to it first.
    pub hidden: ViewMut<'a, f32>,
    /// What is added, with its factor.
    pub delta: Option<(View<'a, f32>, f32)>,
    /// One number a column. Without it nothing but the addition is done, by [`rms_norm`] only.
    pub weight: Option<View<'a, f32>>,
    /// One number a column; [`layer_norm`] only.
    pub bias: Option<View<'a, f32>>,
    /// Where the result goes; to `hidden` itself where there is none.
    pub out: Option<ViewMut<'a, f32>>,
    /// Rows.
    pub rows: usize,
    /// Length of a row.
    pub width: usize,
    /// Added to the mean square, or the variance.
    pub eps: f32,
}

#[repr(C)]
#[derive(Clone, Copy)]
struct NormArgs {
    hidden: u64,
    delta: u64,
    weight: u64,
    bias: u64,
    out: u64,
    width: u32,
    scale: f32,
    eps: f32,
    padding: u32,
}

// SAFETY: as the struct of that name in norm.cu, its end spelled out.
unsafe impl Parameters for NormArgs {}

/// Adds and divides each row by the root of its mean square.
///
/// # Errors
/// [`CudaError::Shape`] for views that are too short; what the driver says.
pub fn rms_norm(device: &Device, norm: Norm<'_>) -> Result<(), CudaError> {
    launch(device, "rms_norm", norm)
}

/// Adds and brings each row to mean 0 and variance 1.
///
/// # Errors
/// As [`rms_norm`]; [`CudaError::Shape`] without a weight.
pub fn layer_norm(device: &Device, norm: Norm<'_>) -> Result<(), CudaError> {
    if norm.weight.is_none() {
        return Err(CudaError::Shape("layer_norm without a weight".to_owned()));
    }
    launch(device, "layer_norm", norm)
}

fn launch(device: &Device, name: &'static str, norm: Norm<'_>) -> Result<(), CudaError> {
    let Norm { rows, width, .. } = norm;
    let whole = rows * width;
    let enough = norm.hidden.len >= whole
        && norm.delta.is_none_or(|(delta, _)| delta.len >= whole)
        && norm.weight.is_none_or(|weight| weight.len >= width)
        && norm.bias.is_none_or(|bias| bias.len >= width)
        && norm.out.as_ref().is_none_or(|out| out.len >= whole);
    if !enough || width == 0 {
        return Err(CudaError::Shape(format!(
            "{name} of {rows} rows of {width}: a view is shorter"
        )));
    }
    let arguments = NormArgs {
        hidden: norm.hidden.address,
        delta: norm.delta.map_or(0, |(delta, _)| delta.address),
        weight: norm.weight.map_or(0, |weight| weight.address),
        bias: norm.bias.map_or(0, |bias| bias.address),
        out: norm.out.map_or(norm.hidden.address, |out| out.address),
        width: width as u32,
        scale: norm.delta.map_or(1.0, |(_, scale)| scale),
        eps: norm.eps,
        padding: 0,
    };
    let kernel = Kernel { file: "norm", name };
    // SAFETY: the lengths were held against the shape.
    unsafe { device.launch(kernel, Grid::new((rows as u32, 1, 1), 256), &arguments) }
}
