//! `Rerank`: texts by their relevance to a query.

use std::sync::Arc;

use outcrop_api::{Reranker, Result};
use outcrop_knowledge::Found;
use serde_json::{Value, json};

use crate::operations::converse::runtime_model;
use crate::operations::knowledge_bases::refuse;
use crate::operations::{Answer, Call};

/// `Rerank`.
pub(in crate::operations) async fn rerank(call: Call) -> Result<Answer> {
    call.refuse(&["nextToken"], "all results are on the first page")?;
    let place = "rerankingConfiguration.bedrockRerankingConfiguration";
    let configuration = &call.input["rerankingConfiguration"]["bedrockRerankingConfiguration"];
    refuse(
        &configuration["modelConfiguration"],
        &format!("{place}.modelConfiguration"),
        &["additionalModelRequestFields"],
    )?;
    let model = configuration["modelConfiguration"]["modelArn"]
        .as_str()
        .unwrap_or_default();
    let query = call.input["queries"][0]["textQuery"]["text"]
        .as_str()
        .unwrap_or_default();
    let texts = texts(&call.input["sources"])?;
    let reranker = reranker(&call, model).await?;
    let scores = reranker.rerank(query, &texts).await?;
    let mut scored: Vec<(usize, f32)> = scores.into_iter().enumerate().collect();
    // A stable sort: of equal ones, the first first.
    scored.sort_by(|a, b| b.1.total_cmp(&a.1));
    let wanted = configuration["numberOfResults"]
        .as_u64()
        .map(|n| n as usize);
    scored.truncate(wanted.unwrap_or(scored.len()));
    let result = |(index, score)| json!({"index": index, "relevanceScore": relevance(score)});
    let results: Vec<Value> = scored.into_iter().map(result).collect();
    Answer::of(&json!({"results": results}))
}

/// The reranking model by its ARN or id, noted in the record of the call.
///
/// # Errors
/// `ValidationException` where the home knows no such model, or it does not rerank.
pub(super) async fn reranker(call: &Call, model: &str) -> Result<Arc<dyn Reranker>> {
    runtime_model(call, model).await?.reranker()
}

/// A model's raw score on the scale from 0 to 1: its logistic function, which keeps the order.
pub(in crate::operations) fn relevance(score: f32) -> f32 {
    1.0 / (1.0 + (-score).exp())
}

/// Passages by the scores that a reranking model gave them, whose relevance becomes theirs.
pub(crate) fn by_relevance(scores: Vec<f32>, found: Vec<Found>) -> Vec<Found> {
    let mut scored: Vec<(f32, Found)> = scores.into_iter().zip(found).collect();
    // A stable sort: of equal ones, the nearer first.
    scored.sort_by(|a, b| b.0.total_cmp(&a.0));
    let with_score = |(score, mut found): (f32, Found)| {
        found.passage.score = relevance(score);
        found
    };
    scored.into_iter().map(with_score).collect()
}

/// The texts of sources; a JSON document is its text.
fn texts(sources: &Value) -> Result<Vec<String>> {
    let sources = sources.as_array().into_iter().flatten().enumerate();
    let text = |(at, source): (usize, &Value)| {
        let document = &source["inlineDocumentSource"];
        let text = document["textDocument"]["text"]
            .as_str()
            .map(str::to_string);
        let json = || document.get("jsonDocument").map(Value::to_string);
        text.or_else(json).ok_or_else(|| {
            outcrop_api::Error::validation(format!(
                "sources[{at}].inlineDocumentSource: expected a textDocument or a jsonDocument"
            ))
        })
    };
    sources.map(text).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn relevance_is_between_zero_and_one_and_keeps_the_order() {
        assert_eq!(relevance(0.0), 0.5);
        assert!(relevance(-11.0) < relevance(-10.5) && relevance(11.0) < 1.0);
        assert!(relevance(-200.0) >= 0.0 && relevance(200.0) <= 1.0);
    }
}
