//! The work of a customisation job, from its beginning or from its last checkpoint.

use std::path::PathBuf;
use std::time::{Duration, Instant};

use outcrop_api::{Error, ModelKind, Result};
use outcrop_governance::Principal;
use outcrop_inference::Checkpoint;
use outcrop_models::{DEFAULT_READER, LoadOptions};
use outcrop_store::{Hold, Progress, StoreError, read_sealed, write_sealed};
use outcrop_tensor::{Pool, give_way};
use outcrop_training::{
    Decoder, SentenceEncoder, StepMetrics, Trainable, Trainer, available_memory,
};
use serde_json::{Map, Value, json};

use super::distill::{self, Taught};
use super::{WORK, Work, adopt, data, embedding, output};
use crate::jobs::Job;
use crate::registry::now;
use crate::session::Session;

/// The home's folder of what jobs in training keep.
const AREA: &str = "training";
/// The piece of a job's progress that holds a line a step.
pub(super) const STEPS: &str = "steps";
/// How often a job looks whether it is to stop, and tells how far it is.
const TELL: Duration = Duration::from_millis(500);
/// Time between checkpoints, where no steps are told.
const CHECKPOINT: Duration = Duration::from_secs(30);

/// A trainer at its first step, with the opened base.
pub(super) struct Prepared<M: Trainable = Decoder> {
    pub base: Checkpoint,
    pub trainer: Trainer<M>,
}

/// The same of whichever kind the base is.
pub(super) enum Any {
    Chat(Box<Prepared>),
    Embedding(Box<Prepared<SentenceEncoder>>),
}

/// Reads the base and the data, and makes the trainer: everything that can be refused is.
///
/// # Errors
/// Those of [`Session::fine_tune`].
pub(super) fn prepare(session: &Session, principal: &Principal, work: &Work) -> Result<Any> {
    let validation: Vec<&str> = work.validation.iter().map(String::as_str).collect();
    let options = work.options.clone();
    if kind_of_base(session, &work.base)? == ModelKind::Embedding {
        let (base, encoder, reader) = embedding::open(session, &work.base)?;
        let read = |places: &[&str]| {
            embedding::read(session, principal, (&reader, work.max_tokens), places)
        };
        let examples = (read(&[&work.training])?, read(&validation)?);
        let trainer = Trainer::new(encoder, options, examples, available_memory())?;
        return Ok(Any::Embedding(Box::new(Prepared { base, trainer })));
    }
    let base = open_base(session, &work.base)?;
    let decoder = Decoder::load(&base)?;
    let limits = (work.max_tokens, decoder.config().context_length);
    let read = |places: &[&str]| data::read(session, principal, &base, places, limits);
    let examples = (read(&[&work.training])?, read(&validation)?);
    let trainer = Trainer::new(decoder, options, examples, available_memory())?;
    Ok(Any::Chat(Box::new(Prepared { base, trainer })))
}

/// What the base model is for.
///
/// # Errors
/// `ResourceNotFoundException` where it is not on this machine; `ValidationException` for the quoting
/// reader, which has no weights of its own.
pub(crate) fn kind_of_base(session: &Session, name: &str) -> Result<ModelKind> {
    if session.shelf().resolution(name)?.model == DEFAULT_READER {
        return Err(Error::validation(format!(
            "base_model {name}: expected a model with weights of its own, got the quoting reader"
        )));
    }
    let summary = session.shelf().summary(name, &LoadOptions::default())?;
    Ok(summary.kind)
}

/// Opens the files of a model that chats.
///
/// # Errors
/// `ValidationException` where it is of another kind; `ResourceNotFoundException`.
pub(super) fn open_base(session: &Session, name: &str) -> Result<Checkpoint> {
    let summary = session.shelf().summary(name, &LoadOptions::default())?;
    if summary.kind != ModelKind::Chat {
        return Err(Error::validation(format!(
            "base_model {name}: expected a model that chats, got one of kind {:?}",
            summary.kind
        )));
    }
    Ok(Checkpoint::open(&summary.path)?)
}

