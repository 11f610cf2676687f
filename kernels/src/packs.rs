//! The packs of compiled kernels that `make kernels` makes and `build.rs` puts in.

use std::collections::HashMap;
use std::io::Read;
use std::sync::{Mutex, PoisonError};

/// Architecture and pack.
static PACKS: &[(&str, &[u8])] = include!(concat!(env!("OUT_DIR"), "/packs.rs"));

/// Letters before a pack's compressed part: its mark and the hash of its sources.
const HEAD: usize = 8 + 64;

/// Ending of the files whose kernels use what only Hopper has.
const HOPPER: &str = "_sm90";

type Images = HashMap<String, Vec<u8>>;

static OPENED: Mutex<Option<HashMap<&'static str, Images>>> = Mutex::new(None);

/// The architectures that this build carries images of; none where it was built without.
pub fn image_architectures() -> Vec<&'static str> {
    PACKS.iter().map(|(target, _)| *target).collect()
}

/// Bytes that the images of this build take, compressed.
pub fn image_bytes() -> usize {
    PACKS.iter().map(|(_, pack)| pack.len()).sum()
}

/// What runs on a GPU of this capability, the best first. Images of 8.0 run on every 8.x; PTX is for
/// chips that came later than this build.
fn targets(file: &str, capability: (i32, i32)) -> &'static [&'static str] {
    match capability {
        (9, 0) if file.ends_with(HOPPER) => &["sm_90a"],
        _ if file.ends_with(HOPPER) => &[],
        (8, 0) => &["sm_80", "compute_80"],
        (8, 6 | 7) => &["sm_86", "sm_80", "compute_80"],
        (8, 9) => &["sm_89", "sm_86", "sm_80", "compute_80"],
        (9, 0) => &["sm_90", "compute_80"],
        (10, _) => &["sm_100", "compute_80"],
        (12, _) => &["sm_120", "compute_80"],
        (major, _) if major > 8 => &["compute_80"],
        _ => &[],
    }
}

/// The image of `file` that runs on a GPU of this capability.
///
/// # Errors
/// Why there is none.
pub(crate) fn find(file: &str, capability: (i32, i32)) -> Result<Vec<u8>, String> {
    if PACKS.is_empty() {
        return Err("this build carries no CUDA images".to_owned());
    }
    for target in targets(file, capability) {
        let Some(&(target, pack)) = PACKS.iter().find(|(name, _)| name == target) else {
            continue;
        };
        let mut opened = OPENED.lock().unwrap_or_else(PoisonError::into_inner);
        let opened = opened.get_or_insert_default();
        if !opened.contains_key(target) {
            opened.insert(
                target,
                open(pack).map_err(|e| format!("the pack of {target}: {e}"))?,
            );
        }
        if let Some(image) = opened.get(target).and_then(|images| images.get(file)) {
            return Ok(image.clone());
        }
    }
    Err(format!(
        "this build carries images for {}",
        image_architectures().join(", ")
    ))
}

/// Reads a pack: see `build.py`.
fn open(pack: &[u8]) -> Result<Images, String> {
    let mut bytes = Vec::new();
    let stream = pack.get(HEAD..).ok_or("it is cut short")?;
    flate2::read::ZlibDecoder::new(stream)
        .read_to_end(&mut bytes)
        .map_err(|e| e.to_string())?;
    let word = |at: usize| -> Result<usize, String> {
        let four = bytes.get(at..at + 4).and_then(|four| four.try_into().ok());
        Ok(u32::from_le_bytes(four.ok_or("it is cut short")?) as usize)
    };
    let count = word(0)?;
    let mut at = 4 + 8 * count;
    let mut images = Images::new();
    for i in 0..count {
        let (name, size) = (word(4 + 8 * i)?, word(8 + 8 * i)?);
        let all = bytes.get(at..at + name + size).ok_or("it is cut short")?;
        let (name, image) = all.split_at(name);
        images.insert(String::from_utf8_lossy(name).into_owned(), image.to_vec());
        at += name.len() + size;
    }
    Ok(images)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_chip_gets_its_own_images_or_those_that_run_on_it() {
        assert_eq!(targets("norm", (8, 0))[0], "sm_80");
        assert_eq!(targets("norm", (8, 7))[0], "sm_86");
        assert_eq!(targets("norm", (9, 0))[0], "sm_90");
        assert_eq!(targets("attention_sm90", (9, 0)), ["sm_90a"]);
        assert!(targets("attention_sm90", (10, 0)).is_empty());
        assert_eq!(targets("norm", (10, 3))[0], "sm_100");
        assert_eq!(targets("norm", (13, 0)), ["compute_80"]);
        assert!(targets("norm", (7, 5)).is_empty());
    }

    #[test]
    fn packs_that_are_built_in_can_be_read() {
        for (target, pack) in PACKS {
            let images = open(pack).unwrap_or_default();
            assert!(!images.is_empty(), "{target}");
            for (file, image) in images {
                let is_image = image.starts_with(b"\x7fELF") || image.starts_with(b"//");
                assert!(is_image, "{target}: {file}");
            }
        }
        assert!(open(&[0; 80]).is_err());
    }
}
