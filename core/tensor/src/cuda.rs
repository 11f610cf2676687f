//! The operations on an NVIDIA GPU, and how weights come to it.

pub use outcrop_kernels::*;

use crate::{DType, Weight};

/// A copy of `weight` on `device`, as it is stored. A packed matrix comes there as floats.
///
/// # Errors
/// [`CudaError::Shape`] for a dtype that no kernel reads; [`CudaError::OutOfMemory`].
pub fn upload(device: &Device, weight: &Weight) -> Result<Matrix, CudaError> {
    let shape = (weight.rows(), weight.cols());
    if let Some(bytes) = weight.stored() {
        return Matrix::upload(device, format(weight.dtype())?, shape, bytes);
    }
    let mut bytes = Vec::with_capacity(4 * shape.0 * shape.1);
    let mut row = vec![0.0; shape.1];
    for index in 0..shape.0 {
        weight.dequantize_row(index, &mut row);
        bytes.extend(row.iter().flat_map(|value| value.to_le_bytes()));
    }
    Matrix::upload(device, Format::F32, shape, &bytes)
}

/// The kernels' name for `dtype`.
fn format(dtype: DType) -> Result<Format, CudaError> {
    Ok(match dtype {
        DType::F32 => Format::F32,
        DType::F16 => Format::F16,
        DType::BF16 => Format::BF16,
        DType::Q8_0 => Format::Q8_0,
        DType::Q4_0 => Format::Q4_0,
        DType::Q4_1 => Format::Q4_1,
        DType::Q5_0 => Format::Q5_0,
        DType::Q5_1 => Format::Q5_1,
        DType::Q4_K => Format::Q4_K,
        DType::Q5_K => Format::Q5_K,
        DType::Q6_K => Format::Q6_K,
        DType::MXFP4 => Format::MXFP4,
        DType::IQ4_NL | DType::Q2_K | DType::Q3_K => {
            return Err(CudaError::Shape(format!(
                "weights in {}: expected a dtype that the CUDA kernels read: F32, F16, BF16, Q8_0, \
                 Q4_0, Q4_1, Q5_0, Q5_1, Q4_K, Q5_K, Q6_K or MXFP4",
                dtype.name()
            )));
        }
    })
}
