//! Launches of `sample.cu` and `logprobs.cu`: a token a row, without sorting the vocabulary, and its
//! log-probabilities.

use crate::{Buffer, CudaError, Device, Element, Grid, Kernel, Parameters, View, ViewMut};

/// [`SampleRow::allowed`] of a row whose every token may be chosen.
pub const NO_MASK: u32 = u32::MAX;
/// Most tokens that stand beside a chosen one with their log-probabilities.
pub const MOST_LOGPROBS: usize = 20;

/// How a row's token is chosen.
#[repr(C)]
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct SampleRow {
    /// Where in the running sum of what is left the token is drawn, in [0, 1).
    pub point: f64,
    /// The row of the logits.
    pub row: u32,
    /// Where among the words the tokens so far begin, for the penalty.
    pub tokens: u32,
    /// Tokens so far.
    pub token_count: u32,
    /// Where among the words the bits of the tokens begin that may be chosen, `vocabulary / 32` words
    /// rounded up; [`NO_MASK`]: all may.
    pub allowed: u32,
    /// The token, where there is no choice; -1: there is.
    pub given: i32,
    /// 0: no log-probabilities are asked for; n + 1: the token's, and those of the n most likely.
    pub logprobs: u32,
    /// Keeps the most likely so many; 0: all.
    pub top_k: u32,
    /// Divides positive logits of tokens that occurred, and multiplies negative ones.
    pub penalty: f32,
    /// Divides the logits; 0 takes the most likely token.
    pub temperature: f32,
    /// Keeps the most likely tokens whose probability reaches it; 1: all.
    pub top_p: f32,
    /// Keeps tokens at least this part as likely as the most likely one; 0: all.
    pub min_p: f32,
    /// 0.
    pub reserved: u32,
}

impl Default for SampleRow {
    /// The most likely token of the first row.
    fn default() -> Self {
        Self {
            point: 0.0,
            row: 0,
            tokens: 0,
            token_count: 0,
            allowed: NO_MASK,
            given: -1,
            logprobs: 0,
            top_k: 0,
            penalty: 1.0,
            temperature: 0.0,
            top_p: 1.0,
            min_p: 0.0,
            reserved: 0,
        }
    }
}

// SAFETY: plain numbers, 56 bytes without padding.
unsafe impl Element for SampleRow {}
// SAFETY: as above.
unsafe impl cudarc::driver::DeviceRepr for SampleRow {}

/// The log-probabilities of a row.
#[repr(C)]
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct LogprobRow {
    /// The chosen token's; NaN where the logits are no finite numbers.
    pub chosen: f32,
    /// The most likely tokens, as many as were asked for; beyond the vocabulary where it has fewer.
    pub ids: [u32; MOST_LOGPROBS],
    /// Theirs.
    pub logprobs: [f32; MOST_LOGPROBS],
}

impl Default for LogprobRow {
    fn default() -> Self {
        Self {
            chosen: f32::NAN,
            ids: [u32::MAX; MOST_LOGPROBS],
            logprobs: [f32::NAN; MOST_LOGPROBS],
        }
    }
}

// SAFETY: plain numbers, 164 bytes without padding.
unsafe impl Element for LogprobRow {}
// SAFETY: as above.
unsafe impl cudarc::driver::DeviceRepr for LogprobRow {}

/// Rows of logits, and how tokens are chosen by them.
#[derive(Clone, Copy, Debug)]
pub struct Choices<'a> {
    /// `(logit rows, vocabulary)`.
    pub logits: View<'a, f32>,
    /// Tokens that the logits range over.
    pub vocabulary: usize,
    /// How each token is chosen.
    pub rows: &'a Buffer<SampleRow>,
    /// Tokens to choose.
    pub count: usize,
}

impl Choices<'_> {
    fn logit_rows(self) -> Result<usize, CudaError> {
        if self.vocabulary == 0 || self.rows.len() < self.count {
            return Err(CudaError::Shape(format!(
                "sampling {} rows of {} logits by {} rows",
                self.count,
                self.vocabulary,
                self.rows.len()
            )));
        }
        Ok(self.logits.len / self.vocabulary)
    }
}

#[repr(C)]
#[derive(Clone, Copy)]
struct SampleArgs {
    logits: u64,
    work: u64,
    words: u64,
    rows: u64,
    tokens: u64,
    vocabulary: u32,
    logit_rows: u32,
    word_count: u32,
    reserved: u32,
}

// SAFETY: as the struct of that name in sample.cu, its padding spelt out.
unsafe impl Parameters for SampleArgs {}

#[repr(C)]
#[derive(Clone, Copy)]
struct LogprobArgs {
    logits: u64,
    rows: u64,
    tokens: u64,
    out: u64,
    vocabulary: u32,
    logit_rows: u32,
}

// SAFETY: as the struct of that name in logprobs.cu, without padding.
unsafe impl Parameters for LogprobArgs {}

/// Chooses a token a row of `choices`, to `tokens`: -1 where the logits are no finite numbers, or where
/// what the row names is not there. `words` holds what the rows name; `work` is room, `(count, vocabulary)`.
///
/// # Errors
/// [`CudaError::Shape`] for views that are too short; what the driver says.
pub fn sample(
    device: &Device,
    choices: Choices<'_>,
    words: View<'_, u32>,
    work: ViewMut<'_, u32>,
    tokens: ViewMut<'_, i32>,
) -> Result<(), CudaError> {
    let Choices {
        count, vocabulary, ..
    } = choices;
    let logit_rows = choices.logit_rows()?;
    if work.len < count * vocabulary || tokens.len < count {
        return Err(CudaError::Shape(format!(
            "sampling {count} rows of {vocabulary} logits: room for {} words and {} tokens",
            work.len, tokens.len
        )));
    }
    let arguments = SampleArgs {
        logits: choices.logits.address,
        work: work.address,
        words: words.address,
        rows: choices.rows.address(),
        tokens: tokens.address,
        vocabulary: vocabulary as u32,
        logit_rows: logit_rows as u32,
        word_count: words.len as u32,
        reserved: 0,
    };
    let kernel = Kernel {
        file: "sample",
        name: "sample",
    };
    // SAFETY: the lengths were held against the shape, and the kernel holds the rows' places against them.
    unsafe { device.launch(kernel, Grid::new((count as u32, 1, 1), 1024), &arguments) }
}

/// Tells the log-probabilities that `choices` ask for, of the chosen `tokens`, to `out`, a row each. Rows
/// that ask for none stay as they are.
///
/// # Errors
/// As [`sample`].
pub fn logprobs(
    device: &Device,
    choices: Choices<'_>,
    tokens: View<'_, i32>,
    out: ViewMut<'_, LogprobRow>,
) -> Result<(), CudaError> {
    let count = choices.count;
    let logit_rows = choices.logit_rows()?;
    if tokens.len < count || out.len < count {
        return Err(CudaError::Shape(format!(
            "log-probabilities of {count} rows: got {} tokens and room for {}",
            tokens.len, out.len
        )));
    }
    let arguments = LogprobArgs {
        logits: choices.logits.address,
        rows: choices.rows.address(),
        tokens: tokens.address,
        out: out.address,
        vocabulary: choices.vocabulary as u32,
        logit_rows: logit_rows as u32,
    };
    let kernel = Kernel {
        file: "logprobs",
        name: "logprobs",
    };
    // SAFETY: as in `sample`.
    unsafe { device.launch(kernel, Grid::new((count as u32, 1, 1), 1024), &arguments) }
}
