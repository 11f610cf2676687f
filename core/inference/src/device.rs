//! Which device models compute on, and why.

use outcrop_api::{Error, Result};
use outcrop_tensor::cuda::{CudaError, check_images, probe};

/// Where a model computes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Device {
    /// On the threads of a pool.
    #[default]
    Cpu,
    /// On the NVIDIA GPU of this number.
    Cuda(usize),
}

impl std::fmt::Display for Device {
    fn fmt(&self, out: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Cpu => write!(out, "cpu"),
            Self::Cuda(ordinal) => write!(out, "cuda:{ordinal}"),
        }
    }
}

/// A device that was asked for, or chosen.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct DeviceChoice {
    /// The device.
    pub device: Device,
    /// Why it was chosen, where `auto` left the choice.
    pub reason: Option<String>,
}

impl DeviceChoice {
    /// The device that `text` asks for: `cpu`, `cuda`, `cuda:<n>`, or `auto`, which takes the first GPU
    /// that can be used, and the CPU where there is none.
    ///
    /// # Errors
    /// `ValidationException` for anything else, and for a GPU that cannot be used, which says why.
    pub fn parse(text: &str) -> Result<Self> {
        let ordinal = match (text, text.strip_prefix("cuda:")) {
            ("cpu", _) => return Ok(Self::default()),
            ("auto", _) => return Ok(Self::auto(usable(0))),
            ("cuda", _) => 0,
            (_, Some(number)) => match number.parse() {
                Ok(ordinal) => ordinal,
                Err(_) => return Err(unknown(text)),
            },
            _ => return Err(unknown(text)),
        };
        let asked = |error| Error::validation(format!("device: {text:?} cannot be used: {error}"));
        usable(ordinal).map_err(asked)?;
        Ok(Self {
            device: Device::Cuda(ordinal),
            reason: None,
        })
    }

    fn auto(first: std::result::Result<String, CudaError>) -> Self {
        match first {
            Ok(name) => Self {
                device: Device::Cuda(0),
                reason: Some(format!("auto: the first GPU that can be used, {name}")),
            },
            Err(error) => Self {
                device: Device::Cpu,
                reason: Some(format!("auto: {error}")),
            },
        }
    }
}

/// The name of the GPU of this number, which this build can use.
fn usable(ordinal: usize) -> std::result::Result<String, CudaError> {
    let driver = probe()?;
    let count = driver.devices.len();
    let missing = CudaError::NoSuchDevice { ordinal, count };
    let gpu = driver.devices.into_iter().nth(ordinal).ok_or(missing)?;
    check_images(&gpu)?;
    Ok(gpu.name)
}

fn unknown(text: &str) -> Error {
    Error::validation(format!(
        "device: expected \"auto\", \"cpu\", \"cuda\" or \"cuda:<n>\", got {text:?}"
    ))
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn what_is_no_device_is_refused() {
        assert_eq!(DeviceChoice::parse("cpu").unwrap(), DeviceChoice::default());
        for wrong in ["", "gpu", "cuda:", "cuda:x", "cuda:-1", "cuda0", "CPU"] {
            let error = DeviceChoice::parse(wrong).unwrap_err();
            assert!(error.message().contains("expected \"auto\""), "{error}");
            assert!(error.message().contains(&format!("{wrong:?}")), "{error}");
        }
    }

    #[test]
    fn a_choice_says_why() {
        let none = DeviceChoice::auto(Err(CudaError::NoDriver));
        assert_eq!(none.device, Device::Cpu);
        assert!(none.reason.unwrap().contains("libcuda.so.1"));
        let one = DeviceChoice::auto(Ok("a GPU".to_owned()));
        assert_eq!(one.device.to_string(), "cuda:0");
        assert!(one.reason.unwrap().contains("a GPU"));
    }
}
