//! Whether this machine has a driver and GPUs that can be used, without ever failing by a panic.

use cudarc::driver::{result, sys};

use crate::CudaError;
use crate::device::failed;

/// The least CUDA version that a driver must support, as the driver counts: images built by the
/// 12.8 toolkit load on every 12.x driver.
pub const MIN_DRIVER: i32 = 12_000;

/// A driver with its GPUs.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Driver {
    /// The CUDA version that it supports: 1000 a major, 10 a minor.
    pub version: i32,
    /// The GPUs, at least one, by their numbers.
    pub devices: Vec<DeviceInfo>,
}

/// What is known of a GPU.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DeviceInfo {
    /// Its name.
    pub name: String,
    /// Its compute capability, major and minor.
    pub capability: (i32, i32),
    /// Bytes of its memory.
    pub memory: u64,
    /// Its streaming multiprocessors.
    pub multiprocessors: i32,
}

/// The driver of this machine, with at least one GPU.
///
/// # Errors
/// [`CudaError`] that names what is missing: the library, its version, a GPU.
pub fn probe() -> Result<Driver, CudaError> {
    // cudarc panics where the library is missing: nothing of it is called before this.
    // SAFETY: opens the driver's library, whose constructors are the vendor's.
    if !unsafe { sys::is_culib_present() } {
        return Err(CudaError::NoDriver);
    }
    result::init().map_err(|error| CudaError::NoDevice(reason(error)))?;
    let mut version = 0;
    // SAFETY: writes one integer.
    unsafe { sys::cuDriverGetVersion(&mut version) }
        .result()
        .map_err(|error| failed("cuDriverGetVersion", error))?;
    if version < MIN_DRIVER {
        return Err(CudaError::DriverTooOld {
            found: version,
            needed: MIN_DRIVER,
        });
    }
    let count = result::device::get_count().map_err(|error| CudaError::NoDevice(reason(error)))?;
    if count == 0 {
        return Err(CudaError::NoDevice("it counts none".to_owned()));
    }
    let devices = (0..count)
        .map(|ordinal| describe(ordinal).map_err(|error| failed("cuDeviceGetAttribute", error)))
        .collect::<Result<_, _>>()?;
    Ok(Driver { version, devices })
}

fn describe(ordinal: i32) -> Result<DeviceInfo, result::DriverError> {
    use sys::CUdevice_attribute_enum as Attribute;
    let device = result::device::get(ordinal)?;
    // SAFETY: `device` is one of the driver's.
    let attribute = |attribute| unsafe { result::device::get_attribute(device, attribute) };
    Ok(DeviceInfo {
        name: result::device::get_name(device)?,
        capability: (
            attribute(Attribute::CU_DEVICE_ATTRIBUTE_COMPUTE_CAPABILITY_MAJOR)?,
            attribute(Attribute::CU_DEVICE_ATTRIBUTE_COMPUTE_CAPABILITY_MINOR)?,
        ),
        // SAFETY: as above.
        memory: unsafe { result::device::total_mem(device) }? as u64,
        multiprocessors: attribute(Attribute::CU_DEVICE_ATTRIBUTE_MULTIPROCESSOR_COUNT)?,
    })
}

/// The driver's words for an error.
pub(crate) fn reason(error: result::DriverError) -> String {
    let name = error.error_name().map(|name| name.to_string_lossy());
    let text = error.error_string().map(|text| text.to_string_lossy());
    match (name, text) {
        (Ok(name), Ok(text)) => format!("{name}: {text}"),
        _ => format!("error {}", error.0 as u32),
    }
}
