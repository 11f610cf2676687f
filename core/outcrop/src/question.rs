//! What a knowledge base is asked beside the question's text.

use outcrop_api::{Error, Result};
use outcrop_knowledge::{Filter, Search};
use serde_json::{Map, Value};

use crate::request::from_json;

/// Passages that are found where a question does not say how many.
const DEFAULT_PASSAGES: usize = 5;

/// How passages are looked for.
#[derive(Clone, Debug)]
pub struct RetrieveOptions {
    /// How many, 1..=100. Default 5.
    pub k: usize,
    /// What the documents' metadata must fulfil.
    pub filter: Option<Filter>,
    /// By vectors, by words, or by both. Default: by vectors.
    pub search: Search,
    /// A reranking model that puts what was found in another order, and whose relevance, 0 to 1, is
    /// then the score.
    pub rerank: Option<String>,
}

impl Default for RetrieveOptions {
    fn default() -> Self {
        Self {
            k: DEFAULT_PASSAGES,
            filter: None,
            search: Search::default(),
            rerank: None,
        }
    }
}

/// How a question is answered.
#[derive(Clone, Debug, Default)]
pub struct AskOptions {
    /// How the passages are looked for that the model answers from.
    pub retrieval: RetrieveOptions,
    /// A chat model. Default `outcrop.quote-v1`.
    pub model: Option<String>,
    /// The conversation that the question goes on with, or begins. None: a question by itself.
    pub session_id: Option<String>,
}

impl RetrieveOptions {
    /// Of JSON: an object with any of `k`, `filter` (in Bedrock's form), `search` and `rerank`.
    ///
    /// # Errors
    /// `ValidationException` that names a member which is wrong.
    pub fn from_json(json: &str) -> Result<Self> {
        let mut members = from_json("options", json)?;
        let options = Self::take(&mut members)?;
        end(&members)?;
        Ok(options)
    }

    fn take(members: &mut Map<String, Value>) -> Result<Self> {
        let default = Self::default();
        let filter = take(members, "filter");
        Ok(Self {
            k: match take(members, "k") {
                None => default.k,
                Some(k) => k.as_u64().map(|k| k as usize).ok_or_else(|| {
                    Error::validation(format!("k: expected a whole number, got {k}"))
                })?,
            },
            filter: filter.as_ref().map(Filter::from_json).transpose()?,
            search: match take_text(members, "search")? {
                None => default.search,
                Some(name) => search(&name)?,
            },
            rerank: take_text(members, "rerank")?,
        })
    }
}

impl AskOptions {
    /// Of JSON: as [`RetrieveOptions::from_json`], with `model` and `sessionId` beside it.
    ///
    /// # Errors
    /// `ValidationException` that names a member which is wrong.
    pub fn from_json(json: &str) -> Result<Self> {
        let mut members = from_json("options", json)?;
        let options = Self {
            retrieval: RetrieveOptions::take(&mut members)?,
            model: take_text(&mut members, "model")?,
            session_id: take_text(&mut members, "sessionId")?,
        };
        end(&members)?;
        Ok(options)
    }
}

fn search(name: &str) -> Result<Search> {
    match name {
        "semantic" => Ok(Search::Semantic),
        "keyword" => Ok(Search::Keyword),
        "hybrid" => Ok(Search::Hybrid),
        other => Err(Error::validation(format!(
            "search: expected \"semantic\", \"keyword\" or \"hybrid\", got {other:?}"
        ))),
    }
}

/// Takes a member; one that is `null` counts as absent.
fn take(members: &mut Map<String, Value>, name: &str) -> Option<Value> {
    members.shift_remove(name).filter(|value| !value.is_null())
}

fn take_text(members: &mut Map<String, Value>, name: &str) -> Result<Option<String>> {
    match take(members, name) {
        None => Ok(None),
        Some(Value::String(text)) => Ok(Some(text)),
        Some(other) => Err(Error::validation(format!(
            "{name}: expected a text, got {other}"
        ))),
    }
}

fn end(members: &Map<String, Value>) -> Result<()> {
    match members.keys().next() {
        None => Ok(()),
        Some(name) => Err(Error::validation(format!("options: unknown member {name}"))),
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn options_are_read_whole_or_their_error_names_the_member() {
        let options = AskOptions::from_json(
            r#"{"k": 3, "search": "hybrid", "rerank": "m", "model": null, "sessionId": "s"}"#,
        );
        let options = options.unwrap();
        assert_eq!(options.retrieval.k, 3);
        assert_eq!(options.retrieval.search, Search::Hybrid);
        assert_eq!(options.retrieval.rerank.as_deref(), Some("m"));
        assert_eq!(
            (options.model, options.session_id.as_deref()),
            (None, Some("s"))
        );
        assert_eq!(RetrieveOptions::from_json("{}").unwrap().k, 5);
        for (json, begins) in [
            (r#"{"k": "x"}"#, "k: expected"),
            (r#"{"search": "fuzzy"}"#, "search: expected \"semantic\""),
            (r#"{"rerank": 1}"#, "rerank: expected a text"),
            (r#"{"sessionId": "s"}"#, "options: unknown member sessionId"),
            ("[]", "options:"),
        ] {
            let error = RetrieveOptions::from_json(json).unwrap_err();
            assert!(error.message().starts_with(begins), "{}", error.message());
        }
    }
}
