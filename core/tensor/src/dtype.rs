//! How numbers are stored: plain floats, or ggml's blocks of quantised ones.

/// A storage type. Quantised layouts are ggml's (`ggml-common.h`), little-endian.
#[allow(non_camel_case_types)]
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum DType {
    /// IEEE single.
    F32,
    /// IEEE half.
    F16,
    /// The upper half of a single.
    BF16,
    /// 32 signed bytes with one half scale.
    Q8_0,
    /// 32 four-bit numbers less 8, with one half scale.
    Q4_0,
    /// 256 four-bit numbers in 8 groups, each with a six-bit scale and minimum.
    Q4_K,
    /// 256 six-bit numbers in 16 groups, each with an eight-bit scale.
    Q6_K,
}

impl DType {
    /// Elements of one block.
    pub const fn block_len(self) -> usize {
        match self {
            DType::F32 | DType::F16 | DType::BF16 => 1,
            DType::Q8_0 | DType::Q4_0 => 32,
            DType::Q4_K | DType::Q6_K => 256,
        }
    }

    /// Bytes of one block.
    pub const fn block_bytes(self) -> usize {
        match self {
            DType::F32 => 4,
            DType::F16 | DType::BF16 => 2,
            DType::Q8_0 => 34,
            DType::Q4_0 => 18,
            DType::Q4_K => 144,
            DType::Q6_K => 210,
        }
    }

    /// Bytes of a row of `cols` elements; `None` if it is not whole blocks or overflows.
    pub fn row_bytes(self, cols: usize) -> Option<usize> {
        if !cols.is_multiple_of(self.block_len()) {
            return None;
        }
        (cols / self.block_len()).checked_mul(self.block_bytes())
    }

    /// The name that files and `ModelInfo` give it, such as `Q4_K`.
    pub const fn name(self) -> &'static str {
        match self {
            DType::F32 => "F32",
            DType::F16 => "F16",
            DType::BF16 => "BF16",
            DType::Q8_0 => "Q8_0",
            DType::Q4_0 => "Q4_0",
            DType::Q4_K => "Q4_K",
            DType::Q6_K => "Q6_K",
        }
    }
}
