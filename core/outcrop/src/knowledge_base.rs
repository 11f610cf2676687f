//! A session's handle of a knowledge base.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use outcrop_api::{Answer, Embedder, Error, Passage, Result};
use outcrop_knowledge as knowledge;
use outcrop_knowledge::{
    Chunking, Document, DocumentInfo, KnowledgeBaseInfo, KnowledgeBaseSpec, Query, Question,
    Retrieved, SourceInfo, SyncProgress, SyncReport,
};
use outcrop_models::{DEFAULT_EMBEDDING_MODEL, DEFAULT_READER};
use serde::{Deserialize, Serialize};

use crate::conversation::Conversation;
use crate::desk::Record;
use crate::operations::retrieval::by_relevance;
use crate::question::{AskOptions, RetrieveOptions};
use crate::session::{Session, blocking};

/// Most passages that one query may ask for, as in Bedrock.
const MAX_PASSAGES: usize = 100;

/// What a knowledge base is created with.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default, deny_unknown_fields)]
pub struct KnowledgeBaseRequest {
    /// Its name: letters and digits, each of which may be followed by one `_` or `-`; at most 100
    /// of them.
    pub name: String,
    /// What it is for.
    pub description: Option<String>,
    /// The model that embeds its chunks. Default `outcrop.minilm-embed-v1`.
    pub embedding_model: Option<String>,
    /// How documents are cut into chunks.
    pub chunking: Option<ChunkingRequest>,
}

/// How documents are cut into chunks, in tokens of the embedding model.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default, deny_unknown_fields)]
pub struct ChunkingRequest {
    /// Most tokens of a chunk.
    pub max_tokens: Option<usize>,
    /// Most tokens that a chunk repeats of the one before it.
    pub overlap_tokens: Option<usize>,
}

impl KnowledgeBaseRequest {
    pub(crate) fn embedding_model(&self) -> &str {
        self.embedding_model
            .as_deref()
            .unwrap_or(DEFAULT_EMBEDDING_MODEL)
    }

    /// The request with its defaults, checked against what the embedder reads.
    pub(crate) fn into_spec(self, embedder: &dyn Embedder) -> Result<KnowledgeBaseSpec> {
        // The id that the model itself goes by: a relative path or an ARN is resolved once, here.
        let embedding_model = embedder.id().to_string();
        let asked = self.chunking.unwrap_or_default();
        let default = Chunking::default();
        let limit = embedder.max_tokens();
        let max_tokens = asked.max_tokens.unwrap_or(default.max_tokens.min(limit));
        let overlap_tokens = asked
            .overlap_tokens
            .unwrap_or(default.overlap_tokens.min(max_tokens / 4));
        let chunking = Chunking {
            max_tokens,
            overlap_tokens,
        };
        chunking.validate()?;
        if max_tokens > limit {
            return Err(Error::validation(format!(
                "chunking.maxTokens: expected at most {limit}, which {embedding_model} reads, got \
                 {max_tokens}"
            )));
        }
        Ok(KnowledgeBaseSpec {
            name: self.name,
            description: self.description,
            embedding_model,
            chunking,
            id: None,
        })
    }
}

/// Bedrock's pattern of a knowledge base's name: `([0-9a-zA-Z][_-]?){1,100}`.
pub(crate) fn validate_name(name: &str) -> Result<()> {
    let mut alphanumerics = 0;
    let mut after_mark = true;
    let mut right = true;
    for c in name.chars() {
        match c {
            '0'..='9' | 'a'..='z' | 'A'..='Z' => {
                alphanumerics += 1;
                after_mark = false;
            }
            '_' | '-' if !after_mark => after_mark = true,
            _ => right = false,
        }
    }
    if right && (1..=100).contains(&alphanumerics) {
        return Ok(());
    }
    Err(Error::validation(format!(
        "name: expected 1 to 100 letters (a-z, A-Z) or digits, each followed by at most one '_' or \
         '-', got {name:?}"
    )))
}

/// A knowledge base. Handles are cheap; the embedding model is loaded when it is first needed.
#[derive(Clone)]
pub struct KnowledgeBase {
    session: Session,
    stored: knowledge::KnowledgeBase,
}

impl KnowledgeBase {
    pub(crate) fn new(session: Session, stored: knowledge::KnowledgeBase) -> Self {
        Self { session, stored }
    }

