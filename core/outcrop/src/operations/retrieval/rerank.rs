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
    let wanted = configuration["numberOfResults"]
        .as_u64()
        .map_or(usize::MAX, |n| n as usize);
    let result = |(index, relevance)| json!({"index": index, "relevanceScore": relevance});
    let results: Vec<Value> = ranked(scores)
        .into_iter()
        .take(wanted)
        .map(result)
        .collect();
    Answer::of(&json!({"results": results}))
}

/// The reranking model by its ARN or id, noted in the record of the call.
///
/// # Errors
/// `ValidationException` where the home knows no such model, or it does not rerank.
pub(super) async fn reranker(call: &Call, model: &str) -> Result<Arc<dyn Reranker>> {
    runtime_model(call, model).await?.reranker()
}

/// The places of what a model scored with their relevance, the most relevant first; of equal ones, the
/// first first.
pub(in crate::operations) fn ranked(scores: Vec<f32>) -> Vec<(usize, f32)> {
    let mut places: Vec<(usize, f32)> = scores.into_iter().enumerate().collect();
    // By the raw scores: two that differ can have one relevance.
    places.sort_by(|a, b| b.1.total_cmp(&a.1));
    let with_relevance = |(at, score)| (at, relevance(score));
    places.into_iter().map(with_relevance).collect()
}

/// A model's raw score on the scale from 0 to 1: its logistic function, which keeps the order.
fn relevance(score: f32) -> f32 {
    1.0 / (1.0 + (-score).exp())
}

/// Passages by the scores that a reranking model gave them, whose relevance becomes theirs.
pub(crate) fn by_relevance(scores: Vec<f32>, found: Vec<Found>) -> Vec<Found> {
    let mut found: Vec<Option<Found>> = found.into_iter().map(Some).collect();
    let passage = |(at, relevance): (usize, f32)| {
        let mut passage = found.get_mut(at)?.take()?;
        passage.passage.score = relevance;
        Some(passage)
    };
    ranked(scores).into_iter().filter_map(passage).collect()
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
    fn the_first_of_equal_scores_comes_first() {
        let places: Vec<usize> = ranked(vec![1.0, 3.0, 1.0, 200.0, 300.0])
            .iter()
            .map(|place| place.0)
            .collect();
        assert_eq!(places, [4, 3, 1, 0, 2]);
    }

    #[test]
    fn relevance_is_between_zero_and_one_and_keeps_the_order() {
        assert_eq!(relevance(0.0), 0.5);
        assert!(relevance(-11.0) < relevance(-10.5) && relevance(11.0) < 1.0);
        assert!(relevance(-200.0) >= 0.0 && relevance(200.0) <= 1.0);
    }
}
