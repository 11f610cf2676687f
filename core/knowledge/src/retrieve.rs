//! Finds the passages nearest to a query, in one generation of the store.

use std::collections::{BTreeMap, BTreeSet};
use std::future::{Future, ready};
use std::sync::Arc;

use outcrop_api as api;
use outcrop_index::{FlatIndex, Hit, IndexError, KeywordIndex, Pool, keyword_search};
use outcrop_store::Snapshot;
use serde::{Deserialize, Serialize};

use crate::document::{DocumentFacts, StoredChunk, sha256};
use crate::filter::Filter;
use crate::knowledge_base::KnowledgeBase;
use crate::sync::blocking;

/// Most passages of one query, as in Bedrock.
const MAX_PASSAGES: usize = 100;
/// How much the first places of a ranking stand out when two are fused: the value of Cormack, Clarke
/// and Büttcher, "Reciprocal Rank Fusion outperforms Condorcet and individual Rank Learning Methods"
/// (2009).
const FUSION: f32 = 60.0;
/// Fewest places of each ranking that is fused.
const FUSED: usize = 50;

/// How passages are looked for.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Search {
    /// By the cosine of their vectors to the query's, which is the score, -1 to 1.
    #[default]
    Semantic,
    /// By the query's words, those that are rare in the knowledge base above all. The score is BM25,
    /// above 0; a passage with none of the words is not found.
    Keyword,
    /// By both rankings, fused by reciprocal rank. The score is 1 for the first of both, and falls to
    /// 0 with the places.
    Hybrid,
}

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
    /// How they are looked for.
    pub search: Search,
}

impl Query {
    /// The `k` passages nearest to `text`.
    pub fn new(text: impl Into<String>, k: usize) -> Self {
        Self {
            field: "query",
            text: text.into(),
            k,
            filter: None,
            search: Search::default(),
        }
    }

    /// The same query, looked for in another way.
    #[must_use]
    pub fn with_search(mut self, search: Search) -> Self {
        self.search = search;
        self
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
        let query = Query::new(query, k);
        let retrieved = self.search(ready(Ok(embedder)), query).await?;
        Ok(retrieved.into_passages())
    }

    /// The passages nearest to the query, with what an answer needs of them. The embedding model is
    /// asked for only where the query is embedded: a search by words reads no vector.
    ///
    /// # Errors
    /// Those of `embedder`; `ValidationException` for an empty query, one longer than the model reads,
    /// or a `k` outside 1..=100; `ConflictException` for another embedding model than that of the
    /// stored vectors; an error that names a damaged file.
    pub async fn search(
        &self,
        embedder: impl Future<Output = api::Result<Arc<dyn api::Embedder>>>,
        query: Query,
    ) -> api::Result<Retrieved> {
        query.check()?;
        let embedder = match query.search {
            Search::Keyword => None,
            Search::Semantic | Search::Hybrid => Some(embedder.await?),
        };
        let (base, model) = (self.clone(), embedder.clone());
        let (query, asked) = blocking(move || {
            let asked = base.open_for(model.as_deref(), &query)?;
            Ok((query, asked))
        })
        .await?;
        if asked.is_empty() {
            return Ok(Retrieved {
                snapshot: Some(asked.snapshot),
                found: Vec::new(),
                input_tokens: 0,
            });
        }
        let embedded = match embedder {
            None => None,
            Some(embedder) => {
                let options = api::EmbedOptions::with_prompt(api::QUERY_PROMPT);
                let text = std::slice::from_ref(&query.text);
                Some(embedder.embed(text, options).await?)
            }
        };
        blocking(move || {
            let vector = embedded.as_ref().map(|embedded| &*embedded.values);
            let found = asked.distinct(&query, vector)?;
            Ok(Retrieved {
                snapshot: Some(asked.snapshot),
                found,
                input_tokens: embedded.map_or(0, |embedded| embedded.input_tokens),
            })
        })
        .await
    }

    /// What a query is asked of: the newest state, and the rows that may be found.
    fn open_for(&self, model: Option<&dyn api::Embedder>, query: &Query) -> api::Result<Asked> {
        let snapshot = self.readable()?;
        if let Some(model) = model {
            self.pin(model)?;
            let (tokens, limit) = (model.count_tokens(&query.text)?, model.max_tokens());
            if tokens > limit {
                return Err(api::Error::validation(format!(
                    "{}: {} reads at most {limit} tokens, got {tokens}",
                    query.field,
                    model.id()
                )));
            }
        }
        let rows = query.filter.as_ref().map(|f| f.rows(&snapshot));
        let keywords = match query.search {
            Search::Semantic => Vec::new(),
            Search::Keyword | Search::Hybrid => self.keywords().of(&snapshot)?,
        };
        Ok(Asked {
            rows: rows.transpose()?,
            snapshot,
            keywords,
        })
    }
}

