//! A knowledge base in a home: its record, its sources, and what it holds.

use std::path::Path;
use std::sync::{Arc, Mutex, PoisonError};

use outcrop_api as api;
use outcrop_store::{Collection, Home, Snapshot, StoreError};
use serde::{Deserialize, Serialize};

use crate::chunk::Chunking;
use crate::document::{DocumentFacts, DocumentInfo};
use crate::keywords::Keywords;
use crate::record::{Embedding, RECORDS, Record, find, new_id, not_found};
use crate::scan::SourceInfo;

/// The kind of the records that name the documents added directly, by the knowledge base's id.
const ADDED_RECORDS: &str = "knowledge-base-added";
/// What a knowledge base is created with.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct KnowledgeBaseSpec {
    /// Its name, unique in the home; 1 to 100 characters.
    pub name: String,
    /// What it is for.
    #[serde(default)]
    pub description: Option<String>,
    /// The model that embeds its chunks and its queries.
    pub embedding_model: String,
    /// How documents are cut into chunks.
    #[serde(default)]
    pub chunking: Chunking,
    /// Its id, ten letters and digits; otherwise one is made.
    #[serde(default)]
    pub id: Option<String>,
}

/// A knowledge base as it is listed.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct KnowledgeBaseInfo {
    /// Its id.
    pub id: String,
    /// Its name.
    pub name: String,
    /// What it is for.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub description: Option<String>,
    /// The model that embeds its chunks and its queries.
    pub embedding_model: String,
    /// Length of a vector; none before the first document.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub dimensions: Option<usize>,
    /// How documents are cut into chunks.
    pub chunking: Chunking,
    /// Its sources.
    pub sources: Vec<SourceInfo>,
    /// How many documents it holds; none where its files are damaged (a sync rebuilds them).
    pub documents: Option<usize>,
    /// How many passages it holds; likewise.
    pub chunks: Option<usize>,
}

/// A knowledge base: documents that can be searched and asked. Clones are cheap and mean the same.
#[derive(Clone)]
pub struct KnowledgeBase {
    inner: Arc<Inner>,
}

struct Inner {
    home: Home,
    id: String,
    name: String,
    embedding_model: String,
    chunking: Chunking,
    collection: Mutex<Option<Collection>>,
    keywords: Keywords,
}

impl KnowledgeBase {
    /// Creates an empty knowledge base.
    ///
    /// # Errors
    /// `ConflictException` where one of that name exists; `ValidationException` for the name, the
    /// embedding model or the chunking.
    pub fn create(home: &Home, spec: KnowledgeBaseSpec) -> api::Result<KnowledgeBase> {
        let length = spec.name.chars().count();
        if !(1..=100).contains(&length) || spec.name.trim() != spec.name {
            return Err(api::Error::validation(format!(
                "name: expected 1 to 100 characters without white space around them, got {:?}",
                spec.name
            )));
        }
        if spec.embedding_model.trim().is_empty() {
            return Err(api::Error::validation(
                "embedding_model: expected a model's id, got none",
            ));
        }
        spec.chunking.validate()?;
        let record = Record {
            id: spec.id.unwrap_or_else(|| new_id(&spec.name)),
            name: spec.name,
            description: spec.description,
            embedding_model: spec.embedding_model,
            embedding: None,
            chunking: spec.chunking,
            sources: Vec::new(),
            data_sources: Vec::new(),
            last_source: 0,
        };
        match home.create_record(RECORDS, &record.name, &record) {
            Ok(()) => {}
            Err(StoreError::AlreadyExists { .. }) => {
                return Err(taken(&record.name));
            }
            Err(error) => return Err(error.into()),
        }
        home.create_collection(&record.id)?;
        Ok(Self::of(home, &record))
    }

