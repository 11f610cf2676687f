//! Model invocation jobs: batch inference over files of JSON lines.

mod line;
mod run;

use outcrop_api::{Error, Result};
use serde_json::{Map, Value, json};

use super::async_invokes::{check_destination, uri_of};
use super::{Answer, Call};
use crate::jobs::{JobKind, start};
use crate::registry::{Draft, MODEL_INVOCATION_JOBS, Page, Resource, hours_after, now, read_tags};

/// The jobs.
pub(crate) static JOB: JobKind = JobKind {
    kind: &MODEL_INVOCATION_JOBS,
    failure: "message",
    run: |job| Box::pin(run::run(job)),
};

/// Hours that a job may take where the caller does not say, as on AWS.
const DEFAULT_TIMEOUT: u64 = 24;
/// Members that a job is told, and tells again.
const MEMBERS: [&str; 7] = [
    "modelId",
    "clientRequestToken",
    "roleArn",
    "inputDataConfig",
    "outputDataConfig",
    "timeoutDurationInHours",
    "modelInvocationType",
];
/// Statuses of a job that has not ended.
const AT_WORK: [&str; 5] = [
    "Submitted",
    "Validating",
    "Scheduled",
    "InProgress",
    "Stopping",
];

/// `CreateModelInvocationJob`.
pub(super) fn create(call: &Call) -> Result<Answer> {
    call.refuse(
        &["vpcConfig"],
        "there is no network between the home and its buckets",
    )?;
    call.model_of(call.required("modelId")?)?;
    let (input, output) = (input_of(&call.input), output_of(&call.input));
    check_destination(input, "", "s3BucketOwner")?;
    check_destination(output, "s3EncryptionKeyId", "s3BucketOwner")?;
    for config in [input, output] {
        call.session
            .resolve_s3_uri(uri_of(config), &call.principal)?;
    }
    let hours = call.number("timeoutDurationInHours");
    let expires = hours_after(&now(), hours.unwrap_or(DEFAULT_TIMEOUT));
    let mut members = Map::from_iter([
        ("status".to_string(), json!("Submitted")),
        ("jobExpirationTime".to_string(), json!(expires)),
    ]);
    for name in MEMBERS {
        if let Some(value) = call.input.get(name) {
            members.insert(name.into(), value.clone());
        }
    }
    let job = start(
        call,
        &JOB,
        Draft {
            name: Some(call.required("jobName")?),
            token: call.text("clientRequestToken"),
            request: Some(&call.input),
            tags: read_tags(call.input.get("tags"))?,
            members,
            ..Draft::default()
        },
    )?;
    Answer::of(&json!({"jobArn": job.arn}))
}

/// `GetModelInvocationJob`.
pub(super) fn get(call: &Call) -> Result<Answer> {
    let jobs = call.session.resources(&MODEL_INVOCATION_JOBS);
    Answer::of(&about(&jobs.get(call.required("jobIdentifier")?)?))
}

/// `ListModelInvocationJobs`.
pub(super) fn list(call: &Call) -> Result<Answer> {
    let jobs = call.session.resources(&MODEL_INVOCATION_JOBS);
    let listed = jobs.page(&Page::of(call)?, |_| true)?;
    Answer::of(&listed.answer("invocationJobSummaries", about))
}

/// `StopModelInvocationJob`: records that run then end, what was answered stays.
pub(super) fn stop(call: &Call) -> Result<Answer> {
    let jobs = call.session.resources(&MODEL_INVOCATION_JOBS);
    jobs.update(call.required("jobIdentifier")?, |job| {
        let status = job.text("status");
        if !AT_WORK.contains(&status) {
            return Err(Error::conflict(format!(
                "The job {} can't be stopped: its status is {status}.",
                job.id
            )));
        }
        job.members.insert("status".into(), json!("Stopping"));
        Ok(())
    })?;
    Ok(Answer::default())
}

fn about(job: &Resource) -> Value {
    let mut about = json!({
        "jobArn": job.arn,
        "jobName": job.name,
        "status": job.text("status"),
        "submitTime": job.created_at,
        "lastModifiedTime": job.updated_at,
    });
    let of_its_run = [
        "message",
        "endTime",
        "jobExpirationTime",
        "totalRecordCount",
        "processedRecordCount",
        "successRecordCount",
        "errorRecordCount",
    ];
    for name in MEMBERS.iter().chain(&of_its_run) {
        if let Some(value) = job.members.get(*name) {
            about[*name] = value.clone();
        }
    }
    about
}

fn input_of(job: &Value) -> &Value {
    &job["inputDataConfig"]["s3InputDataConfig"]
}

fn output_of(job: &Value) -> &Value {
    &job["outputDataConfig"]["s3OutputDataConfig"]
}
