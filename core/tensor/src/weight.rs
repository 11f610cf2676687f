//! A matrix of weights in its stored dtype.

use std::sync::Arc;

use crate::aligned::AlignedFloats;
use crate::isa::{Isa, versions};
use crate::panels::PANEL;
use crate::quantized::Packed;
use crate::quantized::wide::{self, WideBytes};
use crate::{Bytes, DType, TensorError, blocks};

#[derive(Clone)]
pub(crate) enum Layout {
    /// Rows one after the other, as stored.
    Rows(Bytes),
    /// F32 in panels of 16 rows, `(panels, cols, 16)`; missing rows are zeros.
    Panels(Arc<AlignedFloats>),
    /// Codes and scales in panels of 16 rows.
    Quantized(Arc<Packed>),
    /// Signed bytes with a scale for each 128, in panels of 16 rows.
    Bytes(Arc<WideBytes>),
}

/// A matrix `(rows, cols)` of weights: rows are output features, columns input features.
/// Cloning shares the data.
#[derive(Clone)]
pub struct Weight {
    dtype: DType,
    rows: usize,
    cols: usize,
    row_bytes: usize,
    layout: Layout,
}

impl Weight {
    /// A matrix over `data`, which holds exactly `rows` rows of `cols` elements.
    ///
    /// # Errors
    /// [`TensorError`] if the shape is empty, overflows, is not whole blocks or does not fit `data`.
    pub fn new(dtype: DType, rows: usize, cols: usize, data: Bytes) -> Result<Self, TensorError> {
        let bad_shape = TensorError::BadShape { rows, cols };
        if rows == 0 || cols == 0 {
            return Err(bad_shape);
        }
        if !cols.is_multiple_of(dtype.block_len()) {
            let block = dtype.block_len();
            return Err(TensorError::RaggedRow { dtype, cols, block });
        }
        let row_bytes = dtype.row_bytes(cols).ok_or(bad_shape.clone())?;
        // The dequantised form must be addressable too.
        let elements = rows.checked_mul(cols).and_then(|n| n.checked_mul(4));
        let expected = match (row_bytes.checked_mul(rows), elements) {
            (Some(bytes), Some(floats)) if floats <= isize::MAX as usize => bytes,
            _ => return Err(bad_shape),
        };
        if data.len() != expected {
            return Err(TensorError::WrongLength {
                dtype,
                rows,
                cols,
                expected,
                got: data.len(),
            });
        }
        let data = if dtype == DType::F32 && data.as_f32().is_none() {
            let mut values = vec![0.0; rows * cols];
            blocks::dequantize(dtype, data.as_slice(), &mut values);
            Bytes::from_f32(values)
        } else {
            data
        };
        Ok(Self {
            dtype,
            rows,
            cols,
            row_bytes,
            layout: Layout::Rows(data),
        })
    }

    /// An F32 matrix.
    ///
    /// # Errors
    /// As [`Weight::new`].
    pub fn from_f32(rows: usize, cols: usize, values: Vec<f32>) -> Result<Self, TensorError> {
        Self::new(DType::F32, rows, cols, Bytes::from_f32(values))
    }

    /// Number of output features.
    pub fn rows(&self) -> usize {
        self.rows
    }

    /// Number of input features.
    pub fn cols(&self) -> usize {
        self.cols
    }

    /// How it is stored.
    pub fn dtype(&self) -> DType {
        self.dtype
    }

    /// Bytes of its stored form.
    pub fn bytes(&self) -> usize {
        self.rows * self.row_bytes
    }

    /// Writes row `row` as floats to `out`, which holds `cols` of them.
    pub fn dequantize_row(&self, row: usize, out: &mut [f32]) {
        assert!(row < self.rows, "row {row} of {}", self.rows);
        assert_eq!(out.len(), self.cols, "a row has {} columns", self.cols);
        match &self.layout {
            Layout::Rows(data) => {
                let bytes = &data.as_slice()[row * self.row_bytes..(row + 1) * self.row_bytes];
                dequantize_row(Isa::best(), self.dtype, bytes, out);
            }
            Layout::Quantized(packed) => packed.dequantize_row(Isa::best(), row, out),
            Layout::Bytes(bytes) => bytes.dequantize_row(row, out),
            Layout::Panels(panels) => {
                let start = (row / PANEL) * self.cols * PANEL + row % PANEL;
                for (value, source) in out.iter_mut().zip(panels[start..].iter().step_by(PANEL)) {
                    *value = *source;
                }
            }
        }
    }