/// Runs the job to its end, on a thread of its own that gives way to serving.
pub(super) async fn run(job: Job) -> Result<Map<String, Value>> {
    let (sender, receiver) = tokio::sync::oneshot::channel();
    let thread = std::thread::Builder::new().name("outcrop-train".to_owned());
    let spawned = thread.spawn(move || {
        give_way();
        // Nobody waits any more where the runtime is gone.
        let _ = sender.send(train(&job));
    });
    spawned.map_err(|error| Error::internal("no thread for the job").with_source(error))?;
    receiver
        .await
        .map_err(|_| Error::internal("the job's thread ended before its work"))?
}

/// A job in training.
struct Training<'a> {
    job: &'a Job,
    work: Work,
    steps: Vec<StepMetrics>,
    progress: Progress,
    checkpoint: PathBuf,
    saved: Instant,
    told: Instant,
}

fn train(job: &Job) -> Result<Map<String, Value>> {
    let this = job.resource()?;
    let work = this.members.get(WORK).cloned().unwrap_or_default();
    let work: Work = serde_json::from_value(work)
        .map_err(|error| Error::internal(error.to_string()).with_source(error))?;
    let Some(_turn) = wait_for_turn(job)? else {
        return stopped(job);
    };
    job.note(
        details(["InProgress", "NotStarted", "NotStarted"]),
        "Stopping",
    )?;
    match &work.distillation {
        Some(_) => match distill::teach(job, &work)? {
            Some((prepared, taught)) => train_on(job, work, prepared, Some(taught)),
            None => stopped(job),
        },
        None => match prepare(&job.session, &job.caller.principal, &work)? {
            Any::Chat(prepared) => train_on(job, work, *prepared, None),
            Any::Embedding(prepared) => train_on(job, work, *prepared, None),
        },
    }
}

/// Makes the steps from the beginning or from the last checkpoint, and writes the model.
fn train_on<M: Trainable>(
    job: &Job,
    work: Work,
    prepared: Prepared<M>,
    taught: Option<Taught>,
) -> Result<Map<String, Value>> {
    let Prepared { base, mut trainer } = prepared;
    job.note(
        details(["Completed", "Completed", "InProgress"]),
        "Stopping",
    )?;
    let home = job.session.store();
    let checkpoint = home.private_folder(AREA, &job.id)?.join("checkpoint");
    match read_sealed(&checkpoint) {
        Ok(bytes) => trainer.resume(&bytes)?,
        Err(StoreError::NotFound { .. }) => {}
        Err(error) => return Err(error.into()),
    }
    let (progress, parts) = home.progress(&job.id, STEPS)?;
    let mut training = Training {
        steps: steps_of(parts, trainer.step()),
        progress,
        checkpoint,
        saved: Instant::now(),
        told: Instant::now(),
        work,
        job,
    };
    let threads = Pool::default_threads().map_err(|error| Error::validation(error.to_string()))?;
    let pool = Pool::background(threads);
    if !training.run(&mut trainer, &pool)? {
        return stopped(job);
    }
    training.finish(trainer, (&base, &pool), taught)
}

/// Waits until no other job of the home trains; none where the job is stopped first.
fn wait_for_turn(job: &Job) -> Result<Option<Hold>> {
    loop {
        job.session.check()?;
        if job.resource()?.text("status") == "Stopping" {
            return Ok(None);
        }
        if let Some(hold) = job.session.store().try_hold("training")? {
            return Ok(Some(hold));
        }
        std::thread::sleep(TELL);
    }
}

