//! Whether arguments are what a JSON schema says, checked before anything runs.

use outcrop_api::{Error, Result};
use regex::Regex;
use serde_json::{Map, Value};

/// Keywords that are checked.
const CHECKED: &[&str] = &[
    "type",
    "properties",
    "required",
    "additionalProperties",
    "items",
    "enum",
    "const",
    "anyOf",
    "oneOf",
    "allOf",
    "minimum",
    "maximum",
    "exclusiveMinimum",
    "exclusiveMaximum",
    "multipleOf",
    "minLength",
    "maxLength",
    "pattern",
    "minItems",
    "maxItems",
    "uniqueItems",
    "minProperties",
    "maxProperties",
    "$ref",
    "$defs",
    "definitions",
    "nullable",
];
/// Keywords that only tell the model something.
const TOLD: &[&str] = &[
    "title",
    "description",
    "default",
    "examples",
    "example",
    "format",
    "deprecated",
    "readOnly",
    "writeOnly",
    "$schema",
    "$id",
    "$comment",
    "xml",
    "externalDocs",
    "discriminator",
];
/// Deepest nesting of a schema's references and a value.
const DEPTH: usize = 64;
/// Most characters of a value that an error shows.
const SHOWN: usize = 100;

/// Checks that the schema at `place` is one of an object whose every keyword is honoured here.
///
/// # Errors
/// `ValidationException` that names the keyword and its place.
pub(crate) fn check(place: &str, schema: &Value) -> Result<()> {
    let is_object = match schema.get("type") {
        None => {
            schema.get("properties").is_some()
                || schema.get("$ref").is_some()
                || schema == &serde_json::json!({})
        }
        Some(kind) => kind == "object",
    };
    if !schema.is_object() || !is_object {
        return Err(Error::validation(format!(
            "{place}: expected the schema of an object, got {}",
            shown(schema)
        )));
    }
    check_part(place, schema, schema, 0)
}

fn check_part(place: &str, root: &Value, schema: &Value, depth: usize) -> Result<()> {
    let wrong = |message: String| Err(Error::validation(format!("{place}: {message}")));
    if depth > DEPTH {
        return wrong(format!("nested deeper than {DEPTH}"));
    }
    let Value::Object(members) = schema else {
        return match schema {
            Value::Bool(_) => Ok(()),
            other => wrong(format!("expected a schema, got {}", shown(other))),
        };
    };
    for (name, value) in members {
        let at = format!("{place}.{name}");
        match name.as_str() {
            "properties" | "$defs" | "definitions" => {
                let Value::Object(parts) = value else {
                    return wrong(format!("{name}: expected an object, got {}", shown(value)));
                };
                for (key, part) in parts {
                    check_part(&format!("{at}.{key}"), root, part, depth + 1)?;
                }
            }
            "items" | "additionalProperties" => check_part(&at, root, value, depth + 1)?,
            "anyOf" | "oneOf" | "allOf" => {
                let Value::Array(parts) = value else {
                    return wrong(format!("{name}: expected a list, got {}", shown(value)));
                };
                for (key, part) in parts.iter().enumerate() {
                    check_part(&format!("{at}[{key}]"), root, part, depth + 1)?;
                }
            }
            "pattern" => {
                let pattern = value.as_str().unwrap_or_default();
                if let Err(error) = Regex::new(pattern) {
                    return wrong(format!("pattern: {error}"));
                }
            }
            "$ref" if value.as_str().and_then(|at| resolve(root, at)).is_none() => {
                return wrong(format!(
                    "$ref: expected a part of this schema, got {}",
                    shown(value)
                ));
            }
            name if CHECKED.contains(&name) || TOLD.contains(&name) || name.starts_with("x-") => {}
            name => return wrong(format!("{name}: this keyword is not supported")),
        }
    }
    Ok(())
}

/// What is wrong with `value` by `schema`, at most the first thing; none where it holds.
pub(crate) fn fault(schema: &Value, value: &Value) -> Option<String> {
    Check { root: schema }.part("", schema, value, 0).err()
}

struct Check<'a> {
    root: &'a Value,
}

type Checked = std::result::Result<(), String>;

