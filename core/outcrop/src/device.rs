//! Which device a session computes on.

use outcrop_api::{Error, Result};

/// The device that `device` asks for, as models report it: `cpu`.
///
/// # Errors
/// `ValidationException` for a device that this build cannot use: nothing is chosen silently in
/// its place.
pub(crate) fn resolve(device: &str) -> Result<&'static str> {
    let cuda_ordinal = device.strip_prefix("cuda").map(|rest| {
        rest.is_empty()
            || rest
                .strip_prefix(':')
                .is_some_and(|n| n.parse::<u32>().is_ok())
    });
    match (device, cuda_ordinal) {
        ("auto" | "cpu", _) => Ok("cpu"),
        (_, Some(true)) => Err(Error::validation(format!(
            "device: {device:?} asks for an NVIDIA GPU, and this build of Outcrop has no CUDA engine; \
             expected \"auto\" or \"cpu\""
        ))),
        _ => Err(Error::validation(format!(
            "device: expected \"auto\", \"cpu\", \"cuda\" or \"cuda:<n>\", got {device:?}"
        ))),
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn only_the_cpu_is_there() {
        assert_eq!(resolve("auto").unwrap(), "cpu");
        assert_eq!(resolve("cpu").unwrap(), "cpu");
        for cuda in ["cuda", "cuda:0", "cuda:12"] {
            assert!(
                resolve(cuda)
                    .unwrap_err()
                    .message()
                    .contains("no CUDA engine")
            );
        }
        for wrong in ["", "gpu", "cuda:", "cuda:x", "cuda0", "CPU"] {
            let message = resolve(wrong).unwrap_err().message().to_string();
            assert!(message.contains("expected \"auto\""), "{message}");
            assert!(message.contains(&format!("{wrong:?}")), "{message}");
        }
    }
}
