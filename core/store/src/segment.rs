//! Segments: immutable files of chunks, their vectors and the texts they were cut from, read in place.

use std::fs::{self, File};
use std::io::{BufWriter, Seek, SeekFrom, Write};
use std::ops::Range;
use std::path::{Path, PathBuf};

use crate::error::{Result, StoreError};
use crate::mapping::Mapping;
use crate::segment_layout::{
    CHUNK_ENDS, CHUNKS, HEADER_LEN, Header, NAMES, SECTIONS, Section, TEXT_ENDS, TEXTS, VECTORS,
    align, u64_at,
};

/// An open segment: mapped, and every byte of it checked.
#[derive(Debug)]
pub struct Segment {
    path: PathBuf,
    map: Mapping,
    header: Header,
}

impl Segment {
    /// Maps and verifies the segment at `path`; none where there is no such file.
    pub(crate) fn open(path: &Path) -> Result<Option<Self>> {
        let file = match File::open(path) {
            Ok(file) => file,
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(None),
            Err(error) => return Err(StoreError::io("open", path)(error)),
        };
        let len = file.metadata().map_err(StoreError::io("read", path))?.len();
        if len < HEADER_LEN {
            let detail = format!("it is {len} bytes long, shorter than its header");
            return Err(StoreError::corrupt(path, detail));
        }
        let map = Mapping::of(&file, path)?;
        let header = Header::parse(path, map.bytes())?;
        let segment = Self {
            path: path.to_path_buf(),
            map,
            header,
        };
        segment.verify()?;
        Ok(Some(segment))
    }

    fn verify(&self) -> Result<()> {
        let broken = |detail: String| Err(StoreError::corrupt(&self.path, detail));
        let mut end = HEADER_LEN as usize;
        for (which, name) in NAMES.iter().enumerate() {
            let range = self.range(which);
            let gap = self.map.bytes().get(end..range.start).unwrap_or(&[1]);
            if gap.iter().any(|&byte| byte != 0) {
                return broken(format!("the bytes before its {name} are not zero"));
            }
            end = range.end;
            let stored = self.header.sections.get(which).map(|s| s.crc);
            if Some(crc32fast::hash(self.section(which))) != stored {
                return broken(format!("the checksum of its {name} does not match"));
            }
        }
        for (ends, data) in [(CHUNK_ENDS, CHUNKS), (TEXT_ENDS, TEXTS)] {
            let mut last = 0;
            for at in (0..self.section(ends).len()).step_by(8) {
                let next = u64_at(self.section(ends), at).unwrap_or(0);
                if next < last {
                    return broken(format!("its {} does not ascend", NAMES[ends]));
                }
                last = next;
            }
            if last != self.section(data).len() as u64 {
                return broken(format!(
                    "its {} does not end where its data does",
                    NAMES[ends]
                ));
            }
        }
        if self.map.floats(self.range(VECTORS)).is_none() {
            return broken("its vectors are not aligned".to_owned());
        }
        Ok(())
    }

    fn range(&self, which: usize) -> Range<usize> {
        let section = self.header.sections.get(which).copied().unwrap_or_default();
        // Both fit, because `Header::parse` compared them with the length of a mapped file.
        section.offset as usize..(section.offset + section.len) as usize
    }

    fn section(&self, which: usize) -> &[u8] {
        self.map.bytes().get(self.range(which)).unwrap_or_default()
    }

    fn item(&self, ends: usize, data: usize, i: usize) -> Option<&[u8]> {
        let ends = self.section(ends);
        let start = match i.checked_sub(1) {
            Some(before) => u64_at(ends, before.checked_mul(8)?)?,
            None => 0,
        };
        let end = u64_at(ends, i.checked_mul(8)?)?;
        self.section(data).get(start as usize..end as usize)
    }

    /// The checksum of the header, which covers those of the sections.
    pub(crate) fn crc(&self) -> u32 {
        self.header.crc()
    }

    /// The segment's file.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// The length of a vector.
    pub fn dims(&self) -> usize {
        self.header.dims as usize
    }

