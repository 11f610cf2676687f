//! The rules of a conversation that no shape tells, in the words that Bedrock refuses with.
//!
//! Positions in these messages are counted from 0, as the service counts them here.

use outcrop_api::{Error, Result};
use serde_json::Value;

const BAD_DOCUMENT_NAME: &str = "The document file name can only contain alphanumeric characters, \
    whitespace characters, hyphens, parentheses, and square brackets. The name can't contain more \
    than one consecutive whitespace character. Check that the file name conforms to these \
    restrictions and retry your request.";

/// Checks the `messages`, `system` and `toolConfig` of a `Converse` request whose shape is right.
///
/// # Errors
/// `ValidationException` for the first rule that is broken.
pub(super) fn check(input: &Value) -> Result<()> {
    let messages = items(&input["messages"]);
    check_blocks(messages)?;
    check_roles(messages)?;
    check_tools(input, messages)?;
    check_documents(messages)
}

fn refuse<T>(message: impl Into<String>) -> Result<T> {
    Err(Error::validation(message))
}

fn items(value: &Value) -> &[Value] {
    value.as_array().map(Vec::as_slice).unwrap_or_default()
}

fn is_blank(block: &Value) -> bool {
    block["text"]
        .as_str()
        .is_some_and(|text| text.trim().is_empty())
}

/// The messages that take turns: those of the system stand beside them.
fn turns(messages: &[Value]) -> impl Iterator<Item = (usize, &Value)> {
    let messages = messages.iter().enumerate();
    messages.filter(|(_, message)| message["role"] != "system")
}

fn check_blocks(messages: &[Value]) -> Result<()> {
    for (at, message) in messages.iter().enumerate() {
        let content = items(&message["content"]);
        if content.is_empty() {
            return refuse(format!(
                "The content field in the Message object at messages.{at} is empty. Add a \
                 ContentBlock object to the content field and try again."
            ));
        }
        for (index, block) in content.iter().enumerate() {
            let here = format!("messages.{at}.content.{index}");
            if is_blank(block) {
                return refuse(format!(
                    "The text field in the ContentBlock object at {here} is blank. Add text to the \
                     text field, and try again."
                ));
            }
            if let Some(tool_use) = block.get("toolUse") {
                check_object(&tool_use["input"], &format!("{here}.toolUse.input"))?;
            }
            if let Some(result) = block.get("toolResult") {
                check_result(result, &format!("{here}.toolResult"))?;
            }
        }
    }
    Ok(())
}

fn check_result(result: &Value, here: &str) -> Result<()> {
    let content = items(&result["content"]);
    if content.is_empty() && result["status"] == "error" {
        return refuse(format!(
            "The content field at {here} cannot be empty when status value is error."
        ));
    }
    for (index, block) in content.iter().enumerate() {
        if let Some(json) = block.get("json") {
            check_object(json, &format!("{here}.content.{index}.json"))?;
        }
    }
    Ok(())
}

fn check_object(value: &Value, here: &str) -> Result<()> {
    if value.is_object() {
        return Ok(());
    }
    refuse(format!(
        "The format of the value at {here} is invalid. Provide a json object for the field and try \
         again."
    ))
}

fn check_roles(messages: &[Value]) -> Result<()> {
    let mut before = None;
    for (_, message) in turns(messages) {
        let role = message["role"].as_str();
        if before.is_none() && role != Some("user") {
            break;
        }
        if before == Some(role) {
            return refuse(
                "A conversation must alternate between user and assistant roles. Make sure the \
                 conversation alternates between user and assistant roles and try again.",
            );
        }
        before = Some(role);
    }
    match before {
        Some(_) => Ok(()),
        None => refuse(
            "A conversation must start with a user message. Try again with a conversation that \
             starts with a user message.",
        ),
    }
}

fn check_tools(input: &Value, messages: &[Value]) -> Result<()> {
    check_tool_config(&input["toolConfig"])?;
    let blocks = || {
        messages
            .iter()
            .flat_map(|message| items(&message["content"]))
    };
    let of_tools = |block: &Value| block.get("toolUse").or(block.get("toolResult")).is_some();
    if input.get("toolConfig").is_none() && blocks().any(of_tools) {
        return refuse(
            "The toolConfig field must be defined when using toolUse and toolResult content blocks.",
        );
    }
    let mut asked: Vec<&str> = Vec::new();
    for (at, message) in turns(messages) {
        let answered = ids(message, "toolResult");
        let missing: Vec<&str> = asked
            .into_iter()
            .filter(|id| !answered.contains(id))
            .collect();
        if !missing.is_empty() {
            return refuse(format!(
                "Expected toolResult blocks at messages.{at}.content for the following Ids: {}",
                missing.join(", ")
            ));
        }
        check_answers(at, &answered, messages)?;
        asked = ids(message, "toolUse");
        check_unique("toolUse", at, &asked)?;
    }
    Ok(())
}

