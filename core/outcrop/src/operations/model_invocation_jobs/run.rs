//! The work of a model invocation job, from its beginning or from where it broke off.

use std::collections::VecDeque;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use outcrop_api::{Error, Result};
use outcrop_store::{Progress, write_file};
use serde_json::{Map, Value, json};
use tokio::task::JoinHandle;

use super::line::{Asked, Done, answer};
use super::uri_of;
use crate::jobs::Job;
use crate::registry::now;
use crate::session::blocking;

/// Records of a job that run at the same time: the engine batches them.
const AT_ONCE: usize = 16;
/// How often the counts of a job that runs are written.
const TELL: Duration = Duration::from_secs(1);

/// A file of the input.
struct Input {
    path: PathBuf,
    /// Its path below the URI that the job was told.
    name: String,
    lines: Vec<String>,
}

/// Why a job's work has come to its end.
#[derive(Clone, Copy, PartialEq, Eq)]
enum End {
    Whole,
    Stopped,
    Expired,
}

/// What was done of a job.
#[derive(Clone, Copy, Default)]
struct Tally {
    total: usize,
    success: usize,
    error: usize,
    input_tokens: usize,
    output_tokens: usize,
}

/// A record that runs; given up where it is dropped.
struct Running(JoinHandle<Done>);

impl Drop for Running {
    fn drop(&mut self) {
        self.0.abort();
    }
}

/// Runs the job to its end.
pub(super) async fn run(job: Job) -> Result<Map<String, Value>> {
    tell(&job, status("Validating")).await?;
    let this = Value::Object(job.resource()?.members);
    let principal = &job.caller.principal;
    let from = job
        .session
        .resolve_s3_uri(uri_of(super::input_of(&this)), principal)?;
    let to = job
        .session
        .resolve_s3_uri(uri_of(super::output_of(&this)), principal)?;
    let to = to.join(&job.id);
    let inputs = blocking(move || inputs(&from)).await?;
    let mut tally = Tally {
        total: inputs.iter().map(|input| input.lines.len()).sum(),
        ..Tally::default()
    };
    let mut members = status("InProgress");
    members.extend(tally.counts());
    tell(&job, members).await?;
    let mut batch = Batch {
        asked: Asked {
            session: job.session.clone(),
            caller: job.caller.clone(),
            model_id: this["modelId"].as_str().unwrap_or_default().into(),
            is_converse: this["modelInvocationType"] == "Converse",
        },
        expires: this["jobExpirationTime"]
            .as_str()
            .unwrap_or_default()
            .into(),
        told: Instant::now(),
        tally: &mut tally,
        job: &job,
    };
    let mut end = End::Whole;
    for input in inputs {
        let (ended, done) = batch.run(&input).await?;
        let path = to.join(format!("{}.out", input.name));
        blocking(move || write_lines(&path, &done)).await?;
        end = ended;
        if end != End::Whole {
            break;
        }
    }
    let manifest = to.join("manifest.json.out");
    blocking(move || {
        write_file(&manifest, tally.manifest().to_string().as_bytes())?;
        job.session.store().delete_progress(&job.id)?;
        let mut members = status(match end {
            End::Whole => "Completed",
            End::Stopped => "Stopped",
            End::Expired if tally.processed() > 0 => "PartiallyCompleted",
            End::Expired => "Expired",
        });
        members.extend(tally.counts());
        Ok(members)
    })
    .await
}

/// The records of a job, file by file.
struct Batch<'a> {
    job: &'a Job,
    asked: Asked,
    expires: String,
    tally: &'a mut Tally,
    told: Instant,
}

