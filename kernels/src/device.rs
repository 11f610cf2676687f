//! A GPU as a model holds it: one stream, the kernels' functions, and launches.

use std::collections::HashMap;
use std::ffi::c_void;
use std::sync::{Arc, Mutex, PoisonError};

use cudarc::driver::{CudaContext, CudaFunction, CudaModule, CudaStream, result, sys};
use cudarc::nvrtc::Ptx;

use crate::probe::{probe, reason};
use crate::{CudaError, DeviceInfo, images};

/// Shared memory that a block may ask for without further ado.
const PLAIN_SHARED: u32 = 48 << 10;

/// A kernel, by its file under `kernels/cuda` and its name in it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Kernel {
    /// The file's name without `.cu`.
    pub file: &'static str,
    /// The function's name, which no other file has.
    pub name: &'static str,
}

/// The parameters of a kernel, handed over by value.
///
/// # Safety
/// The type is `repr(C)` and laid out as the kernel's own parameter is; all of its bytes may be read.
pub unsafe trait Parameters: Copy {}

/// How many blocks of how many threads are launched.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Grid {
    /// Blocks, at most 65535 in the second and third direction.
    pub blocks: (u32, u32, u32),
    /// Threads of a block, at most 1024.
    pub threads: u32,
    /// Bytes of dynamic shared memory of a block.
    pub shared: u32,
}

impl Grid {
    /// `blocks` blocks of `threads` threads, without dynamic shared memory.
    pub fn new(blocks: (u32, u32, u32), threads: u32) -> Self {
        Self {
            blocks,
            threads,
            shared: 0,
        }
    }
}

/// One stream of a GPU. Work is done in the order in which it was given. Clones share the stream.
#[derive(Clone)]
pub struct Device {
    shared: Arc<Shared>,
}

struct Shared {
    ordinal: usize,
    info: DeviceInfo,
    context: Arc<CudaContext>,
    stream: Arc<CudaStream>,
    modules: Mutex<HashMap<&'static str, Arc<CudaModule>>>,
    functions: Mutex<HashMap<Kernel, CudaFunction>>,
}

impl std::fmt::Debug for Device {
    fn fmt(&self, out: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(out, "Device(cuda:{}, {})", self.ordinal(), self.info().name)
    }
}

impl Device {
    /// A new stream on the GPU of this number.
    ///
    /// # Errors
    /// As [`probe`]; [`CudaError::NoSuchDevice`]; what the driver says of its context.
    pub fn open(ordinal: usize) -> Result<Self, CudaError> {
        let mut driver = probe()?;
        let count = driver.devices.len();
        if ordinal >= count {
            return Err(CudaError::NoSuchDevice { ordinal, count });
        }
        let context =
            CudaContext::new(ordinal).map_err(|e| failed("cuDevicePrimaryCtxRetain", e))?;
        // SAFETY: a buffer is used on its own device's one stream only, in order.
        unsafe { context.disable_event_tracking() };
        let stream = context
            .new_stream()
            .map_err(|e| failed("cuStreamCreate", e))?;
        Ok(Self {
            shared: Arc::new(Shared {
                ordinal,
                info: driver.devices.swap_remove(ordinal),
                context,
                stream,
                modules: Mutex::default(),
                functions: Mutex::default(),
            }),
        })
    }

    /// The GPU's number.
    pub fn ordinal(&self) -> usize {
        self.shared.ordinal
    }

    /// What is known of the GPU.
    pub fn info(&self) -> &DeviceInfo {
        &self.shared.info
    }

    /// Free and all bytes of the GPU's memory.
    ///
    /// # Errors
    /// What the driver says.
    pub fn memory(&self) -> Result<(u64, u64), CudaError> {
        let (free, total) = self
            .shared
            .context
            .mem_get_info()
            .map_err(|e| failed("cuMemGetInfo", e))?;
        Ok((free as u64, total as u64))
    }

    /// Waits until all work that was given is done.
    ///
    /// # Errors
    /// What went wrong in it: [`CudaError::Lost`] where the GPU must be opened anew.
    pub fn synchronize(&self) -> Result<(), CudaError> {
        let stream = &self.shared.stream;
        stream
            .synchronize()
            .map_err(|e| failed("cuStreamSynchronize", e))?;
        self.shared
            .context
            .check_err()
            .map_err(|e| failed("an earlier call", e))
    }

    /// Whether both are the same stream.
    pub fn is_same(&self, other: &Device) -> bool {
        Arc::ptr_eq(&self.shared, &other.shared)
    }

    pub(crate) fn stream(&self) -> &Arc<CudaStream> {
        &self.shared.stream
    }

