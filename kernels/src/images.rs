//! The compiled kernels that a build carries.

use std::sync::OnceLock;

use crate::{CudaError, DeviceInfo, packs};

/// Gives the image of a file's kernels, by the file's name without `.cu`.
type Source = fn(&str) -> Vec<u8>;

static SOURCE: OnceLock<Source> = OnceLock::new();

/// Takes the kernels' images from `source` from now on, in the place of those that the build carries:
/// tests do, with those of the stand-in. The first call counts.
pub fn use_images(source: Source) {
    let _ = SOURCE.set(source);
}

/// The image of `file`'s kernels for a GPU.
pub(crate) fn image(file: &'static str, capability: (i32, i32)) -> Result<Vec<u8>, CudaError> {
    if let Some(source) = SOURCE.get() {
        return Ok(source(file));
    }
    packs::find(file, capability).map_err(|reason| CudaError::NoImage {
        file,
        capability,
        reason,
    })
}

/// Whether this build carries images for `device`.
///
/// # Errors
/// [`CudaError::NoImage`] where it does not.
pub fn check_images(device: &DeviceInfo) -> Result<(), CudaError> {
    image("linear", device.capability).map(drop)
}
