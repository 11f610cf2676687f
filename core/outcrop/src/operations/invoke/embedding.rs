//! The bodies of embedding models: Amazon Titan's, Amazon Nova's and Cohere's.

use outcrop_api::{DOCUMENT_PROMPT, EmbedOptions, Error, QUERY_PROMPT, Result};
use outcrop_models::Model;
use serde_json::{Value, json};

use super::note_input;
use crate::operations::{Call, Members};

/// A format of embedding models.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum EmbeddingFormat {
    /// One text; `embedding`.
    Titan,
    /// One text of a task; `embeddings`.
    Nova,
    /// Many texts.
    Cohere,
}

/// What a body asks for.
pub(super) struct Texts {
    pub texts: Vec<String>,
    pub options: EmbedOptions,
    /// The length that the vectors must have, where the body says one.
    dimensions: Option<usize>,
    /// The member that says it.
    dimensions_member: &'static str,
    /// The types of numbers that are asked for; none where the format's own default is.
    types: Option<Vec<String>>,
}

/// The body of the answer to `body`.
pub(super) async fn answer(
    call: &Call,
    model: &Model,
    format: EmbeddingFormat,
    body: Members,
) -> Result<Value> {
    let asked = read(format, body)?;
    let embedder = model.embedder()?;
    if let Some(dimensions) = asked.dimensions
        && dimensions != embedder.dimensions()
    {
        return Err(Error::validation(format!(
            "{}: the vectors of {} have length {}, got {dimensions}",
            asked.dimensions_member,
            model.info().id,
            embedder.dimensions()
        )));
    }
    let embedded = embedder.embed(&asked.texts, asked.options.clone()).await?;
    note_input(call, embedded.input_tokens);
    let rows: Vec<Value> = embedded.rows().map(|row| json!(row)).collect();
    Ok(match format {
        EmbeddingFormat::Titan => titan(&rows[0], asked.types, embedded.input_tokens),
        EmbeddingFormat::Nova => {
            json!({"embeddings": [{"embeddingType": "TEXT", "embedding": rows[0]}]})
        }
        EmbeddingFormat::Cohere => cohere(asked, rows, call.required("modelId")?),
    })
}

/// Reads a body.
///
/// # Errors
/// `ValidationException` that names a member which is wrong or not supported.
pub(super) fn read(format: EmbeddingFormat, body: Members) -> Result<Texts> {
    let texts = match format {
        EmbeddingFormat::Titan => read_titan(body)?,
        EmbeddingFormat::Nova => read_nova(body)?,
        EmbeddingFormat::Cohere => read_cohere(body)?,
    };
    if texts.texts.is_empty() {
        return Err(Error::validation(
            "texts: expected at least one text, got none",
        ));
    }
    Ok(texts)
}

fn read_titan(mut body: Members) -> Result<Texts> {
    let text: String = body.required("inputText")?;
    let types: Option<Vec<String>> = body.read("embeddingTypes")?;
    check_types("embeddingTypes", types.as_deref(), &["float", "binary"])?;
    let options = EmbedOptions {
        normalize: body.read("normalize")?.unwrap_or(true),
        ..EmbedOptions::default()
    };
    let dimensions = body.read("dimensions")?;
    body.end()?;
    Ok(Texts {
        texts: vec![text],
        options,
        dimensions,
        dimensions_member: "dimensions",
        types,
    })
}

