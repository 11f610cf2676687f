//! Memory of a GPU, and pinned memory beside it.

use std::marker::PhantomData;
use std::ops::Range;

use cudarc::driver::{CudaSlice, DevicePtr, DeviceRepr, result, sys};

use crate::device::failed;
use crate::{CudaError, Device};

/// What a buffer holds: plain numbers.
///
/// # Safety
/// Any bytes are a value, and a value has no padding.
pub unsafe trait Element: Copy + DeviceRepr + Send + Sync + 'static {}

// SAFETY: plain numbers.
unsafe impl Element for u8 {}
// SAFETY: as above.
unsafe impl Element for i8 {}
// SAFETY: as above.
unsafe impl Element for u32 {}
// SAFETY: as above.
unsafe impl Element for u64 {}
// SAFETY: as above.
unsafe impl Element for i32 {}
// SAFETY: as above.
unsafe impl Element for f32 {}
// SAFETY: as above.
unsafe impl Element for u16 {}

/// Memory of a device, given back when it is dropped.
pub struct Buffer<T: Element> {
    device: Device,
    slice: CudaSlice<T>,
    address: u64,
}

/// Part of a buffer, to be read.
#[derive(Clone, Copy, Debug)]
pub struct View<'a, T> {
    pub(crate) address: u64,
    pub(crate) len: usize,
    life: PhantomData<&'a T>,
}

impl<'a> View<'a, u32> {
    /// The same words as floats.
    pub fn as_f32(self) -> View<'a, f32> {
        View {
            address: self.address,
            len: self.len,
            life: PhantomData,
        }
    }
}

/// Part of a buffer, to be written.
#[derive(Debug)]
pub struct ViewMut<'a, T> {
    pub(crate) address: u64,
    pub(crate) len: usize,
    life: PhantomData<&'a mut T>,
}

impl<T: Element> Buffer<T> {
    /// Room for `len` elements, at least 1, filled with zero bytes.
    ///
    /// # Errors
    /// [`CudaError::OutOfMemory`] where the device has no room; it goes on with what it has.
    pub fn zeroed(device: &Device, len: usize) -> Result<Self, CudaError> {
        let mut buffer = Self::uninitialised(device, len)?;
        buffer.clear()?;
        Ok(buffer)
    }

    /// Fills it with zero bytes, when the device comes to it.
    ///
    /// # Errors
    /// What the driver says.
    pub fn clear(&mut self) -> Result<(), CudaError> {
        self.bind()?;
        let stream = self.device.stream().cu_stream();
        // SAFETY: the buffer is as long.
        unsafe { result::memset_d8_async(self.address, 0, self.bytes(), stream) }
            .map_err(|e| failed("cuMemsetD8Async", e))
    }

    /// A copy of `values`.
    ///
    /// # Errors
    /// As [`Buffer::zeroed`].
    pub fn from_slice(device: &Device, values: &[T]) -> Result<Self, CudaError> {
        let mut buffer = Self::uninitialised(device, values.len())?;
        buffer.write(0, values)?;
        Ok(buffer)
    }

    fn uninitialised(device: &Device, len: usize) -> Result<Self, CudaError> {
        let bytes = (len.max(1) as u64).saturating_mul(size_of::<T>() as u64);
        let stream = device.stream();
        // SAFETY: every caller fills it before it is read.
        let slice = unsafe { stream.alloc::<T>(len.max(1)) }.map_err(|error| {
            if error.0 != sys::CUresult::CUDA_ERROR_OUT_OF_MEMORY {
                return failed("cuMemAlloc", error);
            }
            let (free, total) = device.memory().unwrap_or_default();
            CudaError::OutOfMemory { bytes, free, total }
        })?;
        let address = slice.device_ptr(stream).0;
        Ok(Self {
            device: device.clone(),
            slice,
            address,
        })
    }

    /// Number of elements.
    pub fn len(&self) -> usize {
        self.slice.len()
    }

    /// Whether it holds nothing. It never does.
    pub fn is_empty(&self) -> bool {
        self.slice.is_empty()
    }

