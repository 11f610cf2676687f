//! A device of the stand-in driver, and numbers for tests.

use std::sync::{Mutex, MutexGuard};

use outcrop_kernels::Device;

/// The stand-in's settings belong to the process: one test at a time.
static ALONE: Mutex<()> = Mutex::new(());

/// The stand-in's first device, or `None` (and says why) where there is no stand-in. Accesses are
/// checked where `checks` says so.
pub fn device(test: &str, checks: bool) -> Option<(Device, MutexGuard<'static, ()>)> {
    let alone = ALONE
        .lock()
        .unwrap_or_else(|poisoned| poisoned.into_inner());
    if !outcrop_kernels_cpu::install_or_skip(test) {
        return None;
    }
    if let Some(images) = outcrop_kernels_cpu::images() {
        outcrop_kernels::use_images(images);
    }
    outcrop_kernels_cpu::set_checks(checks);
    outcrop_kernels_cpu::set_schedule(0);
    Some((Device::open(0).unwrap(), alone))
}

/// As [`device`], with checks, a device of capability 9.0.
pub fn hopper(test: &str) -> Option<(Device, MutexGuard<'static, ()>)> {
    let (_, alone) = device(test, true)?;
    outcrop_kernels_cpu::set_device(outcrop_kernels_cpu::Device {
        capability: 90,
        ..Default::default()
    });
    let device = Device::open(0).unwrap();
    if device.info().capability != (9, 0) {
        eprintln!("SKIPPED {test}: the GPU is no Hopper");
        return None;
    }
    Some((device, alone))
}

/// Numbers between -1 and 1, the same for the same seed.
pub fn numbers(seed: u32, count: usize) -> Vec<f32> {
    let mut state = seed.wrapping_mul(2654435761).wrapping_add(12345);
    let mut next = || {
        state ^= state << 13;
        state ^= state >> 17;
        state ^= state << 5;
        state as f32 / u32::MAX as f32 * 2.0 - 1.0
    };
    (0..count).map(|_| next()).collect()
}
