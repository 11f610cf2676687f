//! How the elements of a file's tensors are stored.

use outcrop_tensor::DType;

use super::{gguf, safetensors};

/// How a tensor is stored.
#[derive(Clone, Copy, Debug)]
pub(super) enum Storage {
    /// As numbers that the kernels read.
    Numbers(DType),
    /// In a way that only its size is known of; the name is the format's.
    Other(&'static str),
}

impl Storage {
    /// Of an element of safetensors.
    pub(super) fn of_element(dtype: safetensors::ElementType) -> Self {
        use safetensors::ElementType as E;
        match dtype {
            E::F32 => Self::Numbers(DType::F32),
            E::F16 => Self::Numbers(DType::F16),
            E::Bf16 => Self::Numbers(DType::BF16),
            E::Bool => Self::Other("BOOL"),
            E::U8 => Self::Other("U8"),
            E::I8 => Self::Other("I8"),
            E::F8E5M2 => Self::Other("F8_E5M2"),
            E::F8E4M3 => Self::Other("F8_E4M3"),
            E::I16 => Self::Other("I16"),
            E::U16 => Self::Other("U16"),
            E::I32 => Self::Other("I32"),
            E::U32 => Self::Other("U32"),
            E::F64 => Self::Other("F64"),
            E::I64 => Self::Other("I64"),
            E::U64 => Self::Other("U64"),
        }
    }

    /// Of a tensor of GGUF.
    pub(super) fn of_ggml(dtype: gguf::GgmlType) -> Self {
        use gguf::GgmlType as G;
        match dtype {
            G::F32 => Self::Numbers(DType::F32),
            G::F16 => Self::Numbers(DType::F16),
            G::BF16 => Self::Numbers(DType::BF16),
            G::Q8_0 => Self::Numbers(DType::Q8_0),
            G::Q4_0 => Self::Numbers(DType::Q4_0),
            G::Q4_1 => Self::Numbers(DType::Q4_1),
            G::Q5_0 => Self::Numbers(DType::Q5_0),
            G::Q5_1 => Self::Numbers(DType::Q5_1),
            G::IQ4_NL => Self::Numbers(DType::IQ4_NL),
            G::MXFP4 => Self::Numbers(DType::MXFP4),
            G::Q2_K => Self::Numbers(DType::Q2_K),
            G::Q3_K => Self::Numbers(DType::Q3_K),
            G::Q4_K => Self::Numbers(DType::Q4_K),
            G::Q5_K => Self::Numbers(DType::Q5_K),
            G::Q6_K => Self::Numbers(DType::Q6_K),
            other => Self::Other(other.name()),
        }
    }
}

/// The alignment in bytes that a dtype's first byte must have to be read in place.
pub(super) fn alignment(dtype: DType) -> usize {
    match dtype {
        DType::F32 => 4,
        DType::MXFP4 => 1,
        _ => 2,
    }
}
