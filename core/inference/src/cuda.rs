//! A decoder on an NVIDIA GPU: the same description as on the CPU, computed by kernels.
//!
//! Weights and pages of keys and values live on the device; a step sends its rows' numbers there and
//! brings the chosen tokens back, or logits where these are asked for. Steps in which every row is wanted, decoding above all, are
//! recorded as a graph each number of rows and played again.

mod choosing;
mod forward;
mod pages;
mod room;
mod runner;
mod step_rows;
mod weights;

use outcrop_api::{Error, ErrorKind};
use outcrop_tensor::cuda::CudaError;

pub(crate) use runner::{CudaRunner, RunnerRoom};

/// What callers are told of a GPU's failure.
pub(crate) fn refused(error: CudaError) -> Error {
    let kind = match &error {
        CudaError::NoDriver
        | CudaError::DriverTooOld { .. }
        | CudaError::NoDevice(_)
        | CudaError::NoSuchDevice { .. }
        | CudaError::NoImage { .. } => ErrorKind::ValidationException,
        CudaError::OutOfMemory { .. } => ErrorKind::ServiceQuotaExceededException,
        CudaError::Lost(_) => ErrorKind::ServiceUnavailableException,
        CudaError::Shape(_) => ErrorKind::ModelErrorException,
        CudaError::Driver { .. } => ErrorKind::InternalServerException,
    };
    Error::new(kind, format!("device: {error}")).with_source(error)
}
