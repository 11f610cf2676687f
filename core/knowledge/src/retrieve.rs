//! Finds the passages nearest to a query, in one generation of the store.

use std::collections::BTreeSet;
use std::sync::Arc;

use outcrop_api as api;
use outcrop_index::{FlatIndex, Hit, IndexError, Pool};
use outcrop_store::Snapshot;

use crate::document::{DocumentFacts, StoredChunk, sha256};
use crate::filter::Filter;
use crate::knowledge_base::KnowledgeBase;
use crate::sync::blocking;

/// Most passages of one query, as in Bedrock.
const MAX_PASSAGES: usize = 100;

/// What is searched for.
#[derive(Clone, Debug)]
pub struct Query {
    /// What errors call the text.
    pub field: &'static str,
    /// The text that passages are to be near.
    pub text: String,
    /// How many passages, 1..=100.
    pub k: usize,
    /// What the documents' metadata must fulfil; the `k` nearest of those that do are found.
    pub filter: Option<Filter>,
}

impl Query {
    /// The `k` passages nearest to `text`.
    pub fn new(text: impl Into<String>, k: usize) -> Self {
        Self {
            field: "query",
            text: text.into(),
            k,
            filter: None,
        }
    }

    /// The same query of those documents alone that pass the filter.
    #[must_use]
    pub fn with_filter(mut self, filter: Option<Filter>) -> Self {
        self.filter = filter;
        self
    }

    /// # Errors
    /// `ValidationException` for an empty text or a `k` outside 1..=100.
    fn check(&self) -> api::Result<()> {
        let Self { field, text, k, .. } = self;
        if text.trim().is_empty() {
            return Err(api::Error::validation(format!(
                "{field}: expected a text, got {text:?}"
            )));
        }
        if !(1..=MAX_PASSAGES).contains(k) {
            return Err(api::Error::validation(format!(
                "k: expected 1..={MAX_PASSAGES}, got {k}"
            )));
        }
        Ok(())
    }
}

/// A passage with what an answer needs of its document.
#[derive(Clone, Debug)]
pub struct Found {
    /// The passage.
    pub passage: api::Passage,
    /// Its document's title.
    pub title: String,
    /// The id of its document's source; none for one that was added directly.
    pub source: Option<String>,
    /// Its row in the snapshot.
    pub(crate) row: u32,
}

/// Passages of one committed state, best first.
pub struct Retrieved {
    /// The state of the store; none where the passages are of a document that is not stored.
    pub(crate) snapshot: Option<Arc<Snapshot>>,
    /// The passages.
    pub found: Vec<Found>,
    /// Tokens of the query that the embedding model read.
    pub input_tokens: usize,
}

impl KnowledgeBase {
    /// The `k` passages nearest to `query` by cosine, best first; fewer where there are fewer. They
    /// are of one committed state, whatever a sync does meanwhile.
    ///
    /// # Errors
    /// As [`KnowledgeBase::search`].
    pub async fn retrieve(
        &self,
        embedder: Arc<dyn api::Embedder>,
        query: &str,
        k: usize,
    ) -> api::Result<Vec<api::Passage>> {
        let retrieved = self.search(embedder, Query::new(query, k)).await?;
        Ok(retrieved.into_passages())
    }

    /// The passages nearest to the query by cosine, with what an answer needs of them.
    ///
    /// # Errors
    /// `ValidationException` for an empty query, one longer than the model reads, or a `k` outside
    /// 1..=100; `ConflictException` for another embedding model than that of the stored vectors; an
    /// error that names a damaged file.
    pub async fn search(
        &self,
        embedder: Arc<dyn api::Embedder>,
        query: Query,
    ) -> api::Result<Retrieved> {
        query.check()?;
        let (base, model) = (self.clone(), embedder.clone());
        let (query, snapshot, rows) = blocking(move || {
            let snapshot = base.readable()?;
            base.pin(&*model)?;
            let (tokens, limit) = (model.count_tokens(&query.text)?, model.max_tokens());
            if tokens > limit {
                return Err(api::Error::validation(format!(
                    "{}: {} reads at most {limit} tokens, got {tokens}",
                    query.field,
                    model.id()
                )));
            }
            let rows = query
                .filter
                .as_ref()
                .map(|f| f.rows(&snapshot))
                .transpose()?;
            Ok((query, snapshot, rows))
        })
        .await?;
        let none_wanted = rows
            .as_ref()
            .is_some_and(|rows| rows.iter().all(|&word| word == 0));
        if snapshot.chunk_count() == 0 || none_wanted {
            return Ok(Retrieved {
                snapshot: Some(snapshot),
                found: Vec::new(),
                input_tokens: 0,
            });
        }
        let options = api::EmbedOptions::with_prompt(api::QUERY_PROMPT);
        let embedded = embedder.embed(&[query.text], options).await?;
        blocking(move || {
            let found = distinct(&snapshot, &embedded.values, query.k, rows.as_deref())?;
            Ok(Retrieved {
                snapshot: Some(snapshot),
                found,
                input_tokens: embedded.input_tokens,
            })
        })
        .await
    }
}

