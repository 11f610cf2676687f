//! A Converse request as the messages and tools that chat templates read.

use std::collections::HashMap;
use std::io::{self, Write};

use outcrop_api::{
    ContentBlock, DocumentBlock, DocumentSource, Error, GeneratedText, Message, ReasoningContent,
    Result, Role, SearchResult, Tool, ToolResult, ToolResultContent,
};
use serde::Serialize;
use serde_json::ser::{Formatter, Serializer};
use serde_json::{Value, json};

/// What stands between the blocks of one message.
const BLOCK_SEPARATOR: &str = "\n\n";

/// Messages in Hugging Face's form: the system text first, then each message with its
/// text as `content`, the assistant's tool uses as `tool_calls`, and each tool result as a message
/// of its own with role `tool`.
///
/// Search results become `[n] title (source)` and their text, numbered from 1 in each message;
/// documents their name and text. Blocks are an empty line apart.
///
/// # Errors
/// `ValidationException` where a block stands with the wrong role, or a result answers no tool use.
pub fn messages(messages: &[Message], system: Option<&str>) -> Result<Vec<Value>> {
    let mut turns = Vec::new();
    if let Some(system) = system {
        turns.push(json!({"role": "system", "content": system}));
    }
    let mut tool_names: HashMap<&str, &str> = HashMap::new();
    for (index, message) in messages.iter().enumerate() {
        match message.role {
            Role::User => user(index, message, &tool_names, &mut turns)?,
            Role::Assistant => turns.push(assistant(index, message, &mut tool_names)?),
        }
    }
    Ok(turns)
}

/// Tools in Hugging Face's form, their schemas' keys in the caller's order.
pub fn tools(tools: &[Tool]) -> Vec<Value> {
    let tool = |tool: &Tool| {
        json!({"type": "function", "function": {
            "name": tool.name,
            "description": tool.description,
            "parameters": tool.input_schema,
        }})
    };
    tools.iter().map(tool).collect()
}

/// Adds a user's message: the tool results first, as what the assistant waits for, then the rest.
fn user(
    index: usize,
    message: &Message,
    tool_names: &HashMap<&str, &str>,
    turns: &mut Vec<Value>,
) -> Result<()> {
    let mut parts = Vec::new();
    let mut passages = 0;
    let mut has_results = false;
    for (place, block) in message.content.iter().enumerate() {
        match block {
            ContentBlock::Text(text) => parts.push(text.clone()),
            ContentBlock::SearchResult(result) => {
                passages += 1;
                parts.push(passage(passages, result));
            }
            ContentBlock::Document(block) => parts.push(document(block)),
            ContentBlock::ToolResult(result) => {
                let Some(name) = tool_names.get(result.tool_use_id.as_str()) else {
                    return Err(Error::validation(format!(
                        "messages[{index}].content[{place}].toolResult.toolUseId: expected the id of a tool use before it, got {:?}",
                        result.tool_use_id
                    )));
                };
                turns.push(json!({
                    "role": "tool",
                    "name": name,
                    "tool_call_id": result.tool_use_id,
                    "content": tool_result(result),
                }));
                has_results = true;
            }
            ContentBlock::ToolUse(_) => {
                return Err(misplaced(index, place, "toolUse", "assistant", "user"));
            }
            ContentBlock::CitationsContent(_) => {
                return Err(misplaced(
                    index,
                    place,
                    "citationsContent",
                    "assistant",
                    "user",
                ));
            }
            ContentBlock::ReasoningContent(_) => {
                return Err(misplaced(
                    index,
                    place,
                    "reasoningContent",
                    "assistant",
                    "user",
                ));
            }
        }
    }
    if !parts.is_empty() || !has_results {
        turns.push(json!({"role": "user", "content": parts.join(BLOCK_SEPARATOR)}));
    }
    Ok(())
}

/// An assistant's message, whose tool uses are noted by id.
fn assistant<'a>(
    index: usize,
    message: &'a Message,
    tool_names: &mut HashMap<&'a str, &'a str>,
) -> Result<Value> {
    let mut parts = Vec::new();
    let mut thoughts = Vec::new();
    let mut calls = Vec::new();
    for (place, block) in message.content.iter().enumerate() {
        match block {
            ContentBlock::Text(text) => parts.push(text.clone()),
            ContentBlock::CitationsContent(cited) => {
                parts.push(
                    cited
                        .content
                        .iter()
                        .map(|GeneratedText::Text(text)| text.as_str())
                        .collect(),
                );
            }
            ContentBlock::ToolUse(call) => {
                tool_names.insert(&call.tool_use_id, &call.name);
                calls.push(json!({
                    "id": call.tool_use_id,
                    "type": "function",
                    "function": {"name": call.name, "arguments": call.input},
                }));
            }
            ContentBlock::ToolResult(_) => {
                return Err(misplaced(index, place, "toolResult", "user", "assistant"));
            }
            ContentBlock::SearchResult(_) => {
                return Err(misplaced(index, place, "searchResult", "user", "assistant"));
            }
            ContentBlock::Document(_) => {
                return Err(misplaced(index, place, "document", "user", "assistant"));
            }
            ContentBlock::ReasoningContent(ReasoningContent::ReasoningText(thought)) => {
                thoughts.push(thought.text.as_str());
            }
        }
    }
    let mut message = json!({"role": "assistant", "content": parts.join(BLOCK_SEPARATOR)});
    // The name that chat templates of reasoning models read; each decides what it repeats of it.
    if !thoughts.is_empty() {
        message["reasoning_content"] = Value::String(thoughts.join(BLOCK_SEPARATOR));
    }
    if !calls.is_empty() {
        message["tool_calls"] = Value::Array(calls);
    }
    Ok(message)
}