    /// Opens the knowledge base by its name or id.
    ///
    /// # Errors
    /// `ResourceNotFoundException`, or one that names a damaged record's file.
    pub fn open(home: &Home, name_or_id: &str) -> api::Result<KnowledgeBase> {
        find(home, name_or_id).map(|record| Self::of(home, &record))
    }

    /// The knowledge bases of a home, by name.
    ///
    /// # Errors
    /// One that names a damaged record's file.
    pub fn list(home: &Home) -> api::Result<Vec<KnowledgeBaseInfo>> {
        let records = home.list_records::<Record>(RECORDS)?;
        records
            .into_iter()
            .map(|(_, record)| Self::of(home, &record).describe(record))
            .collect()
    }

    /// Deletes a knowledge base with all that it holds; its sources' files stay.
    ///
    /// # Errors
    /// `ResourceNotFoundException`; `ConflictException` while another session writes it.
    pub fn delete(home: &Home, name_or_id: &str) -> api::Result<()> {
        let record = find(home, name_or_id)?;
        home.delete_collection(&record.id)?;
        home.delete_record(ADDED_RECORDS, &record.id)?;
        home.delete_record(RECORDS, &record.name)?;
        Ok(())
    }

    /// Gives the knowledge base another name and description.
    ///
    /// # Errors
    /// `ResourceNotFoundException`; `ConflictException` where another has the name.
    pub fn rename(
        home: &Home,
        name_or_id: &str,
        name: &str,
        description: Option<String>,
    ) -> api::Result<KnowledgeBase> {
        let mut record = find(home, name_or_id)?;
        let before = std::mem::replace(&mut record.name, name.to_owned());
        record.description = description;
        if before == name {
            home.put_record(RECORDS, name, &record)?;
            return Ok(Self::of(home, &record));
        }
        match home.create_record(RECORDS, name, &record) {
            Ok(()) => {}
            Err(StoreError::AlreadyExists { .. }) => return Err(taken(name)),
            Err(error) => return Err(error.into()),
        }
        home.delete_record(RECORDS, &before)?;
        Ok(Self::of(home, &record))
    }

    pub(crate) fn of(home: &Home, record: &Record) -> Self {
        Self {
            inner: Arc::new(Inner {
                home: home.clone(),
                id: record.id.clone(),
                name: record.name.clone(),
                embedding_model: record.embedding_model.clone(),
                chunking: record.chunking,
                collection: Mutex::new(None),
                keywords: Keywords::default(),
            }),
        }
    }

    /// Whether this is what `record` says.
    pub(crate) fn is_of(&self, record: &Record) -> bool {
        let Inner {
            name,
            embedding_model,
            chunking,
            ..
        } = &*self.inner;
        (name, embedding_model, chunking)
            == (&record.name, &record.embedding_model, &record.chunking)
    }

    pub(crate) fn keywords(&self) -> &Keywords {
        &self.inner.keywords
    }

    /// Its id.
    pub fn id(&self) -> &str {
        &self.inner.id
    }

    /// Its name.
    pub fn name(&self) -> &str {
        &self.inner.name
    }

    /// The id of the model that embeds its chunks and its queries.
    pub fn embedding_model(&self) -> &str {
        &self.inner.embedding_model
    }

    /// How documents are cut into chunks.
    pub fn chunking(&self) -> Chunking {
        self.inner.chunking
    }

    /// Its name, its model, its chunking and what it holds.
    ///
    /// # Errors
    /// `ResourceNotFoundException` after its deletion, or one that names a damaged record's file.
    pub fn info(&self) -> api::Result<KnowledgeBaseInfo> {
        self.describe(self.record()?)
    }

