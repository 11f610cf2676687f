//! Brings a knowledge base up to date with its sources.
//!
//! Each file is known by the hash of its content: what is unchanged is not parsed again, what is gone
//! is deleted. Work is committed in batches, each a whole generation of the store, so that a sync
//! that is killed leaves the last one, and the next sync goes on from there. A document that was good
//! and no longer can be read is reported as failed and its passages are deleted: text that its file
//! does not hold must not answer.

use std::collections::{BTreeSet, VecDeque};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use outcrop_api as api;
use outcrop_store::{StoreError, Writer};
use serde::{Deserialize, Serialize};

use crate::document::{DocumentFacts, key};
use crate::ingest::{self, Prepared};
use crate::knowledge_base::KnowledgeBase;
use crate::record::Record;
use crate::scan::{FailedDocument, FoundFile, Scan};

/// How long a writer waits for the one before it.
pub(crate) const LOCK_TIMEOUT: Duration = Duration::from_secs(10);
/// Chunks after which files are embedded together.
const BATCH_CHUNKS: usize = 64;
/// Files after which a batch ends, so that progress is told while nothing changes.
const BATCH_FILES: usize = 64;
/// Work is committed after so many chunks or documents, or so much time.
const COMMIT_CHUNKS: usize = 2_048;
const COMMIT_DOCUMENTS: usize = 256;
const COMMIT_TIME: Duration = Duration::from_secs(5);

/// How far a sync is.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct SyncProgress {
    /// Documents that are done.
    pub documents_done: usize,
    /// Documents that the sources hold.
    pub documents_total: usize,
    /// Passages that were embedded.
    pub chunks: usize,
    /// The document that was done last.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub document: Option<String>,
}

/// What a sync did.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct SyncReport {
    /// Documents that the sources hold, those that failed included.
    pub scanned: usize,
    /// Documents that were new.
    pub added: usize,
    /// Documents whose content or metadata had changed.
    pub modified: usize,
    /// Documents whose file is gone.
    pub deleted: usize,
    /// Documents that were up to date.
    pub unchanged: usize,
    /// Documents that could not be read, each with its reason. None of them answers.
    pub failed: Vec<FailedDocument>,
    /// Files that are no documents: of other formats, or symbolic links.
    pub skipped: Vec<String>,
    /// Passages that were embedded.
    pub chunks: usize,
    /// Why everything was read again, where damaged files of the knowledge base made that necessary.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub rebuilt: Option<String>,
    /// Ids of directly added documents that a rebuild lost: they have no source to be read from.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub lost: Vec<String>,
}

/// What an ingestion has done so far, or did.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Ingestion {
    /// How far it is.
    pub progress: SyncProgress,
    /// What it did.
    pub report: SyncReport,
    /// Metadata files beside documents that were read.
    pub metadata_scanned: usize,
    /// Documents that were there before whose metadata changed.
    pub metadata_modified: usize,
    /// Of those, documents whose content did not change.
    pub metadata_alone: usize,
    /// Tokens that the embedding model read.
    pub input_tokens: usize,
}

/// Set when the caller gives up: by its own flag, or by dropping the future.
#[derive(Clone)]
struct Stop {
    asked: Arc<AtomicBool>,
    dropped: Arc<AtomicBool>,
}

impl Stop {
    fn is_set(&self) -> bool {
        self.asked.load(Ordering::Relaxed) || self.dropped.load(Ordering::Relaxed)
    }
}

struct SetOnDrop(Arc<AtomicBool>);

impl Drop for SetOnDrop {
    fn drop(&mut self) {
        self.0.store(true, Ordering::Relaxed);
    }
}

/// What one look at a file gave.
enum Outcome {
    Unchanged,
    Failed(String),
    Ready(Box<Prepared>, Change),
}

/// What changed in a document that was there before.
#[derive(Clone, Copy, Default)]
struct Change {
    known: bool,
    metadata: bool,
    content: bool,
}

impl Change {
    /// What is new in `prepared` beside what the store has by its key.
    fn of(run: &Run, prepared: &Prepared) -> api::Result<Self> {
        let Some(entry) = run.writer.snapshot().document(&prepared.key) else {
            return Ok(Self::default());
        };
        let before = DocumentFacts::of(&prepared.key, entry)?;
        Ok(Self {
            known: true,
            metadata: before.metadata != prepared.facts.metadata,
            content: before.content != prepared.facts.content,
        })
    }
}

/// A sync under way.
struct Run {
    writer: Writer,
    record: Record,
    queue: VecDeque<FoundFile>,
    ingestion: Ingestion,
    staged: usize,
    since: Instant,
}

impl KnowledgeBase {
    /// Brings the knowledge base up to date with its sources. Dropping the future stops it between
    /// two documents and leaves the last committed state.
    ///
    /// # Errors
    /// `ConflictException` while another session writes, or for another embedding model than that of
    /// the stored vectors; `ResourceNotFoundException` where a source is gone; those of the embedder
    /// and of the disk. A document that cannot be read is no error: the report names it.
    pub async fn sync(
        &self,
        embedder: Arc<dyn api::Embedder>,
        on_progress: impl Fn(SyncProgress) + Send + Sync,
    ) -> api::Result<SyncReport> {
        self.sync_until(embedder, on_progress, Arc::default()).await
    }