    /// How many chunks, and so vectors, it holds, those of deleted documents included.
    pub fn chunk_count(&self) -> usize {
        self.header.chunks as usize
    }

    /// How many documents' texts it holds.
    pub(crate) fn text_count(&self) -> usize {
        self.header.texts as usize
    }

    /// The stored bytes of chunk `i`, JSON as the writer gave it.
    pub fn chunk(&self, i: usize) -> Option<&[u8]> {
        self.item(CHUNK_ENDS, CHUNKS, i)
    }

    pub(crate) fn text(&self, i: usize) -> Option<&[u8]> {
        self.item(TEXT_ENDS, TEXTS, i)
    }

    /// The vectors, (chunks, dims) row-major, 64-byte aligned, in the mapped file itself.
    pub fn vectors(&self) -> &[f32] {
        self.map.floats(self.range(VECTORS)).unwrap_or_default()
    }
}

/// What a segment is written from, borrowed: a merge copies nothing into memory.
#[derive(Debug, Default)]
pub(crate) struct Contents<'a> {
    pub(crate) dims: usize,
    pub(crate) chunks: Vec<&'a [u8]>,
    pub(crate) texts: Vec<&'a [u8]>,
    /// Runs of whole rows, in the order of the chunks.
    pub(crate) vectors: Vec<&'a [f32]>,
}

impl Contents<'_> {
    /// Writes and flushes the segment to `path`, and gives the checksum of its header.
    pub(crate) fn write(&self, path: &Path) -> Result<u32> {
        match self.write_file(path) {
            Ok(written) => Ok(written),
            Err(error) => {
                // On a full disk the half-written file would stand in the way of the next attempt.
                let _ = fs::remove_file(path);
                Err(StoreError::io("write", path)(error))
            }
        }
    }

    fn write_file(&self, path: &Path) -> std::io::Result<u32> {
        let mut out = SectionWriter {
            file: BufWriter::with_capacity(1 << 20, File::create(path)?),
            offset: HEADER_LEN,
            sections: Vec::with_capacity(SECTIONS),
        };
        out.file.write_all(&[0; HEADER_LEN as usize])?;
        for items in [&self.chunks, &self.texts] {
            let mut end = 0u64;
            let ends = items.iter().map(|item| {
                end += item.len() as u64;
                end.to_le_bytes()
            });
            out.section(ends)?;
            out.section(items.iter())?;
        }
        let floats = self.vectors.iter().flat_map(|rows| rows.chunks(4096));
        out.section(floats.map(|part| {
            part.iter()
                .flat_map(|value| value.to_le_bytes())
                .collect::<Vec<u8>>()
        }))?;
        let mut sections = [Section::default(); SECTIONS];
        sections.copy_from_slice(&out.sections);
        let header = Header {
            dims: self.dims as u32,
            chunks: self.chunks.len() as u64,
            texts: self.texts.len() as u64,
            sections,
        };
        out.file.seek(SeekFrom::Start(0))?;
        out.file.write_all(&header.to_bytes())?;
        let file = out.file.into_inner().map_err(|error| error.into_error())?;
        file.sync_all()?;
        Ok(header.crc())
    }
}

/// Writes sections one behind the other, each aligned and summed.
struct SectionWriter {
    file: BufWriter<File>,
    offset: u64,
    sections: Vec<Section>,
}

impl SectionWriter {
    fn section(&mut self, parts: impl Iterator<Item = impl AsRef<[u8]>>) -> std::io::Result<()> {
        let start = align(self.offset).ok_or(std::io::ErrorKind::FileTooLarge)?;
        let padding = [0u8; 64];
        self.file.write_all(
            padding
                .get(..(start - self.offset) as usize)
                .unwrap_or_default(),
        )?;
        let mut hasher = crc32fast::Hasher::new();
        let mut len = 0u64;
        for part in parts {
            hasher.update(part.as_ref());
            len += part.as_ref().len() as u64;
            self.file.write_all(part.as_ref())?;
        }
        self.offset = start + len;
        self.sections.push(Section {
            offset: start,
            len,
            crc: hasher.finalize(),
        });
        Ok(())
    }
}