    pub(crate) fn context(&self) -> &Arc<CudaContext> {
        &self.shared.context
    }

    /// Loads `kernel`, so that its first launch, which may be in a capture, need not.
    ///
    /// # Errors
    /// [`CudaError::NoImage`], or what the driver says of the image.
    pub fn load(&self, kernel: Kernel) -> Result<(), CudaError> {
        self.function(kernel).map(|_| ())
    }

    fn function(&self, kernel: Kernel) -> Result<sys::CUfunction, CudaError> {
        let lock = |error: PoisonError<_>| error.into_inner();
        let mut functions = self.shared.functions.lock().unwrap_or_else(lock);
        if let Some(function) = functions.get(&kernel) {
            return Ok(function.cu_function());
        }
        let module = self.module(kernel.file)?;
        let function = module
            .load_function(kernel.name)
            .map_err(|e| failed("cuModuleGetFunction", e))?;
        let handle = function.cu_function();
        functions.insert(kernel, function);
        Ok(handle)
    }

    fn module(&self, file: &'static str) -> Result<Arc<CudaModule>, CudaError> {
        let modules = &self.shared.modules;
        let mut modules = modules.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(module) = modules.get(file) {
            return Ok(module.clone());
        }
        let image = images::image(file, self.info().capability)?;
        let module = self
            .context()
            .load_module(Ptx::from_binary(image))
            .map_err(|e| failed("cuModuleLoadData", e))?;
        modules.insert(file, module.clone());
        Ok(module)
    }

    /// Launches `kernel`.
    ///
    /// # Errors
    /// As [`Device::load`]; what the driver says of the launch.
    ///
    /// # Safety
    /// `parameters` are the kernel's own, and every address in them is of memory of this device that
    /// holds what the kernel reads and writes by them until the stream has done the work.
    pub unsafe fn launch<P: Parameters>(
        &self,
        kernel: Kernel,
        grid: Grid,
        parameters: &P,
    ) -> Result<(), CudaError> {
        let (x, y, z) = grid.blocks;
        if x == 0 || y == 0 || z == 0 {
            return Ok(());
        }
        let function = self.function(kernel)?;
        let shared = &self.shared;
        shared
            .context
            .bind_to_thread()
            .map_err(|e| failed("cuCtxSetCurrent", e))?;
        if grid.shared > PLAIN_SHARED {
            let most = sys::CUfunction_attribute::CU_FUNC_ATTRIBUTE_MAX_DYNAMIC_SHARED_SIZE_BYTES;
            // SAFETY: the function is of a module that this device keeps.
            unsafe { result::function::set_function_attribute(function, most, grid.shared as i32) }
                .map_err(|e| failed("cuFuncSetAttribute", e))?;
        }
        let mut arguments = [std::ptr::from_ref(parameters).cast::<c_void>().cast_mut()];
        // SAFETY: the caller's promise; the driver copies the parameters before it returns.
        unsafe {
            result::launch_kernel(
                function,
                grid.blocks,
                (grid.threads, 1, 1),
                grid.shared,
                shared.stream.cu_stream(),
                &mut arguments,
            )
        }
        .map_err(|error| match failed("cuLaunchKernel", error) {
            CudaError::Driver { call, reason } => CudaError::Driver {
                call,
                reason: format!("{}: {reason}", kernel.name),
            },
            other => other,
        })
    }
}

/// The error of a `call` that the driver refused.
pub(crate) fn failed(call: &'static str, error: result::DriverError) -> CudaError {
    use sys::CUresult as Code;
    match error.0 {
        Code::CUDA_ERROR_DEVICE_UNAVAILABLE
        | Code::CUDA_ERROR_ILLEGAL_ADDRESS
        | Code::CUDA_ERROR_LAUNCH_FAILED
        | Code::CUDA_ERROR_ECC_UNCORRECTABLE
        | Code::CUDA_ERROR_HARDWARE_STACK_ERROR
        | Code::CUDA_ERROR_ILLEGAL_INSTRUCTION
        | Code::CUDA_ERROR_MISALIGNED_ADDRESS
        | Code::CUDA_ERROR_INVALID_ADDRESS_SPACE
        | Code::CUDA_ERROR_INVALID_PC
        | Code::CUDA_ERROR_CONTEXT_IS_DESTROYED
        | Code::CUDA_ERROR_LAUNCH_TIMEOUT
        | Code::CUDA_ERROR_UNKNOWN => CudaError::Lost(format!("{call}: {}", reason(error))),
        _ => CudaError::Driver {
            call,
            reason: reason(error),
        },
    }
}
