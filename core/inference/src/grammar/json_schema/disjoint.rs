//! Whether the options of a `oneOf` exclude each other: then it is an `anyOf`.

use outcrop_api::Result;
use serde_json::Value;

use super::{TYPES, Walk};

impl Walk<'_> {
    /// Refuses options of which a value may be two at once: a grammar cannot tell them apart.
    pub(super) fn check_disjoint(&self, value: &Value, path: &str) -> Result<()> {
        let options = value.as_array().map(Vec::as_slice).unwrap_or_default();
        for (index, option) in options.iter().enumerate() {
            let overlapping = options[..index]
                .iter()
                .position(|other| !self.are_disjoint(option, other));
            if let Some(other) = overlapping {
                let what = format!(
                    "expected options that exclude each other by their type, their constants or a required property's; {other} and {index} do not; use anyOf"
                );
                return Err(self.wrong(path, what));
            }
        }
        Ok(())
    }

    /// Whether it is certain that no value is of both.
    fn are_disjoint(&self, one: &Value, other: &Value) -> bool {
        let (one, other) = (self.resolved(one), self.resolved(other));
        if one == &Value::Bool(false) || other == &Value::Bool(false) {
            return true;
        }
        if let (Some(values), Some(others)) = (constants(one), constants(other)) {
            return values.iter().all(|value| !others.contains(value));
        }
        let (types, others) = (types(one), types(other));
        if types.iter().all(|name| !others.contains(name)) {
            return true;
        }
        if types != ["object"] && others != ["object"] {
            return false;
        }
        required(one)
            .filter(|name| required(other).any(|o| o == *name))
            .any(|name| {
                let properties = (&one["properties"][name], &other["properties"][name]);
                match (
                    constants(self.resolved(properties.0)),
                    constants(self.resolved(properties.1)),
                ) {
                    (Some(values), Some(others)) => {
                        values.iter().all(|value| !others.contains(value))
                    }
                    _ => false,
                }
            })
    }
}

/// The only values of a schema, where it lists them.
fn constants(schema: &Value) -> Option<Vec<&Value>> {
    if let Some(value) = schema.get("const") {
        // 1 and 1.0 are one value to JSON schema, and two to this comparison.
        return (!value.is_f64()).then(|| vec![value]);
    }
    let values = schema.get("enum")?.as_array()?;
    (!values.iter().any(Value::is_f64)).then(|| values.iter().collect())
}

/// The types that a schema's values may be of; an integer is a number.
fn types(schema: &Value) -> Vec<&str> {
    let named = match schema.get("type") {
        Some(Value::String(name)) => vec![name.as_str()],
        Some(Value::Array(names)) => names.iter().filter_map(Value::as_str).collect(),
        _ => match constants(schema) {
            Some(values) => values.into_iter().map(type_of).collect(),
            None => TYPES.to_vec(),
        },
    };
    let widened = named.into_iter().map(|name| match name {
        "integer" => "number",
        other => other,
    });
    widened.collect()
}

fn type_of(value: &Value) -> &'static str {
    match value {
        Value::Null => "null",
        Value::Bool(_) => "boolean",
        Value::Number(_) => "number",
        Value::String(_) => "string",
        Value::Array(_) => "array",
        Value::Object(_) => "object",
    }
}

fn required(schema: &Value) -> impl Iterator<Item = &str> {
    let names = schema.get("required").and_then(Value::as_array);
    names.into_iter().flatten().filter_map(Value::as_str)
}
