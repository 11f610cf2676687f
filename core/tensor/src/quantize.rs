//! Weights in another dtype than they came in.

use half::f16;

use crate::{Bytes, DType, TensorError, Weight};

/// Elements of one group of codes with a scale of its own.
const GROUP: usize = 32;

impl Weight {
    /// The same matrix as Q8_0, from whatever dtype, by ggml's rule: each 32 elements of a row are
    /// rounded to the multiples of a 127th of the largest.
    ///
    /// # Errors
    /// [`TensorError::NotQuantizable`] for any other `dtype`; [`TensorError::RaggedRow`] if the
    /// columns are no multiple of 32.
    pub fn quantize(&self, dtype: DType) -> Result<Self, TensorError> {
        if dtype != DType::Q8_0 {
            return Err(TensorError::NotQuantizable(dtype));
        }
        let (rows, cols) = (self.rows(), self.cols());
        if !cols.is_multiple_of(GROUP) {
            let block = GROUP;
            return Err(TensorError::RaggedRow { dtype, cols, block });
        }
        let mut data = Vec::with_capacity(rows * cols / GROUP * dtype.block_bytes());
        let mut row = vec![0.0; cols];
        for index in 0..rows {
            self.dequantize_row(index, &mut row);
            for group in row.as_chunks::<GROUP>().0 {
                let largest = group.iter().fold(0.0f32, |most, v| most.max(v.abs()));
                let scale = largest / 127.0;
                let inverse = if scale == 0.0 { 0.0 } else { 1.0 / scale };
                data.extend(f16::from_f32(scale).to_le_bytes());
                data.extend(group.iter().map(|v| (v * inverse).round() as i8 as u8));
            }
        }
        Self::new(dtype, rows, cols, Bytes::from_vec(data))
    }

    /// An MXFP4 matrix from the two tensors that safetensors files keep: `blocks`
    /// `(rows, cols / 32, 16)`, two neighbouring codes to a byte, the even one in its low bits, and
    /// `scales` `(rows, cols / 32)`, E8M0.
    ///
    /// # Errors
    /// As [`Weight::new`]; [`TensorError::WrongLength`] too where the two do not fit together.
    pub fn from_mxfp4(
        rows: usize,
        cols: usize,
        blocks: &[u8],
        scales: &[u8],
    ) -> Result<Self, TensorError> {
        let dtype = DType::MXFP4;
        let (blocks, rest) = blocks.as_chunks::<16>();
        if blocks.len() != scales.len() || !rest.is_empty() {
            return Err(TensorError::WrongLength {
                dtype,
                rows,
                cols,
                expected: 16 * scales.len(),
                got: 16 * blocks.len() + rest.len(),
            });
        }
        let mut data = Vec::with_capacity(17 * scales.len());
        for (codes, scale) in blocks.iter().zip(scales) {
            // ggml keeps element i beside element i + 16.
            let code = |i: usize| (codes[i / 2] >> (4 * (i % 2))) & 15;
            data.push(*scale);
            data.extend((0..16).map(|i| code(i) | code(i + 16) << 4));
        }
        Self::new(dtype, rows, cols, Bytes::from_vec(data))
    }
}
