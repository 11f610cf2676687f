//! SHA-256 in hexadecimal, by which events are bound to what they tell of.

use std::fmt::Write;

use serde::Serialize;
use sha2::{Digest, Sha256};

/// The digest of bytes.
pub fn of_bytes(bytes: &[u8]) -> String {
    let digest = Sha256::digest(bytes);
    let mut text = String::with_capacity(64);
    for byte in digest.iter() {
        let _ = write!(text, "{byte:02x}");
    }
    text
}

/// The digest of a value's JSON.
pub fn of_json(value: &impl Serialize) -> String {
    // Every value that is hashed here has a JSON form.
    of_bytes(&serde_json::to_vec(value).unwrap_or_default())
}
