//! A consistent view of one generation of a collection, which later writes do not change.

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;

use serde::de::DeserializeOwned;

use crate::error::{Result, StoreError};
use crate::manifest::{DocumentEntry, Manifest, segment_file};
use crate::segment::Segment;

/// One generation of a collection. Rows, the chunks of all segments in order, are numbered from 0; those
/// of deleted and replaced documents keep their numbers, and [`Snapshot::live_rows`] leaves them out.
#[derive(Debug)]
pub struct Snapshot {
    manifest: Manifest,
    segments: Vec<Arc<Segment>>,
    bases: Vec<u32>,
    live: Vec<u64>,
    spans: Vec<Span>,
}

/// The rows of one document.
#[derive(Debug)]
struct Span {
    first: u32,
    count: u32,
    document: String,
}

/// A chunk, found by its row.
#[derive(Clone, Copy, Debug)]
pub struct Chunk<'a> {
    /// The document's id.
    pub document: &'a str,
    /// The chunk's number in its document, from 0.
    pub ordinal: u32,
    /// The chunk's row in this snapshot.
    pub row: u32,
    /// The stored JSON.
    pub bytes: &'a [u8],
    file: &'a Path,
}

impl Chunk<'_> {
    /// The chunk as it was stored.
    ///
    /// # Errors
    /// `Corrupt`, naming the segment, where the stored JSON is not of this shape.
    pub fn value<T: DeserializeOwned>(&self) -> Result<T> {
        serde_json::from_slice(self.bytes).map_err(|error| {
            let detail = format!("a chunk of {:?} is not as expected: {error}", self.document);
            StoreError::corrupt(self.file, detail)
        })
    }
}

impl Snapshot {
    /// Puts a manifest and its open segments together, and checks that they fit.
    pub(crate) fn new(
        folder: &Path,
        manifest: Manifest,
        segments: Vec<Arc<Segment>>,
    ) -> Result<Self> {
        let broken = |detail: String| StoreError::corrupt(&Manifest::file(folder), detail);
        let mut bases = Vec::with_capacity(segments.len());
        let mut places = BTreeMap::new();
        let mut rows = 0u32;
        for (entry, segment) in manifest.segments.iter().zip(&segments) {
            let file = segment_file(folder, entry.id);
            let sound = segment.crc() == entry.crc32
                && segment.chunk_count() as u64 == u64::from(entry.chunks)
                && (entry.chunks == 0 || manifest.dims == u32::try_from(segment.dims()).ok());
            if !sound {
                let detail = "it is not the segment that the manifest names";
                return Err(StoreError::corrupt(&file, detail));
            }
            places.insert(entry.id, (rows, segment));
            bases.push(rows);
            rows = rows
                .checked_add(entry.chunks)
                .ok_or_else(|| broken("it names more than 2^32 chunks".to_owned()))?;
        }
        let mut live = vec![0u64; (rows as usize).div_ceil(64)];
        let mut spans = Vec::with_capacity(manifest.documents.len());
        for (id, entry) in &manifest.documents {
            let place = places.get(&entry.segment).filter(|(_, segment)| {
                let end = u64::from(entry.first_chunk) + u64::from(entry.chunk_count);
                end <= segment.chunk_count() as u64 && (entry.text as usize) < segment.text_count()
            });
            let (base, _) = place
                .ok_or_else(|| broken(format!("its document {id:?} is outside of its segments")))?;
            let first = base + entry.first_chunk;
            for row in first..first + entry.chunk_count {
                let bit = 1u64 << (row % 64);
                let word = live.get_mut(row as usize / 64);
                match word.filter(|word| **word & bit == 0) {
                    Some(word) => *word |= bit,
                    None => return Err(broken(format!("its document {id:?} overlaps another"))),
                }
            }
            spans.push(Span {
                first,
                count: entry.chunk_count,
                document: id.clone(),
            });
        }
        spans.retain(|span| span.count > 0);
        spans.sort_unstable_by_key(|span| span.first);
        Ok(Self {
            manifest,
            segments,
            bases,
            live,
            spans,
        })
    }

    /// The number of commits that led here.
    pub fn generation(&self) -> u64 {
        self.manifest.generation
    }

