//! Finds the passages nearest to a query, in one generation of the store.

use std::sync::Arc;

use outcrop_api as api;
use outcrop_index::{FlatIndex, Hit, IndexError, Pool};
use outcrop_store::Snapshot;

use crate::document::{DocumentFacts, StoredChunk, sha256};
use crate::knowledge_base::KnowledgeBase;
use crate::sync::blocking;

/// Most passages of one query, as in Bedrock.
const MAX_PASSAGES: usize = 100;

/// A passage with what an answer needs of its document.
#[derive(Clone, Debug)]
pub(crate) struct Found {
    pub passage: api::Passage,
    pub title: String,
    pub row: u32,
}

/// Passages of one generation, best first.
pub(crate) struct Retrieved {
    pub snapshot: Arc<Snapshot>,
    pub found: Vec<Found>,
}

impl KnowledgeBase {
    /// The `k` passages nearest to `query` by cosine, best first; fewer where there are fewer. They
    /// are of one committed state, whatever a sync does meanwhile.
    ///
    /// # Errors
    /// `ValidationException` for an empty query, one longer than the model reads, or a `k` outside
    /// 1..=100; `ConflictException` for another embedding model than that of the stored vectors; an
    /// error that names a damaged file.
    pub async fn retrieve(
        &self,
        embedder: Arc<dyn api::Embedder>,
        query: &str,
        k: usize,
    ) -> api::Result<Vec<api::Passage>> {
        let retrieved = self.search(embedder, "query", query, k).await?;
        Ok(retrieved
            .found
            .into_iter()
            .map(|found| found.passage)
            .collect())
    }

    pub(crate) async fn search(
        &self,
        embedder: Arc<dyn api::Embedder>,
        field: &'static str,
        query: &str,
        k: usize,
    ) -> api::Result<Retrieved> {
        if query.trim().is_empty() {
            return Err(api::Error::validation(format!(
                "{field}: expected a text, got {query:?}"
            )));
        }
        if !(1..=MAX_PASSAGES).contains(&k) {
            return Err(api::Error::validation(format!(
                "k: expected 1..={MAX_PASSAGES}, got {k}"
            )));
        }
        let (base, model, text) = (self.clone(), embedder.clone(), query.to_owned());
        let snapshot = blocking(move || {
            let snapshot = base.readable()?;
            base.pin(&*model)?;
            let (tokens, limit) = (model.count_tokens(&text)?, model.max_tokens());
            if tokens > limit {
                return Err(api::Error::validation(format!(
                    "{field}: {} reads at most {limit} tokens, got {tokens}",
                    model.id()
                )));
            }
            Ok(snapshot)
        })
        .await?;
        if snapshot.chunk_count() == 0 {
            return Ok(Retrieved {
                snapshot,
                found: Vec::new(),
            });
        }
        let texts = [query.to_owned()];
        let options = api::EmbedOptions::with_prompt(api::QUERY_PROMPT);
        let embedded = embedder.embed(&texts, options).await?;
        blocking(move || {
            let hits = nearest(&snapshot, &embedded.values, k)
                .map_err(|error| api::Error::internal(format!("search: {error}")))?;
            let found = hits
                .into_iter()
                .map(|hit| passage(&snapshot, hit.row, hit.score))
                .collect::<api::Result<Vec<_>>>()?;
            Ok(Retrieved { snapshot, found })
        })
        .await
    }
}

/// The live rows nearest to one query, best first.
fn nearest(snapshot: &Snapshot, query: &[f32], k: usize) -> Result<Vec<Hit>, IndexError> {
    let dimensions = snapshot.dims().unwrap_or_default();
    let index = FlatIndex::new(dimensions, snapshot.matrices())?.with_live(snapshot.live_rows())?;
    let hits = index.search(Pool::global(), query, k, None)?;
    Ok(hits.into_iter().next().unwrap_or_default())
}

/// The passage at `row`.
fn passage(snapshot: &Snapshot, row: u32, score: f32) -> api::Result<Found> {
    let broken = |what: &str| api::Error::internal(format!("row {row}: {what}"));
    let chunk = snapshot
        .chunk(row)
        .ok_or_else(|| broken("it has no chunk"))?;
    let stored: StoredChunk = chunk.value()?;
    let key = chunk.document;
    let entry = snapshot
        .document(key)
        .ok_or_else(|| broken("it has no document"))?;
    let facts = DocumentFacts::of(key, entry)?;
    let text = stored_text(snapshot, key, &stored)?;
    Ok(Found {
        title: facts.title,
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

/// Reads the text of a passage from the store again; none where it is no longer the same.
pub(crate) fn reread(snapshot: &Snapshot, found: &Found) -> Option<String> {
    let chunk = snapshot.chunk(found.row)?;
    let stored: StoredChunk = chunk.value().ok()?;
    let text = stored_text(snapshot, chunk.document, &stored).ok()?;
    (text == found.passage.text).then_some(text)
}
