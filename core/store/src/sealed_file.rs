//! Files of the user's own, outside a home, that notice any change to their bytes.

use std::path::Path;

use crate::atomic_file::{remove, replace};
use crate::envelope::read;
use crate::error::{Result, StoreError};

/// Writes `bytes` and their CRC-32 to `file`, which others see whole or not at all; what was there is
/// replaced.
///
/// # Errors
/// `Invalid` where `file` names no file, `Io` naming the file otherwise.
pub fn write_sealed(file: &Path, bytes: &[u8]) -> Result<()> {
    let Some(name) = file.file_name() else {
        let shown = file.display();
        return Err(StoreError::invalid("path", shown, "the path of a file"));
    };
    let mut temporary = name.to_owned();
    temporary.push(format!(".{}.partial", std::process::id()));
    let temporary = file.with_file_name(temporary);
    let sealed = [bytes, &crc32fast::hash(bytes).to_le_bytes()].concat();
    replace(file, &temporary, &sealed).inspect_err(|_| {
        // What was tried is reported; a remnant is no error of its own.
        let _ = remove(&temporary);
    })
}

/// The bytes that [`write_sealed`] wrote to `file`.
///
/// # Errors
/// `NotFound` where there is no such file, `Corrupt` where any byte differs from what was written.
pub fn read_sealed(file: &Path) -> Result<Vec<u8>> {
    let Some(mut bytes) = read(file)? else {
        return Err(StoreError::NotFound {
            resource: file.display().to_string(),
        });
    };
    match bytes.split_last_chunk::<4>() {
        Some((value, crc)) if crc32fast::hash(value) == u32::from_le_bytes(*crc) => {}
        _ => return Err(StoreError::corrupt(file, "its checksum does not match")),
    }
    bytes.truncate(bytes.len() - 4);
    Ok(bytes)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn every_flipped_byte_and_every_cut_is_noticed() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("a.prefix");
        write_sealed(&file, b"before").unwrap();
        write_sealed(&file, b"some bytes").unwrap();
        assert_eq!(read_sealed(&file).unwrap(), b"some bytes");
        assert_eq!(std::fs::read_dir(folder.path()).unwrap().count(), 1);
        let sealed = std::fs::read(&file).unwrap();
        for at in 0..sealed.len() {
            let mut flipped = sealed.clone();
            flipped[at] ^= 0x10;
            for wrong in [&flipped[..], &sealed[..at]] {
                std::fs::write(&file, wrong).unwrap();
                let error = read_sealed(&file).unwrap_err();
                assert!(matches!(error, StoreError::Corrupt { .. }), "{error}");
            }
        }
        std::fs::remove_file(&file).unwrap();
        let error = read_sealed(&file).unwrap_err();
        assert!(matches!(error, StoreError::NotFound { .. }), "{error}");
    }
}
