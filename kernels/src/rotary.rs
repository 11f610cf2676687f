//! Launches of `rotary.cu`: queries and keys turned by their positions.

use crate::{CudaError, Device, Grid, Kernel, Parameters, View, ViewMut};

/// A rotation of `rows` rows of heads.
#[derive(Debug)]
pub struct Rotary<'a> {
    /// `(rows, heads, head_dim)`.
    pub x: ViewMut<'a, f32>,
    /// Radians a position, `(sequences, pairs)`.
    pub frequencies: View<'a, f32>,
    /// Each row's sequence.
    pub sequences: View<'a, u32>,
    /// Each row's position.
    pub positions: View<'a, u32>,
    /// Rows.
    pub rows: usize,
    /// Heads of a row.
    pub heads: usize,
    /// Length of a head.
    pub head_dim: usize,
    /// Pairs that are turned in a head.
    pub pairs: usize,
    /// Whether a pair is two neighbours, in place of an element of each half.
    pub interleaved: bool,
    /// Multiplies what is turned.
    pub factor: f32,
}

#[repr(C)]
#[derive(Clone, Copy)]
struct RotaryArgs {
    x: u64,
    frequencies: u64,
    sequences: u64,
    positions: u64,
    heads: u32,
    head_dim: u32,
    pairs: u32,
    interleaved: u32,
    factor: f32,
    padding: u32,
}

// SAFETY: as the struct of that name in rotary.cu, its end spelled out.
unsafe impl Parameters for RotaryArgs {}

/// Turns each head in place. The rows' sequences are below the number of those of `frequencies`.
///
/// # Errors
/// [`CudaError::Shape`] for views that are too short; what the driver says.
pub fn rotary(device: &Device, rotary: Rotary<'_>) -> Result<(), CudaError> {
    let Rotary {
        rows,
        heads,
        head_dim,
        pairs,
        ..
    } = rotary;
    let enough = rotary.x.len >= rows * heads * head_dim
        && rotary.frequencies.len >= pairs
        && rotary.sequences.len >= rows
        && rotary.positions.len >= rows;
    if !enough || 2 * pairs > head_dim {
        return Err(CudaError::Shape(format!(
            "rotary of {rows} rows of {heads} heads of {head_dim}, {pairs} pairs: a view is shorter"
        )));
    }
    let arguments = RotaryArgs {
        x: rotary.x.address,
        frequencies: rotary.frequencies.address,
        sequences: rotary.sequences.address,
        positions: rotary.positions.address,
        heads: heads as u32,
        head_dim: head_dim as u32,
        pairs: pairs as u32,
        interleaved: rotary.interleaved.into(),
        factor: rotary.factor,
        padding: 0,
    };
    let kernel = Kernel {
        file: "rotary",
        name: "rotary",
    };
    let blocks = ((heads * pairs).div_ceil(128) as u32, rows as u32, 1);
    // SAFETY: the lengths were held against the shape; the caller promised the sequences.
    unsafe { device.launch(kernel, Grid::new(blocks, 128), &arguments) }
}