    /// As [`KnowledgeBase::sync`]; setting `cancel` stops it between two documents, after what is
    /// done has been committed.
    ///
    /// # Errors
    /// `CancelledException`, and those of [`KnowledgeBase::sync`].
    pub async fn sync_until(
        &self,
        embedder: Arc<dyn api::Embedder>,
        on_progress: impl Fn(SyncProgress) + Send + Sync,
        cancel: Arc<AtomicBool>,
    ) -> api::Result<SyncReport> {
        let on_step = |now: &Ingestion| on_progress(now.progress.clone());
        let done = self.ingest(embedder, None, on_step, cancel).await;
        done.map(|ingestion| ingestion.report)
    }

    /// Brings the documents of one source up to date with it, or those of all; tells `on_step` what
    /// was done so far. Setting `cancel` stops it between two documents, after what is done has been
    /// committed.
    ///
    /// # Errors
    /// As [`KnowledgeBase::sync_until`].
    pub async fn ingest(
        &self,
        embedder: Arc<dyn api::Embedder>,
        source: Option<&str>,
        on_step: impl Fn(&Ingestion) + Send + Sync,
        cancel: Arc<AtomicBool>,
    ) -> api::Result<Ingestion> {
        let stop = Stop {
            asked: cancel,
            dropped: Arc::default(),
        };
        let _dropped = SetOnDrop(stop.dropped.clone());
        let (base, model) = (self.clone(), embedder.clone());
        let only = source.map(str::to_owned);
        let mut run = blocking(move || base.start(&*model, only.as_deref())).await?;
        on_step(&run.ingestion);
        while !run.queue.is_empty() && !stop.is_set() {
            let (base, model, until) = (self.clone(), embedder.clone(), stop.clone());
            let (back, looked) = blocking(move || {
                let looked = base.look(&mut run, &*model, &until)?;
                Ok((run, looked))
            })
            .await?;
            run = back;
            run = match self.take(run, looked, &*embedder, &stop, &on_step).await {
                Ok(run) => run,
                Err((run, error)) => {
                    // What was done stays done: the next sync goes on behind it.
                    blocking(move || run.commit(true)).await?;
                    return Err(error);
                }
            };
            if run.is_due() {
                run = blocking(move || run.commit(false)).await?;
            }
        }
        let run = blocking(move || run.commit(true)).await?;
        if stop.is_set() {
            return Err(api::Error::cancelled());
        }
        Ok(run.ingestion)
    }

    /// Opens the writer, scans the sources, or the one, and stages what is gone.
    fn start(&self, embedder: &dyn api::Embedder, only: Option<&str>) -> api::Result<Run> {
        self.pin(embedder)?;
        let record = self.record()?;
        let mut scan = Scan::default();
        for folder in record.folders() {
            if only.is_none_or(|only| only == folder.source) {
                scan.add(folder)?;
            }
        }
        let mut report = SyncReport {
            scanned: scan.files.len() + scan.failed.len(),
            failed: scan.failed,
            skipped: scan.skipped,
            ..SyncReport::default()
        };
        let mut writer = self.writer_or_rebuild(record.embedding.is_some(), &mut report)?;
        let present: BTreeSet<String> = scan
            .files
            .iter()
            .map(|file| key(Some(&file.source), &file.document))
            .collect();
        let snapshot = writer.snapshot().clone();
        let looked_at = |source: &str| match only {
            Some(only) => only == source,
            None => !record.keeps(source),
        };
        for (stored, entry) in snapshot.documents() {
            if entry.source.as_deref().is_some_and(looked_at) && !present.contains(stored) {
                writer.delete(stored);
                report.deleted += 1;
            }
        }
        Ok(Run {
            writer,
            record,
            staged: report.deleted,
            ingestion: Ingestion {
                progress: SyncProgress {
                    documents_total: scan.files.len(),
                    ..SyncProgress::default()
                },
                report,
                ..Ingestion::default()
            },
            queue: scan.files.into(),
            since: Instant::now(),
        })
    }

    /// The writer; where the stored files are damaged, that of a new and empty collection.
    fn writer_or_rebuild(&self, used: bool, report: &mut SyncReport) -> api::Result<Writer> {
        let damage = match self.collection().and_then(|c| c.writer(LOCK_TIMEOUT)) {
            Ok(writer) => return Ok(writer),
            Err(error @ StoreError::Corrupt { .. }) => error.to_string(),
            Err(StoreError::NotFound { .. }) => "its files were missing".to_owned(),
            Err(error) => return Err(error.into()),
        };
        if used {
            report.rebuilt = Some(damage);
            report.lost = self.added()?;
        }
        self.home().delete_collection(self.id())?;
        self.home().create_collection(self.id())?;
        self.set_added(&[])?;
        Ok(self.collection()?.writer(LOCK_TIMEOUT)?)
    }

