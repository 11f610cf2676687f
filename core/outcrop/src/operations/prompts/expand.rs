//! What a Converse request that names a prompt asks of the prompt's model.

use outcrop_api::{Error, Result};
use serde_json::{Map, Value, json};

use super::template;
use crate::registry::{Kind, PROMPTS};
use crate::session::Session;

/// Members that a request with a prompt leaves to the prompt.
const OF_THE_PROMPT: [&str; 4] = [
    "system",
    "inferenceConfig",
    "toolConfig",
    "additionalModelRequestFields",
];

/// The members of a Converse request whose `modelId` is a prompt's ARN, with those of the prompt
/// in its place: its model, its messages with their variables filled in and the request's own
/// messages behind them, its system, tools and inference configuration. `None` where `modelId` is
/// no prompt's ARN. The draft runs where the ARN names no version.
///
/// # Errors
/// `ResourceNotFoundException` for a prompt or a version that is not there;
/// `ValidationException` for a variable that is missing or unknown, a member that is the prompt's
/// to say, or a prompt without a model.
pub(crate) fn expand(session: &Session, input: &Value) -> Result<Option<Value>> {
    let Some(arn) = input["modelId"].as_str().filter(|arn| is_prompt(arn)) else {
        return match input.get("promptVariables") {
            None => Ok(None),
            Some(_) => Err(Error::validation(
                "promptVariables: expected a prompt's ARN as modelId beside them",
            )),
        };
    };
    if let Some(name) = OF_THE_PROMPT
        .iter()
        .find(|name| input.get(**name).is_some())
    {
        return Err(Error::validation(format!(
            "{name} can't be given with a prompt as modelId: the prompt says it."
        )));
    }
    let (prompt, version) = super::read(session, arn, None)?;
    let shown = version.as_ref().unwrap_or(&prompt);
    let variants = shown.members.get("variants").and_then(Value::as_array);
    let mut variants = variants.into_iter().flatten();
    let default = shown.text("defaultVariant");
    let variant = variants.find(|variant| default.is_empty() || variant["name"] == default);
    let variant = variant.ok_or_else(|| {
        Error::validation(format!("The prompt {arn} has no variant that could run."))
    })?;
    let filled = filled(variant, &input["promptVariables"])?;
    let mut request = input.clone();
    if let Some(members) = request.as_object_mut() {
        members.remove("promptVariables");
        let own = members.remove("messages");
        let own = own.as_ref().and_then(Value::as_array).cloned();
        for (name, value) in request_of(variant, filled, own.unwrap_or_default())? {
            members.insert(name, value);
        }
    }
    Ok(Some(request))
}

fn is_prompt(arn: &str) -> bool {
    let (arn, _) = super::split_version(arn);
    Kind::of_arn(arn).is_some_and(|(kind, _)| std::ptr::eq(kind, &PROMPTS))
}

/// The template configuration of a variant with its variables filled in.
fn filled(variant: &Value, variables: &Value) -> Result<Value> {
    let listed = template::variables(variant);
    let given = variables.as_object();
    let text_of = |name: &str| variables.get(name)?.get("text")?.as_str().map(String::from);
    if let Some(missing) = listed.iter().find(|name| text_of(name).is_none()) {
        return Err(Error::validation(format!(
            "The prompt's variable {missing} has no value in promptVariables."
        )));
    }
    let mut names = given.into_iter().flat_map(Map::keys);
    if let Some(unknown) = names.find(|name| !listed.contains(name.as_str())) {
        return Err(Error::validation(format!(
            "promptVariables: the prompt has no variable {unknown}."
        )));
    }
    Ok(fill_texts(&variant["templateConfiguration"], &text_of))
}

/// The value with every member `text` that is a text filled in.
fn fill_texts(value: &Value, text_of: &dyn Fn(&str) -> Option<String>) -> Value {
    match value {
        Value::Array(items) => items.iter().map(|item| fill_texts(item, text_of)).collect(),
        Value::Object(members) => members
            .iter()
            .map(|(name, value)| match (name.as_str(), value) {
                ("text", Value::String(text)) => {
                    (name.clone(), json!(template::fill(text, text_of)))
                }
                // What a tool takes is the tool's, whatever its members are called.
                ("toolConfiguration", _) => (name.clone(), value.clone()),
                _ => (name.clone(), fill_texts(value, text_of)),
            })
            .collect(),
        plain => plain.clone(),
    }
}

/// The members of the request that a variant says. `own` are the caller's messages.
fn request_of(variant: &Value, template: Value, own: Vec<Value>) -> Result<Map<String, Value>> {
    let model = variant["modelId"].as_str().ok_or_else(|| {
        let name = variant["name"].as_str().unwrap_or_default();
        Error::validation(format!(
            "The prompt's variant {name} names no model to run."
        ))
    })?;
    let mut request = Map::from_iter([("modelId".to_string(), json!(model))]);
    let mut messages = Vec::new();
    if let Some(text) = template.get("text") {
        let mut content = vec![json!({"text": text["text"]})];
        content.extend(cache_point(text));
        messages.push(json!({"role": "user", "content": content}));
    } else {
        let chat = &template["chat"];
        messages.extend(chat["messages"].as_array().into_iter().flatten().cloned());
        for (name, member) in [("system", "system"), ("toolConfig", "toolConfiguration")] {
            if let Some(value) = chat.get(member) {
                request.insert(name.into(), value.clone());
            }
        }
    }
    messages.extend(own);
    request.insert("messages".into(), messages.into());
    let inference = &variant["inferenceConfiguration"];
    if let Some(text) = inference.get("text") {
        request.insert("inferenceConfig".into(), text.clone());
    }
    if let Some(fields) = variant.get("additionalModelRequestFields") {
        request.insert("additionalModelRequestFields".into(), fields.clone());
    }
    Ok(request)
}

fn cache_point(text: &Value) -> Option<Value> {
    Some(json!({"cachePoint": text.get("cachePoint")?}))
}
