//! The calls of a reply from their text.

use outcrop_api::{ContentBlock, StreamEvent, Tool, ToolUse};
use serde_json::Value;

use super::format::{CallSyntax, ToolFormat};
use super::parameters;

/// What stands between two calls.
const BETWEEN: [char; 4] = [' ', '\n', ';', ','];

/// Reads calls of declared tools, and numbers them.
#[derive(Debug)]
pub(super) struct Calls {
    /// The declared tools.
    tools: Vec<Tool>,
    /// Number of the next call in the conversation, for its id.
    next: usize,
    /// Calls in this reply.
    found: usize,
}

impl Calls {
    /// A reader in a conversation that already holds `calls` calls.
    pub fn new(tools: Vec<Tool>, calls: usize) -> Self {
        Self {
            tools,
            next: calls,
            found: 0,
        }
    }

    /// How many calls were read.
    pub fn found(&self) -> usize {
        self.found
    }

    /// The calls that `body`, which stands behind a trigger, begins with, and what stands behind
    /// them. `None` where there is none, or where one of them is not sound.
    pub fn read<'t>(
        &mut self,
        body: &'t str,
        format: &ToolFormat,
    ) -> Option<(Vec<StreamEvent>, &'t str)> {
        let (pairs, rest) = match format.syntax {
            CallSyntax::Object(_) => objects(body, format)?,
            CallSyntax::Named(separator) => named(body, format, separator)?,
            CallSyntax::Parameters => self.parameters(body, format)?,
        };
        let is_declared = |(name, _): &(String, Value)| self.schema_of(name).is_some();
        if pairs.is_empty() || !pairs.iter().all(is_declared) {
            return None;
        }
        let calls = pairs
            .into_iter()
            .map(|(name, input)| self.call(name, input));
        Some((calls.collect(), rest))
    }

    /// The call of tool `name` with a text's JSON, where it is declared and the JSON an object.
    pub fn read_one(&mut self, name: &str, json: &str) -> Option<StreamEvent> {
        let input: Value = serde_json::from_str(json.trim()).ok()?;
        let is_right = input.is_object() && self.schema_of(name).is_some();
        is_right.then(|| self.call(name.to_owned(), input))
    }

    /// The schema of the arguments of the tool `name`, where it is declared.
    fn schema_of(&self, name: &str) -> Option<&Value> {
        let mut own = self.tools.iter().filter(|tool| tool.name == name);
        own.next().map(|tool| &tool.input_schema)
    }

    /// Calls that are written parameter by parameter.
    fn parameters<'t>(&self, body: &'t str, format: &ToolFormat) -> Option<(Pairs, &'t str)> {
        let (name, input, rest) = parameters::read(body.trim_start(), |name| self.schema_of(name))?;
        let rest = match format.stop {
            Some(stop) => rest.trim_start().strip_prefix(stop)?,
            None => rest,
        };
        Some((vec![(name, input)], rest))
    }

    fn call(&mut self, name: String, input: Value) -> StreamEvent {
        let call = ToolUse {
            tool_use_id: format!("tooluse_{}", self.next),
            name,
            input,
        };
        self.next += 1;
        self.found += 1;
        StreamEvent::Block(ContentBlock::ToolUse(call))
    }
}

/// Names with arguments.
type Pairs = Vec<(String, Value)>;

/// Calls as JSON objects, alone, one after another or in an array.
fn objects<'t>(body: &'t str, format: &ToolFormat) -> Option<(Pairs, &'t str)> {
    let mut pairs = Vec::new();
    let mut rest = body;
    loop {
        let begun = rest.trim_start_matches(BETWEEN);
        if !begun.starts_with(['{', '[']) {
            break;
        }
        let mut values = serde_json::Deserializer::from_str(begun).into_iter::<Value>();
        let value = values.next()?.ok()?;
        match value {
            Value::Array(calls) => {
                for call in calls {
                    pairs.push(pair(&call)?);
                }
            }
            call => pairs.push(pair(&call)?),
        }
        rest = &begun[values.byte_offset()..];
    }
    let rest = match format.stop {
        Some(stop) => rest.trim_start().strip_prefix(stop)?,
        // Calls that are the whole reply have nothing behind them.
        None if format.trigger.is_none() && !rest.trim().is_empty() => return None,
        None => rest,
    };
    Some((pairs, rest))
}

/// The name and arguments of a call's object.
fn pair(call: &Value) -> Option<(String, Value)> {
    let name = call.get("name")?.as_str()?;
    let arguments = call.get("arguments").or_else(|| call.get("parameters"))?;
    arguments
        .is_object()
        .then(|| (name.to_owned(), arguments.clone()))
}

/// Calls as names, each with its arguments behind a separator.
fn named<'t>(body: &'t str, format: &ToolFormat, separator: &str) -> Option<(Pairs, &'t str)> {
    let mut pairs = Vec::new();
    let mut rest = body;
    loop {
        let begun = rest.trim_start_matches(BETWEEN);
        // The trigger of the first call is read already where it opens it.
        let opened = match begun.strip_prefix(format.open) {
            Some(opened) => opened,
            None if pairs.is_empty() && format.trigger == Some(format.open) => begun,
            None => break,
        };
        let (name, arguments) = opened.split_once(separator.trim_end())?;
        let arguments = arguments.trim_start();
        let mut values = serde_json::Deserializer::from_str(arguments).into_iter::<Value>();
        let value = values.next()?.ok().filter(Value::is_object)?;
        pairs.push((name.trim().to_owned(), value));
        let behind = arguments[values.byte_offset()..].trim_start();
        rest = behind.strip_prefix(format.close.trim_start())?;
    }
    let rest = match format.stop {
        Some(stop) => rest.trim_start().strip_prefix(stop)?,
        None => rest,
    };
    Some((pairs, rest))
}
