//! Model import jobs, and the models that they bring in.

use std::path::{Path, PathBuf};

use outcrop_api::{Error, ErrorKind, Result};
use outcrop_models::LoadOptions;
use serde_json::{Map, Value, json};

use super::{Answer, Call};
use crate::jobs::{Job, JobKind, start};
use crate::registry::{
    Draft, IMPORTED_MODELS, MODEL_IMPORT_JOBS, Page, Resource, STANDS_FOR, read_tags,
};
use crate::session::blocking;

/// The jobs.
pub(crate) static JOB: JobKind = JobKind {
    kind: &MODEL_IMPORT_JOBS,
    failure: "failureMessage",
    run: |job| Box::pin(run(job)),
};

/// Members that a job is told, and tells again.
const MEMBERS: [&str; 3] = ["importedModelName", "roleArn", "modelDataSource"];

/// `CreateModelImportJob`. The files stay where they are.
pub(super) fn create(call: &Call) -> Result<Answer> {
    call.refuse(
        &["vpcConfig"],
        "there is no network between the home and its buckets",
    )?;
    call.refuse(
        &["importedModelKmsKeyId"],
        "imported files stay where they are, as they are",
    )?;
    source(call)?;
    let name = call.required("importedModelName")?;
    read_tags(call.input.get("importedModelTags"))?;
    let token = call.text("clientRequestToken");
    let jobs = call.session.resources(&MODEL_IMPORT_JOBS);
    if let Some(job) = jobs.made(token, Some(&call.input))? {
        return Answer::of(&json!({"jobArn": job.arn}));
    }
    if call.session.resources(&IMPORTED_MODELS).find(name).is_ok() {
        return Err(Error::conflict(format!(
            "Imported model with name {name} already exists."
        )));
    }
    let mut members = Map::from_iter([("status".to_string(), json!("InProgress"))]);
    for name in MEMBERS.iter().chain(&["importedModelTags"]) {
        if let Some(value) = call.input.get(*name) {
            members.insert((*name).into(), value.clone());
        }
    }
    let job = start(
        call,
        &JOB,
        Draft {
            name: Some(call.required("jobName")?),
            token,
            request: Some(&call.input),
            tags: read_tags(call.input.get("jobTags"))?,
            members,
            ..Draft::default()
        },
    )?;
    Answer::of(&json!({"jobArn": job.arn}))
}

/// `GetModelImportJob`.
pub(super) fn get(call: &Call) -> Result<Answer> {
    let job = call
        .session
        .resources(&MODEL_IMPORT_JOBS)
        .find(call.required("jobIdentifier")?)?;
    let mut about = summary(&job);
    for name in ["roleArn", "modelDataSource", "failureMessage"] {
        if let Some(value) = job.members.get(name) {
            about[name] = value.clone();
        }
    }
    Answer::of(&about)
}

/// `ListModelImportJobs`.
pub(super) fn list(call: &Call) -> Result<Answer> {
    let listed = call
        .session
        .resources(&MODEL_IMPORT_JOBS)
        .page(&Page::of(call)?, |_| true)?;
    Answer::of(&listed.answer("modelImportJobSummaries", summary))
}

fn summary(job: &Resource) -> Value {
    let mut about = json!({
        "jobArn": job.arn,
        "jobName": job.name,
        "status": job.text("status"),
        "importedModelName": job.text("importedModelName"),
        "creationTime": job.created_at,
        "lastModifiedTime": job.updated_at,
    });
    for name in ["endTime", "importedModelArn"] {
        if let Some(value) = job.members.get(name) {
            about[name] = value.clone();
        }
    }
    about
}

fn source(call: &Call) -> Result<PathBuf> {
    let uri = call.input["modelDataSource"]["s3DataSource"]["s3Uri"].as_str();
    call.session
        .resolve_s3_uri(uri.unwrap_or_default(), &call.principal)
}

