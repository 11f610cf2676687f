//! What can go wrong with the files of a home, each error naming the file it is about.

use std::path::{Path, PathBuf};
use std::time::Duration;

use outcrop_api::{Error, ErrorKind};

/// The result of every call of this room.
pub type Result<T> = std::result::Result<T, StoreError>;

/// A failure of the store. Its text names the file or the field, what was found and what was expected.
#[derive(Debug, thiserror::Error)]
pub enum StoreError {
    /// A file's bytes are not what was written: it was cut short, altered or deleted.
    #[error("{}: damaged: {detail}", file.display())]
    Corrupt {
        /// The damaged file.
        file: PathBuf,
        /// What does not fit, and what to do where there is something to do.
        detail: String,
    },
    /// A file was written by a later version, in a format that this one does not know.
    #[error("{}: format {found} was written by a newer version of Outcrop; this one reads formats up to {known}", file.display())]
    NewerFormat {
        /// The file in the newer format.
        file: PathBuf,
        /// The file's format.
        found: u32,
        /// The newest format that this version reads.
        known: u32,
    },
    /// The operating system refused an operation on a file.
    #[error("{}: could not {action}: {source}", file.display())]
    Io {
        /// The file of the operation.
        file: PathBuf,
        /// What was tried, as a verb phrase.
        action: &'static str,
        /// What the operating system said.
        source: std::io::Error,
    },
    /// The home's path is taken by something that is not a folder.
    #[error("home: expected a folder, but {} is a file", path.display())]
    NotAFolder {
        /// The path that was asked for.
        path: PathBuf,
    },
    /// The home's folder cannot be created or written to.
    #[error("home: expected a folder that can be written to, but {}: {source}", path.display())]
    NotWritable {
        /// The path that was asked for.
        path: PathBuf,
        /// What the operating system said.
        source: std::io::Error,
    },
    /// Another writer, in this process or another, held the lock for the whole wait.
    #[error("{resource} is being written by another session: waited {} ms for {}", waited.as_millis(), file.display())]
    Locked {
        /// What the lock guards.
        resource: String,
        /// The lock's file.
        file: PathBuf,
        /// How long this call waited.
        waited: Duration,
    },
    /// Something by that name exists already.
    #[error("{resource} exists already")]
    AlreadyExists {
        /// What exists.
        resource: String,
    },
    /// Nothing is there by that name.
    #[error("{resource} does not exist")]
    NotFound {
        /// What was looked for.
        resource: String,
    },
    /// A value that the caller gave cannot be stored.
    #[error("{field}: expected {expected}, got {value}")]
    Invalid {
        /// The field.
        field: &'static str,
        /// The value, shortened where it is long.
        value: String,
        /// What would be right.
        expected: String,
    },
}

impl StoreError {
    pub(crate) fn corrupt(file: &Path, detail: impl Into<String>) -> Self {
        Self::Corrupt {
            file: file.to_path_buf(),
            detail: detail.into(),
        }
    }

    pub(crate) fn invalid(
        field: &'static str,
        value: impl ToString,
        expected: impl Into<String>,
    ) -> Self {
        Self::Invalid {
            field,
            value: value.to_string().chars().take(200).collect(),
            expected: expected.into(),
        }
    }

    /// A closure that turns an [`std::io::Error`] into one that names `file` and what was tried.
    pub(crate) fn io<'a>(
        action: &'static str,
        file: &'a Path,
    ) -> impl FnOnce(std::io::Error) -> Self + 'a {
        move |source| Self::Io {
            file: file.to_path_buf(),
            action,
            source,
        }
    }

    /// The file or the path that the error is about, where it is about one.
    pub fn file(&self) -> Option<&Path> {
        match self {
            Self::Corrupt { file, .. }
            | Self::NewerFormat { file, .. }
            | Self::Io { file, .. }
            | Self::Locked { file, .. } => Some(file),
            Self::NotAFolder { path } | Self::NotWritable { path, .. } => Some(path),
            Self::AlreadyExists { .. } | Self::NotFound { .. } | Self::Invalid { .. } => None,
        }
    }
}

impl From<StoreError> for Error {
    fn from(error: StoreError) -> Self {
        let kind = match &error {
            StoreError::Corrupt { .. } | StoreError::Io { .. } => {
                ErrorKind::InternalServerException
            }
            StoreError::NewerFormat { .. }
            | StoreError::NotAFolder { .. }
            | StoreError::NotWritable { .. }
            | StoreError::Invalid { .. } => ErrorKind::ValidationException,
            StoreError::Locked { .. } | StoreError::AlreadyExists { .. } => {
                ErrorKind::ConflictException
            }
            StoreError::NotFound { .. } => ErrorKind::ResourceNotFoundException,
        };
        let resource = match &error {
            StoreError::Locked { resource, .. }
            | StoreError::AlreadyExists { resource }
            | StoreError::NotFound { resource } => Some(resource.clone()),
            other => other.file().map(|file| file.display().to_string()),
        };
        let api = Error::new(kind, error.to_string());
        let api = match resource {
            Some(resource) => api.with_resource(resource),
            None => api,
        };
        api.with_source(error)
    }
}
