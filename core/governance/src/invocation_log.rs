//! The log of model invocations in a bucket's folder: one file a call, in Bedrock's form.

use std::io::Write;
use std::path::PathBuf;

use chrono::{SecondsFormat, Utc};
use flate2::Compression;
use flate2::write::GzEncoder;
use outcrop_api::{Error, Result};
use outcrop_store::write_file;
use serde_json::{Map, Value, json};

use crate::audit::{AuditRecord, Outcome};
use crate::caller::{ACCOUNT, REGION};

/// Where the bodies of model calls go beside the audit log: `AWSLogs/<account>/
/// BedrockModelInvocationLogs/<region>/<year>/<month>/<day>/<hour>/<time>_<request>.json.gz` below a
/// folder, each file one record of `schemaType` `ModelInvocationLog`, whole or not there.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct InvocationLog {
    folder: PathBuf,
}

impl InvocationLog {
    /// The log below `folder`, which is created with its first record.
    pub fn new(folder: PathBuf) -> Self {
        Self { folder }
    }

    /// Keeps the record of a call that has ended.
    ///
    /// # Errors
    /// `InternalServerException`, naming the file that cannot be written.
    pub(crate) fn keep(&self, record: &AuditRecord, outcome: Outcome<'_>) -> Result<()> {
        let now = Utc::now();
        let time = now.to_rfc3339_opts(SecondsFormat::Secs, true);
        let hour = now.format("%Y/%m/%d/%H");
        let request = record.request_id.replace('-', "");
        let name = format!("{}_{request}.json.gz", now.format("%Y%m%dT%H%M%S%3fZ"));
        let path = self.folder.join(format!(
            "AWSLogs/{ACCOUNT}/BedrockModelInvocationLogs/{REGION}/{hour}/{name}"
        ));
        let line = format!("{}\n", event(record, &time, outcome));
        let mut gzip = GzEncoder::new(Vec::new(), Compression::default());
        let bytes = gzip.write_all(line.as_bytes()).and_then(|()| gzip.finish());
        let bytes = bytes.map_err(|error| {
            Error::internal(format!("{}: {error}", path.display())).with_source(error)
        })?;
        Ok(write_file(&path, &bytes)?)
    }
}

/// A record as Bedrock writes it. `modelId` is what was asked for; where another model ran, it is
/// `invokedModelId`.
fn event(record: &AuditRecord, time: &str, outcome: Outcome<'_>) -> Value {
    let asked = record.request["modelId"].as_str();
    let mut event = json!({
        "schemaType": "ModelInvocationLog",
        "schemaVersion": "1.0",
        "timestamp": time,
        "accountId": ACCOUNT,
        "identity": {"arn": record.caller.principal.arn},
        "region": REGION,
        "requestId": record.request_id,
        "operation": record.operation,
        "modelId": asked.or(record.model.as_deref()),
    });
    if let Some(model) = record
        .model
        .as_deref()
        .filter(|model| Some(*model) != asked)
    {
        event["invokedModelId"] = json!(model);
    }
    if let Outcome::Failure(error) = outcome {
        event["errorCode"] = json!(error.kind().name());
    }
    if let Some(metadata) = record.request.get("requestMetadata") {
        event["requestMetadata"] = metadata.clone();
    }
    let usage = record.usage.unwrap_or_default();
    event["input"] = side("input", input(&record.request), usage.input_tokens);
    if let Some(response) = &record.response {
        event["output"] = side("output", response.clone(), usage.output_tokens);
    }
    event
}

/// What the model was given: the body where there is one, else the members beside `modelId`.
fn input(request: &Value) -> Value {
    if let Some(body) = request.get("body") {
        return body.clone();
    }
    let mut members = request.clone();
    if let Some(members) = members.as_object_mut() {
        members.shift_remove("modelId");
    }
    members
}

/// One direction of the call, `input` or `output`.
fn side(name: &str, body: Value, tokens: usize) -> Value {
    Value::Object(Map::from_iter([
        (format!("{name}ContentType"), json!("application/json")),
        (format!("{name}BodyJson"), body),
        (format!("{name}TokenCount"), json!(tokens)),
    ]))
}
