//! `ListFoundationModels`, `GetFoundationModel` and its availability: what the shelf holds.

use outcrop_api::{Error, ModelKind, Result};
use outcrop_models::{CatalogueEntry, LoadOptions};
use serde_json::{Value, json};

use super::{Answer, Call};
use crate::session::Session;

/// What stands before the id in a foundation model's ARN, which is of no account.
const ARN: &str = "arn:aws:bedrock:local::foundation-model/";
/// Most characters of a model's name and its provider's, as the shape says.
const MAX_NAME: usize = 20;

/// A model that can be asked for by a Bedrock id.
struct FoundationModel {
    id: String,
    kind: Option<ModelKind>,
    /// Whether it opens without a download.
    available: bool,
}

/// `ListFoundationModels`: the models and aliases whose id has the form of Bedrock's ids.
pub(super) fn list(call: &Call) -> Result<Answer> {
    let provider = call.text("byProvider").map(str::to_lowercase);
    let keeps = |model: &Value| {
        let has = |name: &str, value: Option<&str>| {
            value.is_none_or(|value| {
                model[name]
                    .as_array()
                    .is_some_and(|all| all.contains(&json!(value)))
            })
        };
        let of = model["providerName"]
            .as_str()
            .unwrap_or_default()
            .to_lowercase();
        provider.as_ref().is_none_or(|provider| *provider == of)
            && has("outputModalities", call.text("byOutputModality"))
            && has("inferenceTypesSupported", call.text("byInferenceType"))
            && has("customizationsSupported", call.text("byCustomizationType"))
    };
    let models = all(&call.session)?;
    let summaries: Vec<Value> = models.iter().map(about).filter(keeps).collect();
    Answer::of(&json!({"modelSummaries": summaries}))
}

/// `GetFoundationModel`.
pub(super) fn get(call: &Call) -> Result<Answer> {
    let model = find(call, "modelIdentifier")?;
    Answer::of(&json!({"modelDetails": about(&model)}))
}

/// `GetFoundationModelAvailability`: whether it opens without a download.
pub(super) fn availability(call: &Call) -> Result<Answer> {
    let model = find(call, "modelId")?;
    let here = match model.available {
        true => "AVAILABLE",
        false => "NOT_AVAILABLE",
    };
    Answer::of(&json!({
        "modelId": model.id,
        "agreementAvailability": {"status": "AVAILABLE"},
        "authorizationStatus": "AUTHORIZED",
        "entitlementAvailability": here,
        "regionAvailability": here,
    }))
}

/// The ARN of the foundation model `id`.
pub(super) fn arn(id: &str) -> String {
    format!("{ARN}{id}")
}

/// Whether an id has the form that Bedrock's shapes demand of foundation models, such as
/// `acme.reader-v1:0`.
pub(super) fn is_id(id: &str) -> bool {
    let mut versions = id.split(':');
    let name = versions.next().unwrap_or_default();
    let plain = |part: &str| {
        let sign = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '-';
        (1..=63).contains(&part.len()) && part.chars().all(sign)
    };
    let parts: Vec<&str> = name.split('.').collect();
    id.len() <= 140
        && (2..=4).contains(&parts.len())
        && parts.iter().all(|part| plain(part))
        && parts[1].len() > 1
        && versions.clone().count() <= 2
        && versions.all(plain)
}

fn find(call: &Call, member: &str) -> Result<FoundationModel> {
    let asked = call.required(member)?;
    let id = asked.strip_prefix(ARN).unwrap_or(asked);
    let found = all(&call.session)?.into_iter().find(|model| model.id == id);
    found.ok_or_else(|| {
        Error::not_found(format!(
            "Could not resolve the foundation model from the model identifier {asked}."
        ))
        .with_resource(asked)
    })
}

/// The models of the shelf and the aliases for models, by id.
fn all(session: &Session) -> Result<Vec<FoundationModel>> {
    session.check()?;
    let entries = session.models()?;
    let mut models: Vec<FoundationModel> = Vec::new();
    for alias in session
        .aliases()?
        .into_iter()
        .filter(|alias| is_id(&alias.name))
    {
        // An alias for what is not there any more is no model.
        if let Ok(resolution) = session.shelf().resolution(&alias.name) {
            models.push(alias_of(session, alias.name, &resolution.model, &entries));
        }
    }
    let of_shelf = entries.into_iter().filter(|entry| is_id(&entry.id));
    models.extend(of_shelf.map(|entry| FoundationModel {
        id: entry.id,
        kind: entry.kind,
        available: entry.available,
    }));
    models.sort_by(|a, b| a.id.cmp(&b.id));
    Ok(models)
}

fn alias_of(
    session: &Session,
    id: String,
    target: &str,
    entries: &[CatalogueEntry],
) -> FoundationModel {
    if let Some(entry) = entries.iter().find(|entry| entry.id == target) {
        return FoundationModel {
            id,
            kind: entry.kind,
            available: entry.available,
        };
    }
    let summary = session.shelf().summary(target, &LoadOptions::default());
    FoundationModel {
        id,
        available: summary.is_ok(),
        kind: summary.ok().map(|summary| summary.kind),
    }
}

/// What is true of a model: a member that is not known is absent.
fn about(model: &FoundationModel) -> Value {
    let mut about = json!({
        "modelArn": arn(&model.id),
        "modelId": model.id,
        "customizationsSupported": [],
        "inferenceTypesSupported": ["ON_DEMAND"],
        "modelLifecycle": {"status": "ACTIVE"},
    });
    if let Some((provider, name)) = model.id.split_once('.') {
        for (member, text) in [("providerName", provider), ("modelName", name)] {
            if text.len() <= MAX_NAME {
                about[member] = json!(text);
            }
        }
    }
    if let Some(kind) = model.kind {
        let output = match kind {
            ModelKind::Embedding => "EMBEDDING",
            ModelKind::Chat | ModelKind::Rerank => "TEXT",
        };
        about["inputModalities"] = json!(["TEXT"]);
        about["outputModalities"] = json!([output]);
        about["responseStreamingSupported"] = json!(kind == ModelKind::Chat);
    }
    about
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ids_have_the_form_of_the_shapes() {
        for id in [
            "outcrop.quote-v1",
            "anthropic.claude-3-5-sonnet-20240620-v1:0",
            "us.amazon.nova-lite-v1:0",
            "a.bc:1:2k",
        ] {
            assert!(is_id(id), "{id}");
        }
        for id in [
            "model",
            "hf:org/name",
            "Acme.reader",
            "a.b",
            ".ab",
            "a.bc:",
            "a.bc:1:2:3",
            "a.b.c.d.e",
        ] {
            assert!(!is_id(id), "{id}");
        }
    }
}
