//! What retrieval finds and what an answer rests on.

use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

use crate::converse::{StopReason, Usage};

/// Where a passage stands in its document.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Location {
    /// The document's id: its path relative to the source, or the id it was added with.
    pub document: String,
    /// The document's URI, such as `file:///…`.
    pub uri: String,
    /// First page, from 1, where the format has pages.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub page: Option<u32>,
    /// Last page, where the format has pages.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub last_page: Option<u32>,
    /// First character (Unicode scalar values) in the document's parsed text.
    pub start: usize,
    /// One past the last character.
    pub end: usize,
}

/// A stored piece of a document, with its score for a query.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Passage {
    /// The passage's id in its knowledge base.
    pub id: String,
    /// Its text, word for word as parsed.
    pub text: String,
    /// Cosine of the query's and the passage's vectors, in -1..=1.
    pub score: f32,
    /// Where it stands.
    pub location: Location,
    /// The document's metadata.
    #[serde(default)]
    pub metadata: Map<String, Value>,
}

/// A range of characters (Unicode scalar values) of an answer's text.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Span {
    /// First character.
    pub start: usize,
    /// One past the last.
    pub end: usize,
}

/// A part of an answer and the passages that it rests on.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Citation {
    /// The part of the answer's text.
    pub span: Span,
    /// The cited words in the passage, where the model quoted; else empty.
    #[serde(default)]
    pub quotes: Vec<String>,
    /// The passages, each read back from the store and found unchanged.
    pub passages: Vec<Passage>,
}

/// An answer from documents.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Answer {
    /// The answer.
    pub text: String,
    /// Whether the model found an answer in the documents. False: the text says that it did not.
    pub answered: bool,
    /// What it rests on, in order of the text.
    pub citations: Vec<Citation>,
    /// The passages that the model was given, best first.
    pub passages: Vec<Passage>,
    /// The id of the model that answered.
    pub model: String,
    /// Why it ended.
    pub stop_reason: StopReason,
    /// Tokens the model read and made.
    pub usage: Usage,
}
