//! Files that other processes see whole or not at all, also after a power cut.

use std::fs::{self, File};
use std::io::Write;
use std::path::Path;

use crate::error::{Result, StoreError};

/// Replaces `target` by `bytes`: written to `temporary` in the same folder, flushed, renamed.
///
/// The caller holds the lock that makes `temporary` its own; what a killed writer left there is overwritten.
pub(crate) fn replace(target: &Path, temporary: &Path, bytes: &[u8]) -> Result<()> {
    let file = File::create(temporary).map_err(StoreError::io("create", temporary))?;
    fill(file, target, temporary, bytes)
}

/// [`replace`], with a file that only its owner may read.
pub(crate) fn replace_private(target: &Path, temporary: &Path, bytes: &[u8]) -> Result<()> {
    remove(temporary)?;
    let mut options = File::options();
    options.write(true).create_new(true);
    #[cfg(unix)]
    std::os::unix::fs::OpenOptionsExt::mode(&mut options, 0o600);
    let file = options
        .open(temporary)
        .map_err(StoreError::io("create", temporary))?;
    fill(file, target, temporary, bytes)
}

fn fill(mut file: File, target: &Path, temporary: &Path, bytes: &[u8]) -> Result<()> {
    file.write_all(bytes)
        .map_err(StoreError::io("write", temporary))?;
    file.sync_all()
        .map_err(StoreError::io("flush", temporary))?;
    drop(file);
    fs::rename(temporary, target).map_err(StoreError::io("replace", target))?;
    flush_parent(target)
}

/// Makes the names in `folder` durable. Where folders cannot be flushed, renames are durable by themselves.
pub(crate) fn flush_folder(folder: &Path) -> Result<()> {
    if cfg!(unix) {
        File::open(folder)
            .and_then(|folder| folder.sync_all())
            .map_err(StoreError::io("flush", folder))?;
    }
    Ok(())
}

/// Makes a rename or a removal of `path` durable.
pub(crate) fn flush_parent(path: &Path) -> Result<()> {
    match path.parent() {
        Some(folder) => flush_folder(folder),
        None => Ok(()),
    }
}

/// Removes a file; that it is gone already is no error.
pub(crate) fn remove(path: &Path) -> Result<bool> {
    match fs::remove_file(path) {
        Ok(()) => Ok(true),
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(false),
        Err(error) => Err(StoreError::io("delete", path)(error)),
    }
}