    /// Its name, its model, its chunking and what it holds.
    ///
    /// # Errors
    /// An error that names the file where a record is damaged.
    pub async fn info(&self) -> Result<KnowledgeBaseInfo> {
        self.read("GetKnowledgeBase", |stored| stored.info()).await
    }

    /// Adds a folder or a file as a source; the next sync reads it.
    ///
    /// # Errors
    /// `ResourceNotFoundException` where nothing is there, `ConflictException` where it is a source
    /// already.
    pub async fn add_source(&self, path: impl AsRef<Path>) -> Result<SourceInfo> {
        let path: PathBuf = path.as_ref().to_path_buf();
        self.read("CreateDataSource", move |stored| stored.add_source(&path))
            .await
    }

    /// Removes a source, by its id or its path; the next sync deletes its documents.
    ///
    /// # Errors
    /// `ResourceNotFoundException` where it is no source.
    pub async fn remove_source(&self, source: impl Into<String>) -> Result<SourceInfo> {
        let source = source.into();
        self.read("DeleteDataSource", move |stored| {
            stored.remove_source(&source)
        })
        .await
    }

    /// Its sources.
    ///
    /// # Errors
    /// An error that names the file where a record is damaged.
    pub async fn sources(&self) -> Result<Vec<SourceInfo>> {
        self.read("ListDataSources", |stored| stored.sources())
            .await
    }

    /// Its documents.
    ///
    /// # Errors
    /// An error that names the file where a record is damaged.
    pub async fn documents(&self) -> Result<Vec<DocumentInfo>> {
        self.read("ListKnowledgeBaseDocuments", |stored| stored.documents())
            .await
    }

    /// Brings the knowledge base up to date with its sources: reads what is new or changed, drops
    /// what is gone. Dropping the future stops it and leaves the last good state.
    ///
    /// # Errors
    /// Those of the embedding model and of the disk. A document that cannot be read is no error:
    /// the report names it with the reason.
    pub async fn sync(
        &self,
        progress: impl Fn(SyncProgress) + Send + Sync + 'static,
    ) -> Result<SyncReport> {
        let work = async {
            let embedder = self.embedder().await?;
            self.stored.sync(embedder, progress).await
        };
        self.record("StartIngestionJob")?.run(work).await
    }

    /// Adds documents given as text, replacing those of the same id; gives their ids, in order.
    ///
    /// # Errors
    /// `ValidationException` for a document without text, or a vector of the wrong length.
    pub async fn add(&self, documents: Vec<Document>) -> Result<Vec<String>> {
        let work = async {
            let embedder = self.embedder().await?;
            self.stored.add(embedder, documents).await
        };
        self.record("IngestKnowledgeBaseDocuments")?.run(work).await
    }

    /// Deletes documents by id, all or none; gives how many there were. One that a source holds is
    /// back after the next sync.
    ///
    /// # Errors
    /// `ResourceNotFoundException` that names the first id that is not there.
    pub async fn delete(&self, ids: Vec<String>) -> Result<usize> {
        self.read("DeleteKnowledgeBaseDocuments", move |stored| {
            stored.delete_documents(&ids)
        })
        .await
    }

    /// The passages nearest to the query, best first, of those documents that pass the filter.
    ///
    /// # Errors
    /// `ValidationException` for an empty query, a `k` outside 1..=100, or a model that does not
    /// rerank.
    pub async fn retrieve(&self, query: String, options: RetrieveOptions) -> Result<Vec<Passage>> {
        validate_query("query", &query, options.k)?;
        let record = self.record("Retrieve")?;
        let noted = record.clone();
        let work = async {
            let retrieved = self.search("query", query, options, &noted).await?;
            Ok(retrieved.into_passages())
        };
        record.run(work).await
    }

    /// Answers a question from the nearest passages, with citations that were checked against the
    /// stored text.
    ///
    /// # Errors
    /// As [`KnowledgeBase::retrieve`], and those of the model; `ValidationException` for the session
    /// of another knowledge base.
    pub async fn ask(&self, question: String, options: AskOptions) -> Result<Answer> {
        validate_query("question", &question, options.retrieval.k)?;
        let record = self.record("RetrieveAndGenerate")?;
        let noted = record.clone();
        record.run(self.answer(question, options, &noted)).await
    }

