//! A product with a bias, as encoders and the heads above them have it.

use outcrop_tensor::{DType, Pool, Weight, ops};
use serde::{Deserialize, Serialize};

use crate::weights::{Checkpoint, WeightsError};

/// How an encoder multiplies.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Precision {
    /// In single precision.
    #[default]
    F32,
    /// As integers of eight bits, with a scale for each 128 elements of a row of weights or
    /// activations (32 where a width is no multiple of 128). Faster and smaller; vectors then
    /// differ by some thousandths.
    Int8,
}

/// A product with a bias, where it has one.
#[derive(Clone, Debug)]
pub(crate) struct Dense {
    weight: Weight,
    bias: Option<Vec<f32>>,
}

impl Dense {
    /// The product `name` from `cols` inputs to `rows` outputs, in F32.
    pub fn load(
        checkpoint: &Checkpoint,
        name: &str,
        (rows, cols): (usize, usize),
        has_bias: bool,
    ) -> Result<Self, WeightsError> {
        Self::load_stacked(checkpoint, &[(name.to_owned(), rows)], cols, has_bias)
    }

    /// The product at another precision, packed.
    ///
    /// # Errors
    /// A message where its inputs are no multiple of 32, for [`Precision::Int8`].
    pub fn at(self, precision: Precision) -> Result<Self, String> {
        match precision {
            Precision::F32 => Ok(self),
            Precision::Int8 => {
                let weight = match self.weight.to_bytes() {
                    Some(bytes) => bytes,
                    None => self
                        .weight
                        .quantize(DType::Q8_0)
                        .map_err(|error| error.to_string())?
                        .pack(),
                };
                Ok(Self { weight, ..self })
            }
        }
    }

    /// Several products of the same `cols` inputs as one, each with its number of outputs.
    pub fn load_stacked(
        checkpoint: &Checkpoint,
        parts: &[(String, usize)],
        cols: usize,
        has_bias: bool,
    ) -> Result<Self, WeightsError> {
        let rows: usize = parts.iter().map(|(_, rows)| rows).sum();
        let mut values = vec![0.0; rows * cols];
        let mut rest = &mut values[..];
        let mut bias = Vec::new();
        for (name, rows) in parts {
            let name_of = |part: &str| format!("{name}.{part}");
            let matrix = checkpoint.matrix(&name_of("weight"), *rows, cols)?;
            let (own, after) = std::mem::take(&mut rest).split_at_mut(rows * cols);
            for (row, values) in own.chunks_exact_mut(cols).enumerate() {
                matrix.dequantize_row(row, values);
            }
            rest = after;
            if has_bias {
                bias.extend(checkpoint.vector(&name_of("bias"), *rows)?);
            }
        }
        Self::from_rows(checkpoint, values, cols, has_bias.then_some(bias))
    }

    /// A product with the given rows of `cols` numbers.
    pub fn from_rows(
        checkpoint: &Checkpoint,
        values: Vec<f32>,
        cols: usize,
        bias: Option<Vec<f32>>,
    ) -> Result<Self, WeightsError> {
        let weight = Weight::from_f32(values.len() / cols, cols, values)
            .map_err(|error| WeightsError::corrupt(checkpoint.path(), error))?;
        Ok(Self {
            weight: weight.pack(),
            bias,
        })
    }

    /// Number of outputs.
    pub fn rows(&self) -> usize {
        self.weight.rows()
    }

    /// The matrix and its bias.
    pub fn parts(&self) -> (&Weight, Option<&[f32]>) {
        (&self.weight, self.bias.as_deref())
    }

    /// Writes the product of `x`'s rows to `out`.
    pub fn apply(&self, pool: &Pool, x: &[f32], out: &mut [f32]) {
        ops::linear(pool, x, &self.weight, self.bias.as_deref(), out);
    }
}

/// The weight and bias of a layer norm.
#[derive(Clone, Debug)]
pub(crate) struct LayerNorm {
    weight: Vec<f32>,
    bias: Vec<f32>,
    eps: f32,
}

impl LayerNorm {
    /// The norm `name` of rows of `width`; without a bias it is zero.
    pub fn load(
        checkpoint: &Checkpoint,
        name: &str,
        width: usize,
        eps: f32,
        has_bias: bool,
    ) -> Result<Self, WeightsError> {
        // Files converted from TensorFlow's call them so.
        let is_old = checkpoint.contains(&format!("{name}.gamma"));
        let (weight, bias) = match is_old {
            true => ("gamma", "beta"),
            false => ("weight", "bias"),
        };
        Ok(Self {
            weight: checkpoint.vector(&format!("{name}.{weight}"), width)?,
            bias: match has_bias {
                true => checkpoint.vector(&format!("{name}.{bias}"), width)?,
                false => vec![0.0; width],
            },
            eps,
        })
    }

    /// Normalises each row of `x`.
    pub fn apply(&self, x: &mut [f32]) {
        ops::layer_norm_in_place(x, &self.weight, &self.bias, self.eps);
    }

    /// Writes the normalised rows of `x` to `out`.
    pub fn apply_to(&self, x: &[f32], out: &mut [f32]) {
        ops::layer_norm(x, &self.weight, &self.bias, self.eps, out);
    }

    /// Adds `delta` to `x` and normalises each row.
    pub fn add_and_apply(&self, x: &mut [f32], delta: &[f32]) {
        ops::add_layer_norm(x, delta, &self.weight, &self.bias, self.eps);
    }
}
