//! Asking knowledge bases: passages, answers from them with citations, and the order of texts.

mod generate;
mod prompt;
pub(super) mod rerank;
mod search;

use outcrop_api::{Error, Passage, Result};
use outcrop_knowledge::{DATA_SOURCE_ID, Found, SOURCE_URI};
use serde_json::{Value, json};

pub(super) use generate::{retrieve_and_generate, retrieve_and_generate_stream};
pub(crate) use rerank::by_relevance;
pub(super) use rerank::rerank;

use super::{Answer, Call};
use crate::operations::knowledge_bases::open;
use search::Search;

/// The attribute that holds a passage's id beside its document's metadata.
const CHUNK_ID: &str = "x-amz-bedrock-kb-chunk-id";
/// The attribute that holds the page of a passage, where its document has pages.
const PAGE: &str = "x-amz-bedrock-kb-document-page-number";
/// Most characters of a document's id in an answer, as the shape says.
const MAX_DOCUMENT_ID: usize = 1825;

/// `Retrieve`.
pub(super) async fn retrieve(call: Call) -> Result<Answer> {
    call.refuse(&["guardrailConfiguration"], "guardrails are not here yet")?;
    call.refuse(
        &["userContext"],
        "documents have no access control lists here",
    )?;
    if call.text("nextToken").is_some() {
        return Err(Error::validation(
            "The provided nextToken is not valid: all results are on the first page.",
        ));
    }
    let query = &call.input["retrievalQuery"];
    if query["type"] == "IMAGE" || query.get("image").is_some() {
        return Err(Error::validation(
            "retrievalQuery.image is not supported: knowledge bases here are searched by text.",
        ));
    }
    let text = query["text"].as_str().unwrap_or_default().to_string();
    let search = Search::read(
        &call.input["retrievalConfiguration"],
        "retrievalConfiguration",
    )?;
    let base = open(&call, call.required("knowledgeBaseId")?)?;
    let retrieved = search
        .run(&call, &base, text, "retrievalQuery.text")
        .await?;
    let results: Vec<Value> = retrieved.found.iter().map(result).collect();
    Answer::of(&json!({"retrievalResults": results}))
}

/// A passage as a result of `Retrieve`.
fn result(found: &Found) -> Value {
    let mut result = reference(found);
    result["score"] = json!(f64::from(found.passage.score));
    let id = &found.passage.location.document;
    let fits = (1..=MAX_DOCUMENT_ID).contains(&id.chars().count());
    if fits && !id.chars().any(char::is_control) {
        result["documentId"] = json!(id);
    }
    result
}

/// A passage as a reference of an answer.
fn reference(found: &Found) -> Value {
    reference_to(&found.passage, found.source.as_deref())
}

/// A passage as a reference, with the data source that it is of, where that is known.
pub(super) fn reference_to(passage: &Passage, source: Option<&str>) -> Value {
    let uri = &passage.location.uri;
    let location = if uri.starts_with("s3://") {
        json!({"type": "S3", "s3Location": {"uri": uri}})
    } else {
        json!({"type": "CUSTOM", "customDocumentLocation": {"id": passage.location.document}})
    };
    let mut metadata = passage.metadata.clone();
    // The shape has names of up to 100 characters.
    metadata.retain(|name, _| (1..=100).contains(&name.chars().count()));
    metadata.insert(SOURCE_URI.into(), json!(uri));
    metadata.insert(CHUNK_ID.into(), json!(passage.id));
    if let Some(source) = source {
        metadata.insert(DATA_SOURCE_ID.into(), json!(source));
    }
    if let Some(page) = passage.location.page {
        metadata.insert(PAGE.into(), json!(page));
    }
    json!({
        "content": {"type": "TEXT", "text": passage.text},
        "location": location,
        "metadata": metadata,
    })
}