    fn describe(&self, record: Record) -> api::Result<KnowledgeBaseInfo> {
        let snapshot = match self.snapshot() {
            Ok(snapshot) => Some(snapshot),
            Err(StoreError::Corrupt { .. } | StoreError::NotFound { .. }) => None,
            Err(error) => return Err(error.into()),
        };
        Ok(KnowledgeBaseInfo {
            sources: record.listed_sources(),
            id: record.id,
            name: record.name,
            description: record.description,
            embedding_model: record.embedding_model,
            dimensions: record.embedding.map(|embedding| embedding.dimensions),
            chunking: record.chunking,
            documents: snapshot.as_ref().map(|s| s.document_count()),
            chunks: snapshot.as_ref().map(|s| s.chunk_count()),
        })
    }

    /// Its sources, in the order in which they were added.
    ///
    /// # Errors
    /// As [`KnowledgeBase::info`].
    pub fn sources(&self) -> api::Result<Vec<SourceInfo>> {
        Ok(self.record()?.listed_sources())
    }

    /// Adds a folder or a file as a source; the next sync reads it.
    ///
    /// # Errors
    /// `ResourceNotFoundException` where nothing is there; `ConflictException` where it is a source
    /// already, or one is inside the other, so that its documents would be there twice.
    pub fn add_source(&self, path: impl AsRef<Path>) -> api::Result<SourceInfo> {
        let path = path.as_ref();
        let absolute = path.canonicalize().map_err(|error| {
            api::Error::not_found(format!("path: cannot read {}: {error}", path.display()))
                .with_resource(path.display().to_string())
        })?;
        let mut outcome = Err(self.gone());
        self.change(|record| {
            let overlapping = record
                .sources
                .iter()
                .find(|s| s.path.starts_with(&absolute) || absolute.starts_with(&s.path));
            outcome = match overlapping {
                Some(other) => Err(api::Error::conflict(format!(
                    "path: {} overlaps {}, which is {} already",
                    absolute.display(),
                    other.path.display(),
                    other.id
                ))),
                None => {
                    record.last_source += 1;
                    let source = SourceInfo {
                        id: format!("source-{}", record.last_source),
                        path: absolute.clone(),
                    };
                    record.sources.push(source.clone());
                    Ok(source)
                }
            };
        })?;
        outcome
    }

    /// Removes a source, by its id or its path; the next sync deletes its documents. The files of
    /// the source stay.
    ///
    /// # Errors
    /// `ResourceNotFoundException` where it is no source.
    pub fn remove_source(&self, source: &str) -> api::Result<SourceInfo> {
        let mut removed = None;
        self.change(|record| {
            let at = record
                .sources
                .iter()
                .position(|s| s.id == source || s.path == Path::new(source));
            removed = at.map(|at| record.sources.remove(at));
        })?;
        removed.ok_or_else(|| {
            api::Error::not_found(format!(
                "source: knowledge base {:?} has no source {source:?}",
                self.inner.name
            ))
            .with_resource(source)
        })
    }

    /// Its documents, sources' first, in the order of their ids.
    ///
    /// # Errors
    /// One that names a damaged file.
    pub fn documents(&self) -> api::Result<Vec<DocumentInfo>> {
        let snapshot = self.readable()?;
        let mut documents = snapshot
            .documents()
            .map(|(key, entry)| Ok(DocumentFacts::of(key, entry)?.listed(entry)))
            .collect::<api::Result<Vec<_>>>()?;
        documents.sort_by(|a, b| {
            let order = |d: &DocumentInfo| (d.source.is_none(), d.source.clone(), d.id.clone());
            order(a).cmp(&order(b))
        });
        Ok(documents)
    }

    pub(crate) fn home(&self) -> &Home {
        &self.inner.home
    }

    pub(crate) fn record(&self) -> api::Result<Record> {
        self.inner
            .home
            .get_record::<Record>(RECORDS, &self.inner.name)?
            .filter(|record| record.id == self.inner.id)
            .ok_or_else(|| self.gone())
    }

    /// Changes the record, with no other writer between the reading and the writing.
    pub(crate) fn change(&self, change: impl FnOnce(&mut Record)) -> api::Result<Record> {
        let current = self.record()?;
        let record = self
            .inner
            .home
            .update_record(RECORDS, &self.inner.name, |stored| {
                let mut record: Record = stored.unwrap_or(current);
                change(&mut record);
                record
            })?;
        Ok(record)
    }

