//! A customisation job, as whoever watches it holds it, in whatever process.

use outcrop_api::{Error, Result};
use outcrop_training::StepMetrics;
use serde::Serialize;
use serde_json::{Value, json};

use super::distill::{self, DistillationReport};
use super::run::{STEPS, steps_of};
use crate::registry::{MODEL_CUSTOMIZATION_JOBS, Resource};
use crate::session::Session;

/// A job that trains a model.
#[derive(Clone, Debug)]
pub struct CustomizationJob {
    session: Session,
    id: String,
}

/// How far a job is.
#[derive(Clone, Debug, Serialize)]
pub struct CustomizationStatus {
    /// The job's id.
    pub id: String,
    /// The job's ARN.
    pub arn: String,
    /// The job's name.
    pub name: String,
    /// `InProgress`, `Completed`, `Failed`, `Stopping` or `Stopped`.
    pub status: String,
    /// Why it has failed.
    pub failure: Option<String>,
    /// Steps made.
    pub step: usize,
    /// All steps; 0 before training begins.
    pub steps: usize,
    /// The last step's loss.
    pub loss: Option<f64>,
    /// The ARN of the model that it has made.
    pub model: Option<String>,
    /// Of a distillation, whose answers are asked for before or behind training: `teacher`,
    /// `student-before` or `student`.
    pub asked: Option<String>,
    /// How many of them are there.
    pub answered: usize,
    /// Of how many.
    pub prompts: usize,
    /// Of a distillation that has ended, how teacher and student compare.
    pub report: Option<DistillationReport>,
}

impl CustomizationJob {
    pub(super) fn new(session: Session, id: String) -> Self {
        Self { session, id }
    }

    fn resource(&self) -> Result<Resource> {
        self.session.check()?;
        self.session
            .resources(&MODEL_CUSTOMIZATION_JOBS)
            .get(&self.id)
    }

    /// The job's id.
    pub fn id(&self) -> &str {
        &self.id
    }

    /// How far it is.
    ///
    /// # Errors
    /// `ResourceNotFoundException` where it is gone.
    pub fn status(&self) -> Result<CustomizationStatus> {
        let job = self.resource()?;
        let number =
            |name: &str| job.members.get(name).and_then(Value::as_u64).unwrap_or(0) as usize;
        let text = |name: &str| Some(job.text(name).to_owned()).filter(|text| !text.is_empty());
        Ok(CustomizationStatus {
            status: job.text("status").to_owned(),
            failure: text("failureMessage"),
            step: number("step"),
            steps: number("steps"),
            loss: job.members.get("loss").and_then(Value::as_f64),
            model: text("outputModelArn"),
            asked: text("asked"),
            answered: number("answered"),
            prompts: number("prompts"),
            report: distill::report_of(&job.members)?,
            id: job.id.clone(),
            arn: job.arn.clone(),
            name: job.name.clone().unwrap_or_default(),
        })
    }

    /// Its steps so far.
    ///
    /// # Errors
    /// As [`CustomizationJob::status`].
    pub fn metrics(&self) -> Result<Vec<StepMetrics>> {
        self.session.check()?;
        let parts = self.session.store().read_progress(&self.id, STEPS)?;
        Ok(steps_of(parts, usize::MAX))
    }

    /// Stops it: it ends after its step, and makes no model.
    ///
    /// # Errors
    /// `ConflictException` where it has ended.
    pub fn stop(&self) -> Result<()> {
        let id = &self.id;
        let record = self
            .session
            .open_record("StopModelCustomizationJob", "jobIdentifier", id)?;
        let stopped = stop(&self.session, id);
        record.close(stopped.as_ref().err())?;
        stopped
    }
}

/// Tells the job to stop.
///
/// # Errors
/// `ConflictException` where it has ended; `ResourceNotFoundException` where there is none.
pub(crate) fn stop(session: &Session, identifier: &str) -> Result<()> {
    let jobs = session.resources(&MODEL_CUSTOMIZATION_JOBS);
    let id = jobs.find(identifier)?.id;
    jobs.update(&id, |job| {
        let status = job.text("status");
        if status != "InProgress" {
            return Err(Error::conflict(format!(
                "The job {} can't be stopped: its status is {status}.",
                job.id
            )));
        }
        job.members.insert("status".into(), json!("Stopping"));
        Ok(())
    })
    .map(drop)
}
