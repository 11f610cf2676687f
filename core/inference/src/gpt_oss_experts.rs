//! GPT-OSS's experts as its Hugging Face files have them: all of a layer in one tensor, gate and up
//! in alternate rows, in MXFP4 as blocks beside scales, or dequantised and transposed.

use outcrop_tensor::{Bytes, DType, Weight};

use crate::decoder_config::ExpertsConfig;
use crate::decoder_weights::{GatedMlp, Linear};
use crate::weights::{Checkpoint, WeightsError};

type Read<T> = Result<T, WeightsError>;

/// Numbers of a block of MXFP4, which share a scale.
const BLOCK: usize = 32;

/// One layer's experts in a checkpoint.
pub(crate) struct GptOssExperts<'a> {
    pub checkpoint: &'a Checkpoint,
    pub config: &'a ExpertsConfig,
    pub hidden_size: usize,
    /// What the tensors' names begin with, such as `model.layers.0.mlp.experts.`.
    pub prefix: String,
}

/// A projection of all experts: `rows` outputs from `cols` inputs each.
struct Projection<'a> {
    name: &'a str,
    rows: usize,
    cols: usize,
}

/// Every `step`th row from `first` on.
#[derive(Clone, Copy)]
struct Rows {
    first: usize,
    step: usize,
}

impl GptOssExperts<'_> {
    /// The experts, in order.
    pub fn read(&self) -> Read<Vec<GatedMlp>> {
        let (hidden, width) = (self.hidden_size, self.config.intermediate_size);
        let gate_up = Projection {
            name: "gate_up_proj",
            rows: 2 * width,
            cols: hidden,
        };
        let down = Projection {
            name: "down_proj",
            rows: hidden,
            cols: width,
        };
        let every = |first| Rows { first, step: 2 };
        let all = Rows { first: 0, step: 1 };
        (0..self.config.count)
            .map(|expert| {
                Ok(GatedMlp {
                    gate: self.linear(&gate_up, expert, every(0))?,
                    up: self.linear(&gate_up, expert, every(1))?,
                    down: self.linear(&down, expert, all)?,
                })
            })
            .collect()
    }

    fn linear(&self, projection: &Projection<'_>, expert: usize, rows: Rows) -> Read<Linear> {
        let name = format!("{}{}", self.prefix, projection.name);
        let weight = if self.checkpoint.contains(&format!("{name}_blocks")) {
            self.mxfp4(&name, projection, expert, rows)?
        } else {
            self.transposed(&name, projection, expert, rows)?
        };
        let shape = [self.config.count, projection.rows];
        let bias = self
            .checkpoint
            .rows(&format!("{name}_bias"), &shape, expert..expert + 1)?;
        let mut all = vec![0.0; projection.rows];
        bias.dequantize_row(0, &mut all);
        Ok(Linear {
            weight,
            bias: Some(
                all.into_iter()
                    .skip(rows.first)
                    .step_by(rows.step)
                    .collect(),
            ),
        })
    }

    /// Rows of `(experts, rows, cols / 32, 16)` blocks and `(experts, rows, cols / 32)` scales. They
    /// are not packed: products of packed ones round the activations to eight bits, and what the
    /// hub's files promise is what transformers computes.
    fn mxfp4(
        &self,
        name: &str,
        projection: &Projection<'_>,
        expert: usize,
        rows: Rows,
    ) -> Read<Weight> {
        if !projection.cols.is_multiple_of(BLOCK) {
            let cols = projection.cols;
            return Err(self.corrupt(
                name,
                format!("expected rows of a multiple of {BLOCK}, got {cols}"),
            ));
        }
        let (count, groups) = (self.config.count, projection.cols / BLOCK);
        let shape = [count, projection.rows, groups, BLOCK / 2];
        let blocks = self.checkpoint.raw(&format!("{name}_blocks"), &shape)?;
        let scales = self
            .checkpoint
            .raw(&format!("{name}_scales"), &shape[..3])?;
        let chosen = (rows.first..projection.rows).step_by(rows.step);
        let of_rows = |all: &[u8], width: usize| -> Vec<u8> {
            let own = all.chunks_exact(width).skip(expert * projection.rows);
            let own = own.take(projection.rows).skip(rows.first);
            own.step_by(rows.step).flatten().copied().collect()
        };
        let blocks = of_rows(blocks, groups * BLOCK / 2);
        let scales = of_rows(scales, groups);
        Weight::from_mxfp4(chosen.len(), projection.cols, &blocks, &scales)
            .map_err(|error| self.corrupt(name, error))
    }

    /// Columns of `(experts, cols, rows)` numbers: each number of an output stands in a row of its
    /// own.
    fn transposed(
        &self,
        name: &str,
        projection: &Projection<'_>,
        expert: usize,
        rows: Rows,
    ) -> Read<Weight> {
        let (height, width) = (projection.rows, projection.cols);
        let shape = [self.config.count, width, height];
        let part = expert * width..(expert + 1) * width;
        let source = self.checkpoint.rows(name, &shape, part)?;
        let chosen = (rows.first..height).step_by(rows.step);
        let is_brain = source.dtype() == DType::BF16;
        let size = if is_brain { 2 } else { 4 };
        let mut data = vec![0; chosen.len() * width * size];
        let mut numbers = vec![0.0f32; height];
        for col in 0..width {
            source.dequantize_row(col, &mut numbers);
            for (row, at) in chosen.clone().enumerate() {
                let bytes = numbers[at].to_le_bytes();
                let start = (row * width + col) * size;
                // BF16 is the upper half, of which these numbers have no more.
                data[start..start + size].copy_from_slice(&bytes[4 - size..]);
            }
        }
        let dtype = if is_brain { DType::BF16 } else { DType::F32 };
        let weight = Weight::new(dtype, chosen.len(), width, Bytes::from_vec(data));
        Ok(weight.map_err(|error| self.corrupt(name, error))?.pack())
    }

    fn corrupt(&self, name: &str, error: impl std::fmt::Display) -> WeightsError {
        WeightsError::corrupt(self.checkpoint.path(), format!("tensor {name}: {error}"))
    }
}
