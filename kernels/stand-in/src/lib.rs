//! For tests only: makes the CUDA kernels, compiled for the CPU, the driver of this process.
//!
//! [`install`] loads a library that has the soname of the CUDA driver, so whoever opens the driver
//! afterwards gets it: cudarc, and our own launch code, run unchanged. Kernels run in the calling
//! thread, in one of many interleavings ([`set_schedule`]), and where checks are on
//! ([`set_checks`]) every access of theirs is held against the others: a race, a missing barrier, a
//! divergent collective, an access out of bounds or a read of what nobody wrote fails the launch
//! with a report that names kernel, block, thread, file and line ([`take_report`]).

use std::ffi::{CStr, c_char};
use std::sync::{Mutex, OnceLock};

use libloading::os::unix::{Library, RTLD_GLOBAL, RTLD_NOW};

/// The device that the stand-in pretends to be.
#[derive(Clone, Copy, Debug)]
pub struct Device {
    /// Number of devices. Default 1; 0: the driver finds none.
    pub count: i32,
    /// Compute capability times ten. Default 80.
    pub capability: i32,
    /// What the driver says of its version, as `1000 * major + 10 * minor`. Default 13000.
    pub driver: i32,
    /// Bytes of memory. Default 8 GiB.
    pub memory: usize,
}

impl Default for Device {
    fn default() -> Self {
        Self {
            count: 1,
            capability: 80,
            driver: 13000,
            memory: 8 << 30,
        }
    }
}

struct Settings {
    schedule: u32,
    checks: bool,
}

static SETTINGS: Mutex<Settings> = Mutex::new(Settings {
    schedule: 0,
    checks: false,
});

/// Makes the stand-in the CUDA driver of this process. Call it before anything opens the driver;
/// more than once is the same as once.
///
/// # Errors
/// What is missing, where the stand-in was not built (no C++ compiler, another system): a test
/// prints it and ends.
pub fn install() -> Result<(), String> {
    library().map(|_| ())
}

/// Whether tests run on this machine's own driver and GPU instead: where `OUTCROP_CUDA` is `driver`. What
/// sets the stand-in then does nothing.
pub fn on_driver() -> bool {
    std::env::var_os("OUTCROP_CUDA").is_some_and(|value| value == "driver")
}

/// As [`install_or_skip`], for a test that needs the stand-in itself.
pub fn install_alone_or_skip(test: &str) -> bool {
    if on_driver() {
        eprintln!("SKIPPED {test}: it needs the stand-in, and OUTCROP_CUDA is driver");
        return false;
    }
    install_or_skip(test)
}

/// Where images come from: none on the machine's own driver, which takes those that are built in.
pub fn images() -> Option<fn(&str) -> Vec<u8>> {
    (!on_driver()).then_some(image)
}

/// Installs the stand-in, or prints why `test` is skipped and returns `false`.
pub fn install_or_skip(test: &str) -> bool {
    if on_driver() {
        return true;
    }
    match install() {
        Ok(()) => true,
        Err(reason) => {
            eprintln!("SKIPPED {test}: no CUDA stand-in: {reason}");
            false
        }
    }
}

/// What stands for the compiled image of `kernels/cuda/<file>.cu`: loads as a module that holds
/// that file's kernels and no others.
pub fn image(file: &str) -> Vec<u8> {
    format!("// outcrop stand-in image of {file}\n\0").into_bytes()
}

/// Chooses the order in which threads run: 0 forwards, 1 backwards, further ones pre-empt warps at
/// random, a different order each. Default: `OUTCROP_STAND_IN_SCHEDULE`, or 0.
pub fn set_schedule(schedule: u32) {
    set(|settings| settings.schedule = schedule);
}

/// Turns the checks of every access on or off. Slow; off by default. Memory allocated before is
/// taken as written.
pub fn set_checks(checks: bool) {
    set(|settings| settings.checks = checks);
}

