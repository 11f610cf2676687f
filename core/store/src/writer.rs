//! The one writer of a collection: it stages documents, and commits them as one generation.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::sync::Arc;

use serde::Serialize;

use crate::atomic_file;
use crate::collection::Collection;
use crate::error::{Result, StoreError};
use crate::lock::FileLock;
use crate::manifest::{DocumentEntry, Manifest, SegmentEntry, segment_file};
use crate::segment::Contents;
use crate::snapshot::Snapshot;

/// Compaction is due above this many segments.
const MAX_SEGMENTS: usize = 8;
/// Compaction is due where more than one row in this many is dead.
const DEAD_ROW_DIVISOR: u64 = 5;
/// The largest value in a vector: dot products of 65,536 of them are still finite.
const MAX_VALUE: f32 = 1e15;
/// The longest vector.
const MAX_DIMS: usize = 65_536;

/// A document to store.
#[derive(Clone, Debug)]
pub struct NewDocument<C> {
    /// Its id, unique in the collection: a document of the same id is replaced.
    pub id: String,
    /// SHA-256 of the content it was parsed from.
    pub sha256: String,
    /// The source it came from; none for one added directly.
    pub source: Option<String>,
    /// Whatever the caller keeps with it; small, since every commit writes it again.
    pub metadata: serde_json::Value,
    /// Its whole text, kept so that citations can be checked.
    pub text: String,
    /// Its chunks, stored as JSON.
    pub chunks: Vec<C>,
    /// The chunks' vectors, (chunks, dims) row-major.
    pub vectors: Vec<f32>,
}

/// The writer of a collection, holding its lock until it is dropped. What is staged and not committed is lost.
#[derive(Debug)]
pub struct Writer {
    collection: Collection,
    base: Arc<Snapshot>,
    staged: Staged,
    _lock: FileLock,
}

/// Changes that the next commit will make.
#[derive(Debug, Default)]
struct Staged {
    dims: Option<u32>,
    chunks: Vec<Vec<u8>>,
    texts: Vec<String>,
    vectors: Vec<f32>,
    documents: BTreeMap<String, DocumentEntry>,
    deleted: BTreeSet<String>,
    sources: Option<Vec<serde_json::Value>>,
}

impl Writer {
    pub(crate) fn start(collection: Collection, lock: FileLock) -> Result<Self> {
        let base = collection.snapshot()?;
        let writer = Self {
            collection,
            base,
            staged: Staged::default(),
            _lock: lock,
        };
        writer.sweep()?;
        Ok(writer)
    }

    /// The generation that this writer builds on: the last committed one.
    pub fn snapshot(&self) -> &Arc<Snapshot> {
        &self.base
    }

    /// How many chunks are staged, so that a caller can commit in batches.
    pub fn staged_chunks(&self) -> usize {
        self.staged.chunks.len()
    }

    /// Stages a document, in place of the one of the same id.
    ///
    /// # Errors
    /// `Invalid` where the vectors do not fit the chunks or the collection, or hold a value that is not finite
    /// or beyond 1e15; nothing is staged then.
    pub fn put<C: Serialize>(&mut self, document: NewDocument<C>) -> Result<()> {
        let dims = self.check_vectors(document.chunks.len(), &document.vectors)?;
        let encoded: std::result::Result<Vec<_>, _> =
            document.chunks.iter().map(serde_json::to_vec).collect();
        let encoded = encoded
            .map_err(|error| StoreError::invalid("chunks", error, "values that JSON can hold"))?;
        let staged = &mut self.staged;
        let too_many = || StoreError::invalid("chunks", "2^32", "fewer chunks in one commit");
        let first_chunk = u32::try_from(staged.chunks.len()).map_err(|_| too_many())?;
        let chunk_count = u32::try_from(encoded.len()).map_err(|_| too_many())?;
        let text = u32::try_from(staged.texts.len()).map_err(|_| too_many())?;
        staged.dims = staged.dims.or(dims);
        staged.chunks.extend(encoded);
        staged.texts.push(document.text);
        staged.vectors.extend_from_slice(&document.vectors);
        staged.deleted.remove(&document.id);
        let entry = DocumentEntry {
            sha256: document.sha256,
            source: document.source,
            metadata: document.metadata,
            segment: self.base.generation() + 1,
            text,
            first_chunk,
            chunk_count,
        };
        staged.documents.insert(document.id, entry);
        Ok(())
    }

    /// Stages the deletion of a document; says whether there is one, staged ones included.
    pub fn delete(&mut self, id: &str) -> bool {
        let was_staged = self.staged.documents.remove(id).is_some();
        let is_stored = self.base.document(id).is_some();
        let is_new = is_stored && self.staged.deleted.insert(id.to_owned());
        was_staged || is_new
    }

    /// Stages a new list of sources in place of the old one.
    pub fn set_sources(&mut self, sources: Vec<serde_json::Value>) {
        self.staged.sources = Some(sources);
    }

