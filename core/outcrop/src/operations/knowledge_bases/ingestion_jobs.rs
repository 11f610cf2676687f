//! Ingestion jobs: what brings a knowledge base up to date with one of its data sources.
//!
//! A job runs behind the call that started it, one at a time in a knowledge base. For as long as it
//! runs, its process holds the knowledge base: a job whose process is gone is seen by the hold that
//! nobody has, and ends as FAILED. What it had done stays done, and the next job goes on from there.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use outcrop_api::{Error, ErrorKind, Result, Usage};
use outcrop_knowledge::{Ingestion, KnowledgeBase};
use outcrop_store::Hold;
use serde_json::{Map, Value, json};

use super::data_sources::{bucket_of, put, source_of};
use super::stored;
use crate::operations::{Answer, Call};
use crate::registry::{Draft, INGESTION_JOBS, Page, Resource, Resources, is_older_than, now};
use crate::runtime::runtime;
use crate::session::{Session, blocking};

/// How often a running job is written down and looks whether it is to stop.
const TICK: Duration = Duration::from_millis(200);
/// A job that nobody holds and that was written so long ago has lost its process.
const LOST_AFTER: Duration = Duration::from_secs(2);
/// Most reasons of one job, and most characters of one, as the shape says.
const MAX_REASONS: usize = 2048;

/// `StartIngestionJob`.
pub(in crate::operations) fn start(call: &Call) -> Result<Answer> {
    let base = stored(call)?;
    let source = source_of(call, &base)?;
    let mut members = Map::from_iter([
        ("status".to_string(), json!("STARTING")),
        ("knowledgeBaseId".to_string(), json!(base.id())),
        ("statistics".to_string(), statistics(&Ingestion::default())),
    ]);
    if let Some(description) = call.text("description") {
        members.insert("description".into(), json!(description));
    }
    let id = INGESTION_JOBS.id.fresh();
    let jobs = call.session.resources(&INGESTION_JOBS).under(&source.id);
    let job = jobs.create(Draft {
        id: Some(&id),
        token: call.text("clientToken"),
        request: Some(&call.input),
        members,
        ..Draft::default()
    })?;
    if job.id == id {
        let Some(hold) = hold(call, &base)? else {
            jobs.delete(&id)?;
            return Err(Error::conflict(format!(
                "Knowledge base {} has an ingestion job in progress already: only one can run at a \
                 time.",
                base.id()
            )));
        };
        let prepared = refreshed(call, &base, &source);
        call.record.model(base.embedding_model());
        let work = Work {
            session: call.session.clone(),
            base,
            jobs,
            id,
            source: source.id,
        };
        runtime()?.spawn(work.run(hold, prepared));
    }
    Answer::of(&json!({"ingestionJob": about(&job, true)}))
}

/// `GetIngestionJob`.
pub(in crate::operations) fn get(call: &Call) -> Result<Answer> {
    let (_, _, job) = job_of(call)?;
    Answer::of(&json!({"ingestionJob": about(&job, true)}))
}

/// `StopIngestionJob`.
pub(in crate::operations) fn stop(call: &Call) -> Result<Answer> {
    let (_, jobs, job) = job_of(call)?;
    let stopping = jobs.update(&job.id, |job| {
        if !is_running(job) {
            return Err(Error::conflict(format!(
                "Ingestion job {} has ended with the status {}.",
                job.id,
                job.text("status")
            )));
        }
        job.members.insert("status".into(), json!("STOPPING"));
        Ok(())
    })?;
    Answer::of(&json!({"ingestionJob": about(&stopping, true)}))
}