    /// The matrix laid out for the fastest product, in memory of its own; pages of a mapped file
    /// that it came from are given back. F32 goes into panels; Q8_0, Q4_0, Q4_1, Q5_0, Q5_1,
    /// IQ4_NL, MXFP4, Q4_K, Q5_K and Q6_K too, and are then multiplied as integers, by activations
    /// rounded to eight bits. Any other dtype stays as it is. Products of a packed matrix and of an
    /// unpacked one differ: in the last bits for F32, by the rounding of the activations for
    /// the others.
    pub fn pack(self) -> Self {
        let Layout::Rows(data) = &self.layout else {
            return self;
        };
        let layout = match data.as_f32().filter(|_| self.dtype == DType::F32) {
            Some(floats) => self.float_panels(floats),
            None => match Packed::new(self.dtype, self.rows, self.cols, data) {
                Some(packed) => Layout::Quantized(Arc::new(packed)),
                None => return self,
            },
        };
        Self { layout, ..self }
    }

    /// The matrix as signed bytes with one scale for each 128 elements of a row, laid out for the
    /// product with activations that are rounded alike; `None` if the columns are no multiple of
    /// 128. Coarser than Q8_0, as which its dtype counts, and faster.
    pub fn to_bytes(&self) -> Option<Self> {
        if !self.cols.is_multiple_of(wide::BLOCK) {
            return None;
        }
        let bytes = WideBytes::new(self.rows, self.cols, |row, out| {
            self.dequantize_row(row, out);
        });
        Some(Self {
            dtype: DType::Q8_0,
            row_bytes: WideBytes::row_bytes(self.cols),
            layout: Layout::Bytes(Arc::new(bytes)),
            ..*self
        })
    }

    fn float_panels(&self, floats: &[f32]) -> Layout {
        let panel_len = self.cols * PANEL;
        let mut panels = AlignedFloats::zeroed(self.rows.div_ceil(PANEL) * panel_len);
        for (row, values) in floats.chunks_exact(self.cols).enumerate() {
            let start = (row / PANEL) * panel_len + row % PANEL;
            for (slot, value) in panels[start..].iter_mut().step_by(PANEL).zip(values) {
                *slot = *value;
            }
        }
        Layout::Panels(Arc::new(panels))
    }

    /// The rows as they are stored, one after the other; none of a packed matrix.
    pub fn stored(&self) -> Option<&[u8]> {
        match &self.layout {
            Layout::Rows(data) => Some(data.as_slice()),
            _ => None,
        }
    }

    pub(crate) fn layout(&self) -> &Layout {
        &self.layout
    }

    pub(crate) fn row_bytes(&self) -> usize {
        self.row_bytes
    }
}

impl std::fmt::Debug for Weight {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(
            formatter,
            "Weight({}, {}, {})",
            self.dtype.name(),
            self.rows,
            self.cols
        )
    }
}

versions!(pub(crate) fn dequantize_row(dtype: DType, row: &[u8], out: &mut [f32]) = blocks::dequantize);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_wrong_shape_is_an_error() {
        let bytes = |n| Bytes::from_vec(vec![0; n]);
        assert!(Weight::new(DType::Q8_0, 2, 32, bytes(68)).is_ok());
        let ragged = Weight::new(DType::Q8_0, 2, 33, bytes(68));
        assert!(matches!(ragged, Err(TensorError::RaggedRow { .. })));
        let short = Weight::new(DType::Q8_0, 2, 32, bytes(67));
        assert!(matches!(
            short,
            Err(TensorError::WrongLength {
                expected: 68,
                got: 67,
                ..
            })
        ));
        let huge = Weight::new(DType::F32, usize::MAX, 2, bytes(8));
        assert!(matches!(huge, Err(TensorError::BadShape { .. })));
        let empty = Weight::new(DType::F32, 0, 2, bytes(0));
        assert!(matches!(empty, Err(TensorError::BadShape { .. })));
    }

    #[test]
    fn packing_and_misaligned_bytes_keep_the_values() {
        let values: Vec<f32> = (0..19 * 5).map(|i| i as f32 * 0.25).collect();
        let mut raw = vec![0u8; 1];
        raw.extend(values.iter().flat_map(|v| v.to_le_bytes()));
        raw.remove(0);
        for weight in [
            Weight::from_f32(19, 5, values.clone()),
            Weight::new(DType::F32, 19, 5, Bytes::from_vec(raw)),
        ] {
            let weight = weight
                .unwrap_or_else(|error| unreachable!("{error}"))
                .pack();
            let mut row = [0.0; 5];
            for i in 0..19 {
                weight.dequantize_row(i, &mut row);
                assert_eq!(row[..], values[i * 5..(i + 1) * 5]);
            }
        }
    }
}