/// Every result of the message at `at` answers one tool use of the turn before.
fn check_answers(at: usize, answered: &[&str], messages: &[Value]) -> Result<()> {
    check_unique("toolResult", at, answered)?;
    let before = turns(messages).take_while(|(index, _)| *index < at).last();
    let asked = before
        .map(|(_, message)| ids(message, "toolUse"))
        .unwrap_or_default();
    if answered.iter().all(|id| asked.contains(id)) {
        return Ok(());
    }
    refuse(format!(
        "The number of toolResult blocks at messages.{at}.content exceeds the number of toolUse \
         blocks of previous turn."
    ))
}

fn check_unique(kind: &str, at: usize, ids: &[&str]) -> Result<()> {
    let twice = ids
        .iter()
        .enumerate()
        .find(|(index, id)| ids[..*index].contains(id));
    match twice {
        None => Ok(()),
        Some((_, id)) => refuse(format!(
            "The {kind} blocks at messages.{at}.content contain duplicate Ids: {id}"
        )),
    }
}

fn check_tool_config(config: &Value) -> Result<()> {
    let mut names = Vec::new();
    for (at, tool) in items(&config["tools"]).iter().enumerate() {
        let Some(spec) = tool.get("toolSpec") else {
            continue;
        };
        let here = format!("toolConfig.tools.{at}.toolSpec");
        check_object(
            &spec["inputSchema"]["json"],
            &format!("{here}.inputSchema.json"),
        )?;
        if names.contains(&&spec["name"]) {
            return refuse(format!(
                "The tool {} at {here}.name is already defined. Give each tool a name of its own \
                 and try again.",
                spec["name"]
            ));
        }
        names.push(&spec["name"]);
    }
    match config["toolChoice"]["tool"].get("name") {
        Some(name) if !names.contains(&name) => refuse(format!(
            "The tool {name} at toolConfig.toolChoice.tool.name is not among toolConfig.tools. \
             Choose a tool that is defined and try again."
        )),
        _ => Ok(()),
    }
}

fn ids<'a>(message: &'a Value, kind: &str) -> Vec<&'a str> {
    let blocks = items(&message["content"]).iter();
    blocks
        .filter_map(|block| block[kind]["toolUseId"].as_str())
        .collect()
}

fn check_documents(messages: &[Value]) -> Result<()> {
    let mut names = Vec::new();
    for message in messages {
        let content = items(&message["content"]);
        let documents = content.iter().filter_map(|block| block.get("document"));
        for name in documents.filter_map(|document| document["name"].as_str()) {
            if !is_document_name(name) {
                return refuse(BAD_DOCUMENT_NAME);
            }
            if names.contains(&name) {
                return refuse("Messages can't contain duplicate document names.");
            }
            names.push(name);
        }
        let has = |kind: &str| content.iter().any(|block| block.get(kind).is_some());
        if has("document") && !has("text") {
            return refuse("A text block must be included when using documents.");
        }
    }
    Ok(())
}