impl Retrieved {
    /// The passages alone.
    pub fn into_passages(self) -> Vec<api::Passage> {
        self.found.into_iter().map(|found| found.passage).collect()
    }
}

/// The `k` nearest passages, each once: small chunks of one larger chunk are found as that, with the
/// score of the nearest of them.
fn distinct(
    snapshot: &Snapshot,
    query: &[f32],
    k: usize,
    allow: Option<&[u64]>,
) -> api::Result<Vec<Found>> {
    let mut wanted = k;
    loop {
        let hits = nearest(snapshot, query, wanted, allow)
            .map_err(|error| api::Error::internal(format!("search: {error}")))?;
        let all = hits.len() < wanted;
        let mut places = BTreeSet::new();
        let mut found = Vec::with_capacity(k);
        for hit in hits {
            let one = passage(snapshot, hit.row, hit.score)?;
            let at = &one.passage.location;
            let place = (one.source.clone(), at.document.clone(), at.start, at.end);
            if found.len() < k && places.insert(place) {
                found.push(one);
            }
        }
        if found.len() == k || all {
            return Ok(found);
        }
        wanted *= 2;
    }
}

/// Of the live rows that `allow` has a bit for, those nearest to one query, best first.
fn nearest(
    snapshot: &Snapshot,
    query: &[f32],
    k: usize,
    allow: Option<&[u64]>,
) -> Result<Vec<Hit>, IndexError> {
    let dimensions = snapshot.dims().unwrap_or_default();
    let index = FlatIndex::new(dimensions, snapshot.matrices())?.with_live(snapshot.live_rows())?;
    let hits = index.search(Pool::global(), query, k, allow)?;
    Ok(hits.into_iter().next().unwrap_or_default())
}

/// The passage at `row`.
fn passage(snapshot: &Snapshot, row: u32, score: f32) -> api::Result<Found> {
    let broken = |what: &str| api::Error::internal(format!("row {row}: {what}"));
    let chunk = snapshot
        .chunk(row)
        .ok_or_else(|| broken("it has no chunk"))?;
    let stored = as_found(chunk.value()?);
    let key = chunk.document;
    let entry = snapshot
        .document(key)
        .ok_or_else(|| broken("it has no document"))?;
    let facts = DocumentFacts::of(key, entry)?;
    let text = stored_text(snapshot, key, &stored)?;
    Ok(Found {
        title: facts.title,
        source: entry.source.clone(),
        row,
        passage: api::Passage {
            id: format!("{key}#{}", chunk.ordinal),
            text,
            // Rounding may carry a cosine a little beyond its range.
            score: score.clamp(-1.0, 1.0),
            location: api::Location {
                document: facts.id,
                uri: facts.uri,
                page: stored.pages.map(|(first, _)| first),
                last_page: stored.pages.map(|(_, last)| last),
                start: stored.chars.0,
                end: stored.chars.1,
            },
            metadata: facts.metadata,
        },
    })
}

/// The larger chunk of a small one that is found as that; else the chunk itself.
fn as_found(mut stored: StoredChunk) -> StoredChunk {
    match stored.parent.take() {
        Some(parent) => *parent,
        None => stored,
    }
}

/// A chunk's text, read from the store and compared with the hash that was stored with it.
///
/// # Errors
/// `InternalServerException` that names the document, where they differ.
fn stored_text(snapshot: &Snapshot, key: &str, stored: &StoredChunk) -> api::Result<String> {
    let changed = || {
        api::Error::internal(format!(
            "document {key}: its stored text is not what was indexed; sync() rebuilds it"
        ))
        .with_resource(key)
    };
    let text = snapshot.text(key)?.ok_or_else(changed)?;
    let text = text
        .get(stored.bytes.0..stored.bytes.1)
        .ok_or_else(changed)?;
    if sha256(&[text.as_bytes()]) == stored.sha256 {
        Ok(text.to_owned())
    } else {
        Err(changed())
    }
}

/// Reads the text of a passage from the store again; none where it is no longer the same. A document
/// that is not stored is what it was given as.
pub(crate) fn reread(retrieved: &Retrieved, found: &Found) -> Option<String> {
    let Some(snapshot) = &retrieved.snapshot else {
        return Some(found.passage.text.clone());
    };
    let chunk = snapshot.chunk(found.row)?;
    let stored = as_found(chunk.value().ok()?);
    let text = stored_text(snapshot, chunk.document, &stored).ok()?;
    (text == found.passage.text).then_some(text)
}
