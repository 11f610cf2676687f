//! A reranking model that is declared as data: scores of texts.

use outcrop_api::{BoxFuture, ModelInfo, ModelKind, Reranker, Result};
use serde_json::Value;

use super::matching::TextMatch;
use super::{info, unknown_text};
use crate::spec::place::Place;

/// Most tokens that are stated as read: a script reads any text.
const CONTEXT: usize = 1 << 20;

/// Scores by text: the first that matches counts.
#[derive(Clone, Debug)]
pub(crate) struct ScriptedScores {
    scores: Vec<(Option<TextMatch>, TextMatch, f32)>,
    written: Vec<Value>,
}

impl ScriptedScores {
    /// Reads `{"rerank": [{"text", "query"?, "score"}]}`.
    ///
    /// # Errors
    /// `ValidationException` that names the place.
    pub fn read(place: &Place) -> Result<Self> {
        let (mut scores, mut written) = (Vec::new(), Vec::new());
        for item in place.items()? {
            item.only(&["query", "text", "score"])?;
            let text = item.required("text")?;
            written.push(text.value().clone());
            scores.push((
                item.optional("query", TextMatch::read)?,
                TextMatch::read(&text)?,
                item.required("score")?.number()?,
            ));
        }
        Ok(Self { scores, written })
    }
}

/// A reranking model by a script.
pub(crate) struct ScriptedReranker {
    id: String,
    script: ScriptedScores,
}

impl ScriptedReranker {
    pub fn new(id: impl Into<String>, script: ScriptedScores) -> Self {
        Self {
            id: id.into(),
            script,
        }
    }

    pub fn info(&self) -> ModelInfo {
        info(&self.id, ModelKind::Rerank, CONTEXT, None)
    }

    fn score(&self, query: &str, text: &str) -> Result<f32> {
        let mut scores = self.script.scores.iter();
        let found = scores.find(|(of, expected, _)| {
            of.as_ref().is_none_or(|of| of.holds(query)) && expected.holds(text)
        });
        found
            .map(|(_, _, score)| *score)
            .ok_or_else(|| unknown_text(&self.id, "scores", text, self.script.written.clone()))
    }
}

impl Reranker for ScriptedReranker {
    fn id(&self) -> &str {
        &self.id
    }

    fn rerank<'a>(
        &'a self,
        query: &'a str,
        texts: &'a [String],
    ) -> BoxFuture<'a, Result<Vec<f32>>> {
        let scores = texts.iter().map(|text| self.score(query, text)).collect();
        Box::pin(std::future::ready(scores))
    }
}