    /// Reads files from the queue until a batch is full.
    fn look(
        &self,
        run: &mut Run,
        embedder: &dyn api::Embedder,
        stop: &Stop,
    ) -> api::Result<Vec<(FoundFile, Outcome)>> {
        let mut looked = Vec::new();
        let mut chunks = 0;
        while chunks < BATCH_CHUNKS && looked.len() < BATCH_FILES && !stop.is_set() {
            let Some(file) = run.queue.pop_front() else {
                break;
            };
            let key = key(Some(&file.source), &file.document);
            let known = run.writer.snapshot().document(&key);
            let outcome = match ingest::read(&file) {
                Err(reason) => Outcome::Failed(reason),
                Ok(content) if known.is_some_and(|d| d.sha256 == content.sha256) => {
                    run.ingestion.metadata_scanned += usize::from(content.metadata.is_some());
                    Outcome::Unchanged
                }
                Ok(content) => {
                    run.ingestion.metadata_scanned += usize::from(content.metadata.is_some());
                    let strategy = run.record.strategy(&file.source);
                    match ingest::prepare_file(&file, content, strategy, embedder)? {
                        Ok(prepared) => {
                            chunks += prepared.chunks.len();
                            let change = Change::of(run, &prepared)?;
                            Outcome::Ready(Box::new(prepared), change)
                        }
                        Err(reason) => Outcome::Failed(reason),
                    }
                }
            };
            looked.push((file, outcome));
        }
        Ok(looked)
    }

    /// Embeds and stages what a look gave. After an error, the run holds what was staged before.
    async fn take(
        &self,
        mut run: Run,
        looked: Vec<(FoundFile, Outcome)>,
        embedder: &dyn api::Embedder,
        stop: &Stop,
        on_step: &(impl Fn(&Ingestion) + Sync),
    ) -> Result<Run, (Run, api::Error)> {
        let mut ready = Vec::new();
        let mut changes = Vec::new();
        for (file, outcome) in looked {
            match outcome {
                Outcome::Unchanged => run.ingestion.report.unchanged += 1,
                Outcome::Failed(reason) => {
                    let stale = key(Some(&file.source), &file.document);
                    run.staged += usize::from(run.writer.delete(&stale));
                    run.ingestion.report.failed.push(FailedDocument {
                        document: file.document.clone(),
                        reason,
                    });
                }
                Outcome::Ready(prepared, change) => {
                    ready.push(*prepared);
                    changes.push(change);
                    continue;
                }
            }
            run.done(file.document);
            on_step(&run.ingestion);
        }
        match ingest::embed(&mut ready, embedder, &|| stop.is_set()).await {
            Ok(tokens) => run.ingestion.input_tokens += tokens,
            Err(error) => return Err((run, error)),
        }
        for (prepared, change) in ready.into_iter().zip(changes) {
            let (chunks, name) = (prepared.chunks.len(), prepared.facts.id.clone());
            let staged = prepared
                .into_new_document()
                .and_then(|document| Ok(run.writer.put(document)?));
            if let Err(error) = staged {
                return Err((run, error));
            }
            run.staged += 1;
            run.count(change, chunks);
            run.done(name);
            on_step(&run.ingestion);
        }
        Ok(run)
    }
}

impl Run {
    /// Counts a document that was embedded.
    fn count(&mut self, change: Change, chunks: usize) {
        let now = &mut self.ingestion;
        now.report.chunks += chunks;
        now.report.added += usize::from(!change.known);
        now.report.modified += usize::from(change.known);
        now.metadata_modified += usize::from(change.metadata);
        now.metadata_alone += usize::from(change.metadata && !change.content);
        now.progress.chunks += chunks;
    }

    fn done(&mut self, document: String) {
        self.ingestion.progress.documents_done += 1;
        self.ingestion.progress.document = Some(document);
    }

    fn is_due(&self) -> bool {
        self.staged > 0
            && (self.staged >= COMMIT_DOCUMENTS
                || self.writer.staged_chunks() >= COMMIT_CHUNKS
                || self.since.elapsed() >= COMMIT_TIME)
    }

    /// Makes what is staged durable; the last time, merges segments where that is due.
    fn commit(mut self, last: bool) -> api::Result<Run> {
        self.writer.commit()?;
        if last {
            self.writer.compact()?;
        }
        self.staged = 0;
        self.since = Instant::now();
        Ok(self)
    }
}

/// Runs work that blocks, off the threads that run futures.
pub(crate) async fn blocking<T: Send + 'static>(
    work: impl FnOnce() -> api::Result<T> + Send + 'static,
) -> api::Result<T> {
    match tokio::task::spawn_blocking(work).await {
        Ok(result) => result,
        Err(error) => Err(api::Error::internal(format!("the work was ended: {error}"))),
    }
}