/// Registers the files with the shelf and makes the model a resource.
async fn run(job: Job) -> Result<Map<String, Value>> {
    let this = job.resource()?;
    let uri = this.members["modelDataSource"]["s3DataSource"]["s3Uri"].as_str();
    let path = job
        .session
        .resolve_s3_uri(uri.unwrap_or_default(), &job.caller.principal)?;
    let name = this.text("importedModelName").to_string();
    let path = checkpoint(&path)?;
    let source = path.display().to_string();
    job.session.shelf().import(&source, &name, None).await?;
    let summary = job
        .session
        .model_summary(&name, LoadOptions::default())
        .await?;
    blocking(move || {
        let mut members = Map::from_iter([
            (STANDS_FOR.to_string(), json!(name)),
            ("jobName".to_string(), json!(this.name)),
            ("jobArn".to_string(), json!(this.arn)),
            (
                "modelDataSource".to_string(),
                this.members["modelDataSource"].clone(),
            ),
        ]);
        if !summary.architecture.is_empty() {
            members.insert("modelArchitecture".into(), json!(summary.architecture));
        }
        let models = job.session.resources(&IMPORTED_MODELS);
        // The token makes it once, also where the job is done again after a kill.
        let model = models.create(Draft {
            name: Some(&name),
            token: Some(&this.id),
            tags: read_tags(this.members.get("importedModelTags"))?,
            members,
            ..Draft::default()
        })?;
        Ok(Map::from_iter([
            ("status".to_string(), json!("Completed")),
            ("importedModelArn".to_string(), json!(model.arn)),
        ]))
    })
    .await
}

/// What of a folder the shelf opens: the folder itself, or the one GGUF file in it.
pub(super) fn checkpoint(path: &Path) -> Result<PathBuf> {
    if path.is_file() || path.join("config.json").exists() {
        return Ok(path.to_path_buf());
    }
    let entries = std::fs::read_dir(path).map_err(|error| {
        Error::validation(format!("There are no files at {}: {error}", path.display()))
    })?;
    let mut found: Vec<PathBuf> = entries
        .flatten()
        .map(|entry| entry.path())
        .filter(|path| {
            path.extension()
                .is_some_and(|end| end.eq_ignore_ascii_case("gguf"))
        })
        .collect();
    match (found.pop(), found.is_empty()) {
        (Some(file), true) => Ok(file),
        _ => Err(Error::validation(format!(
            "Expected a config.json with its weights, or one .gguf file, in {}",
            path.display()
        ))),
    }
}

/// `GetImportedModel`.
pub(super) fn get_model(call: &Call) -> Result<Answer> {
    let models = call.session.resources(&IMPORTED_MODELS);
    let model = models.find(call.required("modelIdentifier")?)?;
    let mut about = model_summary(&model);
    for name in ["jobName", "jobArn", "modelDataSource"] {
        if let Some(value) = model.members.get(name) {
            about[name] = value.clone();
        }
    }
    Answer::of(&about)
}

/// `ListImportedModels`.
pub(super) fn list_models(call: &Call) -> Result<Answer> {
    let listed = call
        .session
        .resources(&IMPORTED_MODELS)
        .page(&Page::of(call)?, |_| true)?;
    Answer::of(&listed.answer("modelSummaries", model_summary))
}

fn model_summary(model: &Resource) -> Value {
    let mut about = json!({
        "modelArn": model.arn,
        "modelName": model.name,
        "creationTime": model.created_at,
    });
    if let Some(architecture) = model.members.get("modelArchitecture") {
        about["modelArchitecture"] = architecture.clone();
    }
    about
}

/// `DeleteImportedModel`: its files stay where they are.
pub(super) fn delete_model(call: &Call) -> Result<Answer> {
    let models = call.session.resources(&IMPORTED_MODELS);
    let model = models.find(call.required("modelIdentifier")?)?;
    match call.session.shelf().unregister(model.text(STANDS_FOR)) {
        Err(error) if error.kind() != ErrorKind::ResourceNotFoundException => {
            return Err(error);
        }
        _ => models.delete(&model.id)?,
    };
    Ok(Answer::default())
}
