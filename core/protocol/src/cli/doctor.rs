//! `outcrop doctor`: the NVIDIA driver, the kernels of this build and the GPUs, or why none can be used.

use outcrop::DeviceReport;
use outcrop::api::Result;

use crate::cli::output::{Output, size};

/// Tells what is there and what is wrong with it.
pub(super) fn run(output: &mut Output) -> Result<()> {
    let report = DeviceReport::new();
    if output.is_json {
        return output.json(&report);
    }
    let driver = report.driver.as_deref();
    output.text(&format!("driver: CUDA {}\n", driver.unwrap_or("none")))?;
    let images = match report.images.is_empty() {
        true => "none: this build was made without them".to_owned(),
        false => format!(
            "{} ({})",
            report.images.join(", "),
            size(report.image_bytes as u64)
        ),
    };
    output.text(&format!("kernels: {images}\n"))?;
    if !report.devices.is_empty() {
        let rows: Vec<[String; 5]> = report
            .devices
            .into_iter()
            .map(|gpu| {
                let state = gpu.problem.unwrap_or_else(|| "usable".to_owned());
                [
                    gpu.device,
                    gpu.name,
                    gpu.capability,
                    size(gpu.memory),
                    state,
                ]
            })
            .collect();
        output.table(["DEVICE", "NAME", "CAPABILITY", "MEMORY", "STATE"], &rows)?;
    }
    match report.problem {
        Some(problem) => output.text(&format!("models run on the CPU: {problem}\n")),
        None => output.text("models of sessions with device \"auto\" run on cuda:0\n"),
    }
}
