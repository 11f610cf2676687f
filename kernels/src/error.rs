//! What can be wrong with a GPU, its driver or a launch.

use std::fmt;

/// Why something could not be done on a GPU.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum CudaError {
    /// The driver's library is not on this machine.
    NoDriver,
    /// The driver is older than this build needs.
    DriverTooOld {
        /// The CUDA version that it supports, as the driver counts: 1000 a major, 10 a minor.
        found: i32,
        /// The least that is needed, counted alike.
        needed: i32,
    },
    /// The driver is there and finds no GPU that it can use.
    NoDevice(String),
    /// There is no GPU of this number.
    NoSuchDevice {
        /// The number that was asked for.
        ordinal: usize,
        /// How many there are.
        count: usize,
    },
    /// This build carries no image of the kernels that runs on the GPU.
    NoImage {
        /// The kernels' source file.
        file: &'static str,
        /// The GPU's compute capability.
        capability: (i32, i32),
        /// Why there is none.
        reason: String,
    },
    /// The GPU's memory does not hold what was asked for. It goes on with what it has.
    OutOfMemory {
        /// Bytes that were asked for.
        bytes: u64,
        /// Bytes that were free.
        free: u64,
        /// Bytes that the GPU has.
        total: u64,
    },
    /// The GPU, or its context, does not answer any more: the process needs a new one.
    Lost(String),
    /// A shape that an operation does not take; nothing was launched.
    Shape(String),
    /// Another failure of the driver's.
    Driver {
        /// What was being done.
        call: &'static str,
        /// The driver's name for what is wrong, and its explanation.
        reason: String,
    },
}

/// A version as the driver counts it, in the usual form.
fn version(number: i32) -> String {
    format!("{}.{}", number / 1000, number % 1000 / 10)
}

impl fmt::Display for CudaError {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::NoDriver => {
                write!(
                    out,
                    "no NVIDIA driver: libcuda.so.1 (nvcuda.dll) was not found"
                )
            }
            Self::DriverTooOld { found, needed } => write!(
                out,
                "the NVIDIA driver is too old: expected CUDA {} or newer, got {}",
                version(*needed),
                version(*found)
            ),
            Self::NoDevice(reason) => {
                write!(
                    out,
                    "the NVIDIA driver finds no GPU that it can use: {reason}"
                )
            }
            Self::NoSuchDevice { ordinal, count } => {
                write!(out, "no GPU {ordinal}: this machine has {count}")
            }
            Self::NoImage {
                file,
                capability: (major, minor),
                reason,
            } => write!(
                out,
                "no CUDA image of {file} for compute capability {major}.{minor}: {reason}"
            ),
            Self::OutOfMemory { bytes, free, total } => write!(
                out,
                "out of GPU memory: asked for {bytes} bytes, {free} of {total} were free"
            ),
            Self::Lost(reason) => write!(out, "the GPU is lost: {reason}"),
            Self::Shape(what) => write!(out, "{what}"),
            Self::Driver { call, reason } => write!(out, "CUDA, {call}: {reason}"),
        }
    }
}

impl std::error::Error for CudaError {}
