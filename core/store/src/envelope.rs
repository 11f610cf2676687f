//! JSON files that notice any change to their bytes.
//!
//! A file is `{"outcrop":"<what>","format":<n>,"crc32":"<8 hex digits>","value":<JSON>}` and a newline, with
//! exactly these bytes around the value. The checksum covers what, format and value.

use std::fs::File;
use std::io::Read;
use std::path::Path;

use serde::Serialize;
use serde::de::DeserializeOwned;

use crate::error::{Result, StoreError};

/// The newest format of `home.json`, records and manifests.
pub(crate) const FORMAT: u32 = 1;

const END: &[u8] = b"}\n";

/// How many bytes at a file's start hold the checksum.
pub(crate) const FINGERPRINT: usize = 128;

fn prefix(what: &str, format: u32, crc: u32) -> String {
    format!("{{\"outcrop\":\"{what}\",\"format\":{format},\"crc32\":\"{crc:08x}\",\"value\":")
}

fn checksum(what: &str, format: u32, value: &[u8]) -> u32 {
    let mut hasher = crc32fast::Hasher::new();
    hasher.update(what.as_bytes());
    hasher.update(&format.to_le_bytes());
    hasher.update(value);
    hasher.finalize()
}

/// The bytes of a file that holds `value`.
pub(crate) fn seal<T: Serialize + ?Sized>(what: &'static str, value: &T) -> Result<Vec<u8>> {
    let value = serde_json::to_vec(value)
        .map_err(|error| StoreError::invalid(what, error, "a value that JSON can hold"))?;
    let mut bytes = prefix(what, FORMAT, checksum(what, FORMAT, &value)).into_bytes();
    bytes.extend_from_slice(&value);
    bytes.extend_from_slice(END);
    Ok(bytes)
}

/// The value in the bytes of `file`.
///
/// # Errors
/// `Corrupt` where any byte differs from what was written, `NewerFormat` where the file is sound but later.
pub(crate) fn unseal<T: DeserializeOwned>(file: &Path, what: &str, bytes: &[u8]) -> Result<T> {
    let broken = |detail: &str| StoreError::corrupt(file, detail);
    let (format, crc, value) =
        split(what, bytes).ok_or_else(|| broken("it does not begin and end as it was written"))?;
    if checksum(what, format, value) != crc {
        return Err(broken("its checksum does not match"));
    }
    if format > FORMAT {
        return Err(StoreError::NewerFormat {
            file: file.to_path_buf(),
            found: format,
            known: FORMAT,
        });
    }
    serde_json::from_slice(value)
        .map_err(|error| broken(&format!("its value is not what was expected: {error}")))
}

/// Format, checksum and value; none where the bytes around the value are not those that [`seal`] writes.
fn split<'a>(what: &str, bytes: &'a [u8]) -> Option<(u32, u32, &'a [u8])> {
    let rest = bytes.strip_prefix(format!("{{\"outcrop\":\"{what}\",\"format\":").as_bytes())?;
    let digits = rest.iter().take(10).take_while(|b| b.is_ascii_digit());
    let digits = rest.get(..digits.count())?;
    let format: u32 = std::str::from_utf8(digits).ok()?.parse().ok()?;
    let rest = rest.get(digits.len()..)?.strip_prefix(b",\"crc32\":\"")?;
    let crc = std::str::from_utf8(rest.get(..8)?).ok()?;
    let crc = u32::from_str_radix(crc, 16).ok()?;
    // Rendered again and compared, so that two spellings of one number are not both accepted.
    let prefix = prefix(what, format, crc);
    let value = bytes.strip_prefix(prefix.as_bytes())?.strip_suffix(END)?;
    Some((format, crc, value))
}

/// Reads a whole file; none where there is no such file.
pub(crate) fn read(file: &Path) -> Result<Option<Vec<u8>>> {
    match std::fs::read(file) {
        Ok(bytes) => Ok(Some(bytes)),
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(None),
        Err(error) => Err(StoreError::io("read", file)(error)),
    }
}

/// A few bytes that change with every change of the file's value; none where there is no such file.
pub(crate) fn fingerprint(file: &Path) -> Result<Option<Vec<u8>>> {
    let mut bytes = Vec::with_capacity(FINGERPRINT);
    match File::open(file).and_then(|f| f.take(FINGERPRINT as u64).read_to_end(&mut bytes)) {
        Ok(_) => Ok(Some(bytes)),
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(None),
        Err(error) => Err(StoreError::io("read", file)(error)),
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn a_sealed_file_is_json_and_opens_to_its_value() {
        let bytes = seal("record", &vec!["a", "}\n"]).unwrap();
        let json: serde_json::Value = serde_json::from_slice(&bytes).unwrap();
        assert_eq!(json["value"][0], "a");
        let value: Vec<String> = unseal(Path::new("x"), "record", &bytes).unwrap();
        assert_eq!(value, ["a", "}\n"]);
    }

    #[test]
    fn every_flipped_bit_and_every_cut_is_corrupt() {
        let bytes = seal("record", &serde_json::json!({"name": "policies", "n": 12})).unwrap();
        let open = |bytes: &[u8]| unseal::<serde_json::Value>(Path::new("x"), "record", bytes);
        for at in 0..bytes.len() {
            assert!(matches!(
                open(&bytes[..at]),
                Err(StoreError::Corrupt { .. })
            ));
            for bit in 0..8 {
                let mut flipped = bytes.clone();
                flipped[at] ^= 1 << bit;
                let error = open(&flipped).unwrap_err();
                assert!(matches!(error, StoreError::Corrupt { .. }), "{at}.{bit}");
            }
        }
    }

    #[test]
    fn a_newer_format_is_told_from_damage() {
        let value = b"{}";
        let crc = checksum("home", FORMAT + 1, value);
        let bytes = [prefix("home", FORMAT + 1, crc).as_bytes(), value, END].concat();
        let error =
            unseal::<serde_json::Value>(Path::new("home.json"), "home", &bytes).unwrap_err();
        assert!(matches!(
            error,
            StoreError::NewerFormat {
                found: 2,
                known: 1,
                ..
            }
        ));
    }
}
