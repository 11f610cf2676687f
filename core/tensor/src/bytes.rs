//! Bytes that are owned or lie in a mapped file, shared without a copy.

use std::ops::Range;
use std::sync::Arc;

use memmap2::Mmap;

use crate::TensorError;

#[derive(Clone)]
enum Storage {
    Owned(Arc<Vec<u8>>),
    Floats(Arc<Vec<f32>>),
    Mapped { map: Arc<Mmap>, range: Range<usize> },
}

/// Immutable bytes; cloning shares them.
#[derive(Clone)]
pub struct Bytes(Storage);

impl Bytes {
    /// Takes the bytes over.
    pub fn from_vec(bytes: Vec<u8>) -> Self {
        Self(Storage::Owned(Arc::new(bytes)))
    }

    /// Takes floats over, as their bytes on this machine.
    pub fn from_f32(values: Vec<f32>) -> Self {
        Self(Storage::Floats(Arc::new(values)))
    }

    /// A range of a mapped file.
    ///
    /// # Errors
    /// [`TensorError::OutOfFile`] if the range is not within the file.
    pub fn mapped(map: Arc<Mmap>, range: Range<usize>) -> Result<Self, TensorError> {
        if range.start > range.end || range.end > map.len() {
            return Err(TensorError::OutOfFile {
                start: range.start,
                end: range.end,
                len: map.len(),
            });
        }
        Ok(Self(Storage::Mapped { map, range }))
    }

    /// The bytes.
    pub fn as_slice(&self) -> &[u8] {
        match &self.0 {
            Storage::Owned(bytes) => bytes,
            Storage::Floats(values) => {
                // SAFETY: any float is four initialised bytes, and a byte needs no alignment.
                unsafe { std::slice::from_raw_parts(values.as_ptr().cast(), values.len() * 4) }
            }
            Storage::Mapped { map, range } => &map[range.clone()],
        }
    }

    /// Tells the system that a range of a mapped file will be read now, so that it maps the pages
    /// at once instead of one fault after the other.
    pub(crate) fn fetch(&self, part: Range<usize>) {
        #[cfg(target_os = "linux")]
        if let Storage::Mapped { map, range } = &self.0 {
            // A system that does not know the request maps the pages as they are read.
            let _ = map.advise_range(
                memmap2::Advice::PopulateRead,
                range.start + part.start,
                part.len(),
            );
        }
        let _ = part;
    }

    /// Lets the system take back the memory of a range of a mapped file; reading it again reads the
    /// file again. Other bytes stay.
    pub(crate) fn give_back(&self, part: Range<usize>) {
        #[cfg(unix)]
        if let Storage::Mapped { map, range } = &self.0 {
            let page = 4096;
            let start = (range.start + part.start).next_multiple_of(page);
            let end = (range.start + part.end) / page * page;
            if start < end {
                // SAFETY: the mapping is of a file and only read: its pages come back the same.
                // A refusal costs memory only.
                let _ = unsafe {
                    map.unchecked_advise_range(
                        memmap2::UncheckedAdvice::DontNeed,
                        start,
                        end - start,
                    )
                };
            }
        }
        let _ = part;
    }

    /// Number of bytes.
    pub fn len(&self) -> usize {
        self.as_slice().len()
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// The bytes as floats, if they are aligned so and the machine is little-endian.
    pub(crate) fn as_f32(&self) -> Option<&[f32]> {
        // SAFETY: every four bytes are a float; `align_to` gives back what is not aligned.
        let (head, floats, tail) = unsafe { self.as_slice().align_to::<f32>() };
        let native = cfg!(target_endian = "little") || matches!(self.0, Storage::Floats(_));
        (native && head.is_empty() && tail.is_empty()).then_some(floats)
    }
}

impl std::fmt::Debug for Bytes {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let kind = match &self.0 {
            Storage::Mapped { .. } => "mapped",
            _ => "owned",
        };
        write!(formatter, "Bytes({kind}, {})", self.len())
    }
}
