//! The words of a knowledge base's passages, indexed a segment at a time when they are first searched.

use std::sync::{Arc, Mutex, PoisonError, Weak};

use outcrop_api as api;
use outcrop_index::KeywordIndex;
use outcrop_store::{Segment, Snapshot};

use crate::document::StoredChunk;

/// The indexes of the segments that are open. A segment never changes; one that a later generation
/// still has is not indexed again.
#[derive(Default)]
pub(crate) struct Keywords(Mutex<Vec<(Weak<Segment>, Arc<KeywordIndex>)>>);

impl Keywords {
    /// The index of each segment of `snapshot`, in the order of their rows.
    ///
    /// # Errors
    /// `InternalServerException` that names a damaged file.
    pub fn of(&self, snapshot: &Snapshot) -> api::Result<Vec<Arc<KeywordIndex>>> {
        // Held while an index is made: whoever asks meanwhile wants the same one.
        let mut known = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        known.retain(|(segment, _)| segment.strong_count() > 0);
        let mut first = 0;
        let mut indexes = Vec::with_capacity(snapshot.segments().len());
        for segment in snapshot.segments() {
            let count = segment.chunk_count() as u32;
            let is_it = |(of, _): &&(Weak<Segment>, _)| of.as_ptr() == Arc::as_ptr(segment);
            let index = match known.iter().find(is_it) {
                Some((_, index)) => index.clone(),
                None => {
                    let index = Arc::new(index_of(snapshot, first, count)?);
                    known.push((Arc::downgrade(segment), index.clone()));
                    index
                }
            };
            indexes.push(index);
            first += count;
        }
        Ok(indexes)
    }
}

/// The index of the `count` rows from `first` on, dead ones without their texts.
fn index_of(snapshot: &Snapshot, first: u32, count: u32) -> api::Result<KeywordIndex> {
    let mut texts = Vec::new();
    for (id, _) in snapshot.documents() {
        let mut chunks = snapshot.chunks(id).peekable();
        let is_here = |row: u32| (first..first + count).contains(&row);
        // A document's chunks are all in one segment.
        if !chunks.peek().is_some_and(|chunk| is_here(chunk.row)) {
            continue;
        }
        let text = snapshot.text(id)?.unwrap_or_default();
        for chunk in chunks {
            let stored: StoredChunk = chunk.value()?;
            let words = text.get(stored.bytes.0..stored.bytes.1);
            texts.push((chunk.row - first, words.unwrap_or_default()));
        }
    }
    texts.sort_unstable_by_key(|&(row, _)| row);
    Ok(KeywordIndex::build(count as usize, texts.into_iter()))
}
