//! Messages of Converse, in the shapes of `bedrock-runtime`.

use serde::{Deserialize, Serialize};
use serde_json::Value;

/// Who wrote a message.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum Role {
    /// The caller.
    User,
    /// The model.
    Assistant,
}

/// One turn of a conversation.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Message {
    /// Who wrote it.
    pub role: Role,
    /// What it holds, in order.
    pub content: Vec<ContentBlock>,
}

impl Message {
    /// A message of `role` with one block of text.
    pub fn text(role: Role, text: impl Into<String>) -> Self {
        Self {
            role,
            content: vec![ContentBlock::Text(text.into())],
        }
    }
}

/// One block of a message: the JSON is an object with one key, the block's name.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum ContentBlock {
    /// Plain text.
    Text(String),
    /// The model asks for a tool.
    ToolUse(ToolUse),
    /// What a tool gave back.
    ToolResult(ToolResult),
    /// A retrieved passage, given to the model as material for its answer.
    SearchResult(SearchResult),
    /// A whole document, as text.
    Document(DocumentBlock),
    /// Generated text with the passages that it rests on.
    CitationsContent(CitationsContent),
    /// What the model thought before it answered.
    ReasoningContent(ReasoningContent),
}

/// What a model thought before it answered.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum ReasoningContent {
    /// In words.
    ReasoningText(ReasoningText),
}

/// A model's thoughts in words.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct ReasoningText {
    /// The words.
    pub text: String,
    /// What the model's owner signed them with, where it does.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub signature: Option<String>,
}

/// The model asks for one call of a tool.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct ToolUse {
    /// The id that the result must carry.
    pub tool_use_id: String,
    /// The tool's name.
    pub name: String,
    /// The arguments, an object of the tool's input schema.
    pub input: Value,
}

/// What a tool gave back.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct ToolResult {
    /// The id of the tool use that it answers.
    pub tool_use_id: String,
    /// The result's blocks.
    pub content: Vec<ToolResultContent>,
    /// Whether the tool succeeded. Default: success.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub status: Option<ToolResultStatus>,
}

/// Whether a tool succeeded.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum ToolResultStatus {
    /// It did.
    Success,
    /// It failed; the content says how.
    Error,
}

/// One block of a tool's result.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum ToolResultContent {
    /// Plain text.
    Text(String),
    /// A JSON value.
    Json(Value),
}

/// A text member of a list of content.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct TextContent {
    /// The text.
    pub text: String,
}

/// A retrieved passage. Blocks of one message are numbered from 1 in their order.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct SearchResult {
    /// Where it is from: a URI or path.
    pub source: String,
    /// The document's title.
    pub title: String,
    /// Its text, in parts.
    pub content: Vec<TextContent>,
    /// `{"enabled": bool}`: whether the answer shall cite it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub citations: Option<Value>,
}

/// A document given as text.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct DocumentBlock {
    /// Its name.
    pub name: String,
    /// Its format, such as `txt`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub format: Option<String>,
    /// Its content.
    pub source: DocumentSource,
}

/// The content of a document block.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum DocumentSource {
    /// Plain text.
    Text(String),
}

/// Generated text with the passages that it rests on.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct CitationsContent {
    /// The generated text, in parts.
    pub content: Vec<GeneratedText>,
    /// What it rests on, in order of use.
    pub citations: Vec<SourceCitation>,
}

/// One part of generated text.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum GeneratedText {
    /// The text.
    Text(String),
}

/// One source that generated text rests on.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct SourceCitation {
    /// The cited block's title.
    pub title: String,
    /// The cited block's source.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub source: Option<String>,
    /// The cited words.
    pub source_content: Vec<TextContent>,
    /// Where in the request they stand.
    pub location: CitationLocation,
}

/// Where in the request a cited span stands.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum CitationLocation {
    /// In a search result.
    #[serde(rename_all = "camelCase")]
    SearchResultLocation {
        /// The index of the search result among those of the message, from 0.
        search_result_index: usize,
        /// First character (Unicode scalar values) of the span in the result's text.
        start: usize,
        /// One past the last character.
        end: usize,
    },
    /// In a document block.
    #[serde(rename_all = "camelCase")]
    DocumentChar {
        /// The index of the document among those of the message, from 0.
        document_index: usize,
        /// First character of the span.
        start: usize,
        /// One past the last character.
        end: usize,
    },
}
