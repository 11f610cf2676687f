//! Launches of `sample.cu`: a token a row, without sorting the vocabulary.

use crate::{Buffer, CudaError, Device, Element, Grid, Kernel, Parameters, View, ViewMut};

/// How a row's token is chosen.
#[repr(C)]
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct SampleRow {
    /// Address of the tokens so far, in memory of the device, for the penalty.
    pub tokens: u64,
    /// Where in the running sum of what is left the token is drawn, in [0, 1).
    pub point: f64,
    /// Tokens so far.
    pub token_count: u32,
    /// Divides positive logits of tokens that occurred, and multiplies negative ones.
    pub penalty: f32,
    /// Divides the logits; 0 takes the most likely token.
    pub temperature: f32,
    /// Keeps the most likely tokens whose probability reaches it; 1: all.
    pub top_p: f32,
    /// Keeps tokens at least this part as likely as the most likely one; 0: all.
    pub min_p: f32,
    /// Keeps the most likely so many; 0: all.
    pub top_k: u32,
}

// SAFETY: plain numbers, 40 bytes without padding.
unsafe impl Element for SampleRow {}
// SAFETY: as above.
unsafe impl cudarc::driver::DeviceRepr for SampleRow {}

/// A choice of `rows` tokens.
#[derive(Debug)]
pub struct Sample<'a> {
    /// `(rows, vocabulary)`.
    pub logits: View<'a, f32>,
    /// Room of the same shape.
    pub work: ViewMut<'a, u32>,
    /// The tokens that may be chosen, a bit each, `(rows, vocabulary / 32)` rounded up.
    pub allowed: Option<View<'a, u32>>,
    /// How each row is chosen.
    pub how: &'a Buffer<SampleRow>,
    /// Where the tokens go; -1 for a row whose logits are no finite numbers.
    pub tokens: ViewMut<'a, i32>,
    /// Rows.
    pub rows: usize,
    /// Tokens that the logits range over.
    pub vocabulary: usize,
}

#[repr(C)]
#[derive(Clone, Copy)]
struct SampleArgs {
    logits: u64,
    work: u64,
    allowed: u64,
    rows: u64,
    tokens: u64,
    vocabulary: u32,
    words: u32,
}

// SAFETY: as the struct of that name in sample.cu, without padding.
unsafe impl Parameters for SampleArgs {}

/// Chooses a token a row.
///
/// # Errors
/// [`CudaError::Shape`] for views that are too short; what the driver says.
///
/// # Safety
/// The rows' tokens lie, `token_count` words each, in memory of the device that lives as long as the
/// work.
pub unsafe fn sample(device: &Device, sample: Sample<'_>) -> Result<(), CudaError> {
    let Sample {
        rows, vocabulary, ..
    } = sample;
    let words = vocabulary.div_ceil(32);
    let enough = sample.logits.len >= rows * vocabulary
        && sample.work.len >= rows * vocabulary
        && sample.allowed.is_none_or(|bits| bits.len >= rows * words)
        && sample.how.len() >= rows
        && sample.tokens.len >= rows;
    if !enough || vocabulary == 0 {
        return Err(CudaError::Shape(format!(
            "sampling {rows} rows of {vocabulary} logits: a view is shorter"
        )));
    }
    let arguments = SampleArgs {
        logits: sample.logits.address,
        work: sample.work.address,
        allowed: sample.allowed.map_or(0, |bits| bits.address),
        rows: sample.how.address(),
        tokens: sample.tokens.address,
        vocabulary: vocabulary as u32,
        words: words as u32,
    };
    let kernel = Kernel {
        file: "sample",
        name: "sample",
    };
    // SAFETY: the lengths were held against the shape; the caller promised the tokens.
    unsafe { device.launch(kernel, Grid::new((rows as u32, 1, 1), 1024), &arguments) }
}
