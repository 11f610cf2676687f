//! What can be wrong with a model's files.

use std::path::{Path, PathBuf};

use outcrop_api::{Error, ErrorKind};

/// What is wrong with a model's files. Each message names the file.
#[derive(Debug, thiserror::Error)]
pub enum WeightsError {
    /// Nothing is at the model's path.
    #[error("{}: expected a model folder or a .gguf file, found nothing there", path.display())]
    NotFound {
        /// The path as it was given.
        path: PathBuf,
    },
    /// The folder lacks a file that a model needs.
    #[error("{}: expected {expected}, the file is missing", file.display())]
    Missing {
        /// The file that should be there.
        file: PathBuf,
        /// What it should hold.
        expected: &'static str,
    },
    /// The operating system would not give the file.
    #[error("{}: {source}", file.display())]
    Io {
        /// The file.
        file: PathBuf,
        /// The system's reason.
        source: std::io::Error,
    },
    /// The file does not hold what its format promises.
    #[error("{}: {detail}", file.display())]
    Corrupt {
        /// The file.
        file: PathBuf,
        /// What was expected and what came.
        detail: String,
    },
    /// The file is sound, but of a kind that is not read.
    #[error("{}: {detail}", file.display())]
    Unsupported {
        /// The file.
        file: PathBuf,
        /// What was found and what is read.
        detail: String,
    },
    /// The model has no tensor of that name.
    #[error("{}: expected a tensor {name}, the file has none of that name", file.display())]
    NoTensor {
        /// The model's path.
        file: PathBuf,
        /// The tensor.
        name: String,
    },
    /// The tensor is of another shape than the architecture asks for.
    #[error("{}: tensor {name}: expected shape {expected:?}, got {got:?}", file.display())]
    Shape {
        /// The file.
        file: PathBuf,
        /// The tensor.
        name: String,
        /// The shape that the architecture asks for.
        expected: Vec<usize>,
        /// The shape in the file.
        got: Vec<usize>,
    },
}

impl WeightsError {
    /// The file as one that does not hold what its format promises.
    pub(crate) fn corrupt(file: &Path, detail: impl ToString) -> Self {
        Self::Corrupt {
            file: file.to_owned(),
            detail: detail.to_string(),
        }
    }

    /// The file that the error names.
    pub fn file(&self) -> &Path {
        match self {
            Self::NotFound { path } => path,
            Self::Missing { file, .. }
            | Self::Io { file, .. }
            | Self::Corrupt { file, .. }
            | Self::Unsupported { file, .. }
            | Self::NoTensor { file, .. }
            | Self::Shape { file, .. } => file,
        }
    }
}

impl From<WeightsError> for Error {
    fn from(error: WeightsError) -> Self {
        let kind = match &error {
            WeightsError::NotFound { .. } => ErrorKind::ResourceNotFoundException,
            _ => ErrorKind::ModelErrorException,
        };
        Error::new(kind, error.to_string())
            .with_resource(error.file().display().to_string())
            .with_source(error)
    }
}
