//! How numbers are stored: plain floats, or ggml's blocks of quantised ones.

macro_rules! dtypes {
    ($($(#[$doc:meta])* $name:ident, $len:literal, $bytes:literal;)*) => {
        /// A storage type. Quantised layouts are ggml's (`ggml-common.h`), little-endian.
        #[allow(non_camel_case_types)]
        #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
        pub enum DType { $($(#[$doc])* $name,)* }

        impl DType {
            /// All of them.
            pub const ALL: &[DType] = &[$(DType::$name,)*];

            /// Elements of one block.
            pub const fn block_len(self) -> usize {
                match self { $(DType::$name => $len,)* }
            }

            /// Bytes of one block.
            pub const fn block_bytes(self) -> usize {
                match self { $(DType::$name => $bytes,)* }
            }

            /// The name that files and `ModelInfo` give it, such as `Q4_K`.
            pub const fn name(self) -> &'static str {
                match self { $(DType::$name => stringify!($name),)* }
            }
        }
    };
}

dtypes! {
    /// IEEE single.
    F32, 1, 4;
    /// IEEE half.
    F16, 1, 2;
    /// The upper half of a single.
    BF16, 1, 2;
    /// 32 signed bytes with one half scale.
    Q8_0, 32, 34;
    /// 32 four-bit numbers less 8, with one half scale.
    Q4_0, 32, 18;
    /// 32 four-bit numbers with a half scale and a half minimum.
    Q4_1, 32, 20;
    /// 32 five-bit numbers less 16, with one half scale.
    Q5_0, 32, 22;
    /// 32 five-bit numbers with a half scale and a half minimum.
    Q5_1, 32, 24;
    /// 32 indices of four bits into a table of signed bytes, with one half scale.
    IQ4_NL, 32, 18;
    /// 32 floats of four bits (E2M1) with one power of two (E8M0): OCP Microscaling's MXFP4.
    MXFP4, 32, 17;
    /// 256 two-bit numbers in 16 groups, each with a four-bit scale and minimum.
    Q2_K, 256, 84;
    /// 256 three-bit numbers less 4 in 16 groups, each with a six-bit scale.
    Q3_K, 256, 110;
    /// 256 four-bit numbers in 8 groups, each with a six-bit scale and minimum.
    Q4_K, 256, 144;
    /// 256 five-bit numbers in 8 groups, each with a six-bit scale and minimum.
    Q5_K, 256, 176;
    /// 256 six-bit numbers in 16 groups, each with an eight-bit scale.
    Q6_K, 256, 210;
}

impl DType {
    /// Bytes of a row of `cols` elements; `None` if it is not whole blocks or overflows.
    pub fn row_bytes(self, cols: usize) -> Option<usize> {
        if !cols.is_multiple_of(self.block_len()) {
            return None;
        }
        (cols / self.block_len()).checked_mul(self.block_bytes())
    }
}
