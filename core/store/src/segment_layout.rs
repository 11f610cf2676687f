//! The layout of a segment file: a header of fixed size and five sections behind it.
//!
//! ```text
//! 0    magic "OCSEGMT\0", format u32, dims u32, chunks u64, texts u64
//! 32   five sections, each: offset u64, length u64, crc32 u32, zero u32
//! 152  crc32 of the 152 bytes before it
//! 192  chunk ends (u64 each), chunk bytes, text ends (u64 each), text bytes, vectors (f32, row-major)
//! ```
//! All numbers are little-endian. A section begins at the next multiple of 64 behind the one before it, the
//! bytes between are zero, and the file ends with its last section: so no byte can change unseen.

use std::path::Path;

use crate::error::{Result, StoreError};

pub(crate) const MAGIC: [u8; 8] = *b"OCSEGMT\0";
pub(crate) const FORMAT: u32 = 1;
pub(crate) const ALIGNMENT: u64 = 64;
/// Where the first section begins.
pub(crate) const HEADER_LEN: u64 = 192;
const SECTIONS_AT: usize = 32;
const SECTION_LEN: usize = 24;
const CRC_AT: usize = SECTIONS_AT + SECTIONS * SECTION_LEN;
pub(crate) const SECTIONS: usize = 5;

pub(crate) const CHUNK_ENDS: usize = 0;
pub(crate) const CHUNKS: usize = 1;
pub(crate) const TEXT_ENDS: usize = 2;
pub(crate) const TEXTS: usize = 3;
pub(crate) const VECTORS: usize = 4;

/// The names of the sections, for messages.
pub(crate) const NAMES: [&str; SECTIONS] =
    ["chunk index", "chunks", "text index", "texts", "vectors"];

/// One section's place and checksum.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Section {
    pub(crate) offset: u64,
    pub(crate) len: u64,
    pub(crate) crc: u32,
}

/// What the header of a segment says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Header {
    pub(crate) dims: u32,
    pub(crate) chunks: u64,
    pub(crate) texts: u64,
    pub(crate) sections: [Section; SECTIONS],
}

/// The next multiple of the alignment.
pub(crate) fn align(offset: u64) -> Option<u64> {
    offset.checked_next_multiple_of(ALIGNMENT)
}

impl Header {
    /// The header's bytes with its checksum, and the zeros up to the first section.
    pub(crate) fn to_bytes(&self) -> Vec<u8> {
        let mut bytes = Vec::with_capacity(HEADER_LEN as usize);
        bytes.extend_from_slice(&MAGIC);
        bytes.extend_from_slice(&FORMAT.to_le_bytes());
        bytes.extend_from_slice(&self.dims.to_le_bytes());
        bytes.extend_from_slice(&self.chunks.to_le_bytes());
        bytes.extend_from_slice(&self.texts.to_le_bytes());
        for section in &self.sections {
            bytes.extend_from_slice(&section.offset.to_le_bytes());
            bytes.extend_from_slice(&section.len.to_le_bytes());
            bytes.extend_from_slice(&section.crc.to_le_bytes());
            bytes.extend_from_slice(&0u32.to_le_bytes());
        }
        let crc = crc32fast::hash(&bytes);
        bytes.extend_from_slice(&crc.to_le_bytes());
        bytes.resize(HEADER_LEN as usize, 0);
        bytes
    }

    /// The checksum that stands in the header, which stands for the whole file.
    pub(crate) fn crc(&self) -> u32 {
        u32_at(&self.to_bytes(), CRC_AT).unwrap_or_default()
    }

    /// Reads and checks the header of a file of these bytes, its sections' places included, their bytes not.
    pub(crate) fn parse(file: &Path, bytes: &[u8]) -> Result<Self> {
        let broken = |detail: String| StoreError::corrupt(file, detail);
        let head = bytes.get(..HEADER_LEN as usize).ok_or_else(|| {
            broken(format!(
                "it is {} bytes long, shorter than its header",
                bytes.len()
            ))
        })?;
        if !head.starts_with(&MAGIC) {
            return Err(broken("it does not begin as a segment does".into()));
        }
        let number = |at| u32_at(head, at).unwrap_or_default();
        let long = |at| u64_at(head, at).unwrap_or_default();
        if crc32fast::hash(head.get(..CRC_AT).unwrap_or_default()) != number(CRC_AT) {
            return Err(broken("the checksum of its header does not match".into()));
        }
        if number(8) > FORMAT {
            return Err(StoreError::NewerFormat {
                file: file.to_path_buf(),
                found: number(8),
                known: FORMAT,
            });
        }
        let mut sections = [Section::default(); SECTIONS];
        for (at, section) in (SECTIONS_AT..).step_by(SECTION_LEN).zip(&mut sections) {
            *section = Section {
                offset: long(at),
                len: long(at + 8),
                crc: number(at + 16),
            };
        }
        let header = Self {
            dims: number(12),
            chunks: long(16),
            texts: long(24),
            sections,
        };
        if header.to_bytes() != head {
            return Err(broken(
                "its header holds bytes that are never written".into(),
            ));
        }
        header.check_places(bytes.len() as u64).map_err(broken)?;
        Ok(header)
    }

    /// Every section must be where the layout puts it, and as long as the counts say, before any is touched.
    fn check_places(&self, file_len: u64) -> std::result::Result<(), String> {
        let lengths = [
            self.chunks.checked_mul(8),
            None,
            self.texts.checked_mul(8),
            None,
            self.chunks
                .checked_mul(u64::from(self.dims))
                .and_then(|n| n.checked_mul(4)),
        ];
        let free = [CHUNKS, TEXTS];
        let mut end = HEADER_LEN;
        for (i, section) in self.sections.iter().enumerate() {
            let expected_len = if free.contains(&i) {
                Some(section.len)
            } else {
                lengths.get(i).copied().flatten()
            };
            let name = NAMES.get(i).copied().unwrap_or_default();
            if Some(section.len) != expected_len || Some(section.offset) != align(end) {
                return Err(format!("the place of its {name} is impossible"));
            }
            end = section
                .offset
                .checked_add(section.len)
                .filter(|&end| end <= file_len)
                .ok_or_else(|| {
                    format!("its {name} end behind the end of the file, at {file_len} bytes")
                })?;
        }
        if end != file_len {
            return Err(format!("it is {file_len} bytes long, expected {end}"));
        }
        Ok(())
    }
}

pub(crate) fn u32_at(bytes: &[u8], at: usize) -> Option<u32> {
    let bytes = bytes.get(at..at.checked_add(4)?)?;
    bytes.try_into().ok().map(u32::from_le_bytes)
}

pub(crate) fn u64_at(bytes: &[u8], at: usize) -> Option<u64> {
    let bytes = bytes.get(at..at.checked_add(8)?)?;
    bytes.try_into().ok().map(u64::from_le_bytes)
}