    /// The length of a vector; none until the first is stored.
    pub fn dims(&self) -> Option<usize> {
        self.manifest.dims.map(|dims| dims as usize)
    }

    /// The sources, as the writer set them.
    pub fn sources(&self) -> &[serde_json::Value] {
        &self.manifest.sources
    }

    /// How many documents there are.
    pub fn document_count(&self) -> usize {
        self.manifest.documents.len()
    }

    /// Every document with its id, in the order of the ids.
    pub fn documents(&self) -> impl Iterator<Item = (&str, &DocumentEntry)> {
        self.manifest
            .documents
            .iter()
            .map(|(id, d)| (id.as_str(), d))
    }

    /// What is known of the document `id`.
    pub fn document(&self, id: &str) -> Option<&DocumentEntry> {
        self.manifest.documents.get(id)
    }

    /// The whole text of the document `id`, as it was parsed: what citations are checked against.
    pub fn text(&self, id: &str) -> Result<Option<&str>> {
        let Some(entry) = self.document(id) else {
            return Ok(None);
        };
        let Some((_, segment)) = self.place(entry) else {
            return Ok(None);
        };
        let bytes = segment.text(entry.text as usize).unwrap_or_default();
        std::str::from_utf8(bytes).map(Some).map_err(|error| {
            let detail = format!("the text of {id:?} is not UTF-8: {error}");
            StoreError::corrupt(segment.path(), detail)
        })
    }

    /// The chunks of the document `id`, in order; empty where there is no such document.
    pub fn chunks(&self, id: &str) -> impl Iterator<Item = Chunk<'_>> {
        let rows = self.document(id).and_then(|entry| {
            let (base, _) = self.place(entry)?;
            let first = base + entry.first_chunk;
            Some(first..first + entry.chunk_count)
        });
        rows.unwrap_or_default().filter_map(|row| self.chunk(row))
    }

    /// The chunk at `row`; none where the row is dead or does not exist.
    pub fn chunk(&self, row: u32) -> Option<Chunk<'_>> {
        let at = self.spans.partition_point(|span| span.first <= row);
        let span = self.spans.get(at.checked_sub(1)?)?;
        let ordinal = row.checked_sub(span.first).filter(|&n| n < span.count)?;
        let (base, segment) = self.segment_of(row)?;
        Some(Chunk {
            document: &span.document,
            ordinal,
            row,
            bytes: segment.chunk((row - base) as usize)?,
            file: segment.path(),
        })
    }

    /// The vector at `row`, of a dead row too.
    pub fn vector(&self, row: u32) -> Option<&[f32]> {
        let (base, segment) = self.segment_of(row)?;
        let start = (row - base) as usize * segment.dims();
        segment.vectors().get(start..start + segment.dims())
    }

    /// How many rows there are, dead ones included.
    pub fn row_count(&self) -> usize {
        self.segments.iter().map(|s| s.chunk_count()).sum()
    }

    /// A bit a row, lowest bit of the first word first: whether the row belongs to a document.
    pub fn live_rows(&self) -> &[u64] {
        &self.live
    }

    /// How many rows belong to a document.
    pub fn chunk_count(&self) -> usize {
        self.manifest.rows().1 as usize
    }

    /// The vectors of each segment, (rows, dims) row-major; one behind the other they are all rows.
    pub fn matrices(&self) -> Vec<&[f32]> {
        self.segments.iter().map(|s| s.vectors()).collect()
    }

    /// The open segments, in the order of their rows.
    pub fn segments(&self) -> &[Arc<Segment>] {
        &self.segments
    }

    pub(crate) fn manifest(&self) -> &Manifest {
        &self.manifest
    }

    pub(crate) fn place(&self, entry: &DocumentEntry) -> Option<(u32, &Segment)> {
        let at = self
            .manifest
            .segments
            .iter()
            .position(|s| s.id == entry.segment)?;
        Some((*self.bases.get(at)?, self.segments.get(at)?))
    }

    fn segment_of(&self, row: u32) -> Option<(u32, &Segment)> {
        let at = self
            .bases
            .partition_point(|&base| base <= row)
            .checked_sub(1)?;
        let (base, segment) = (*self.bases.get(at)?, self.segments.get(at)?);
        ((row - base) < segment.chunk_count() as u32).then_some((base, segment))
    }
}
