//! One line of a training file to tokens.

use std::ops::Range;

use outcrop_api::{ContentBlock, Message, Role, Tool};
use serde::Deserialize;
use serde_json::{Map, Value};

use super::{Example, Reader};

type Read<T> = std::result::Result<T, String>;

/// The version that Bedrock's conversations may name.
const SCHEMA: &str = "bedrock-conversation-2024";

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Completion {
    #[serde(default)]
    system: Option<String>,
    prompt: String,
    completion: String,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
struct Conversation {
    #[serde(default)]
    schema_version: Option<String>,
    #[serde(default)]
    system: Option<System>,
    #[serde(default)]
    tool_config: ToolConfig,
    messages: Vec<Message>,
}

/// The tools of a conversation, as Converse declares them.
#[derive(Default, Deserialize)]
#[serde(deny_unknown_fields)]
struct ToolConfig {
    tools: Vec<Declaration>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
struct Declaration {
    tool_spec: ToolSpec,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
struct ToolSpec {
    name: String,
    #[serde(default)]
    description: String,
    input_schema: InputSchema,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct InputSchema {
    json: Value,
}

impl From<Declaration> for Tool {
    fn from(Declaration { tool_spec }: Declaration) -> Self {
        Self {
            name: tool_spec.name,
            description: tool_spec.description,
            input_schema: tool_spec.input_schema.json,
        }
    }
}

/// System text in Converse's form, or plain.
#[derive(Deserialize)]
#[serde(untagged)]
enum System {
    Text(String),
    Blocks(Vec<SystemBlock>),
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct SystemBlock {
    text: String,
}

impl Reader<'_> {
    /// The examples of one line's object.
    ///
    /// # Errors
    /// Why it is none.
    pub fn value(&self, value: &Value) -> Read<Vec<Example>> {
        let Some(object) = value.as_object() else {
            return Err(format!("expected a JSON object, got {}", kind(value)));
        };
        if object.contains_key("messages") {
            return self.conversation(value).map(|example| vec![example]);
        }
        if object.contains_key("prompt") {
            return self.completion(value).map(|example| vec![example]);
        }
        match ["input", "text"]
            .iter()
            .find(|name| object.contains_key(**name))
        {
            Some(name) => self.text(object, name),
            None => Err(format!(
                "expected prompt and completion, messages, or input, got {}",
                names(object)
            )),
        }
    }

    fn completion(&self, value: &Value) -> Read<Example> {
        let line = Completion::deserialize(value).map_err(|error| error.to_string())?;
        for (name, text) in [("prompt", &line.prompt), ("completion", &line.completion)] {
            if text.is_empty() {
                return Err(format!("{name}: expected text, got nothing"));
            }
        }
        if self.template.is_some() {
            let messages = [
                Message::text(Role::User, line.prompt),
                Message::text(Role::Assistant, line.completion),
            ];
            return self.turns(&messages, line.system.as_deref(), &[]);
        }
        let prompt = match line.system {
            Some(system) => format!("{system}\n{}", line.prompt),
            None => line.prompt,
        };
        let mut ids = self.encode(&prompt, true)?;
        let start = ids.len();
        ids.extend(self.encode(&line.completion, false)?);
        ids.extend(self.tokenizer.eos().first());
        let learned = std::iter::once(start..ids.len()).collect();
        self.checked(Example { ids, learned })
    }

    fn conversation(&self, value: &Value) -> Read<Example> {
        let line = Conversation::deserialize(value).map_err(|error| error.to_string())?;
        if let Some(other) = line.schema_version.filter(|version| version != SCHEMA) {
            return Err(format!("schemaVersion: expected {SCHEMA}, got {other}"));
        }
        let system = match line.system {
            None => None,
            Some(System::Text(text)) => Some(text),
            Some(System::Blocks(blocks)) => {
                let texts: Vec<String> = blocks.into_iter().map(|block| block.text).collect();
                Some(texts.join("\n"))
            }
        };
        check_turns(&line.messages)?;
        let tools: Vec<Tool> = line.tool_config.tools.into_iter().map(Tool::from).collect();
        self.turns(&line.messages, system.as_deref(), &tools)
    }

    /// A conversation by the chat template: what the assistant says is learned, with what ends it.
    fn turns(&self, messages: &[Message], system: Option<&str>, tools: &[Tool]) -> Read<Example> {
        let Some(template) = self.template else {
            return Err("messages: the model has no chat template".to_owned());
        };
        let render = |messages: &[Message], is_prompt: bool| {
            template
                .render(messages, system, tools, is_prompt, &Map::new())
                .map_err(|error| error.message().to_owned())
        };
        let (mut example, mut done) = (Example::default(), String::new());
        for (index, message) in messages.iter().enumerate() {
            if message.role != Role::Assistant {
                continue;
            }
            let prompt = render(&messages[..index], true)?;
            let whole = render(&messages[..=index], false)?;
            let parts = prompt
                .strip_prefix(&done)
                .and_then(|own| Some((own, whole.strip_prefix(&prompt)?)));
            let Some((asked, answered)) = parts else {
                return Err(format!(
                    "messages.{index}: the model's chat template renders what came before otherwise \
                     here; give each answer a line of its own"
                ));
            };
            example.ids.extend(self.encode(asked, false)?);
            let start = example.ids.len();
            example.ids.extend(self.encode(answered, false)?);
            example.learned.push(start..example.ids.len());
            done = whole;
        }
        self.checked(example)
    }

    fn text(&self, object: &Map<String, Value>, name: &str) -> Read<Vec<Example>> {
        if object.len() > 1 {
            return Err(format!("expected {name} alone, got {}", names(object)));
        }
        let text = object[name].as_str().filter(|text| !text.is_empty());
        let text = text.ok_or_else(|| format!("{name}: expected text, got {}", object[name]))?;
        let mut ids = self.encode(text, true)?;
        ids.extend(self.tokenizer.eos().first());
        let pieces = ids.chunks(self.max_tokens);
        // A piece of one token has nothing that it could be learned after.
        let pieces = pieces.filter(|piece| piece.len() > 1);
        Ok(pieces
            .map(|piece| Example::of_text(piece.to_vec()))
            .collect())
    }

    fn encode(&self, text: &str, add_special: bool) -> Read<Vec<u32>> {
        let encoded = self.tokenizer.encode(text, add_special);
        encoded.map_err(|error| error.message().to_owned())
    }

    fn checked(&self, example: Example) -> Read<Example> {
        let (tokens, most) = (example.ids.len(), self.max_tokens);
        if tokens > most {
            return Err(format!("expected at most {most} tokens, got {tokens}"));
        }
        let is_empty = |range: &Range<usize>| range.is_empty();
        if example.learned.iter().all(is_empty) {
            return Err("expected an answer to learn, found none".to_owned());
        }
        Ok(example)
    }
}

/// Refuses turns that do not alternate, that do not end with an answer, or that hold what a model does
/// not read or write in them.
fn check_turns(messages: &[Message]) -> Read<()> {
    for (index, message) in messages.iter().enumerate() {
        let expected = [Role::User, Role::Assistant][index % 2];
        if message.role != expected {
            let (expected, got) = (role(expected), role(message.role));
            return Err(format!(
                "messages.{index}.role: expected {expected}, got {got}"
            ));
        }
        let is_known = |block: &ContentBlock| match message.role {
            Role::User => matches!(
                block,
                ContentBlock::Text(_)
                    | ContentBlock::SearchResult(_)
                    | ContentBlock::Document(_)
                    | ContentBlock::ToolResult(_)
            ),
            Role::Assistant => matches!(block, ContentBlock::Text(_) | ContentBlock::ToolUse(_)),
        };
        if message.content.is_empty() || !message.content.iter().all(is_known) {
            let expected = match message.role {
                Role::User => "text, searchResult, document or toolResult",
                Role::Assistant => "text or toolUse",
            };
            return Err(format!(
                "messages.{index}.content: expected blocks of {expected}"
            ));
        }
    }
    match messages.last().map(|message| message.role) {
        Some(Role::Assistant) => Ok(()),
        _ => Err("messages: expected the last to be the assistant's".to_owned()),
    }
}

fn role(role: Role) -> &'static str {
    match role {
        Role::User => "user",
        Role::Assistant => "assistant",
    }
}

fn names(object: &Map<String, Value>) -> String {
    let names: Vec<&str> = object.keys().map(String::as_str).collect();
    match names.is_empty() {
        true => "an empty object".to_owned(),
        false => names.join(", "),
    }
}

fn kind(value: &Value) -> &'static str {
    match value {
        Value::Null => "null",
        Value::Bool(_) => "a boolean",
        Value::Number(_) => "a number",
        Value::String(_) => "a string",
        Value::Array(_) => "an array",
        Value::Object(_) => "an object",
    }
}