    /// Makes everything staged durable as one generation, and gives its number. After an error, the collection
    /// is as it was and the changes are still staged. Without changes, no generation is written.
    pub fn commit(&mut self) -> Result<u64> {
        let staged = &self.staged;
        let old = self.base.manifest();
        let sources = staged.sources.as_ref().unwrap_or(&old.sources);
        let is_empty = staged.documents.is_empty() && staged.deleted.is_empty();
        if is_empty && *sources == old.sources {
            self.staged = Staged::default();
            return Ok(old.generation);
        }
        let mut next = old.clone();
        next.generation += 1;
        next.sources = sources.clone();
        for id in &staged.deleted {
            next.documents.remove(id);
        }
        if !staged.documents.is_empty() {
            next.dims = next.dims.or(staged.dims);
            let contents = Contents {
                dims: next.dims.unwrap_or_default() as usize,
                chunks: staged.chunks.iter().map(Vec::as_slice).collect(),
                texts: staged.texts.iter().map(String::as_bytes).collect(),
                vectors: vec![&staged.vectors],
            };
            let entry = self.write_segment(next.generation, &contents)?;
            next.segments.push(entry);
            let documents = staged
                .documents
                .iter()
                .map(|(id, d)| (id.clone(), d.clone()));
            next.documents.extend(documents);
        }
        let used: BTreeSet<u64> = next.documents.values().map(|d| d.segment).collect();
        next.segments.retain(|segment| used.contains(&segment.id));
        self.publish(&next)?;
        self.staged = Staged::default();
        Ok(next.generation)
    }

    /// Whether there are more than 8 segments or more than a fifth of the rows is dead.
    pub fn needs_compaction(&self) -> bool {
        let manifest = self.base.manifest();
        let (rows, live) = manifest.rows();
        manifest.segments.len() > MAX_SEGMENTS
            || rows.saturating_sub(live) * DEAD_ROW_DIVISOR > rows
    }

    /// Rewrites all live rows into one segment, as a generation of its own, where that is due; says whether
    /// it was. Readers of older generations keep theirs. Staged changes stay staged.
    pub fn compact(&mut self) -> Result<bool> {
        if !self.needs_compaction() {
            return Ok(false);
        }
        let base = self.base.clone();
        let mut next = base.manifest().clone();
        next.generation += 1;
        let mut contents = Contents {
            dims: base.dims().unwrap_or_default(),
            ..Contents::default()
        };
        for entry in next.documents.values_mut() {
            let Some((_, segment)) = base.place(entry) else {
                continue;
            };
            let first = entry.first_chunk as usize;
            let rows = first..first + entry.chunk_count as usize;
            let text = segment.text(entry.text as usize).unwrap_or_default();
            entry.text = contents.texts.len() as u32;
            entry.first_chunk = contents.chunks.len() as u32;
            contents.texts.push(text);
            contents
                .chunks
                .extend(rows.clone().filter_map(|row| segment.chunk(row)));
            let dims = segment.dims();
            let vectors = segment.vectors().get(rows.start * dims..rows.end * dims);
            contents.vectors.push(vectors.unwrap_or_default());
            entry.segment = next.generation;
        }
        next.segments.clear();
        if !next.documents.is_empty() {
            let entry = self.write_segment(next.generation, &contents)?;
            next.segments.push(entry);
        }
        self.publish(&next)?;
        for entry in self.staged.documents.values_mut() {
            entry.segment = self.base.generation() + 1;
        }
        Ok(true)
    }

    fn write_segment(&self, id: u64, contents: &Contents<'_>) -> Result<SegmentEntry> {
        let file = segment_file(self.collection.folder(), id);
        let crc32 = contents.write(&file)?;
        atomic_file::flush_parent(&file)?;
        let chunks = u32::try_from(contents.chunks.len())
            .map_err(|_| StoreError::invalid("chunks", contents.chunks.len(), "fewer than 2^32"))?;
        Ok(SegmentEntry { id, chunks, crc32 })
    }

    /// Replaces the manifest, which is the moment of the commit, and deletes what no longer belongs to it.
    fn publish(&mut self, next: &Manifest) -> Result<()> {
        self.collection.write_manifest(next)?;
        self.base = self.collection.snapshot()?;
        self.sweep()
    }

    /// Deletes segments that the manifest does not name: what a killed writer or a compaction left.
    fn sweep(&self) -> Result<()> {
        let folder = self.collection.folder().join("segments");
        let named = &self.base.manifest().segments;
        for entry in fs::read_dir(&folder).map_err(StoreError::io("list", &folder))? {
            let path = entry.map_err(StoreError::io("list", &folder))?.path();
            let is_named = |s: &SegmentEntry| segment_file(self.collection.folder(), s.id) == path;
            if !named.iter().any(is_named) {
                atomic_file::remove(&path)?;
            }
        }
        Ok(())
    }

    /// The length of these vectors, none where there are no chunks.
    fn check_vectors(&self, chunks: usize, vectors: &[f32]) -> Result<Option<u32>> {
        let bad = vectors.iter().find(|v| v.is_nan() || v.abs() > MAX_VALUE);
        if let Some(value) = bad {
            return Err(StoreError::invalid(
                "vectors",
                value,
                "values from -1e15 to 1e15",
            ));
        }
        let known = self.base.dims().or(self.staged.dims.map(|d| d as usize));
        if chunks == 0 && vectors.is_empty() {
            return Ok(None);
        }
        let dims = vectors.len().checked_div(chunks).unwrap_or(0);
        let fits = dims * chunks == vectors.len() && (1..=MAX_DIMS).contains(&dims);
        if !fits || known.is_some_and(|known| known != dims) {
            let got = format!("{} values for {chunks} chunks", vectors.len());
            let expected = match known {
                Some(known) => format!("{known} a chunk"),
                None => format!("the same number a chunk, 1 to {MAX_DIMS}"),
            };
            return Err(StoreError::invalid("vectors", got, expected));
        }
        Ok(Some(dims as u32))
    }
}
