//! Asynchronous invocations: one `InvokeModel` each, whose answer goes to a bucket.

use outcrop_api::{Error, ErrorKind, Result};
use outcrop_store::write_file;
use serde_json::{Map, Value, json};

use super::{Answer, Call, Operation, Service, foundation_models};
use crate::governance::ACCOUNT;
use crate::jobs::{Job, JobKind, start};
use crate::registry::{ASYNC_INVOKES, Draft, Page, Resource, read_tags};
use crate::session::blocking;

/// The jobs.
pub(crate) static JOB: JobKind = JobKind {
    kind: &ASYNC_INVOKES,
    failure: "failureMessage",
    run: |job| Box::pin(run(job)),
};

/// `StartAsyncInvoke`.
pub(super) fn start_invoke(call: &Call) -> Result<Answer> {
    let model_id = call.required("modelId")?;
    let model = call.model_of(model_id)?;
    let output = &call.input["outputDataConfig"]["s3OutputDataConfig"];
    check_destination(output, "kmsKeyId", "bucketOwner")?;
    call.session
        .resolve_s3_uri(uri_of(output), &call.principal)?;
    let name = model_id.rsplit('/').next().unwrap_or(model_id);
    let id = if foundation_models::is_id(&model) {
        &model
    } else {
        name
    };
    let mut members = Map::from_iter([
        ("status".to_string(), json!("InProgress")),
        ("modelArn".to_string(), json!(foundation_models::arn(id))),
    ]);
    for name in [
        "modelId",
        "modelInput",
        "outputDataConfig",
        "clientRequestToken",
    ] {
        if let Some(value) = call.input.get(name) {
            members.insert(name.into(), value.clone());
        }
    }
    let invocation = start(
        call,
        &JOB,
        Draft {
            token: call.text("clientRequestToken"),
            request: Some(&call.input),
            tags: read_tags(call.input.get("tags"))?,
            members,
            ..Draft::default()
        },
    )?;
    Answer::of(&json!({"invocationArn": invocation.arn}))
}

/// Refuses a key, and a bucket of another account.
pub(super) fn check_destination(config: &Value, key: &str, owner: &str) -> Result<()> {
    if config.get(key).is_some() {
        return Err(Error::validation(format!(
            "{key} is not supported: a bucket is a folder, whose files are not encrypted."
        )));
    }
    match config.get(owner).and_then(Value::as_str) {
        Some(other) if other != ACCOUNT => Err(Error::validation(format!(
            "{owner}: expected {ACCOUNT}, the account that this session stands for, got {other}"
        ))),
        _ => Ok(()),
    }
}

/// The S3 URI of a data configuration.
pub(super) fn uri_of(config: &Value) -> &str {
    config["s3Uri"].as_str().unwrap_or_default()
}

/// `GetAsyncInvoke`, which declares no error for an invocation that is not there but that of its
/// request.
pub(super) fn get(call: &Call) -> Result<Answer> {
    let arn = call.required("invocationArn")?;
    let found = call.session.resources(&ASYNC_INVOKES).get(arn);
    let invocation = found.map_err(|error| match error.kind() {
        ErrorKind::ResourceNotFoundException => Error::validation(error.message()),
        _ => error,
    })?;
    Answer::of(&about(&invocation))
}

/// `ListAsyncInvokes`.
pub(super) fn list(call: &Call) -> Result<Answer> {
    let invocations = call.session.resources(&ASYNC_INVOKES);
    let listed = invocations.page(&Page::of(call)?, |_| true)?;
    Answer::of(&listed.answer("asyncInvokeSummaries", about))
}

fn about(invocation: &Resource) -> Value {
    let mut about = json!({
        "invocationArn": invocation.arn,
        "modelArn": invocation.text("modelArn"),
        "status": invocation.text("status"),
        "submitTime": invocation.created_at,
        "lastModifiedTime": invocation.updated_at,
    });
    for name in [
        "clientRequestToken",
        "failureMessage",
        "endTime",
        "outputDataConfig",
    ] {
        if let Some(value) = invocation.members.get(name) {
            about[name] = value.clone();
        }
    }
    about
}

/// Invokes the model and writes its answer to `<uri>/<id>/output.json`.
async fn run(job: Job) -> Result<Map<String, Value>> {
    let this = job.resource()?;
    let output = &this.members["outputDataConfig"]["s3OutputDataConfig"];
    let folder = job
        .session
        .resolve_s3_uri(uri_of(output), &job.caller.principal)?;
    let path = folder.join(&job.id).join("output.json");
    let invoke = Operation::find(Service::BedrockRuntime, "InvokeModel");
    let invoke = invoke.ok_or_else(|| Error::internal("InvokeModel has no row"))?;
    let body = this.members["modelInput"].to_string().into_bytes();
    let input = json!({"modelId": this.text("modelId")});
    let called = job
        .session
        .call(job.caller.clone(), invoke, input, body)
        .await;
    let answer = called.answer?.payload.unwrap_or_default();
    blocking(move || Ok(write_file(&path, &answer)?)).await?;
    Ok(Map::from_iter([("status".to_string(), json!("Completed"))]))
}
