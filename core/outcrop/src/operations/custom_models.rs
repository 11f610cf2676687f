//! Custom models: those that a job has trained, and those made of files of the caller's.

use std::path::PathBuf;

use outcrop_api::{Error, Result};
use outcrop_governance::Principal;
use outcrop_inference::Checkpoint;
use outcrop_models::kind_of;
use serde_json::{Map, Value, json};

use super::{Answer, Call, model_import};
use crate::customization;
use crate::jobs::{Job, JobKind, start};
use crate::registry::{CUSTOM_MODELS, Draft, Page, Resource, read_tags};
use crate::session::{Session, blocking};

/// Bringing the files in, as a job of the model itself.
pub(crate) static JOB: JobKind = JobKind {
    kind: &CUSTOM_MODELS,
    failure: "failureMessage",
    run: |job| Box::pin(run(job)),
};

/// The member that tells where the files came from.
const SOURCE: &str = "modelSourceConfig";

/// `CreateCustomModel`: a private model of a folder's files, which are copied.
pub(super) fn create(call: &Call) -> Result<Answer> {
    call.refuse(
        &["modelKmsKeyArn"],
        "a custom model stands in a folder that only the home's owner may enter",
    )?;
    call.refuse(
        &["customModelDataSource"],
        "there are no model packages of SageMaker here; give modelSourceConfig.s3DataSource.s3Uri",
    )?;
    let name = call.required("modelName")?;
    let models = call.session.resources(&CUSTOM_MODELS);
    let token = call.text("clientRequestToken");
    if let Some(made) = models.made(token, Some(&call.input))? {
        return Answer::of(&json!({"modelArn": made.arn}));
    }
    // What cannot be a model is told at once.
    kind_of(&source(
        &call.session,
        &call.principal,
        &call.input[SOURCE],
    )?)?;
    let mut members = Map::from_iter([
        ("modelStatus".to_owned(), json!("Creating")),
        ("customizationType".to_owned(), json!("IMPORTED")),
        (customization::CREATOR.to_owned(), json!(call.principal.arn)),
    ]);
    members.insert(SOURCE.to_owned(), call.input[SOURCE].clone());
    let model = start(
        call,
        &JOB,
        Draft {
            name: Some(name),
            token,
            request: Some(&call.input),
            tags: read_tags(call.input.get("modelTags"))?,
            members,
            ..Draft::default()
        },
    )?;
    Answer::of(&json!({"modelArn": model.arn}))
}

/// The folder or file that a request's or a model's members name.
fn source(session: &Session, principal: &Principal, config: &Value) -> Result<PathBuf> {
    let uri = config["s3DataSource"]["s3Uri"].as_str();
    let uri = uri.ok_or_else(|| {
        Error::validation("modelSourceConfig: expected s3DataSource.s3Uri, got none")
    })?;
    model_import::checkpoint(&session.resolve_s3_uri(uri, principal)?)
}

/// Copies the files, from the beginning also where it broke off.
async fn run(job: Job) -> Result<Map<String, Value>> {
    blocking(move || {
        let this = job.resource()?;
        let config = &this.members[SOURCE];
        let from = source(&job.session, &job.caller.principal, config)?;
        let copied = customization::copy_model(&job.session, &job.id, &from);
        // Headers are read: a file that is missing or broken off is told now.
        let sound = copied.and_then(|place| {
            let opened = Checkpoint::open(&place).map_err(|error| {
                Error::validation(format!("{} is no model: {error}", from.display()))
            });
            opened.map(|_| place)
        });
        if let Err(error) = &sound {
            customization::delete_folder(&job.session, &job.id)?;
            // Together: who sees the one asks for the other.
            let failed = [
                ("modelStatus".to_owned(), json!("Failed")),
                (JOB.failure.to_owned(), json!(error.message())),
            ];
            job.note(Map::from_iter(failed), "")?;
        }
        let place = sound?;
        Ok(Map::from_iter([
            ("modelStatus".to_owned(), json!("Active")),
            (crate::registry::STANDS_FOR.to_owned(), json!(place)),
        ]))
    })
    .await
}

