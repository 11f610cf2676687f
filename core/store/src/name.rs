//! Ids as file names: any id becomes one name inside its folder, and back.

use crate::error::{Result, StoreError};

/// The longest file name that an id may become, in bytes: every file system in use takes 255.
const MAX_NAME: usize = 200;

fn is_plain(byte: u8, first: bool) -> bool {
    byte.is_ascii_alphanumeric() || byte == b'-' || byte == b'_' || (byte == b'.' && !first)
}

/// The file name of an id: letters, digits, `-`, `_` and inner dots stay, other bytes become `%XX`.
pub(crate) fn escape(field: &'static str, id: &str) -> Result<String> {
    let mut name = String::with_capacity(id.len());
    for (at, byte) in id.bytes().enumerate() {
        if is_plain(byte, at == 0) {
            name.push(byte as char);
        } else {
            name.push_str(&format!("%{byte:02X}"));
        }
    }
    if name.is_empty() || name.len() > MAX_NAME {
        let expected =
            format!("1 to {MAX_NAME} bytes, signs other than letters, digits, - _ . counted as 3");
        return Err(StoreError::invalid(field, format!("{id:?}"), expected));
    }
    Ok(name)
}

/// The id of a file name; none where [`escape`] never gives that name.
pub(crate) fn unescape(name: &str) -> Option<String> {
    let mut bytes = Vec::with_capacity(name.len());
    let mut rest = name.as_bytes();
    while let Some((&byte, tail)) = rest.split_first() {
        if byte == b'%' {
            let digits = std::str::from_utf8(tail.get(..2)?).ok()?;
            bytes.push(u8::from_str_radix(digits, 16).ok()?);
            rest = tail.get(2..)?;
        } else {
            bytes.push(byte);
            rest = tail;
        }
    }
    let id = String::from_utf8(bytes).ok()?;
    (escape("id", &id).ok()? == name).then_some(id)
}

/// Checks a file's name inside a model's folder: relative, `/` between parts, no part that leaves the folder.
pub(crate) fn check_relative(name: &str) -> Result<()> {
    let part_is_sound = |part: &str| {
        !part.is_empty()
            && part != "."
            && part != ".."
            && part.len() <= MAX_NAME
            && !part.contains(['\\', ':', '\0'])
    };
    if name.split('/').all(part_is_sound) && !name.ends_with(".part") {
        return Ok(());
    }
    let expected = "a relative path of plain parts, not ending in .part";
    Err(StoreError::invalid("file", format!("{name:?}"), expected))
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn every_id_comes_back_and_stays_inside(id in "\\PC{1,40}|[./%\\\\a-c]{1,20}") {
            let name = match escape("id", &id) { Ok(name) => name, Err(_) => return Ok(()) };
            prop_assert!(!name.contains(['/', '\\', '\0', ':']) && !name.starts_with('.'));
            prop_assert_eq!(unescape(&name), Some(id));
        }
    }

    #[test]
    fn names_that_leave_the_folder_are_refused() {
        for name in [
            "",
            "/etc/passwd",
            "../x",
            "a/../b",
            "a//b",
            "a\\b",
            "c:x",
            "x.part",
        ] {
            assert!(check_relative(name).is_err(), "{name}");
        }
        for name in [
            "config.json",
            "onnx/model.onnx",
            "model-00001-of-00002.safetensors",
        ] {
            check_relative(name).unwrap();
        }
        assert!(escape("id", "").is_err());
        assert!(unescape("a%2fb").is_none(), "lower case is never written");
    }
}
