//! What is known of this machine's GPUs, for people who look for what is wrong.

use outcrop_tensor::cuda::{check_images, image_architectures, image_bytes, probe};
use serde::Serialize;

/// What is known of the driver and the GPUs.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct DeviceReport {
    /// The CUDA version that the driver supports, such as `12.8`; absent where there is no driver
    /// that can be used.
    pub driver: Option<String>,
    /// Why no GPU can be used; absent where one can.
    pub problem: Option<String>,
    /// The GPUs that the driver finds.
    pub devices: Vec<DeviceEntry>,
    /// The architectures of GPUs that this build carries kernels for, `sm_90` for one; none where it was
    /// built without.
    pub images: Vec<&'static str>,
    /// Bytes that they take in the library.
    pub image_bytes: usize,
}

/// A GPU.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct DeviceEntry {
    /// What a session calls it: `cuda:0`.
    pub device: String,
    /// Its name.
    pub name: String,
    /// Its compute capability, such as `9.0`.
    pub capability: String,
    /// Bytes of its memory.
    pub memory: u64,
    /// Why this build cannot use it; absent where it can.
    pub problem: Option<String>,
}

impl DeviceReport {
    /// Of this machine.
    pub fn new() -> Self {
        let (images, image_bytes) = (image_architectures(), image_bytes());
        let driver = match probe() {
            Ok(driver) => driver,
            Err(error) => {
                return Self {
                    driver: None,
                    problem: Some(error.to_string()),
                    devices: Vec::new(),
                    images,
                    image_bytes,
                };
            }
        };
        let version = (driver.version / 1000, driver.version % 1000 / 10);
        let devices: Vec<DeviceEntry> = (0..)
            .zip(&driver.devices)
            .map(|(ordinal, gpu)| DeviceEntry {
                device: crate::Device::Cuda(ordinal).to_string(),
                name: gpu.name.clone(),
                capability: format!("{}.{}", gpu.capability.0, gpu.capability.1),
                memory: gpu.memory,
                problem: check_images(gpu).err().map(|error| error.to_string()),
            })
            .collect();
        let mut problems = devices.iter().map(|device| &device.problem);
        Self {
            driver: Some(format!("{}.{}", version.0, version.1)),
            problem: problems
                .clone()
                .all(Option::is_some)
                .then(|| problems.next().cloned().flatten())
                .flatten(),
            devices,
            images,
            image_bytes,
        }
    }
}

impl Default for DeviceReport {
    fn default() -> Self {
        Self::new()
    }
}