/// `GetCustomModel`.
pub(super) fn get(call: &Call) -> Result<Answer> {
    let models = call.session.resources(&CUSTOM_MODELS);
    let model = models.find(call.required("modelIdentifier")?)?;
    let mut about = summary(&model);
    let of_job = ["jobName", "jobArn"];
    let told = of_job.into_iter().chain(customization::OF_TRAINING);
    for name in told.chain([JOB.failure]) {
        if let Some(value) = model.members.get(name) {
            about[name] = value.clone();
        }
    }
    if let Some(about) = about.as_object_mut() {
        about.remove("baseModelName");
        about.remove("ownerAccountId");
    }
    Answer::of(&about)
}

/// `ListCustomModels`.
pub(super) fn list(call: &Call) -> Result<Answer> {
    let models = call.session.resources(&CUSTOM_MODELS);
    let (base, status) = (call.text("baseModelArnEquals"), call.text("modelStatus"));
    let is_asked = |model: &Resource| {
        base.is_none_or(|base| model.text("baseModelArn") == base)
            && status.is_none_or(|status| model.text("modelStatus") == status)
    };
    let listed = models.page(&Page::of(call)?, is_asked)?;
    Answer::of(&listed.answer("modelSummaries", |model| {
        let mut about = summary(model);
        // The shape asks for a base of every model: one that was brought in is its own.
        if about.get("baseModelArn").is_none() {
            about["baseModelArn"] = json!(model.arn);
            about["baseModelName"] = json!("outcrop.custom");
        }
        about
    }))
}

/// The name of a base in the form that the shape asks for, `provider.model`: a folder's is `local.…`.
fn base_name(arn: &str) -> String {
    let name = arn.rsplit('/').next().unwrap_or(arn);
    let is_plain = |part: &str| {
        let plain = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '-';
        (1..=63).contains(&part.len()) && part.chars().all(plain)
    };
    if name
        .split_once('.')
        .is_some_and(|(provider, model)| is_plain(provider) && is_plain(model))
    {
        return name.to_owned();
    }
    let plain = |c: char| match c.to_ascii_lowercase() {
        c if c.is_ascii_lowercase() || c.is_ascii_digit() => c,
        _ => '-',
    };
    format!(
        "local.{}",
        name.chars().take(63).map(plain).collect::<String>()
    )
}

fn summary(model: &Resource) -> Value {
    let mut about = json!({
        "modelArn": model.arn,
        "modelName": model.name,
        "creationTime": model.created_at,
        "customizationType": model.text("customizationType"),
        "ownerAccountId": "000000000000",
        "modelStatus": model.text("modelStatus"),
    });
    if let Some(base) = model.members.get("baseModelArn").and_then(Value::as_str) {
        about["baseModelArn"] = json!(base);
        about["baseModelName"] = json!(base_name(base));
    }
    about
}

/// `DeleteCustomModel`, with its files.
pub(super) fn delete(call: &Call) -> Result<Answer> {
    let models = call.session.resources(&CUSTOM_MODELS);
    let model = models.find(call.required("modelIdentifier")?)?;
    customization::check_creator(&call.session, &model.id, &call.principal)?;
    super::custom_model_deployments::check_unused(call, &model)?;
    models.delete(&model.id)?;
    customization::delete_files(&call.session, &model)?;
    Ok(Answer::default())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_base_has_a_name_of_two_parts() {
        for (arn, expected) in [
            (
                "arn:aws:bedrock:local::foundation-model/outcrop.tiny-v1",
                "outcrop.tiny-v1",
            ),
            (
                "arn:aws:bedrock:local::foundation-model/Llama3",
                "local.llama3",
            ),
            (
                "arn:aws:bedrock:local::foundation-model/acme.v1:0",
                "local.acme-v1-0",
            ),
        ] {
            assert_eq!(base_name(arn), expected);
        }
    }
}