/// An underscore is none of the characters that the message lists, but the service takes it.
fn is_document_name(name: &str) -> bool {
    let known = |it: char| it.is_ascii_alphanumeric() || " -_()[]".contains(it);
    name.chars().all(known) && !name.contains("  ")
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use serde_json::json;

    use super::*;

    fn told(messages: Value) -> String {
        let tools = json!([{"toolSpec": {"name": "f", "inputSchema": {"json": {}}}}]);
        told_of(json!({"messages": messages, "toolConfig": {"tools": tools}}))
    }

    fn told_of(input: Value) -> String {
        match check(&input) {
            Ok(()) => "right".to_string(),
            Err(error) => error.message().to_string(),
        }
    }

    fn says(role: &str, content: Value) -> Value {
        json!({"role": role, "content": content})
    }

    fn text(role: &str) -> Value {
        says(role, json!([{"text": "hello"}]))
    }

    fn asks(id: &str) -> Value {
        json!({"toolUse": {"toolUseId": id, "name": "f", "input": {}}})
    }

    fn answers(id: &str) -> Value {
        json!({"toolResult": {"toolUseId": id, "content": [{"text": "1"}]}})
    }

    #[test]
    fn what_keeps_the_rules_is_right() {
        let use_twice = says("assistant", json!([{"text": "hm"}, asks("a"), asks("b")]));
        let results = says(
            "user",
            json!([answers("b"), answers("a"), {"text": "go on"}]),
        );
        assert_eq!(told(json!([text("user"), use_twice, results])), "right");
        assert_eq!(told(json!([text("user"), text("assistant")])), "right");
        assert_eq!(
            told(json!([text("user"), says("assistant", json!([asks("a")]))])),
            "right"
        );
    }

    #[test]
    fn roles_start_with_the_user_and_alternate() {
        for first in [json!([text("assistant")]), json!([])] {
            assert!(told(first).starts_with("A conversation must start with a user message."));
        }
        let twice = told(json!([text("user"), text("user")]));
        assert!(twice.starts_with("A conversation must alternate between user and assistant"));
    }

    #[test]
    fn content_is_neither_empty_nor_blank() {
        assert_eq!(
            told(json!([text("user"), says("assistant", json!([]))])),
            "The content field in the Message object at messages.1 is empty. Add a ContentBlock \
             object to the content field and try again."
        );
        assert_eq!(
            told(json!([says(
                "user",
                json!([{"text": "a"}, {"text": " \n"}])
            )])),
            "The text field in the ContentBlock object at messages.0.content.1 is blank. Add text \
             to the text field, and try again."
        );
    }

    #[test]
    fn results_answer_exactly_the_uses_of_the_turn_before() {
        let uses = says("assistant", json!([asks("a"), asks("b")]));
        assert_eq!(
            told(json!([text("user"), uses, text("user")])),
            "Expected toolResult blocks at messages.2.content for the following Ids: a, b"
        );
        let uses = says("assistant", json!([asks("a")]));
        let results = says("user", json!([answers("a"), answers("c")]));
        assert_eq!(
            told(json!([text("user"), uses, results])),
            "The number of toolResult blocks at messages.2.content exceeds the number of toolUse \
             blocks of previous turn."
        );
        let twice = says("assistant", json!([asks("a"), asks("a")]));
        assert_eq!(
            told(json!([text("user"), twice])),
            "The toolUse blocks at messages.1.content contain duplicate Ids: a"
        );
        let input = json!({"messages": [text("user"), says("assistant", json!([asks("a")]))]});
        assert!(told_of(input).starts_with("The toolConfig field must be defined"));
    }

    #[test]
    fn what_must_be_an_object_is_one() {
        let tool_use = json!({"toolUse": {"toolUseId": "a", "name": "f", "input": [1]}});
        assert_eq!(
            told(json!([text("user"), says("assistant", json!([tool_use]))])),
            "The format of the value at messages.1.content.0.toolUse.input is invalid. Provide a \
             json object for the field and try again."
        );
        let failed = json!({"toolResult": {"toolUseId": "a", "content": [], "status": "error"}});
        assert!(
            told(json!([says("user", json!([failed]))])).contains("cannot be empty when status")
        );
        let tool = |name: &str| json!({"toolSpec": {"name": name, "inputSchema": {"json": {}}}});
        let config = json!({"tools": [tool("f"), tool("f")]});
        let input = json!({"messages": [text("user")], "toolConfig": config});
        assert!(told_of(input).contains("\"f\" at toolConfig.tools.1.toolSpec.name"));
        let config = json!({"tools": [tool("f")], "toolChoice": {"tool": {"name": "g"}}});
        let input = json!({"messages": [text("user")], "toolConfig": config});
        assert!(told_of(input).contains("\"g\" at toolConfig.toolChoice.tool.name"));
    }

    #[test]
    fn documents_have_names_of_their_own_and_a_text_beside_them() {
        let document = |name: &str| json!({"document": {"name": name, "source": {"text": "x"}}});
        let sent = |blocks: Value| told(json!([says("user", blocks)]));
        assert_eq!(
            sent(json!([{"text": "?"}, document("A-1 (b) [c]_d")])),
            "right"
        );
        for name in ["report.pdf", "two  spaces", "tab\there", "é"] {
            assert_eq!(
                sent(json!([{"text": "?"}, document(name)])),
                BAD_DOCUMENT_NAME,
                "{name}"
            );
        }
        assert!(
            sent(json!([{"text": "?"}, document("a"), document("a")]))
                .contains("duplicate document")
        );
        assert!(sent(json!([document("a")])).starts_with("A text block must be included"));
    }
}
