//! The manifest of a collection: which segments and documents one generation consists of.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use crate::envelope;
use crate::error::{Result, StoreError};

pub(crate) const WHAT: &str = "manifest";

/// One segment of a generation.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct SegmentEntry {
    /// The generation that wrote it, which is its name.
    pub(crate) id: u64,
    pub(crate) chunks: u32,
    /// Of its header, so that a segment of another collection is not taken for this one.
    pub(crate) crc32: u32,
}

/// What a collection knows of a document.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct DocumentEntry {
    /// SHA-256 of the content it was parsed from, as the writer gave it.
    pub sha256: String,
    /// The source it came from, as the writer gave it; none for one added directly.
    pub source: Option<String>,
    /// Whatever the writer keeps with it.
    pub metadata: serde_json::Value,
    pub(crate) segment: u64,
    pub(crate) text: u32,
    pub(crate) first_chunk: u32,
    /// How many chunks it was cut into.
    pub chunk_count: u32,
}

/// One generation of a collection.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub(crate) struct Manifest {
    /// First, so that the file's fingerprint holds it.
    pub(crate) generation: u64,
    /// The length of a vector; none until the first is stored.
    pub(crate) dims: Option<u32>,
    pub(crate) segments: Vec<SegmentEntry>,
    pub(crate) sources: Vec<serde_json::Value>,
    pub(crate) documents: BTreeMap<String, DocumentEntry>,
}

/// The file of the segment `id` in a collection's folder.
pub(crate) fn segment_file(folder: &Path, id: u64) -> PathBuf {
    folder.join("segments").join(format!("{id:016x}.seg"))
}

impl Manifest {
    pub(crate) fn file(folder: &Path) -> PathBuf {
        folder.join("manifest.json")
    }

    /// The manifest of the collection in `folder`, or none where there is no collection.
    pub(crate) fn read(folder: &Path) -> Result<Option<Self>> {
        let file = Self::file(folder);
        let Some(bytes) = envelope::read(&file)? else {
            return Ok(None);
        };
        match envelope::unseal(&file, WHAT, &bytes) {
            Ok(manifest) => Ok(Some(manifest)),
            Err(StoreError::Corrupt { file, detail }) => Err(StoreError::Corrupt {
                file,
                detail: format!(
                    "{detail}; delete the knowledge base, create it again and sync its sources"
                ),
            }),
            Err(error) => Err(error),
        }
    }

    /// Chunks in the segments, and how many of them belong to a document.
    pub(crate) fn rows(&self) -> (u64, u64) {
        let all = self.segments.iter().map(|s| u64::from(s.chunks)).sum();
        let live = self.documents.values().map(|d| u64::from(d.chunk_count));
        (all, live.sum())
    }
}
