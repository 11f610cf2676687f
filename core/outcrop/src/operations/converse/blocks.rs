//! Messages and their blocks, as the service's model has them, as those that chat models read.

use outcrop_api::{
    CitationsContent, ContentBlock, DocumentBlock, DocumentSource, Error, GeneratedText, Message,
    ReasoningContent, ReasoningText, Result, Role, SearchResult, ToolResult, ToolResultContent,
    ToolResultStatus, ToolUse,
};
use serde::Deserialize;
use serde_json::Value;

use super::document;

/// Reads blocks, and keeps what they say beside their content.
pub(super) struct Blocks {
    /// Whether the model cites documents and search results.
    cites: bool,
    /// Whether a block marked what is worth keeping in the prefix cache.
    pub marks_cache: bool,
}

/// The elements of a list; none where it is absent.
pub(super) fn list(value: Option<&Value>) -> impl Iterator<Item = &Value> {
    value.and_then(Value::as_array).into_iter().flatten()
}

/// The one member of a union.
pub(super) fn union(value: &Value) -> Result<(&str, &Value)> {
    let members = value.as_object();
    let member = members.and_then(|members| members.iter().next());
    member
        .map(|(name, value)| (name.as_str(), value))
        .ok_or_else(|| Error::validation("expected an object with one member"))
}

/// The text of a member.
pub(super) fn text_of<'a>(value: &'a Value, name: &str) -> Result<&'a str> {
    value[name]
        .as_str()
        .ok_or_else(|| Error::validation(format!("{name}: expected a text, got {}", value[name])))
}

/// The text of a block that marks what a guardrail is to look at: without one it is text.
pub(super) fn guarded_text(guarded: &Value) -> Result<&str> {
    match union(guarded)? {
        ("text", text) => text_of(text, "text"),
        (kind, _) => Err(no_content(kind)),
    }
}

/// The error of content that no text model reads.
fn no_content(kind: &str) -> Error {
    Error::validation(format!(
        "This model doesn't support the {kind} content block that you provided. Remove {kind} and try again."
    ))
}

impl Blocks {
    pub fn new(cites: bool) -> Self {
        Self {
            cites,
            marks_cache: false,
        }
    }

    /// The messages of a request.
    pub fn messages(&mut self, messages: Option<&Value>) -> Result<Vec<Message>> {
        list(messages)
            .map(|message| {
                let role = match message["role"].as_str() {
                    Some("user") => Role::User,
                    Some("assistant") => Role::Assistant,
                    _ => {
                        return Err(Error::validation(
                            "This model doesn't support messages of role system. Use the system field and try again.",
                        ));
                    }
                };
                let mut content = Vec::new();
                for block in list(message.get("content")) {
                    content.extend(self.block(block)?);
                }
                Ok(Message { role, content })
            })
            .collect()
    }

    /// A block of a message; none for a mark that holds nothing.
    fn block(&mut self, block: &Value) -> Result<Option<ContentBlock>> {
        let (kind, value) = union(block)?;
        Ok(Some(match kind {
            "text" => ContentBlock::Text(value.as_str().unwrap_or_default().to_string()),
            "guardContent" => ContentBlock::Text(guarded_text(value)?.to_string()),
            "document" => ContentBlock::Document(self.document(value)?),
            "searchResult" => ContentBlock::SearchResult(self.search_result(value)?),
            "toolUse" => ContentBlock::ToolUse(ToolUse {
                tool_use_id: text_of(value, "toolUseId")?.to_string(),
                name: text_of(value, "name")?.to_string(),
                input: value["input"].clone(),
            }),
            "toolResult" => ContentBlock::ToolResult(self.tool_result(value)?),
            "reasoningContent" => ContentBlock::ReasoningContent(reasoning(value)?),
            "citationsContent" => ContentBlock::CitationsContent(cited(value)),
            "cachePoint" => {
                self.marks_cache = true;
                return Ok(None);
            }
            other => return Err(no_content(other)),
        }))
    }

    fn document(&self, value: &Value) -> Result<DocumentBlock> {
        self.check_citations(value)?;
        let name = text_of(value, "name")?;
        let mut text = document::text(name, value)?;
        if let Some(context) = value["context"].as_str() {
            text = format!("{context}\n{text}");
        }
        Ok(DocumentBlock {
            name: name.to_string(),
            format: value["format"].as_str().map(str::to_string),
            source: DocumentSource::Text(text),
        })
    }

    fn search_result(&self, value: &Value) -> Result<SearchResult> {
        self.check_citations(value)?;
        SearchResult::deserialize(value)
            .map_err(|error| Error::validation(format!("searchResult: {error}")))
    }

    /// Refuses what asks for citations of a model that gives none.
    fn check_citations(&self, value: &Value) -> Result<()> {
        if value["citations"]["enabled"] == true && !self.cites {
            return Err(Error::validation(
                "This model doesn't support the citations field. Remove citations and try again.",
            ));
        }
        Ok(())
    }

    fn tool_result(&self, value: &Value) -> Result<ToolResult> {
        let mut content = Vec::new();
        for block in list(value.get("content")) {
            content.push(match union(block)? {
                ("text", text) => {
                    ToolResultContent::Text(text.as_str().unwrap_or_default().to_string())
                }
                ("json", json) => ToolResultContent::Json(json.clone()),
                ("document", document) => {
                    let DocumentBlock { name, source, .. } = self.document(document)?;
                    let DocumentSource::Text(text) = source;
                    ToolResultContent::Text(format!("{name}\n{text}"))
                }
                ("searchResult", result) => {
                    let result = self.search_result(result)?;
                    let texts: Vec<_> = result.content.iter().map(|c| c.text.as_str()).collect();
                    ToolResultContent::Text(format!(
                        "{} ({})\n{}",
                        result.title,
                        result.source,
                        texts.join("\n")
                    ))
                }
                (other, _) => return Err(no_content(other)),
            });
        }
        Ok(ToolResult {
            tool_use_id: text_of(value, "toolUseId")?.to_string(),
            content,
            status: match value["status"].as_str() {
                Some("error") => Some(ToolResultStatus::Error),
                Some(_) => Some(ToolResultStatus::Success),
                None => None,
            },
        })
    }
}

fn reasoning(value: &Value) -> Result<ReasoningContent> {
    match union(value)? {
        ("reasoningText", thought) => Ok(ReasoningContent::ReasoningText(ReasoningText {
            text: text_of(thought, "text")?.to_string(),
            signature: thought["signature"].as_str().map(str::to_string),
        })),
        (other, _) => Err(no_content(&format!("reasoningContent.{other}"))),
    }
}

/// What an earlier answer said; the passages that it cited stand in the turn that held them.
fn cited(value: &Value) -> CitationsContent {
    let texts = list(value.get("content")).filter_map(|part| part["text"].as_str());
    CitationsContent {
        content: texts.map(|text| GeneratedText::Text(text.into())).collect(),
        citations: Vec::new(),
    }
}
