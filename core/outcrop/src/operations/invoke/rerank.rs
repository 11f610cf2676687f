//! The body of Cohere's and Amazon's rerankers.

use outcrop_api::{Error, Result};
use outcrop_models::Model;
use serde_json::{Value, json};

use crate::operations::Members;
use crate::operations::retrieval::rerank::ranked;

/// Documents by relevance, the most relevant first; in the order of the request among equals.
/// `relevance_score` is the logistic function of the model's raw output.
pub(super) async fn answer(model: &Model, mut body: Members) -> Result<Value> {
    let query: String = body.required("query")?;
    let documents: Vec<Value> = body.required("documents")?;
    let top: Option<usize> = body.read("top_n")?;
    body.only("api_version", &[json!(1), json!(2)])?;
    body.only("return_documents", &[json!(false)])?;
    body.end()?;
    let texts: Vec<String> = documents.iter().map(text).collect::<Result<_>>()?;
    if texts.is_empty() || top == Some(0) {
        return Err(Error::validation(format!(
            "documents, top_n: expected at least one, got {} and {top:?}",
            texts.len()
        )));
    }
    let scores = model.reranker()?.rerank(&query, &texts).await?;
    let results: Vec<Value> = ranked(scores)
        .into_iter()
        .take(top.unwrap_or(usize::MAX))
        .map(|(index, relevance)| json!({"index": index, "relevance_score": relevance}))
        .collect();
    Ok(json!({ "results": results }))
}

/// A document: a text, or an object with one.
fn text(document: &Value) -> Result<String> {
    let text = document.as_str().or_else(|| document["text"].as_str());
    text.map(str::to_string).ok_or_else(|| {
        Error::validation(format!(
            "documents: expected texts, or objects with a text, got {document}"
        ))
    })
}
