//! `CountTokens`: what a request would read, by the model's own tokenizer and chat template.

use base64::Engine as _;
use base64::prelude::BASE64_STANDARD;
use outcrop_api::{ConverseRequest, Error, Prompt, Result};
use outcrop_models::Model;
use serde_json::{Map, Value, json};

use super::family::Family;
use super::text_format::{Asked, with_one_start};
use super::{body_of, embedding, one};
use crate::operations::converse::{request, runtime_model};
use crate::operations::{Answer, Call, Members};

/// Counts the tokens of a request.
pub(in crate::operations) async fn count_tokens(call: Call) -> Result<Answer> {
    let name = call.required("modelId")?;
    let model = runtime_model(&call, name).await?;
    let tokens = match call.input.pointer("/input/converse") {
        Some(converse) => of_conversation(&model, converse)?,
        None => {
            let body = call.input.pointer("/input/invokeModel/body");
            let bytes = BASE64_STANDARD
                .decode(body.and_then(Value::as_str).unwrap_or_default())
                .map_err(|error| Error::validation(format!("input.invokeModel.body: {error}")))?;
            let body = body_of(&bytes)?;
            let family = Family::of(name, model.info().kind, &body)?;
            of_body(&model, family, Members::of(body, "")?)?
        }
    };
    Ok(Answer {
        output: one("inputTokens", json!(tokens)),
        ..Answer::default()
    })
}

fn of_body(model: &Model, family: Family, body: Members) -> Result<usize> {
    match family {
        Family::Text(format) => match format.ask(body)? {
            Asked::Conversation(input) => of_conversation(model, &Value::Object(input)),
            Asked::Prompt(asked) => {
                let prompt = with_one_start(asked.prompt, model.tokenizer().map_err(cannot)?)?;
                match prompt {
                    Prompt::Ids(ids) => Ok(ids.len()),
                    Prompt::Text(text) => Ok(model.tokenizer()?.encode(&text, true)?.len()),
                }
            }
        },
        Family::Embedding(format) => {
            let embedder = model.embedder()?;
            let texts = embedding::read(format, body)?.texts;
            texts.iter().map(|text| embedder.count_tokens(text)).sum()
        }
        Family::Rerank => Err(Error::validation(
            "The provided model doesn't support counting tokens.",
        )),
    }
}

/// The tokens of the prompt that the conversation becomes.
fn of_conversation(model: &Model, input: &Value) -> Result<usize> {
    let engine = model.engine().map_err(cannot)?;
    let request: ConverseRequest = request::read(&known(input), model.cites())?.request;
    let prompt = engine.chat_prompt(&request, true)?;
    Ok(engine.tokenizer().encode(&prompt, false)?.len())
}

/// The members that a prompt is made of.
fn known(input: &Value) -> Value {
    let members = [
        "messages",
        "system",
        "toolConfig",
        "additionalModelRequestFields",
    ];
    let found: Map<String, Value> = members
        .into_iter()
        .filter_map(|name| Some((name.to_string(), input.get(name)?.clone())))
        .collect();
    Value::Object(found)
}

/// The error of a model that has no tokenizer here.
fn cannot(error: Error) -> Error {
    Error::validation("The provided model doesn't support counting tokens.").with_source(error)
}