/// Sets the device to pretend to be.
pub fn set_device(device: Device) {
    if on_driver() {
        return;
    }
    type Set = unsafe extern "C" fn(i32, i32, i32, usize);
    // SAFETY: the signature is that of cpp/launch.cpp.
    unsafe {
        let set = symbol::<Set>(b"outcrop_stand_in_device\0");
        set(
            device.count,
            device.capability,
            device.driver,
            device.memory,
        );
    }
}

/// The report of the fault that failed the last launch. Taking it heals the context, which a real
/// driver does not.
pub fn take_report() -> Option<String> {
    if on_driver() {
        return None;
    }
    type Take = unsafe extern "C" fn(*mut c_char, usize) -> usize;
    let mut text = vec![0u8; 1 << 14];
    // SAFETY: the signature is that of cpp/launch.cpp, which writes up to the room it is given.
    let size = unsafe {
        symbol::<Take>(b"outcrop_stand_in_take_report\0")(text.as_mut_ptr().cast(), text.len())
    };
    text.truncate(size);
    (size > 0).then(|| String::from_utf8_lossy(&text).into_owned())
}

/// Fails every further call, as a device that was lost does, until [`take_report`].
pub fn lose_device() {
    // SAFETY: the signature is that of cpp/launch.cpp.
    unsafe { symbol::<unsafe extern "C" fn()>(b"outcrop_stand_in_lose_device\0")() }
}

/// How many launches the driver has been asked for, a captured one counting once.
pub fn launches() -> usize {
    // SAFETY: the signature is that of cpp/launch.cpp.
    unsafe { symbol::<unsafe extern "C" fn() -> usize>(b"outcrop_stand_in_launches\0")() }
}

/// Bytes that were copied from the device to the host so far.
pub fn bytes_brought_back() -> usize {
    if on_driver() {
        return 0;
    }
    // SAFETY: the signature is that of cpp/driver.cpp.
    unsafe { symbol::<unsafe extern "C" fn() -> usize>(b"outcrop_stand_in_brought_back\0")() }
}

/// The kernels of the library as `(file, kernel)`.
pub fn kernels() -> Vec<(String, String)> {
    type Names = unsafe extern "C" fn() -> *const c_char;
    // SAFETY: the signature is that of cpp/launch.cpp; the text stays until the next call.
    let names = unsafe { CStr::from_ptr(symbol::<Names>(b"outcrop_stand_in_kernels\0")()) };
    let lines = names.to_string_lossy();
    let pairs = lines.lines().filter_map(|line| line.split_once(' '));
    pairs
        .map(|(file, kernel)| (file.to_owned(), kernel.to_owned()))
        .collect()
}

fn set(change: impl FnOnce(&mut Settings)) {
    type Set = unsafe extern "C" fn(u32, bool);
    let mut settings = SETTINGS
        .lock()
        .unwrap_or_else(|poisoned| poisoned.into_inner());
    change(&mut settings);
    if on_driver() {
        return;
    }
    // SAFETY: the signature is that of cpp/launch.cpp.
    unsafe { symbol::<Set>(b"outcrop_stand_in_schedule\0")(settings.schedule, settings.checks) }
}

fn library() -> Result<&'static Library, String> {
    static LIBRARY: OnceLock<Result<Library, String>> = OnceLock::new();
    let loaded = LIBRARY.get_or_init(|| {
        let path = env!("OUTCROP_STAND_IN");
        if path.is_empty() {
            return Err(env!("OUTCROP_STAND_IN_REASON").to_owned());
        }
        // SAFETY: the library's initialisers only fill the table of kernels.
        unsafe { Library::open(Some(path), RTLD_NOW | RTLD_GLOBAL) }.map_err(|e| e.to_string())
    });
    loaded.as_ref().map_err(Clone::clone)
}

/// # Safety
/// `T` is the function's type.
#[expect(clippy::expect_used, reason = "for tests, after `install`")]
unsafe fn symbol<T: Copy>(name: &[u8]) -> T {
    let library = library().expect("install() has succeeded");
    // SAFETY: by the contract above.
    unsafe { *library.get::<T>(name).expect("a function of the stand-in") }
}
