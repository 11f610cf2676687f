//! Launches of `linear.cu`: products of rows with a matrix of weights as it is stored.

use crate::{Buffer, CudaError, Device, Grid, Kernel, Parameters, View, ViewMut};

/// Rows of x that a block computes, as in `linear.cu`.
const TOKENS: usize = 8;
/// Rows of weights that a block computes, a warp each.
const ROWS: usize = 8;

macro_rules! formats {
    ($($(#[$doc:meta])* $name:ident, $suffix:literal, $len:literal, $bytes:literal;)*) => {
        /// How weights are stored: plain floats, or ggml's blocks of quantised ones.
        #[allow(non_camel_case_types)]
        #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
        pub enum Format { $($(#[$doc])* $name,)* }

        impl Format {
            /// All of them.
            pub const ALL: &[Format] = &[$(Format::$name,)*];

            /// Elements of one block.
            pub const fn block_len(self) -> usize {
                match self { $(Format::$name => $len,)* }
            }

            /// Bytes of one block.
            pub const fn block_bytes(self) -> usize {
                match self { $(Format::$name => $bytes,)* }
            }

            pub(crate) const fn linear(self) -> &'static str {
                match self { $(Format::$name => concat!("linear_", $suffix),)* }
            }

            pub(crate) const fn gather(self) -> &'static str {
                match self { $(Format::$name => concat!("gather_", $suffix),)* }
            }

            pub(crate) const fn expert_linear(self) -> &'static str {
                match self { $(Format::$name => concat!("expert_linear_", $suffix),)* }
            }
        }
    };
}

formats! {
    /// IEEE single.
    F32, "f32", 1, 4;
    /// IEEE half.
    F16, "f16", 1, 2;
    /// The upper half of a single.
    BF16, "bf16", 1, 2;
    /// 32 signed bytes with one half scale.
    Q8_0, "q8_0", 32, 34;
    /// 32 four-bit numbers less 8, with one half scale.
    Q4_0, "q4_0", 32, 18;
    /// 32 four-bit numbers with a half scale and a half minimum.
    Q4_1, "q4_1", 32, 20;
    /// 32 five-bit numbers less 16, with one half scale.
    Q5_0, "q5_0", 32, 22;
    /// 32 five-bit numbers with a half scale and a half minimum.
    Q5_1, "q5_1", 32, 24;
    /// 256 four-bit numbers in 8 groups, each with a six-bit scale and minimum.
    Q4_K, "q4_k", 256, 144;
    /// 256 five-bit numbers in 8 groups, each with a six-bit scale and minimum.
    Q5_K, "q5_k", 256, 176;
    /// 256 six-bit numbers in 16 groups, each with an eight-bit scale.
    Q6_K, "q6_k", 256, 210;
    /// 32 floats of four bits with one power of two.
    MXFP4, "mxfp4", 32, 17;
}

/// A matrix `(rows, cols)` of weights on a device: rows are output features.
#[derive(Debug)]
pub struct Matrix {
    format: Format,
    rows: usize,
    cols: usize,
    bytes: Buffer<u8>,
}

impl Matrix {
    /// The matrix whose rows, one after the other, are `bytes`.
    ///
    /// # Errors
    /// [`CudaError::Shape`] where the bytes are not `rows` rows of `cols` elements;
    /// [`CudaError::OutOfMemory`].
    pub fn upload(
        device: &Device,
        format: Format,
        (rows, cols): (usize, usize),
        bytes: &[u8],
    ) -> Result<Self, CudaError> {
        let whole = cols.is_multiple_of(format.block_len());
        let row_bytes = cols / format.block_len() * format.block_bytes();
        if !whole || bytes.len() != rows * row_bytes || rows == 0 || cols == 0 {
            return Err(CudaError::Shape(format!(
                "a matrix ({rows}, {cols}) of {format:?}: expected {} bytes of whole blocks, got {}",
                rows * row_bytes,
                bytes.len()
            )));
        }
        Ok(Self {
            format,
            rows,
            cols,
            bytes: Buffer::from_slice(device, bytes)?,
        })
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
    pub fn format(&self) -> Format {
        self.format
    }

    /// Its size.
    pub fn bytes(&self) -> usize {
        self.bytes.bytes()
    }

    /// Its address on the device.
    pub fn address(&self) -> u64 {
        self.bytes.view().address
    }

    pub(crate) fn row_bytes(&self) -> usize {
        self.cols / self.format.block_len() * self.format.block_bytes()
    }
}

/// A product of `tokens` rows with a matrix.
#[derive(Debug)]
pub struct Linear<'a> {
    /// The matrix, `(outputs, inputs)`.
    pub matrix: &'a Matrix,
    /// One number an output, added to each row.
    pub bias: Option<View<'a, f32>>,
    /// `(tokens, inputs)`.
    pub x: View<'a, f32>,
    /// `(tokens, outputs)`.
    pub y: ViewMut<'a, f32>,
    /// Rows of x.
    pub tokens: usize,
    /// Whether the product is added to what `y` holds.
    pub accumulate: bool,
}

#[repr(C)]
#[derive(Clone, Copy)]
struct LinearArgs {
    weight: u64,
    bias: u64,
    x: u64,
    y: u64,
    row_bytes: u64,
    rows: u32,
    cols: u32,
    tokens: u32,
    accumulate: u32,
}

// SAFETY: as the struct of that name in linear.cu, without padding.
unsafe impl Parameters for LinearArgs {}

/// Computes `product`.
///
/// # Errors
/// [`CudaError::Shape`] for views that are too short; what the driver says.
pub fn linear(device: &Device, product: Linear<'_>) -> Result<(), CudaError> {
    let Linear {
        matrix,
        bias,
        x,
        y,
        tokens,
        accumulate,
    } = product;
    let (rows, cols) = (matrix.rows, matrix.cols);
    let biases = bias.map_or(rows, |bias| bias.len);
    if x.len < tokens * cols || y.len < tokens * rows || biases < rows {
        return Err(CudaError::Shape(format!(
            "linear ({rows}, {cols}) of {tokens} rows: x has {}, y {}, the bias {biases}",
            x.len, y.len
        )));
    }
    let arguments = LinearArgs {
        weight: matrix.address(),
        bias: bias.map_or(0, |bias| bias.address),
        x: x.address,
        y: y.address,
        row_bytes: matrix.row_bytes() as u64,
        rows: rows as u32,
        cols: cols as u32,
        tokens: tokens as u32,
        accumulate: accumulate.into(),
    };
    let kernel = Kernel {
        file: "linear",
        name: matrix.format.linear(),
    };
    let blocks = (
        rows.div_ceil(ROWS) as u32,
        tokens.div_ceil(TOKENS) as u32,
        1,
    );
    // SAFETY: the lengths were held against the shape.
    unsafe { device.launch(kernel, Grid::new(blocks, 256), &arguments) }
}