    pub(crate) fn collection(&self) -> Result<Collection, StoreError> {
        let mut open = self
            .inner
            .collection
            .lock()
            .unwrap_or_else(PoisonError::into_inner);
        if let Some(collection) = open.as_ref() {
            return Ok(collection.clone());
        }
        let collection = self.inner.home.collection(&self.inner.id)?;
        *open = Some(collection.clone());
        Ok(collection)
    }

    fn snapshot(&self) -> Result<Arc<Snapshot>, StoreError> {
        self.collection()?.snapshot()
    }

    /// The newest generation, for readers.
    ///
    /// # Errors
    /// `InternalServerException` that names the damaged file and says what repairs it.
    pub(crate) fn readable(&self) -> api::Result<Arc<Snapshot>> {
        self.snapshot().map_err(|error| match error {
            StoreError::Corrupt {
                ref file,
                ref detail,
            } => {
                let resource = file.display().to_string();
                api::Error::internal(format!(
                    "knowledge base {:?}: {resource}: damaged: {detail}; sync() rebuilds it from \
                     its sources",
                    self.inner.name
                ))
                .with_resource(resource)
                .with_source(error)
            }
            // Deleted with its record, or only its files are gone.
            StoreError::NotFound { .. } => match self.record() {
                Ok(_) => api::Error::internal(format!(
                    "knowledge base {:?}: its files are missing; sync() rebuilds them from its \
                     sources",
                    self.inner.name
                )),
                Err(error) => error,
            },
            error => error.into(),
        })
    }

    /// The ids of the documents that were added directly, so that a rebuild can name what it loses.
    pub(crate) fn added(&self) -> api::Result<Vec<String>> {
        let ids = self.inner.home.get_record(ADDED_RECORDS, &self.inner.id)?;
        Ok(ids.unwrap_or_default())
    }

    pub(crate) fn set_added(&self, ids: &[String]) -> api::Result<()> {
        Ok(self
            .inner
            .home
            .put_record(ADDED_RECORDS, &self.inner.id, ids)?)
    }

    /// Notes what the vectors are made with, or checks it against what they were made with.
    ///
    /// # Errors
    /// `ConflictException` that names both models; `ValidationException` where chunks are longer
    /// than the model reads.
    pub(crate) fn pin(&self, embedder: &dyn api::Embedder) -> api::Result<()> {
        let given = Embedding {
            model: embedder.id().to_owned(),
            dimensions: embedder.dimensions(),
        };
        let limit = embedder.max_tokens();
        if self.inner.chunking.max_tokens > limit {
            return Err(api::Error::validation(format!(
                "chunking.max_tokens: {} reads at most {limit} tokens, got {}",
                given.model, self.inner.chunking.max_tokens
            )));
        }
        let pinned = match self.record()?.embedding {
            Some(pinned) => pinned,
            None => {
                let record = self.change(|record| {
                    record.embedding.get_or_insert(given.clone());
                })?;
                record.embedding.unwrap_or_else(|| given.clone())
            }
        };
        if pinned == given {
            return Ok(());
        }
        Err(api::Error::conflict(format!(
            "knowledge base {:?} was embedded with {} ({} dimensions), and vectors of {} ({} \
             dimensions) cannot be compared with them: create a knowledge base for that model",
            self.inner.name, pinned.model, pinned.dimensions, given.model, given.dimensions
        ))
        .with_resource(self.inner.name.clone()))
    }

    fn gone(&self) -> api::Error {
        not_found(&self.inner.name)
    }
}

fn taken(name: &str) -> api::Error {
    api::Error::conflict(format!(
        "name: a knowledge base named {name:?} exists already"
    ))
    .with_resource(name)
}