impl Check<'_> {
    fn part(&self, place: &str, schema: &Value, value: &Value, depth: usize) -> Checked {
        let expected = |what: String| {
            let place = if place.is_empty() {
                "the arguments"
            } else {
                place
            };
            Err(format!("{place}: expected {what}, got {}", shown(value)))
        };
        if depth > DEPTH {
            return expected(format!("nesting of at most {DEPTH}"));
        }
        let members = match schema {
            Value::Bool(false) => return expected("nothing".into()),
            Value::Object(members) => members,
            _ => return Ok(()),
        };
        if value.is_null() && members.get("nullable") == Some(&Value::Bool(true)) {
            return Ok(());
        }
        if let Some(at) = members.get("$ref").and_then(Value::as_str)
            && let Some(part) = resolve(self.root, at)
        {
            self.part(place, part, value, depth + 1)?;
        }
        if let Some(kind) = members.get("type")
            && !kinds(kind).any(|kind| is_of(kind, value))
        {
            return expected(kinds(kind).collect::<Vec<_>>().join(" or "));
        }
        if let Some(Value::Array(list)) = members.get("enum")
            && !list.contains(value)
        {
            return expected(format!("one of {}", shown(&Value::Array(list.clone()))));
        }
        if let Some(only) = members.get("const")
            && only != value
        {
            return expected(shown(only));
        }
        self.combined(place, members, value, depth)?;
        match value {
            Value::Object(given) => self.object(place, members, given, depth),
            Value::Array(items) => self.array(place, members, items, depth),
            Value::String(text) => string(members, text).or_else(expected),
            Value::Number(number) => {
                bounds(members, number.as_f64().unwrap_or(f64::NAN)).or_else(expected)
            }
            _ => Ok(()),
        }
    }

    fn combined(
        &self,
        place: &str,
        members: &Map<String, Value>,
        value: &Value,
        depth: usize,
    ) -> Checked {
        let holds = |part: &&Value| self.part(place, part, value, depth + 1).is_ok();
        let parts = |name: &str| members.get(name).and_then(Value::as_array);
        for part in parts("allOf").into_iter().flatten() {
            self.part(place, part, value, depth + 1)?;
        }
        let place = if place.is_empty() {
            "the arguments"
        } else {
            place
        };
        if let Some(parts) = parts("anyOf")
            && !parts.iter().any(|part| holds(&part))
        {
            return Err(format!(
                "{place}: {} is none of what anyOf allows",
                shown(value)
            ));
        }
        if let Some(parts) = parts("oneOf") {
            let count = parts.iter().filter(holds).count();
            if count != 1 {
                return Err(format!(
                    "{place}: expected one of what oneOf allows, {} is {count} of them",
                    shown(value)
                ));
            }
        }
        Ok(())
    }

    fn object(
        &self,
        place: &str,
        members: &Map<String, Value>,
        given: &Map<String, Value>,
        depth: usize,
    ) -> Checked {
        let at = |name: &str| match place {
            "" => name.to_string(),
            place => format!("{place}.{name}"),
        };
        let required = members.get("required").and_then(Value::as_array);
        for name in required.into_iter().flatten().filter_map(Value::as_str) {
            if !given.contains_key(name) {
                return Err(format!("{}: it is required and was not given", at(name)));
            }
        }
        let properties = members.get("properties").and_then(Value::as_object);
        for (name, value) in given {
            match properties.and_then(|all| all.get(name)) {
                Some(part) => self.part(&at(name), part, value, depth + 1)?,
                None => match members.get("additionalProperties") {
                    Some(Value::Bool(false)) => {
                        let known: Vec<&str> = properties
                            .into_iter()
                            .flatten()
                            .map(|(name, _)| name.as_str())
                            .collect();
                        return Err(format!(
                            "{}: there is no such argument; expected {}",
                            at(name),
                            known.join(", ")
                        ));
                    }
                    Some(part) => self.part(&at(name), part, value, depth + 1)?,
                    None => {}
                },
            }
        }
        within(members, "Properties", given.len())
            .map_err(|what| format!("{}: expected {what} members, got {}", at(""), given.len()))
    }

    fn array(
        &self,
        place: &str,
        members: &Map<String, Value>,
        items: &[Value],
        depth: usize,
    ) -> Checked {
        within(members, "Items", items.len())
            .map_err(|what| format!("{place}: expected {what} items, got {}", items.len()))?;
        if members.get("uniqueItems") == Some(&Value::Bool(true))
            && (1..items.len()).any(|at| items[..at].contains(&items[at]))
        {
            return Err(format!("{place}: expected no item twice"));
        }
        if let Some(part) = members.get("items") {
            for (index, item) in items.iter().enumerate() {
                self.part(&format!("{place}[{index}]"), part, item, depth + 1)?;
            }
        }
        Ok(())
    }
}

fn string(members: &Map<String, Value>, text: &str) -> std::result::Result<(), String> {
    within(members, "Length", text.chars().count()).map_err(|what| format!("{what} characters"))?;
    match members.get("pattern").and_then(Value::as_str) {
        // A pattern was compiled when the agent was made.
        Some(pattern) if !Regex::new(pattern).is_ok_and(|regex| regex.is_match(text)) => {
            Err(format!("a text that matches {pattern}"))
        }
        _ => Ok(()),
    }
}

