//! What can be wrong with the bytes of a matrix.

use crate::DType;

/// Why bytes are not a matrix of the stated shape.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum TensorError {
    /// The row does not consist of whole blocks.
    #[error("{dtype:?}: a row of {cols} columns is not a multiple of the block of {block}")]
    RaggedRow {
        /// The storage type.
        dtype: DType,
        /// Columns asked for.
        cols: usize,
        /// Elements of one block.
        block: usize,
    },
    /// The data is shorter or longer than the shape asks for.
    #[error("{dtype:?} ({rows}, {cols}): expected {expected} bytes, got {got}")]
    WrongLength {
        /// The storage type.
        dtype: DType,
        /// Rows asked for.
        rows: usize,
        /// Columns asked for.
        cols: usize,
        /// Bytes that the shape needs.
        expected: usize,
        /// Bytes that came.
        got: usize,
    },
    /// The shape does not fit this machine's memory.
    #[error("({rows}, {cols}): the shape is empty or too large for this machine")]
    BadShape {
        /// Rows asked for.
        rows: usize,
        /// Columns asked for.
        cols: usize,
    },
    /// A range lies outside its file.
    #[error("bytes {start}..{end} lie outside a file of {len} bytes")]
    OutOfFile {
        /// First byte.
        start: usize,
        /// One past the last byte.
        end: usize,
        /// Length of the file.
        len: usize,
    },
    /// Nothing is quantised to this dtype here; Q8_0 is.
    #[error("{0:?}: expected Q8_0, which is what weights are quantised to")]
    NotQuantizable(DType),
    /// `OUTCROP_THREADS` is not a number of threads.
    #[error("OUTCROP_THREADS: expected 1..=1024, got {0:?}")]
    BadThreads(String),
    /// `OUTCROP_PIN` does not say whether threads stay on their cores.
    #[error("OUTCROP_PIN: expected 0 or 1, got {0:?}")]
    BadPin(String),
}
