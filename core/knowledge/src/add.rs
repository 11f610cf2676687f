//! Direct ingestion: documents given as text, and deletion by id.

use std::collections::BTreeSet;
use std::sync::Arc;

use outcrop_api as api;
use serde_json::Value;

use crate::chunk::ChunkingStrategy;
use crate::document::{Document, DocumentFacts, StoredChunk, key, sha256};
use crate::ingest::{self, Prepared, name_as_title};
use crate::knowledge_base::KnowledgeBase;
use crate::parse::{ParsedDocument, parse_text};
use crate::scan::file_uri;
use crate::sync::{LOCK_TIMEOUT, blocking};

impl KnowledgeBase {
    /// Adds documents, all or none, replacing those of the same id; gives their ids, in order.
    ///
    /// # Errors
    /// `ValidationException` that names the document: without text, with an id that is empty or twice
    /// there, or with a vector of another length than the model's, of zeros, or not finite.
    /// `ConflictException` while another session writes, or for another embedding model.
    pub async fn add(
        &self,
        embedder: Arc<dyn api::Embedder>,
        documents: Vec<Document>,
    ) -> api::Result<Vec<String>> {
        let (base, model) = (self.clone(), embedder.clone());
        let mut prepared = blocking(move || base.prepare(documents, &*model)).await?;
        ingest::embed(&mut prepared, &*embedder, &|| false).await?;
        let base = self.clone();
        blocking(move || base.store_added(prepared)).await
    }

    fn prepare(
        &self,
        documents: Vec<Document>,
        embedder: &dyn api::Embedder,
    ) -> api::Result<Vec<Prepared>> {
        self.pin(embedder)?;
        let mut seen = BTreeSet::new();
        let mut prepared = Vec::with_capacity(documents.len());
        for (at, document) in documents.into_iter().enumerate() {
            let field = format!("documents[{at}]");
            let one = self.prepare_one(&field, document, embedder)?;
            if !seen.insert(one.key.clone()) {
                return Err(api::Error::validation(format!(
                    "{field}.id: {:?} is there twice",
                    one.facts.id
                )));
            }
            prepared.push(one);
        }
        Ok(prepared)
    }

    fn prepare_one(
        &self,
        field: &str,
        document: Document,
        embedder: &dyn api::Embedder,
    ) -> api::Result<Prepared> {
        if document.text.trim().is_empty() {
            return Err(api::Error::validation(format!(
                "{field}.text: expected a text, got {:?}",
                document.text
            )));
        }
        let metadata = Value::Object(document.metadata.clone()).to_string();
        let embedding: Vec<u8> = document
            .embedding
            .iter()
            .flatten()
            .flat_map(|value| value.to_le_bytes())
            .collect();
        let hash = sha256(&[document.text.as_bytes(), metadata.as_bytes(), &embedding]);
        let id = match document.id {
            Some(id) if id.trim().is_empty() => {
                return Err(api::Error::validation(format!(
                    "{field}.id: expected a text, got {id:?}"
                )));
            }
            Some(id) => id,
            None => hash.chars().take(16).collect(),
        };
        let path = format!("/{}/{id}", self.name());
        let parsed = parse_text(document.text);
        let facts = DocumentFacts {
            uri: file_uri(path.as_ref()).replacen("file://", "outcrop://", 1),
            title: parsed.title.clone().unwrap_or_else(|| name_as_title(&id)),
            id,
            pages: None,
            metadata: document.metadata,
            content: None,
        };
        match document.embedding {
            None => {
                let strategy = ChunkingStrategy::FixedSize(self.chunking());
                Prepared::new(None, facts, hash, parsed, strategy, embedder)
            }
            Some(vector) => with_vector(field, facts, hash, parsed, vector, embedder.dimensions()),
        }
    }

    fn store_added(&self, prepared: Vec<Prepared>) -> api::Result<Vec<String>> {
        let ids: Vec<String> = prepared.iter().map(|p| p.facts.id.clone()).collect();
        // Says what repairs it where it is damaged.
        self.readable()?;
        let mut writer = self.collection()?.writer(LOCK_TIMEOUT)?;
        for document in prepared {
            writer.put(document.into_new_document()?)?;
        }
        let mut known: BTreeSet<String> = self.added()?.into_iter().collect();
        let before = known.len();
        known.extend(ids.iter().cloned());
        if known.len() > before {
            self.set_added(&known.into_iter().collect::<Vec<_>>())?;
        }
        writer.commit()?;
        writer.compact()?;
        Ok(ids)
    }

    /// Deletes documents by id, all or none, and gives how many there were. One that comes from a
    /// source is back after the next sync, for as long as its file is there; where several sources
    /// hold the same relative path, it is deleted from each of them.
    ///
    /// # Errors
    /// `ResourceNotFoundException` that names the first id that is not there.
    pub fn delete_documents(&self, ids: &[String]) -> api::Result<usize> {
        self.readable()?;
        let mut writer = self.collection()?.writer(LOCK_TIMEOUT)?;
        let snapshot = writer.snapshot().clone();
        let sources: BTreeSet<Option<&str>> = snapshot
            .documents()
            .map(|(_, entry)| entry.source.as_deref())
            .collect();
        let mut deleted = 0;
        for id in ids.iter().collect::<BTreeSet<_>>() {
            let there: Vec<String> = sources
                .iter()
                .map(|source| key(*source, id))
                .filter(|key| snapshot.document(key).is_some())
                .collect();
            if there.is_empty() {
                return Err(api::Error::not_found(format!(
                    "knowledge base {:?} has no document {id:?}",
                    self.name()
                ))
                .with_resource(id.clone()));
            }
            deleted += there.iter().filter(|key| writer.delete(key)).count();
        }
        writer.commit()?;
        writer.compact()?;
        let left: Vec<String> = self
            .added()?
            .into_iter()
            .filter(|id| !ids.contains(id))
            .collect();
        self.set_added(&left)?;
        Ok(deleted)
    }
}

/// A document of one passage, with a vector of the caller's own, scaled to length 1.
fn with_vector(
    field: &str,
    facts: DocumentFacts,
    hash: String,
    parsed: ParsedDocument,
    mut vector: Vec<f32>,
    dimensions: usize,
) -> api::Result<Prepared> {
    if vector.len() != dimensions {
        return Err(api::Error::validation(format!(
            "{field}.embedding: expected {dimensions} values, got {}",
            vector.len()
        )));
    }
    if let Some(at) = vector.iter().position(|value| !value.is_finite()) {
        return Err(api::Error::validation(format!(
            "{field}.embedding[{at}]: expected a finite number, got {}",
            vector[at]
        )));
    }
    // In f64, where the squares of all f32 are finite and none but zero's is zero.
    let length = vector
        .iter()
        .map(|&v| f64::from(v).powi(2))
        .sum::<f64>()
        .sqrt();
    if length == 0.0 {
        return Err(api::Error::validation(format!(
            "{field}.embedding: expected a vector with a direction, got zeros"
        )));
    }
    for value in &mut vector {
        *value = (f64::from(*value) / length) as f32;
    }
    let text = parsed.text;
    let start = text.len() - text.trim_start().len();
    let bytes = (start, start + text.trim().len());
    let first = text[..start].chars().count();
    Ok(Prepared {
        key: key(None, &facts.id),
        source: None,
        facts,
        sha256: hash,
        chunks: vec![StoredChunk {
            bytes,
            chars: (first, first + text.trim().chars().count()),
            pages: None,
            sha256: sha256(&[text.trim().as_bytes()]),
            parent: None,
        }],
        text,
        texts: Vec::new(),
        vectors: vector,
    })
}