    /// Its size.
    pub fn bytes(&self) -> usize {
        self.slice.num_bytes()
    }

    /// Where it is on the device.
    pub fn address(&self) -> u64 {
        self.address
    }

    /// The device that it is of.
    pub fn device(&self) -> &Device {
        &self.device
    }

    /// All of it.
    pub fn view(&self) -> View<'_, T> {
        View {
            address: self.address,
            len: self.len(),
            life: PhantomData,
        }
    }

    /// All of it, to be written.
    pub fn view_mut(&mut self) -> ViewMut<'_, T> {
        ViewMut {
            address: self.address,
            len: self.len(),
            life: PhantomData,
        }
    }

    /// The elements at `range`.
    ///
    /// # Errors
    /// [`CudaError::Shape`] for a range outside it.
    pub fn part(&self, range: Range<usize>) -> Result<View<'_, T>, CudaError> {
        self.check(&range)?;
        Ok(View {
            address: self.address + (range.start * size_of::<T>()) as u64,
            len: range.len(),
            life: PhantomData,
        })
    }

    /// The elements at `range`, to be written.
    ///
    /// # Errors
    /// As [`Buffer::part`].
    pub fn part_mut(&mut self, range: Range<usize>) -> Result<ViewMut<'_, T>, CudaError> {
        self.check(&range)?;
        Ok(ViewMut {
            address: self.address + (range.start * size_of::<T>()) as u64,
            len: range.len(),
            life: PhantomData,
        })
    }

    fn check(&self, range: &Range<usize>) -> Result<(), CudaError> {
        if range.start <= range.end && range.end <= self.len() {
            return Ok(());
        }
        Err(CudaError::Shape(format!(
            "elements {}..{} of a buffer of {}",
            range.start,
            range.end,
            self.len()
        )))
    }

    /// Copies `values` to the elements from `start` on, and waits until they are read.
    ///
    /// # Errors
    /// As [`Buffer::part`]; what the driver says.
    pub fn write(&mut self, start: usize, values: &[T]) -> Result<(), CudaError> {
        self.write_slice(start, values)?;
        self.device.synchronize()
    }

    /// Copies the first `len` elements of `from` to the beginning, when the device comes to it: they
    /// stay as they are until then.
    ///
    /// # Errors
    /// As [`Buffer::write`].
    pub fn write_later(&mut self, from: &Pinned<T>, len: usize) -> Result<(), CudaError> {
        let values = from.as_slice().get(..len).ok_or_else(|| {
            CudaError::Shape(format!("{len} elements of pinned memory of {}", from.len))
        })?;
        self.write_slice(0, values)
    }

    fn write_slice(&mut self, start: usize, values: &[T]) -> Result<(), CudaError> {
        let to = self.part(start..start + values.len())?.address;
        self.bind()?;
        let stream = self.device.stream().cu_stream();
        // SAFETY: the part lies in the buffer; the values live until the device has read them.
        unsafe { result::memcpy_htod_async(to, values, stream) }
            .map_err(|e| failed("cuMemcpyHtoDAsync", e))
    }

    /// Copies the elements from `start` on to `out`, and waits until they are there.
    ///
    /// # Errors
    /// As [`Buffer::part`]; what the driver says.
    pub fn read(&self, start: usize, out: &mut [T]) -> Result<(), CudaError> {
        self.read_slice(start, out)?;
        self.device.synchronize()
    }

    /// Copies the first `len` elements to the beginning of `to`, when the device comes to it.
    ///
    /// # Errors
    /// As [`Buffer::read`].
    pub fn read_later(&self, to: &mut Pinned<T>, len: usize) -> Result<(), CudaError> {
        let room = to.len;
        let out = to.as_mut_slice().get_mut(..len).ok_or_else(|| {
            CudaError::Shape(format!("{len} elements to pinned memory of {room}"))
        })?;
        self.read_slice(0, out)
    }

    fn read_slice(&self, start: usize, out: &mut [T]) -> Result<(), CudaError> {
        let from = self.part(start..start + out.len())?.address;
        self.bind()?;
        let stream = self.device.stream().cu_stream();
        // SAFETY: the part lies in the buffer; `out` lives until the device has written it.
        unsafe { result::memcpy_dtoh_async(out, from, stream) }
            .map_err(|e| failed("cuMemcpyDtoHAsync", e))
    }

    /// A copy of all of it; waits for the device.
    ///
    /// # Errors
    /// What the driver says.
    pub fn to_vec(&self) -> Result<Vec<T>, CudaError>
    where
        T: Default,
    {
        let mut values = vec![T::default(); self.len()];
        self.read(0, &mut values)?;
        Ok(values)
    }

    /// Copies `len` elements within the buffer; the two parts do not overlap.
    ///
    /// # Errors
    /// As [`Buffer::part`]; what the driver says.
    pub fn copy_within(&mut self, from: usize, to: usize, len: usize) -> Result<(), CudaError> {
        let (source, target) = (self.part(from..from + len)?, self.part(to..to + len)?);
        self.bind()?;
        let stream = self.device.stream().cu_stream();
        let bytes = len * size_of::<T>();
        // SAFETY: both parts lie in the buffer.
        unsafe { result::memcpy_dtod_async(target.address, source.address, bytes, stream) }
            .map_err(|e| failed("cuMemcpyDtoDAsync", e))
    }

    fn bind(&self) -> Result<(), CudaError> {
        let context = self.device.context();
        context
            .bind_to_thread()
            .map_err(|e| failed("cuCtxSetCurrent", e))
    }
}

