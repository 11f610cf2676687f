//! Prompt routers: one name for several models, of which each request runs on one.
//!
//! The rule is simple, and stated in the audit record of every call that it decides. A request's
//! weight is its texts' characters in percent of [`FULL_WEIGHT`], at most 100. A request that
//! weighs more than the router's `responseQualityDifference` runs on the fallback model; the
//! lighter ones run on the other models, the lightest on the first of them.

use outcrop_api::{Error, Result};
use serde_json::{Value, json};

use super::{Answer, Call};
use crate::desk::Record;
use crate::registry::{Draft, Kind, PROMPT_ROUTERS, Page, Resource, read_tags};
use crate::session::Session;

/// Characters of a request of weight 100.
const FULL_WEIGHT: usize = 8_000;
/// Members that a router is made of.
const MEMBERS: [&str; 4] = ["description", "routingCriteria", "models", "fallbackModel"];

/// `CreatePromptRouter`.
pub(super) fn create(call: &Call) -> Result<Answer> {
    let models = targets(&call.input);
    if models.is_empty() {
        return Err(Error::validation("models: expected at least one model"));
    }
    for arn in models.iter().copied().chain([fallback(&call.input)]) {
        call.model_of(arn)?;
    }
    let given = |name: &&str| {
        let value = call.input.get(*name)?;
        Some((name.to_string(), value.clone()))
    };
    let router = call.session.resources(&PROMPT_ROUTERS).create(Draft {
        name: Some(call.required("promptRouterName")?),
        token: call.text("clientRequestToken"),
        request: Some(&call.input),
        tags: read_tags(call.input.get("tags"))?,
        members: MEMBERS.iter().filter_map(given).collect(),
        ..Draft::default()
    })?;
    call.record.resource(&router.arn);
    Answer::of(&json!({"promptRouterArn": router.arn}))
}

/// `GetPromptRouter`.
pub(super) fn get(call: &Call) -> Result<Answer> {
    let arn = call.required("promptRouterArn")?;
    Answer::of(&about(&call.session.resources(&PROMPT_ROUTERS).get(arn)?))
}

/// `DeletePromptRouter`.
pub(super) fn delete(call: &Call) -> Result<Answer> {
    let arn = call.required("promptRouterArn")?;
    call.session.resources(&PROMPT_ROUTERS).delete(arn)?;
    Ok(Answer::default())
}

/// `ListPromptRouters`: there are none but those that a caller made.
pub(super) fn list(call: &Call) -> Result<Answer> {
    let wants_custom = call.text("type") != Some("default");
    let routers = call.session.resources(&PROMPT_ROUTERS);
    let listed = routers.page(&Page::of(call)?, |_| wants_custom)?;
    Answer::of(&listed.answer("promptRouterSummaries", about))
}

fn about(router: &Resource) -> Value {
    let mut about = json!({
        "promptRouterName": router.name,
        "promptRouterArn": router.arn,
        "createdAt": router.created_at,
        "updatedAt": router.updated_at,
        "status": "AVAILABLE",
        "type": "custom",
    });
    for name in MEMBERS {
        if let Some(value) = router.members.get(name) {
            about[name] = value.clone();
        }
    }
    about
}

/// The ARN of the model that a Converse request to a router runs on, which belongs in
/// `trace.promptRouter.invokedModelId`; `None` where `modelId` is no router's ARN. The choice and
/// the rule are told to the call's record.
///
/// # Errors
/// `ResourceNotFoundException` for a router that is not there.
pub(crate) fn route(session: &Session, input: &Value, record: &Record) -> Result<Option<String>> {
    let arn = input["modelId"].as_str().unwrap_or_default();
    if !Kind::of_arn(arn).is_some_and(|(kind, _)| std::ptr::eq(kind, &PROMPT_ROUTERS)) {
        return Ok(None);
    }
    let router = session.resources(&PROMPT_ROUTERS).get(arn)?;
    let members = Value::Object(router.members.clone());
    let threshold = members["routingCriteria"]["responseQualityDifference"].as_f64();
    let threshold = threshold.unwrap_or_default();
    let weight = weight(input);
    let model = choose(&members, weight, threshold).to_string();
    record.resource(&router.arn);
    record.fact(
        "promptRouter",
        json!({
            "promptRouterArn": router.arn,
            "invokedModelId": model,
            "rule": "the fallback model where the weight is above the difference, else the models in turn",
            "weight": weight,
            "responseQualityDifference": threshold,
        }),
    );
    Ok(Some(model))
}

fn choose(router: &Value, weight: f64, threshold: f64) -> &str {
    let fallback = fallback(router);
    let mut lighter = targets(router);
    lighter.retain(|arn| *arn != fallback);
    if weight > threshold || lighter.is_empty() {
        return fallback;
    }
    let share = if threshold > 0.0 {
        weight / threshold
    } else {
        0.0
    };
    let at = (share * lighter.len() as f64) as usize;
    lighter[at.min(lighter.len() - 1)]
}

/// A request's weight, 0 to 100.
fn weight(input: &Value) -> f64 {
    fn characters(value: &Value) -> usize {
        match value {
            Value::Array(items) => items.iter().map(characters).sum(),
            Value::Object(members) => members
                .iter()
                .map(|(name, value)| match value {
                    Value::String(text) if name == "text" => text.chars().count(),
                    other => characters(other),
                })
                .sum(),
            _ => 0,
        }
    }
    let characters = characters(&input["messages"]) + characters(&input["system"]);
    (characters as f64 * 100.0 / FULL_WEIGHT as f64).min(100.0)
}

fn targets(router: &Value) -> Vec<&str> {
    let models = router["models"].as_array().into_iter().flatten();
    models
        .filter_map(|model| model["modelArn"].as_str())
        .collect()
}

fn fallback(router: &Value) -> &str {
    router["fallbackModel"]["modelArn"]
        .as_str()
        .unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn heavy_requests_fall_back_and_light_ones_share_the_others() {
        let router = json!({
            "models": [{"modelArn": "a"}, {"modelArn": "b"}, {"modelArn": "c"}],
            "fallbackModel": {"modelArn": "c"},
        });
        assert_eq!(choose(&router, 0.0, 20.0), "a");
        assert_eq!(choose(&router, 9.9, 20.0), "a");
        assert_eq!(choose(&router, 10.0, 20.0), "b");
        assert_eq!(choose(&router, 20.0, 20.0), "b");
        assert_eq!(choose(&router, 20.1, 20.0), "c");
        assert_eq!(choose(&router, 0.0, 0.0), "a");
    }

    #[test]
    fn the_weight_is_that_of_the_texts() {
        let text = "é".repeat(800);
        let input = json!({
            "system": [{"text": text}],
            "messages": [{"role": "user", "content": [{"text": text}, {"image": {"format": "png"}}]}],
        });
        assert_eq!(weight(&input), 20.0);
    }
}