/// `ListIngestionJobs`.
pub(in crate::operations) fn list(call: &Call) -> Result<Answer> {
    let base = stored(call)?;
    let source = source_of(call, &base)?;
    let jobs = call.session.resources(&INGESTION_JOBS).under(&source.id);
    let wanted: Vec<Value> = call.input["filters"]
        .as_array()
        .into_iter()
        .flatten()
        .filter_map(|filter| filter["values"].as_array().cloned())
        .flatten()
        .collect();
    let filtered = call.input.get("filters").is_some();
    let by_status = call.input["sortBy"]["attribute"] == "STATUS";
    let mut shown = BTreeMap::new();
    let mut order = Vec::new();
    for job in jobs.all()? {
        let mut job = settled(call, &base, &jobs, job)?;
        if filtered && !wanted.contains(&json!(job.text("status"))) {
            continue;
        }
        shown.insert(job.id.clone(), about(&job, false));
        if by_status {
            // A page goes by this member: the status first, then the time.
            job.created_at = format!("{}|{}", job.text("status"), job.created_at);
        }
        order.push(job);
    }
    order.sort_by(|a, b| (&a.created_at, &a.id).cmp(&(&b.created_at, &b.id)));
    let descending = call.input["sortBy"]["order"] != "ASCENDING";
    let listed = Page::of(call)?.in_order(descending).of_all(order, |_| true);
    Answer::of(&listed.answer("ingestionJobSummaries", |job| shown[&job.id].clone()))
}

/// The hold that the running job of a knowledge base has; none where one runs.
///
/// # Errors
/// `InternalServerException` where the home cannot be written.
pub(super) fn hold(call: &Call, base: &KnowledgeBase) -> Result<Option<Hold>> {
    Ok(call
        .session
        .store()
        .try_hold(&format!("ingestion.{}", base.id()))?)
}

/// The data source with its bucket as it is mapped now.
fn refreshed(call: &Call, base: &KnowledgeBase, source: &Resource) -> Result<()> {
    let configuration = source.members.get("dataSourceConfiguration");
    let bucket = bucket_of(call, configuration.unwrap_or(&Value::Null))?;
    let strategy = base.data_source(&source.id)?.strategy;
    put(base, source, bucket, strategy)
}

fn job_of(call: &Call) -> Result<(KnowledgeBase, Resources, Resource)> {
    let base = stored(call)?;
    let source = source_of(call, &base)?;
    let id = call.required("ingestionJobId")?;
    let jobs = call.session.resources(&INGESTION_JOBS).under(&source.id);
    let found = jobs.get(id).map_err(|_| {
        Error::not_found(format!(
            "Ingestion job with id {id} does not exist for data source {}",
            source.id
        ))
        .with_resource(id)
    })?;
    let job = settled(call, &base, &jobs, found)?;
    Ok((base, jobs, job))
}

fn is_running(job: &Resource) -> bool {
    ["STARTING", "IN_PROGRESS", "STOPPING"].contains(&job.text("status"))
}

/// The job; as FAILED where its process is gone.
fn settled(call: &Call, base: &KnowledgeBase, jobs: &Resources, job: Resource) -> Result<Resource> {
    if !is_running(&job) || !is_older_than(&job.updated_at, LOST_AFTER) {
        return Ok(job);
    }
    let Some(_hold) = hold(call, base)? else {
        return Ok(job);
    };
    jobs.update(&job.id, |job| {
        // It may have ended before the hold was free.
        if is_running(job) {
            let reason = "The process that ran the job ended before it was done. What it had ingested \
                          stays; start a job again to go on.";
            job.members.insert("status".into(), json!("FAILED"));
            job.members.insert("failureReasons".into(), json!([reason]));
        }
        Ok(())
    })
}

/// A job at work.
struct Work {
    session: Session,
    base: KnowledgeBase,
    jobs: Resources,
    id: String,
    source: String,
}

impl Work {
    async fn run(self, hold: Hold, prepared: Result<()>) {
        let latest: Arc<Mutex<Ingestion>> = Arc::default();
        let done = match prepared {
            Ok(()) => self.ingest(&latest).await,
            Err(error) => Err(error),
        };
        let ingestion = latest
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .clone();
        let usage = Usage::new(ingestion.input_tokens, 0);
        self.session
            .desk()
            .meter()
            .count(self.base.embedding_model(), &usage);
        let members = self.ended(&ingestion, done);
        // Nobody is left to be told: a job that cannot be written is found as lost.
        let _ = blocking(move || {
            self.note(members)?;
            drop(hold);
            Ok(())
        })
        .await;
    }