fn read_nova(mut body: Members) -> Result<Texts> {
    body.only("schemaVersion", &[json!("nova-multimodal-embed-v1")])?;
    body.only("taskType", &[json!("SINGLE_EMBEDDING")])?;
    let mut params = Members::of(
        body.required("singleEmbeddingParams")?,
        "singleEmbeddingParams",
    )?;
    body.end()?;
    let purpose: String = params.required("embeddingPurpose")?;
    let dimensions = params.read("embeddingDimension")?;
    let mut text = Members::of(params.required("text")?, "singleEmbeddingParams.text")?;
    params.end()?;
    let value: String = text.required("value")?;
    let truncation: Option<String> = text.read("truncationMode")?;
    text.end()?;
    let prompt = match purpose.as_str() {
        "GENERIC_INDEX" => Some(DOCUMENT_PROMPT),
        retrieval if retrieval.ends_with("_RETRIEVAL") => Some(QUERY_PROMPT),
        _ => None,
    };
    Ok(Texts {
        texts: vec![value],
        options: EmbedOptions {
            truncate: truncates("singleEmbeddingParams.text.truncationMode", truncation)?,
            prompt: prompt.map(str::to_string),
            ..EmbedOptions::default()
        },
        dimensions,
        dimensions_member: "singleEmbeddingParams.embeddingDimension",
        types: None,
    })
}

fn read_cohere(mut body: Members) -> Result<Texts> {
    let texts: Vec<String> = body.required("texts")?;
    let input_type: String = body.required("input_type")?;
    let truncation: Option<String> = body.read("truncate")?;
    let types: Option<Vec<String>> = body.read("embedding_types")?;
    check_types("embedding_types", types.as_deref(), &["float"])?;
    let dimensions = body.read("output_dimension")?;
    body.end()?;
    let prompt = match input_type.as_str() {
        "search_document" => Some(DOCUMENT_PROMPT),
        "search_query" => Some(QUERY_PROMPT),
        "classification" | "clustering" => None,
        other => {
            return Err(Error::validation(format!(
                "input_type: expected search_document, search_query, classification or clustering, got {other:?}"
            )));
        }
    };
    Ok(Texts {
        texts,
        options: EmbedOptions {
            truncate: truncates("truncate", truncation)?,
            prompt: prompt.map(str::to_string),
            ..EmbedOptions::default()
        },
        dimensions,
        dimensions_member: "output_dimension",
        types,
    })
}

/// Whether a text that is too long is cut at its end.
fn truncates(member: &str, mode: Option<String>) -> Result<bool> {
    match mode.as_deref() {
        None | Some("NONE") => Ok(false),
        Some("END" | "RIGHT") => Ok(true),
        Some(other) => Err(Error::validation(format!(
            "{member}: expected NONE or END, got {other:?}: texts are cut at their end only"
        ))),
    }
}

fn check_types(member: &str, types: Option<&[String]>, known: &[&str]) -> Result<()> {
    let mut types = types.into_iter().flatten();
    match types.find(|kind| !known.contains(&kind.as_str())) {
        Some(other) => Err(Error::validation(format!(
            "{member}: expected {}, got {other:?}",
            known.join(" or ")
        ))),
        None => Ok(()),
    }
}

fn titan(row: &Value, types: Option<Vec<String>>, tokens: usize) -> Value {
    let types = types.unwrap_or_else(|| vec!["float".to_string()]);
    let has_float = types.iter().any(|kind| kind == "float");
    let by_type: serde_json::Map<String, Value> = types
        .into_iter()
        .map(|kind| match kind.as_str() {
            "binary" => (kind, signs(row)),
            _ => (kind, row.clone()),
        })
        .collect();
    let mut answer = json!({"embeddingsByType": by_type, "inputTextTokenCount": tokens});
    if has_float {
        answer["embedding"] = row.clone();
    }
    answer
}

/// One bit a number: whether it is above zero.
fn signs(row: &Value) -> Value {
    let numbers = row.as_array().into_iter().flatten();
    numbers
        .map(|number| json!(u8::from(number.as_f64().unwrap_or(0.0) > 0.0)))
        .collect()
}

/// Version 3 answers with a plain list unless types are asked for; version 4 always by type.
fn cohere(asked: Texts, rows: Vec<Value>, model: &str) -> Value {
    let id = crate::desk::request_id();
    let by_type = asked.types.is_some() || model.contains("embed-v4");
    let (embeddings, kind) = match by_type {
        true => (json!({ "float": rows }), "embeddings_by_type"),
        false => (json!(rows), "embeddings_floats"),
    };
    json!({"id": id, "texts": asked.texts, "embeddings": embeddings, "response_type": kind})
}
