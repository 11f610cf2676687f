//! Arguments that are written parameter by parameter: `<parameter=NAME>`, a line of its own, the
//! value, a line's end, `</parameter>`; texts stand as they are, all else as JSON.

use serde_json::{Map, Value};

/// How a call opens, behind what the family's format has before it.
pub(crate) const FUNCTION: &str = "<function=";
/// How a call ends.
pub(crate) const FUNCTION_END: &str = "</function>";
/// How a parameter opens.
pub(crate) const PARAMETER: &str = "<parameter=";
/// How a parameter ends.
pub(crate) const PARAMETER_END: &str = "</parameter>";

/// Most references that are followed from one schema to the next.
const MAX_REFERENCES: usize = 8;

/// What a parameter's value is written as.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Writing {
    /// Text as it stands.
    Text,
    /// JSON.
    Json,
    /// Text, or the JSON of a value that its schema names beside texts.
    Either,
}

/// The type of a JSON value, by JSON Schema's name.
fn kind(value: &Value) -> &'static str {
    match value {
        Value::Null => "null",
        Value::Bool(_) => "boolean",
        Value::Number(number) if number.is_f64() => "number",
        Value::Number(_) => "integer",
        Value::String(_) => "string",
        Value::Array(_) => "array",
        Value::Object(_) => "object",
    }
}

/// The types of the values that `schema`, a part of `root`, allows; `None`: every type.
pub(crate) fn types<'v>(root: &'v Value, schema: &'v Value) -> Option<Vec<&'v str>> {
    let mut schema = schema;
    for _ in 0..MAX_REFERENCES {
        let reference = schema.get("$ref").and_then(Value::as_str);
        let target = reference.and_then(|r| root.pointer(r.strip_prefix('#')?));
        match target {
            Some(target) => schema = target,
            None => break,
        }
    }
    match (&schema["type"], &schema["enum"], &schema["const"]) {
        (Value::String(name), ..) => return Some(vec![name]),
        (Value::Array(names), ..) => return names.iter().map(Value::as_str).collect(),
        (_, Value::Array(values), _) => return Some(values.iter().map(kind).collect()),
        (.., Value::Null) => {}
        (.., value) => return Some(vec![kind(value)]),
    }
    let choices = ["anyOf", "oneOf"]
        .iter()
        .find_map(|name| schema[*name].as_array())?;
    let all: Option<Vec<Vec<&str>>> = choices.iter().map(|choice| types(root, choice)).collect();
    all.map(|all| all.concat())
}

/// What the values of `schema`, a part of `root`, are written as.
pub(crate) fn writing(root: &Value, schema: &Value) -> Writing {
    match types(root, schema) {
        Some(types) if types.iter().all(|name| *name == "string") => Writing::Text,
        Some(types) if !types.contains(&"string") => Writing::Json,
        _ => Writing::Either,
    }
}

/// The name and the arguments of the call that `text` begins with, and what stands behind it.
/// `schema_of` gives a tool's schema. `None` where the call is not sound.
pub(super) fn read<'t, 'v>(
    text: &'t str,
    schema_of: impl Fn(&str) -> Option<&'v Value>,
) -> Option<(String, Value, &'t str)> {
    let (name, mut rest) = text.strip_prefix(FUNCTION)?.split_once('>')?;
    let schema = schema_of(name)?;
    let mut arguments = Map::new();
    loop {
        rest = rest.trim_start();
        if let Some(behind) = rest.strip_prefix(FUNCTION_END) {
            return Some((name.to_owned(), Value::Object(arguments), behind));
        }
        let (key, behind) = rest.strip_prefix(PARAMETER)?.split_once('>')?;
        let (written, behind) = match behind.strip_prefix('\n') {
            // What stands on lines of its own may hold the end's words within a line.
            Some(lines) => written(lines)?,
            None => behind.split_once(PARAMETER_END)?,
        };
        let property = &schema["properties"][key];
        arguments.insert(key.to_owned(), value(schema, property, written)?);
        rest = behind;
    }
}

/// What stands in lines before the line of a parameter's end, and what follows that.
fn written(lines: &str) -> Option<(&str, &str)> {
    let end = |(at, _): &(usize, &str)| {
        let before = &lines[..*at];
        let behind = &lines[at + PARAMETER_END.len()..];
        (before.is_empty() || before.ends_with('\n')) && behind.starts_with('\n')
    };
    let (at, _) = lines.match_indices(PARAMETER_END).find(end)?;
    let own = lines[..at].strip_suffix('\n').unwrap_or(&lines[..at]);
    Some((own, &lines[at + PARAMETER_END.len()..]))
}

/// The value of `written` by its `schema`; `None` where it is to be JSON and is none.
fn value(root: &Value, schema: &Value, written: &str) -> Option<Value> {
    let parsed = || serde_json::from_str::<Value>(written.trim()).ok();
    match writing(root, schema) {
        Writing::Text => Some(Value::String(written.to_owned())),
        Writing::Json => parsed(),
        Writing::Either => {
            let allowed = types(root, schema);
            let is_named = |value: &Value| {
                let own = kind(value);
                let whole = own == "integer";
                let names =
                    |types: &Vec<&str>| types.contains(&own) || whole && types.contains(&"number");
                own != "string" && allowed.as_ref().is_none_or(names)
            };
            let value = parsed().filter(is_named);
            Some(value.unwrap_or_else(|| Value::String(written.to_owned())))
        }
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use serde_json::json;

    use super::*;

    #[test]
    fn values_are_written_by_their_types() {
        let root = json!({"$defs": {"unit": {"enum": ["C", "F"]}, "n": {"type": "integer"}}});
        for (schema, expected) in [
            (json!({"type": "string"}), Writing::Text),
            (json!({"$ref": "#/$defs/unit"}), Writing::Text),
            (json!({"const": "a"}), Writing::Text),
            (json!({"$ref": "#/$defs/n"}), Writing::Json),
            (json!({"type": ["array", "null"]}), Writing::Json),
            (
                json!({"anyOf": [{"type": "object"}, {"type": "null"}]}),
                Writing::Json,
            ),
            (
                json!({"anyOf": [{"type": "string"}, {"type": "null"}]}),
                Writing::Either,
            ),
            (json!({"enum": ["a", 1]}), Writing::Either),
            (json!({}), Writing::Either),
        ] {
            assert_eq!(writing(&root, &schema), expected, "{schema}");
        }
    }

    #[test]
    fn what_is_written_is_read_by_its_schema() {
        let root = json!({});
        for (schema, written, expected) in [
            (json!({"type": "string"}), "12", json!("12")),
            (json!({"type": "string"}), "null", json!("null")),
            (json!({"type": "integer"}), " 12", json!(12)),
            (json!({"type": "array"}), "[\"a\"]", json!(["a"])),
            (json!({"type": ["string", "null"]}), "null", json!(null)),
            (json!({"type": ["string", "null"]}), "12", json!("12")),
            (json!({"type": ["string", "number"]}), "12", json!(12)),
            (json!({"type": ["string", "integer"]}), "1.5", json!("1.5")),
            (json!({}), "true", json!(true)),
            (json!({}), "truly", json!("truly")),
        ] {
            assert_eq!(
                value(&root, &schema, written),
                Some(expected),
                "{schema} {written}"
            );
        }
        assert_eq!(value(&root, &json!({"type": "integer"}), "twelve"), None);
    }
}
