//! Floats that start on a cache line, so that no vector load crosses one.

use std::cell::RefCell;

/// One cache line of floats.
#[repr(C, align(64))]
#[derive(Clone, Copy)]
struct Line([f32; 16]);

/// A growable buffer of floats, aligned to 64 bytes.
#[derive(Clone, Default)]
pub(crate) struct AlignedFloats {
    lines: Vec<Line>,
    len: usize,
}

impl AlignedFloats {
    /// `len` zeros.
    pub(crate) fn zeroed(len: usize) -> Self {
        Self {
            lines: vec![Line([0.0; 16]); len.div_ceil(16)],
            len,
        }
    }

    /// Makes room for `len` floats; what they hold is unspecified.
    pub(crate) fn reserve(&mut self, len: usize) -> &mut [f32] {
        if self.lines.len() * 16 < len {
            self.lines.resize(len.div_ceil(16), Line([0.0; 16]));
        }
        self.len = self.len.max(len);
        let whole: &mut [f32] = self;
        &mut whole[..len]
    }
}

impl std::ops::Deref for AlignedFloats {
    type Target = [f32];
    fn deref(&self) -> &[f32] {
        // SAFETY: `lines` holds at least `len` floats: `Line` is 16 of them without padding.
        unsafe { std::slice::from_raw_parts(self.lines.as_ptr().cast(), self.len) }
    }
}

impl std::ops::DerefMut for AlignedFloats {
    fn deref_mut(&mut self) -> &mut [f32] {
        // SAFETY: as in `deref`, and `self` is borrowed mutably.
        unsafe { std::slice::from_raw_parts_mut(self.lines.as_mut_ptr().cast(), self.len) }
    }
}

thread_local! {
    static SCRATCH: RefCell<Vec<AlignedFloats>> = const { RefCell::new(Vec::new()) };
}

/// Lends this thread's scratch of `len` floats (contents unspecified) to `work`.
pub(crate) fn with_scratch<R>(len: usize, work: impl FnOnce(&mut [f32]) -> R) -> R {
    let mut buffer = SCRATCH
        .with(|stack| stack.borrow_mut().pop())
        .unwrap_or_default();
    let result = work(buffer.reserve(len));
    SCRATCH.with(|stack| stack.borrow_mut().push(buffer));
    result
}

/// A pointer that tasks share, each writing its own elements.
#[derive(Clone, Copy)]
pub(crate) struct SharedOut(*mut f32);

// SAFETY: the tasks of one operation write disjoint elements through it.
unsafe impl Send for SharedOut {}
// SAFETY: as above.
unsafe impl Sync for SharedOut {}

impl SharedOut {
    pub(crate) fn new(out: &mut [f32]) -> Self {
        Self(out.as_mut_ptr())
    }

    pub(crate) fn get(self) -> *mut f32 {
        self.0
    }

    /// The memory from element `start` on.
    ///
    /// # Safety
    /// It is within the memory.
    pub(crate) unsafe fn from(self, start: usize) -> Self {
        // SAFETY: passed on.
        Self(unsafe { self.0.add(start) })
    }
}