/// What a query is asked of.
struct Asked {
    snapshot: Arc<Snapshot>,
    /// A bit for each row that passes the filter, where there is one.
    rows: Option<Vec<u64>>,
    /// The words of each segment, where they are asked for.
    keywords: Vec<Arc<KeywordIndex>>,
}

impl Asked {
    /// Whether nothing can be found.
    fn is_empty(&self) -> bool {
        let none_wanted = |rows: &Vec<u64>| rows.iter().all(|&word| word == 0);
        self.snapshot.chunk_count() == 0 || self.rows.as_ref().is_some_and(none_wanted)
    }

    /// The `k` nearest passages, each once: small chunks of one larger chunk are found as that, with
    /// the score of the nearest of them.
    fn distinct(&self, query: &Query, vector: Option<&[f32]>) -> api::Result<Vec<Found>> {
        let mut wanted = query.k;
        loop {
            let hits = self
                .ranked(query, vector, wanted)
                .map_err(|error| api::Error::internal(format!("search: {error}")))?;
            let all = hits.len() < wanted;
            let mut places = BTreeSet::new();
            let mut found = Vec::with_capacity(query.k);
            for hit in hits {
                let one = passage(&self.snapshot, hit)?;
                let at = &one.passage.location;
                let place = (one.source.clone(), at.document.clone(), at.start, at.end);
                if found.len() < query.k && places.insert(place) {
                    found.push(one);
                }
            }
            if found.len() == query.k || all {
                return Ok(found);
            }
            wanted *= 2;
        }
    }

    /// The best `wanted` rows, or as many as there are.
    fn ranked(
        &self,
        query: &Query,
        vector: Option<&[f32]>,
        wanted: usize,
    ) -> Result<Vec<Hit>, IndexError> {
        let vector = vector.unwrap_or_default();
        match query.search {
            Search::Semantic => self.nearest(vector, wanted),
            Search::Keyword => self.by_words(&query.text, wanted),
            Search::Hybrid => {
                let places = wanted.max(FUSED);
                let rankings = [
                    self.nearest(vector, places)?,
                    self.by_words(&query.text, places)?,
                ];
                Ok(fuse(&rankings, wanted))
            }
        }
    }

    /// Of the live rows that may be found, those nearest to a vector, best first.
    fn nearest(&self, vector: &[f32], k: usize) -> Result<Vec<Hit>, IndexError> {
        let snapshot = &self.snapshot;
        let dimensions = snapshot.dims().unwrap_or_default();
        let index = FlatIndex::new(dimensions, snapshot.matrices())?;
        let index = index.with_live(snapshot.live_rows())?;
        let hits = index.search(Pool::global(), vector, k, self.rows.as_deref())?;
        let mut hits = hits.into_iter().next().unwrap_or_default();
        for hit in &mut hits {
            // Rounding may carry a cosine a little beyond its range.
            hit.score = hit.score.clamp(-1.0, 1.0);
        }
        Ok(hits)
    }

    /// The same by the words of a text.
    fn by_words(&self, text: &str, k: usize) -> Result<Vec<Hit>, IndexError> {
        let pieces: Vec<&KeywordIndex> = self.keywords.iter().map(|index| &**index).collect();
        let live = self.snapshot.live_rows();
        keyword_search(&pieces, text, k, live, self.rows.as_deref())
    }
}

/// The best `k` rows by their places in several rankings. Each place p, from 1, counts
/// `1 / (FUSION + p)`; the sum is told in parts of what the first place in all of them is.
fn fuse(rankings: &[Vec<Hit>], k: usize) -> Vec<Hit> {
    let mut sums: BTreeMap<u32, f32> = BTreeMap::new();
    for ranking in rankings {
        for (place, hit) in ranking.iter().enumerate() {
            *sums.entry(hit.row).or_default() += 1.0 / (FUSION + 1.0 + place as f32);
        }
    }
    let most = rankings.len() as f32 / (FUSION + 1.0);
    let hit = |(row, sum): (u32, f32)| Hit {
        row,
        score: sum / most,
    };
    let mut hits: Vec<Hit> = sums.into_iter().map(hit).collect();
    // A stable sort: of equal ones, the lower row first.
    hits.sort_by(|a, b| b.score.total_cmp(&a.score));
    hits.truncate(k);
    hits
}

impl Retrieved {
    /// The passages alone.
    pub fn into_passages(self) -> Vec<api::Passage> {
        self.found.into_iter().map(|found| found.passage).collect()
    }
}

/// The passage that was hit.
fn passage(snapshot: &Snapshot, hit: Hit) -> api::Result<Found> {
    let Hit { row, score } = hit;
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
            score,
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