/// The error of a block in a message of the wrong role.
fn misplaced(index: usize, place: usize, block: &str, expected: &str, got: &str) -> Error {
    Error::validation(format!(
        "messages[{index}].content[{place}].{block}: expected in a message of role {expected}, got role {got}"
    ))
}

/// A numbered passage.
fn passage(number: usize, result: &SearchResult) -> String {
    let texts: Vec<&str> = result
        .content
        .iter()
        .map(|part| part.text.as_str())
        .collect();
    format!(
        "[{number}] {} ({})\n{}",
        result.title,
        result.source,
        texts.join("\n")
    )
}

/// A document under its name.
fn document(block: &DocumentBlock) -> String {
    let DocumentSource::Text(text) = &block.source;
    format!("{}\n{text}", block.name)
}

/// What a tool gave back, as text: JSON values as JSON.
fn tool_result(result: &ToolResult) -> String {
    let texts: Vec<String> = result
        .content
        .iter()
        .map(|block| match block {
            ToolResultContent::Text(text) => text.clone(),
            ToolResultContent::Json(value) => spaced_json(value),
        })
        .collect();
    texts.join("\n")
}

/// JSON with a space behind each separator, as Python's `json.dumps` writes it: models were trained
/// on tool results in that form.
pub(crate) fn spaced_json(value: &Value) -> String {
    struct Spaced;
    impl Formatter for Spaced {
        fn begin_array_value<W: ?Sized + Write>(
            &mut self,
            out: &mut W,
            first: bool,
        ) -> io::Result<()> {
            out.write_all(if first { b"" } else { b", " })
        }

        fn begin_object_key<W: ?Sized + Write>(
            &mut self,
            out: &mut W,
            first: bool,
        ) -> io::Result<()> {
            out.write_all(if first { b"" } else { b", " })
        }

        fn begin_object_value<W: ?Sized + Write>(&mut self, out: &mut W) -> io::Result<()> {
            out.write_all(b": ")
        }
    }
    let mut out = Vec::new();
    // Writing a JSON value to memory does not fail.
    let _ = value.serialize(&mut Serializer::with_formatter(&mut out, Spaced));
    String::from_utf8_lossy(&out).into_owned()
}

#[cfg(test)]
#[allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]
mod tests {
    use super::*;

    fn parse(value: Value) -> Vec<Message> {
        serde_json::from_value(value).unwrap()
    }

    #[test]
    fn tools_and_their_results_become_turns_of_their_own() {
        let given = parse(json!([
            {"role": "user", "content": [{"text": "Weather?"}]},
            {"role": "assistant", "content": [{"toolUse": {"toolUseId": "t1", "name": "weather", "input": {"b": 1, "a": 2}}}]},
            {"role": "user", "content": [
                {"text": "And tomorrow?"},
                {"toolResult": {"toolUseId": "t1", "content": [{"json": {"temp": 21, "sky": ["clear", "dry"]}}]}},
            ]},
        ]));
        let turns = messages(&given, Some("Be brief.")).unwrap();
        assert_eq!(
            serde_json::to_string(&turns).unwrap(),
            serde_json::to_string(&json!([
                {"role": "system", "content": "Be brief."},
                {"role": "user", "content": "Weather?"},
                {"role": "assistant", "content": "", "tool_calls": [
                    {"id": "t1", "type": "function", "function": {"name": "weather", "arguments": {"b": 1, "a": 2}}}]},
                {"role": "tool", "name": "weather", "tool_call_id": "t1", "content": "{\"temp\": 21, \"sky\": [\"clear\", \"dry\"]}"},
                {"role": "user", "content": "And tomorrow?"},
            ]))
            .unwrap()
        );
    }

    #[test]
    fn passages_are_numbered_and_the_question_follows_them() {
        let given = parse(json!([{"role": "user", "content": [
            {"searchResult": {"source": "fees.pdf", "title": "Fees", "content": [{"text": "A card costs 3."}]}},
            {"searchResult": {"source": "loans.md", "title": "Loans", "content": [{"text": "Up to 5 years."}, {"text": "No fee."}]}},
            {"document": {"name": "Note", "source": {"text": "Closed on Monday."}}},
            {"text": "What does a card cost?"},
        ]}]));
        let turns = messages(&given, None).unwrap();
        assert_eq!(
            turns[0]["content"],
            "[1] Fees (fees.pdf)\nA card costs 3.\n\n[2] Loans (loans.md)\nUp to 5 years.\nNo fee.\n\nNote\nClosed on Monday.\n\nWhat does a card cost?"
        );
    }

    #[test]
    fn a_block_in_the_wrong_place_is_named() {
        for (given, expected) in [
            (
                json!([{"role": "user", "content": [{"toolResult": {"toolUseId": "x", "content": []}}]}]),
                "messages[0].content[0].toolResult.toolUseId: expected the id of a tool use before it, got \"x\"",
            ),
            (
                json!([{"role": "user", "content": [{"text": ""}, {"toolUse": {"toolUseId": "x", "name": "n", "input": {}}}]}]),
                "messages[0].content[1].toolUse: expected in a message of role assistant, got role user",
            ),
            (
                json!([{"role": "assistant", "content": [{"document": {"name": "n", "source": {"text": ""}}}]}]),
                "messages[0].content[0].document: expected in a message of role user, got role assistant",
            ),
        ] {
            let error = messages(&parse(given), None).unwrap_err();
            assert_eq!(error.message(), expected);
        }
    }
}