    async fn answer(
        &self,
        question: String,
        options: AskOptions,
        noted: &Record,
    ) -> Result<Answer> {
        let reader = options.model.as_deref().unwrap_or(DEFAULT_READER);
        let chat = self.session.resolve(reader).await?.chat()?;
        noted.model(chat.id());
        let (session, about) = (self.session.clone(), self.stored.id().to_string());
        let conversation = blocking(move || {
            let id = options.session_id.as_deref();
            id.map(|id| Conversation::open_or_begin(&session, id, &about))
                .transpose()
        })
        .await?;
        let filtered = options.retrieval.filter.is_some();
        let retrieved = self
            .search("question", question.clone(), options.retrieval, noted)
            .await?;
        let before = conversation.as_ref().map(Conversation::messages);
        let asked = self.stored.answer(
            chat,
            retrieved,
            Question {
                text: question.clone(),
                filtered,
                before: before.unwrap_or_default(),
            },
        );
        let answer = asked.await?;
        noted.usage(&answer.usage);
        if let Some(conversation) = conversation {
            let told = answer.text.clone();
            blocking(move || conversation.keep(question, &told)).await?;
        }
        Ok(answer)
    }

    /// What is found for `text`, which errors call `field`.
    async fn search(
        &self,
        field: &'static str,
        text: String,
        options: RetrieveOptions,
        noted: &Record,
    ) -> Result<Retrieved> {
        let mut query = Query::new(text.clone(), options.k)
            .with_filter(options.filter)
            .with_search(options.search);
        query.field = field;
        let mut retrieved = self.stored.search(self.embedder(), query).await?;
        let Some(model) = options.rerank.filter(|_| !retrieved.found.is_empty()) else {
            return Ok(retrieved);
        };
        let reranker = self.session.resolve(&model).await?.reranker()?;
        noted.fact("rerankingModel", reranker.id());
        let texts = retrieved
            .found
            .iter()
            .map(|found| found.passage.text.clone());
        let scores = reranker.rerank(&text, &texts.collect::<Vec<_>>()).await?;
        retrieved.found = by_relevance(scores, retrieved.found);
        Ok(retrieved)
    }

    async fn embedder(&self) -> Result<Arc<dyn Embedder>> {
        self.session.check()?;
        let id = self.stored.embedding_model();
        self.session.resolve(id).await?.embedder()
    }

    /// Runs `work` where it may block, as the operation `name`.
    async fn read<T: Send + 'static>(
        &self,
        name: &str,
        work: impl FnOnce(&knowledge::KnowledgeBase) -> Result<T> + Send + 'static,
    ) -> Result<T> {
        let stored = self.stored.clone();
        self.record(name)?
            .run(blocking(move || work(&stored)))
            .await
    }

    /// Opens the record of the operation `name`, asked of this knowledge base.
    fn record(&self, name: &str) -> Result<Record> {
        self.session
            .open_record(name, "knowledgeBaseId", self.stored.id())
    }
}

impl std::fmt::Debug for KnowledgeBase {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("KnowledgeBase")
            .field("id", &self.stored.id())
            .field("name", &self.stored.name())
            .finish()
    }
}

fn validate_query(field: &str, text: &str, k: usize) -> Result<()> {
    if text.trim().is_empty() {
        return Err(Error::validation(format!(
            "{field}: expected a text, got {text:?}"
        )));
    }
    if !(1..=MAX_PASSAGES).contains(&k) {
        return Err(Error::validation(format!(
            "k: expected 1..={MAX_PASSAGES}, got {k}"
        )));
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn names_follow_bedrocks_pattern() {
        for good in [
            "policies",
            "a",
            "a-b_c",
            "A1-",
            &"x".repeat(100),
            &"x-".repeat(100),
        ] {
            validate_name(good).unwrap();
        }
        for wrong in ["", "-a", "a--b", "a b", "a/b", "é", "..", &"x".repeat(101)] {
            let message = validate_name(wrong).unwrap_err().message().to_string();
            assert!(message.starts_with("name: expected"), "{message}");
        }
    }

    #[test]
    fn k_and_query_are_checked() {
        validate_query("query", "loans", 100).unwrap();
        assert!(validate_query("query", " \n", 5).is_err());
        let message = validate_query("query", "x", 0)
            .unwrap_err()
            .message()
            .to_string();
        assert_eq!(message, "k: expected 1..=100, got 0");
    }
}
