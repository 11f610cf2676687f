//! Inference profiles: names for a model, with tags of their own.

use outcrop_api::Result;
use outcrop_models::PROFILE_AREAS;
use serde_json::{Map, Value, json};

use super::{Answer, Call, foundation_models};
use crate::registry::{
    ARN_PREFIX, Draft, INFERENCE_PROFILES, Page, Resource, STANDS_FOR, read_tags,
};
use crate::session::Session;

/// The member that names what a profile was copied from.
const MODEL_ARN: &str = "modelArn";

/// Most characters of a profile's id, as the shape says.
const MAX_ID: usize = 64;

/// `CreateInferenceProfile`.
pub(super) fn create(call: &Call) -> Result<Answer> {
    let source = call.input["modelSource"]["copyFrom"]
        .as_str()
        .unwrap_or_default();
    let model = call.model_of(source)?;
    let mut members = Map::from_iter([
        (STANDS_FOR.to_string(), json!(source)),
        (MODEL_ARN.to_string(), json!(model_arn(source, &model))),
    ]);
    if let Some(description) = call.text("description") {
        members.insert("description".into(), json!(description));
    }
    let profile = call.session.resources(&INFERENCE_PROFILES).create(Draft {
        name: Some(call.required("inferenceProfileName")?),
        token: call.text("clientRequestToken"),
        request: Some(&call.input),
        tags: read_tags(call.input.get("tags"))?,
        members,
        ..Draft::default()
    })?;
    call.record.resource(&profile.arn);
    Answer::of(&json!({"inferenceProfileArn": profile.arn, "status": "ACTIVE"}))
}

/// `GetInferenceProfile`.
pub(super) fn get(call: &Call) -> Result<Answer> {
    let identifier = call.required("inferenceProfileIdentifier")?;
    let of_aliases = of_aliases(&call.session)?;
    let by = |profile: &&Value| {
        ["inferenceProfileId", "inferenceProfileArn"]
            .iter()
            .any(|name| profile[*name] == identifier)
    };
    if let Some(profile) = of_aliases.iter().find(by) {
        return Answer::of(profile);
    }
    Answer::of(&about(
        &call
            .session
            .resources(&INFERENCE_PROFILES)
            .get(identifier)?,
    ))
}

/// `DeleteInferenceProfile`.
pub(super) fn delete(call: &Call) -> Result<Answer> {
    let identifier = call.required("inferenceProfileIdentifier")?;
    call.session
        .resources(&INFERENCE_PROFILES)
        .delete(identifier)?;
    Ok(Answer::default())
}

/// `ListInferenceProfiles`: those that aliases make real come with the first page.
pub(super) fn list(call: &Call) -> Result<Answer> {
    let page = Page::of(call)?;
    let kind = call.text("typeEquals");
    let mut profiles = Vec::new();
    if kind != Some("APPLICATION") && call.text("nextToken").is_none() {
        profiles = of_aliases(&call.session)?;
    }
    let listed = call.session.resources(&INFERENCE_PROFILES);
    let listed = listed.page(&page, |_| kind != Some("SYSTEM_DEFINED"))?;
    let mut answer = listed.answer("inferenceProfileSummaries", about);
    if let Some(summaries) = answer["inferenceProfileSummaries"].as_array_mut() {
        summaries.splice(0..0, profiles);
    }
    Answer::of(&answer)
}

fn about(profile: &Resource) -> Value {
    let mut about = json!({
        "inferenceProfileName": profile.name,
        "inferenceProfileArn": profile.arn,
        "inferenceProfileId": profile.id,
        "createdAt": profile.created_at,
        "updatedAt": profile.updated_at,
        "models": [{"modelArn": profile.text(MODEL_ARN)}],
        "status": "ACTIVE",
        "type": "APPLICATION",
    });
    if let Some(description) = profile.members.get("description") {
        about["description"] = description.clone();
    }
    about
}

/// The profiles of AWS's areas that an alias makes real, such as `us.amazon.nova-lite-v1:0`.
fn of_aliases(session: &Session) -> Result<Vec<Value>> {
    let is_profile = |name: &str| PROFILE_AREAS.iter().any(|area| name.starts_with(area));
    let aliases = session.aliases()?.into_iter();
    let aliases = aliases.filter(|alias| {
        let name = &alias.name;
        name.len() <= MAX_ID && foundation_models::is_id(name) && is_profile(name)
    });
    let about = |name: &str| -> Option<Value> {
        let model = session.shelf().resolution(name).ok()?.model;
        Some(json!({
            "inferenceProfileName": name.replace(['.', ':'], " "),
            "inferenceProfileArn": format!("{ARN_PREFIX}inference-profile/{name}"),
            "inferenceProfileId": name,
            "models": [{"modelArn": model_arn(name, &model)}],
            "status": "ACTIVE",
            "type": "SYSTEM_DEFINED",
        }))
    };
    Ok(aliases.filter_map(|alias| about(&alias.name)).collect())
}

/// The ARN of the model that runs, where its id has the form of one; else that of the name which
/// leads to it.
fn model_arn(name: &str, model: &str) -> String {
    let name = name.rsplit('/').next().unwrap_or(name);
    match foundation_models::is_id(model) {
        true => foundation_models::arn(model),
        false => foundation_models::arn(name),
    }
}