impl Batch<'_> {
    /// Runs the records of one file behind those that were done before, in their order.
    async fn run(&mut self, input: &Input) -> Result<(End, Vec<Done>)> {
        let (mut progress, mut done) = self.progress(&input.name).await?;
        done.iter().for_each(|done| self.tally.count(done));
        let mut lines = input.lines.iter().enumerate().skip(done.len());
        let mut running: VecDeque<Running> = VecDeque::new();
        loop {
            let end = self.end().await?;
            if end != End::Whole {
                return Ok((end, done));
            }
            while running.len() < AT_ONCE
                && let Some((position, line)) = lines.next()
            {
                let record = answer(self.asked.clone(), line.clone(), position);
                running.push_back(Running(tokio::spawn(record)));
            }
            let Some(mut first) = running.pop_front() else {
                return Ok((End::Whole, done));
            };
            let record = (&mut first.0).await.map_err(|error| {
                Error::internal(format!("{}: a record was stopped", input.path.display()))
                    .with_source(error)
            })?;
            // What fails because the session was closed is done again by the next one.
            self.job.session.check()?;
            progress.append(&record)?;
            self.tally.count(&record);
            done.push(record);
        }
    }

    async fn progress(&self, name: &str) -> Result<(Progress, Vec<Done>)> {
        let (home, id) = (self.job.session.store().clone(), self.job.id.clone());
        let name = name.to_string();
        blocking(move || {
            let (progress, parts) = home.progress(&id, &name)?;
            let done = parts.into_iter().map(serde_json::from_value).collect();
            let done: std::result::Result<Vec<Done>, _> = done;
            let done = done.map_err(|error| {
                Error::internal(format!("the progress of {name} cannot be read: {error}"))
                    .with_source(error)
            })?;
            Ok((progress, done))
        })
        .await
    }

    /// Whether the job is to end now. The counts are told on the way.
    async fn end(&mut self) -> Result<End> {
        if self.told.elapsed() >= TELL {
            self.told = Instant::now();
            tell(self.job, self.tally.counts()).await?;
        }
        let job = self.job.clone();
        let this = blocking(move || job.resource()).await?;
        Ok(match this.text("status") {
            "Stopping" => End::Stopped,
            _ if now() > self.expires => End::Expired,
            _ => End::Whole,
        })
    }
}

impl Tally {
    fn count(&mut self, done: &Done) {
        match done.is_success() {
            true => self.success += 1,
            false => self.error += 1,
        }
        self.input_tokens += done.usage.input_tokens;
        self.output_tokens += done.usage.output_tokens;
    }

    fn processed(&self) -> usize {
        self.success + self.error
    }

    fn counts(&self) -> Map<String, Value> {
        [
            ("totalRecordCount", self.total),
            ("processedRecordCount", self.processed()),
            ("successRecordCount", self.success),
            ("errorRecordCount", self.error),
        ]
        .into_iter()
        .map(|(name, count)| (name.to_string(), json!(count)))
        .collect()
    }

    fn manifest(&self) -> Value {
        let mut manifest = self.counts();
        manifest.insert("inputTokenCount".into(), json!(self.input_tokens));
        manifest.insert("outputTokenCount".into(), json!(self.output_tokens));
        Value::Object(manifest)
    }
}

fn status(status: &str) -> Map<String, Value> {
    Map::from_iter([("status".to_string(), json!(status))])
}

/// Writes members of the job; a job that is being stopped stays so.
async fn tell(job: &Job, members: Map<String, Value>) -> Result<()> {
    let job = job.clone();
    blocking(move || job.note(members, "Stopping").map(drop)).await
}

/// The `.jsonl` files at a path, in the order of their names, with their lines.
fn inputs(from: &Path) -> Result<Vec<Input>> {
    let mut paths = Vec::new();
    if from.is_file() {
        paths.push(from.to_path_buf());
    } else {
        collect(from, &mut paths)?;
    }
    paths.sort_unstable();
    if paths.is_empty() {
        return Err(Error::validation(format!(
            "There is no .jsonl file at {}",
            from.display()
        )));
    }
    let base = if from.is_file() {
        from.parent()
    } else {
        Some(from)
    };
    let base = base.unwrap_or(from).to_path_buf();
    paths.into_iter().map(|path| input(path, &base)).collect()
}

fn input(path: PathBuf, base: &Path) -> Result<Input> {
    let text = std::fs::read_to_string(&path).map_err(unreadable(&path))?;
    let lines = text.lines().filter(|line| !line.trim().is_empty());
    let name = path.strip_prefix(base).unwrap_or(&path);
    Ok(Input {
        lines: lines.map(str::to_string).collect(),
        name: name.to_string_lossy().replace('\\', "/"),
        path,
    })
}

fn collect(folder: &Path, paths: &mut Vec<PathBuf>) -> Result<()> {
    for entry in std::fs::read_dir(folder).map_err(unreadable(folder))? {
        let path = entry.map_err(unreadable(folder))?.path();
        if path.is_dir() {
            collect(&path, paths)?;
        } else if path.extension().is_some_and(|end| end == "jsonl") {
            paths.push(path);
        }
    }
    Ok(())
}

fn unreadable(path: &Path) -> impl Fn(std::io::Error) -> Error {
    move |error| Error::validation(format!("{} cannot be read: {error}", path.display()))
}

fn write_lines(path: &Path, done: &[Done]) -> Result<()> {
    let lines: String = done.iter().map(|done| format!("{}\n", done.line)).collect();
    Ok(write_file(path, lines.as_bytes())?)
}