fn bounds(members: &Map<String, Value>, number: f64) -> std::result::Result<(), String> {
    let stated = |name: &str| members.get(name).and_then(Value::as_f64);
    let checks = [
        (
            "minimum",
            stated("minimum").is_none_or(|least| number >= least),
            "at least",
        ),
        (
            "maximum",
            stated("maximum").is_none_or(|most| number <= most),
            "at most",
        ),
        (
            "exclusiveMinimum",
            stated("exclusiveMinimum").is_none_or(|least| number > least),
            "above",
        ),
        (
            "exclusiveMaximum",
            stated("exclusiveMaximum").is_none_or(|most| number < most),
            "below",
        ),
        (
            "multipleOf",
            stated("multipleOf")
                .is_none_or(|of| (number / of - (number / of).round()).abs() < 1e-9),
            "a multiple of",
        ),
    ];
    match checks.iter().find(|(_, holds, _)| !holds) {
        None => Ok(()),
        Some((name, _, words)) => Err(format!("{words} {}", stated(name).unwrap_or_default())),
    }
}

/// Checks a count against `min…` and `max…`.
fn within(
    members: &Map<String, Value>,
    what: &str,
    count: usize,
) -> std::result::Result<(), String> {
    let stated = |bound: &str| {
        members
            .get(&format!("{bound}{what}"))
            .and_then(Value::as_u64)
    };
    match (stated("min"), stated("max")) {
        (Some(least), _) if (count as u64) < least => Err(format!("at least {least}")),
        (_, Some(most)) if count as u64 > most => Err(format!("at most {most}")),
        _ => Ok(()),
    }
}

fn kinds(kind: &Value) -> impl Iterator<Item = &str> {
    let one = kind.as_str().into_iter();
    one.chain(
        kind.as_array()
            .into_iter()
            .flatten()
            .filter_map(Value::as_str),
    )
}

fn is_of(kind: &str, value: &Value) -> bool {
    match kind {
        "object" => value.is_object(),
        "array" => value.is_array(),
        "string" => value.is_string(),
        "boolean" => value.is_boolean(),
        "null" => value.is_null(),
        "number" => value.is_number(),
        "integer" => {
            value.is_i64() || value.is_u64() || value.as_f64().is_some_and(|n| n.fract() == 0.0)
        }
        _ => false,
    }
}

fn resolve<'a>(root: &'a Value, at: &str) -> Option<&'a Value> {
    root.pointer(at.strip_prefix('#')?)
}

/// A value as an error shows it.
fn shown(value: &Value) -> String {
    let text = value.to_string();
    match text.char_indices().nth(SHOWN) {
        None => text,
        Some((end, _)) => format!("{}…", &text[..end]),
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use serde_json::json;

    #[test]
    fn what_is_wrong_is_named() {
        let schema = json!({"type": "object", "properties": {
            "to": {"type": "string", "pattern": "^[^@]+@[^@]+$"},
            "amount": {"type": "number", "exclusiveMinimum": 0, "maximum": 100},
            "tags": {"type": "array", "items": {"enum": ["a", "b"]}, "maxItems": 2},
            "who": {"$ref": "#/$defs/who"},
        }, "required": ["to"], "additionalProperties": false,
           "$defs": {"who": {"anyOf": [{"type": "string"}, {"type": "null"}]}}});
        check("s", &schema).unwrap();
        let says = |value: Value| fault(&schema, &value);
        assert_eq!(
            says(json!({"to": "a@b", "amount": 5, "tags": ["a"], "who": null})),
            None
        );
        assert_eq!(
            says(json!({})).unwrap(),
            "to: it is required and was not given"
        );
        assert_eq!(
            says(json!({"to": 1})).unwrap(),
            "to: expected string, got 1"
        );
        let amount = says(json!({"to": "a@b", "amount": 101})).unwrap();
        assert_eq!(amount, "amount: expected at most 100, got 101");
        assert!(
            says(json!({"to": "ab"}))
                .unwrap()
                .contains("a text that matches")
        );
        assert!(
            says(json!({"to": "a@b", "tags": ["c"]}))
                .unwrap()
                .starts_with("tags[0]: expected one of")
        );
        assert!(
            says(json!({"to": "a@b", "tags": ["a", "a", "a"]}))
                .unwrap()
                .contains("at most 2 items")
        );
        assert!(
            says(json!({"to": "a@b", "who": 1}))
                .unwrap()
                .contains("anyOf")
        );
        assert!(
            says(json!({"to": "a@b", "x": 1}))
                .unwrap()
                .starts_with("x: there is no such argument")
        );
        assert!(
            says(json!("to"))
                .unwrap()
                .starts_with("the arguments: expected object")
        );
    }

    #[test]
    fn a_keyword_that_is_not_honoured_is_refused() {
        let schema = json!({"type": "object", "properties": {"a": {"not": {}}}});
        let error = check("inputSchema", &schema).unwrap_err();
        assert_eq!(
            error.message(),
            "inputSchema.properties.a: not: this keyword is not supported"
        );
        assert!(check("s", &json!({"type": "string"})).is_err());
        assert!(
            check(
                "s",
                &json!({"type": "object", "properties": {"a": {"pattern": "("}}})
            )
            .is_err()
        );
        assert!(check("s", &json!({"$ref": "#/$defs/none"})).is_err());
        // A schema that only refers to itself ends.
        let looped = json!({"$ref": "#"});
        assert!(fault(&looped, &json!({})).is_some());
    }
}
