//! Files mapped into memory for reading.

use std::fs::File;
use std::path::Path;
use std::sync::Arc;

use memmap2::Mmap;

/// Maps a whole file for reading; for use with [`crate::Bytes::mapped`].
///
/// # Errors
/// The system's reason where the file cannot be opened or mapped.
pub fn map_file(path: &Path) -> std::io::Result<Arc<Mmap>> {
    let file = File::open(path)?;
    // SAFETY: the mapping is private and only read. Weights files are not written to while a model
    // is open; a process that cuts one short ends this one by a signal, as it does for any mapping.
    Ok(Arc::new(unsafe { Mmap::map(&file) }?))
}
