//! Read-only memory maps of immutable files, the one place of this room with `unsafe`.

use std::fs::File;
use std::ops::Range;
use std::path::Path;

use memmap2::Mmap;

use crate::error::{Result, StoreError};

#[cfg(target_endian = "big")]
compile_error!("segments are little-endian and are read in place");

/// A mapped file, which stays readable after the file is deleted.
#[derive(Debug)]
pub(crate) struct Mapping {
    map: Mmap,
}

impl Mapping {
    /// Maps a file, which must not be empty.
    pub(crate) fn of(file: &File, path: &Path) -> Result<Self> {
        // SAFETY: segments are written under another name or before any manifest names them, and are never
        // changed afterwards, only deleted, which leaves a map intact. A foreign program that overwrites
        // the file while it is mapped breaks this for every program that maps files.
        let map = unsafe { Mmap::map(file) }.map_err(StoreError::io("map", path))?;
        Ok(Self { map })
    }

    pub(crate) fn bytes(&self) -> &[u8] {
        &self.map
    }

    /// The 32-bit floats in a range of bytes; none where it is outside the file, misaligned or no whole number.
    pub(crate) fn floats(&self, range: Range<usize>) -> Option<&[f32]> {
        let bytes = self.map.get(range)?;
        // SAFETY: every bit pattern is a valid f32, and `align_to` gives only the aligned middle.
        let (before, floats, after) = unsafe { bytes.align_to::<f32>() };
        (before.is_empty() && after.is_empty()).then_some(floats)
    }
}