impl<T: Element> std::fmt::Debug for Buffer<T> {
    fn fmt(&self, out: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(out, "Buffer({} elements, {:?})", self.len(), self.device)
    }
}

/// Page-locked memory of the host: copies to and from it run beside the device's work.
pub struct Pinned<T: Element> {
    address: *mut T,
    len: usize,
    device: Device,
}

// SAFETY: plain memory that this owns.
unsafe impl<T: Element> Send for Pinned<T> {}

impl<T: Element> Pinned<T> {
    /// Room for `len` elements, at least 1, of zero bytes.
    ///
    /// # Errors
    /// What the driver says.
    pub fn zeroed(device: &Device, len: usize) -> Result<Self, CudaError> {
        let bytes = len.max(1) * size_of::<T>();
        let context = device.context();
        context
            .bind_to_thread()
            .map_err(|e| failed("cuCtxSetCurrent", e))?;
        // SAFETY: cached memory, which the processor reads too; filled before it is read.
        let address = unsafe { result::malloc_host(bytes, 0) }
            .map_err(|e| failed("cuMemHostAlloc", e))?
            .cast::<T>();
        // SAFETY: `bytes` bytes were given, and zeros are a value of every element.
        unsafe { std::ptr::write_bytes(address.cast::<u8>(), 0, bytes) };
        Ok(Self {
            address,
            len: len.max(1),
            device: device.clone(),
        })
    }

    /// The elements. Those that a copy is still filling are not to be read before
    /// [`Device::synchronize`].
    pub fn as_slice(&self) -> &[T] {
        // SAFETY: `len` elements, which are values whatever their bytes.
        unsafe { std::slice::from_raw_parts(self.address, self.len) }
    }

    /// The elements, to be written.
    pub fn as_mut_slice(&mut self) -> &mut [T] {
        // SAFETY: as above, and borrowed exclusively.
        unsafe { std::slice::from_raw_parts_mut(self.address, self.len) }
    }
}

impl<T: Element> Drop for Pinned<T> {
    fn drop(&mut self) {
        // A copy may be under way.
        let _ = self.device.synchronize();
        // SAFETY: from `malloc_host`, freed once.
        let _ = unsafe { result::free_host(self.address.cast()) };
    }
}

impl<T: Element> std::fmt::Debug for Pinned<T> {
    fn fmt(&self, out: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(out, "Pinned({} elements)", self.len)
    }
}
