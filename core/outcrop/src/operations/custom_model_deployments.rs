//! Custom model deployments: names by which custom models are run, which can be moved to another one.

use outcrop_api::{Error, ErrorKind, Result};
use serde_json::{Map, Value, json};

use super::{Answer, Call};
use crate::customization;
use crate::registry::{
    CUSTOM_MODEL_DEPLOYMENTS, CUSTOM_MODELS, Draft, Page, Resource, STANDS_FOR, read_tags,
};

/// `CreateCustomModelDeployment`.
pub(super) fn create(call: &Call) -> Result<Answer> {
    let model = model(call)?;
    let mut members = Map::from_iter([
        (STANDS_FOR.to_owned(), json!(model.arn)),
        (customization::CREATOR.to_owned(), json!(call.principal.arn)),
        // A deployment is a name: it runs as soon as it is made.
        ("status".to_owned(), json!("Active")),
    ]);
    if let Some(description) = call.input.get("description") {
        members.insert("description".to_owned(), description.clone());
    }
    let made = call
        .session
        .resources(&CUSTOM_MODEL_DEPLOYMENTS)
        .create(Draft {
            name: Some(call.required("modelDeploymentName")?),
            token: call.text("clientRequestToken"),
            request: Some(&call.input),
            tags: read_tags(call.input.get("tags"))?,
            members,
            ..Draft::default()
        });
    // The shape knows no conflict.
    let made = made.map_err(|error| match error.kind() {
        ErrorKind::ConflictException => Error::validation(error.message()),
        _ => error,
    })?;
    Answer::of(&json!({"customModelDeploymentArn": made.arn}))
}

/// The custom model that a request names, which is the caller's own and can run.
fn model(call: &Call) -> Result<Resource> {
    let arn = call.required("modelArn")?;
    let model = call.session.resources(&CUSTOM_MODELS).get(arn)?;
    customization::check_creator(&call.session, &model.id, &call.principal)?;
    match model.text("modelStatus") {
        "Active" => Ok(model),
        status => Err(Error::validation(format!(
            "modelArn: expected an active custom model, got {arn}, which is {status}"
        ))),
    }
}

/// The deployment that a request names, which is the caller's own.
fn own(call: &Call) -> Result<Resource> {
    let deployments = call.session.resources(&CUSTOM_MODEL_DEPLOYMENTS);
    let found = deployments.find(call.required("customModelDeploymentIdentifier")?)?;
    customization::check_creator(&call.session, &found.arn, &call.principal)?;
    Ok(found)
}

/// `GetCustomModelDeployment`.
pub(super) fn get(call: &Call) -> Result<Answer> {
    let deployment = own(call)?;
    let mut about = summary(&deployment);
    if let Some(about) = about.as_object_mut() {
        about.remove("customModelDeploymentName");
    }
    about["modelDeploymentName"] = json!(deployment.name);
    for name in ["description", "updateDetails"] {
        if let Some(value) = deployment.members.get(name) {
            about[name] = value.clone();
        }
    }
    Answer::of(&about)
}

/// `ListCustomModelDeployments`: those of the caller; to the owner of the home, all.
pub(super) fn list(call: &Call) -> Result<Answer> {
    let deployments = call.session.resources(&CUSTOM_MODEL_DEPLOYMENTS);
    let model = call.text("modelArnEquals");
    let is_asked = |deployment: &Resource| {
        let creator = deployment.text(customization::CREATOR);
        (call.principal.is_owner() || creator == call.principal.arn)
            && model.is_none_or(|model| deployment.text(STANDS_FOR) == model)
    };
    let listed = deployments.page(&Page::of(call)?, is_asked)?;
    Answer::of(&listed.answer("modelDeploymentSummaries", summary))
}

fn summary(deployment: &Resource) -> Value {
    json!({
        "customModelDeploymentArn": deployment.arn,
        "customModelDeploymentName": deployment.name,
        "modelArn": deployment.text(STANDS_FOR),
        "createdAt": deployment.created_at,
        "lastUpdatedAt": deployment.updated_at,
        "status": deployment.text("status"),
    })
}

/// `UpdateCustomModelDeployment`: from then on it runs the other model.
pub(super) fn update(call: &Call) -> Result<Answer> {
    let (deployment, model) = (own(call)?, model(call)?);
    let deployments = call.session.resources(&CUSTOM_MODEL_DEPLOYMENTS);
    let updated = deployments.update(&deployment.id, |deployment| {
        let details = json!({"modelArn": model.arn, "updateStatus": "UpdateCompleted"});
        let members = &mut deployment.members;
        members.insert(STANDS_FOR.to_owned(), json!(model.arn));
        members.insert("updateDetails".to_owned(), details);
        Ok(())
    })?;
    Answer::of(&json!({"customModelDeploymentArn": updated.arn}))
}

/// `DeleteCustomModelDeployment`. The model stays.
pub(super) fn delete(call: &Call) -> Result<Answer> {
    let deployment = own(call)?;
    call.session
        .resources(&CUSTOM_MODEL_DEPLOYMENTS)
        .delete(&deployment.id)?;
    Ok(Answer::default())
}

/// Refuses to delete a model that deployments run.
pub(super) fn check_unused(call: &Call, model: &Resource) -> Result<()> {
    let all = call.session.resources(&CUSTOM_MODEL_DEPLOYMENTS).all()?;
    let using = all
        .into_iter()
        .find(|deployment| deployment.text(STANDS_FOR) == model.arn);
    match using {
        Some(deployment) => Err(Error::conflict(format!(
            "The custom model {} can't be deleted: the deployment {} runs it.",
            model.arn, deployment.arn
        ))),
        None => Ok(()),
    }
}