impl Training<'_> {
    /// Makes the steps; false where the job was stopped.
    fn run<M: Trainable>(&mut self, trainer: &mut Trainer<M>, pool: &Pool) -> Result<bool> {
        self.tell(trainer)?;
        while !trainer.is_done() {
            self.job.session.check()?;
            let step = trainer.advance(pool)?;
            self.progress.append(&step)?;
            self.steps.push(step);
            let is_due = match self.work.checkpoint_every {
                Some(every) => trainer.step().is_multiple_of(every.max(1)),
                None => self.saved.elapsed() >= CHECKPOINT,
            };
            if is_due {
                write_sealed(&self.checkpoint, &trainer.checkpoint())?;
                self.saved = Instant::now();
            }
            if self.told.elapsed() >= TELL && self.tell(trainer)? == "Stopping" {
                return Ok(false);
            }
        }
        Ok(true)
    }

    /// Tells how far the job is, and gives its status.
    fn tell<M: Trainable>(&mut self, trainer: &Trainer<M>) -> Result<String> {
        self.told = Instant::now();
        let members = Map::from_iter([
            ("step".to_owned(), json!(trainer.step())),
            ("steps".to_owned(), json!(trainer.steps())),
            (
                "loss".to_owned(),
                json!(self.steps.last().map(|step| step.loss)),
            ),
        ]);
        let told = self.job.note(members, "Stopping")?;
        Ok(told.text("status").to_owned())
    }

    /// Writes the model and the tables, and makes the model a resource.
    fn finish<M: Trainable>(
        mut self,
        trainer: Trainer<M>,
        (base, pool): (&Checkpoint, &Pool),
        taught: Option<Taught>,
    ) -> Result<Map<String, Value>> {
        self.tell(&trainer)?;
        let (session, id) = (&self.job.session, &self.job.id);
        let folder = output::write_model(session, id, (&trainer.into_model(), base), pool)?;
        if let Some(to) = &self.work.output {
            let to = data::path_of(session, &self.job.caller.principal, to)?;
            output::write_tables(&to, id, &self.steps)?;
        }
        let mut members = details(["Completed", "Completed", "Completed"]);
        let last = self.steps.last();
        if let Some(loss) = last.map(|step| step.loss) {
            members.insert("trainingMetrics".to_owned(), json!({"trainingLoss": loss}));
        }
        let validated = self
            .steps
            .iter()
            .rev()
            .find_map(|step| step.validation_loss);
        if let Some(loss) = validated {
            members.insert(
                "validationMetrics".to_owned(),
                json!([{"validationLoss": loss}]),
            );
        }
        let told = self.job.note(members.clone(), "")?;
        let creator = &self.job.caller.principal.arn;
        let model = adopt(session, &told, creator, &folder.display().to_string())?;
        if let Some(taught) = taught {
            // Stopped where there is a model already: it stays, without a report.
            if let Some(report) = taught.compare(self.job, &self.work, &model.arn)? {
                if let Some(to) = &self.work.output {
                    let to = data::path_of(session, &self.job.caller.principal, to)?;
                    output::write_report(&to, id, &report)?;
                }
                members.extend([distill::member(&report)]);
            }
        }
        session.store().delete_private_folder(AREA, id)?;
        members.insert("status".to_owned(), json!("Completed"));
        members.insert("outputModelArn".to_owned(), json!(model.arn));
        Ok(members)
    }
}

fn stopped(job: &Job) -> Result<Map<String, Value>> {
    job.session.store().delete_private_folder(AREA, &job.id)?;
    let mut members = details(["Completed", "Completed", "Stopped"]);
    members.insert("status".to_owned(), json!("Stopped"));
    Ok(members)
}

/// The steps that were told, each once, up to the one that training goes on from. What was done behind
/// the last checkpoint is done, and told, again.
pub(super) fn steps_of(parts: Vec<Value>, up_to: usize) -> Vec<StepMetrics> {
    let told = parts
        .into_iter()
        .filter_map(|part| serde_json::from_value::<StepMetrics>(part).ok());
    let mut steps: Vec<StepMetrics> = Vec::new();
    for step in told {
        steps.truncate(step.step.saturating_sub(1));
        steps.push(step);
    }
    steps.truncate(up_to);
    steps
}

/// The member `statusDetails` with the statuses of validation, data processing and training.
fn details(statuses: [&str; 3]) -> Map<String, Value> {
    let time = now();
    let about = |status: &str| json!({"status": status, "lastModifiedTime": time});
    let [validation, processing, training] = statuses;
    let details = json!({
        "validationDetails": about(validation),
        "dataProcessingDetails": about(processing),
        "trainingDetails": about(training),
    });
    Map::from_iter([("statusDetails".to_owned(), details)])
}
