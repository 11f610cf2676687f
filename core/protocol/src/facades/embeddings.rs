//! `/v1/embeddings`: texts as vectors, in numbers or in base64.

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use outcrop::api::EmbedOptions;
use outcrop::operations::Members;
use outcrop::{Error, Result};
use serde_json::{Value, json};

use super::desk::{Desk, json_body};
use super::vendor::{Answered, json_response};
use crate::http::{HttpRequest, HttpResponse};

/// Texts of one request.
const MOST_TEXTS: usize = 2048;

/// Answers a request for vectors.
pub(super) async fn answer(desk: &Desk<'_>, request: &HttpRequest) -> Answered<HttpResponse> {
    let mut body = Members::of(json_body(request)?, "")?;
    let model: String = body.required("model")?;
    let texts = texts(body.required("input")?)?;
    let is_base64 = match body.read::<String>("encoding_format")?.as_deref() {
        None | Some("float") => false,
        Some("base64") => true,
        Some(other) => {
            return Err(Error::validation(format!(
                "encoding_format: expected float or base64, got {other:?}"
            ))
            .into());
        }
    };
    let dimensions: Option<usize> = body.read("dimensions")?;
    body.read::<String>("user")?;
    body.end()?;
    let options = EmbedOptions::default();
    let (embedded, headers) = desk.embed(&model, texts, options).await?;
    if let Some(asked) = dimensions
        && asked != embedded.dimensions
    {
        return Err(Error::validation(format!(
            "dimensions: vectors of {model} have {} dimensions, {asked} were asked for",
            embedded.dimensions
        ))
        .into());
    }
    let rows = embedded.rows();
    let data: Vec<Value> = rows
        .enumerate()
        .map(|(index, row)| {
            let vector = match is_base64 {
                true => base64_of(row).into(),
                false => json!(row),
            };
            json!({"object": "embedding", "index": index, "embedding": vector})
        })
        .collect();
    let tokens = embedded.input_tokens;
    let list = json!({
        "object": "list", "data": data, "model": model,
        "usage": {"prompt_tokens": tokens, "total_tokens": tokens},
    });
    let mut response = json_response(200, &list);
    response.headers.extend(headers);
    Ok(response)
}

fn texts(input: Value) -> Result<Vec<String>> {
    let texts = match input {
        Value::String(text) => vec![text],
        Value::Array(texts) => texts
            .into_iter()
            .map(|text| match text {
                Value::String(text) => Ok(text),
                other => Err(Error::validation(format!(
                    "input: expected texts, got {other}: token ids are not supported here"
                ))),
            })
            .collect::<Result<_>>()?,
        other => {
            return Err(Error::validation(format!(
                "input: expected a text or a list of texts, got {other}"
            )));
        }
    };
    if texts.is_empty() || texts.len() > MOST_TEXTS {
        return Err(Error::validation(format!(
            "input: expected 1 to {MOST_TEXTS} texts, got {}",
            texts.len()
        )));
    }
    Ok(texts)
}

/// 32-bit floats, little-endian.
fn base64_of(row: &[f32]) -> String {
    let bytes: Vec<u8> = row.iter().flat_map(|value| value.to_le_bytes()).collect();
    STANDARD.encode(bytes)
}