    async fn ingest(&self, latest: &Arc<Mutex<Ingestion>>) -> Result<()> {
        let model = self.session.resolve(self.base.embedding_model()).await?;
        let cancel: Arc<AtomicBool> = Arc::default();
        let told = latest.clone();
        let on_step = move |now: &Ingestion| {
            *told.lock().unwrap_or_else(PoisonError::into_inner) = now.clone();
        };
        let source = Some(self.source.as_str());
        let work = self
            .base
            .ingest(model.embedder()?, source, on_step, cancel.clone());
        let mut work = std::pin::pin!(work);
        loop {
            if let Ok(done) = tokio::time::timeout(TICK, &mut work).await {
                let done = done?;
                *latest.lock().unwrap_or_else(PoisonError::into_inner) = done;
                return Ok(());
            }
            let now = latest
                .lock()
                .unwrap_or_else(PoisonError::into_inner)
                .clone();
            let job = self.note(Map::from_iter([
                ("status".to_string(), json!("IN_PROGRESS")),
                ("statistics".to_string(), statistics(&now)),
            ]))?;
            if job.text("status") == "STOPPING" || self.session.is_closed() {
                cancel.store(true, Ordering::Relaxed);
            }
        }
    }

    /// The members that the job ends with.
    fn ended(&self, now: &Ingestion, done: Result<()>) -> Map<String, Value> {
        let mut reasons: Vec<String> = now
            .report
            .failed
            .iter()
            .map(|failed| format!("{}: {}", failed.document, failed.reason))
            .collect();
        let status = match done {
            Ok(()) => "COMPLETE",
            Err(error) if error.kind() == ErrorKind::CancelledException => {
                if self.session.is_closed() {
                    reasons.insert(0, "The session that ran the job was closed.".into());
                    "FAILED"
                } else {
                    "STOPPED"
                }
            }
            Err(error) => {
                reasons.insert(0, error.message().to_string());
                "FAILED"
            }
        };
        let more = reasons.len().saturating_sub(MAX_REASONS - 1);
        if more > 1 {
            reasons.truncate(MAX_REASONS - 1);
            reasons.push(format!("{more} further documents failed."));
        }
        let mut members = Map::from_iter([
            ("status".to_string(), json!(status)),
            ("statistics".to_string(), statistics(now)),
        ]);
        if status == "COMPLETE" {
            members.insert("textReadyAt".into(), json!(self::now()));
        }
        if !reasons.is_empty() {
            let shortened = |reason: &String| reason.chars().take(MAX_REASONS).collect::<String>();
            let reasons: Vec<String> = reasons.iter().map(shortened).collect();
            members.insert("failureReasons".into(), json!(reasons));
        }
        members
    }

    /// Writes the job down. One that is to stop stays so until it has ended.
    fn note(&self, members: Map<String, Value>) -> Result<Resource> {
        self.jobs.update(&self.id, |job| {
            let stops = job.text("status") == "STOPPING";
            let goes_on = members.get("status") == Some(&json!("IN_PROGRESS"));
            job.members.extend(members);
            if stops && goes_on {
                job.members.insert("status".into(), json!("STOPPING"));
            }
            Ok(())
        })
    }
}

/// Each file that was found is scanned: it is new, modified, unchanged, failed, or skipped for what
/// it is.
fn statistics(now: &Ingestion) -> Value {
    let report = &now.report;
    json!({
        "numberOfDocumentsScanned": report.scanned + report.skipped.len(),
        "numberOfMetadataDocumentsScanned": now.metadata_scanned,
        "numberOfNewDocumentsIndexed": report.added,
        "numberOfModifiedDocumentsIndexed": report.modified - now.metadata_alone.min(report.modified),
        "numberOfMetadataDocumentsModified": now.metadata_modified,
        "numberOfDocumentsDeleted": report.deleted,
        "numberOfDocumentsFailed": report.failed.len(),
        "numberOfDocumentsSkipped": report.skipped.len(),
    })
}

fn about(job: &Resource, whole: bool) -> Value {
    let mut about = json!({
        "knowledgeBaseId": job.text("knowledgeBaseId"),
        "dataSourceId": job.parent,
        "ingestionJobId": job.id,
        "status": job.text("status"),
        "startedAt": job.created_at,
        "updatedAt": job.updated_at,
    });
    for name in ["description", "statistics", "textReadyAt", "failureReasons"] {
        if let Some(value) = job
            .members
            .get(name)
            .filter(|_| whole || name != "failureReasons")
        {
            about[name] = value.clone();
        }
    }
    about
}
