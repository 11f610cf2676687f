//! JSON schemas, every keyword of which is honoured or refused by name, in the grammar compiler's words.
//!
//! What is generated is a part of what the schema accepts, chosen so that validators of several
//! languages agree on it: patterns and formats in the sense that both ECMA 262 and Python give them,
//! control characters only as `\n`, `\r`, `\t`, `\b`, `\f`; an object holds no properties but those
//! that the schema names, unless it says `additionalProperties` or `patternProperties`; the names of
//! a map have at most 64 characters; numbers without bounds stay between -10^18 and 10^18, whole
//! ones below 2^53, and have no exponent: every reader of JSON holds them.

mod complete;
mod disjoint;
mod pattern;
mod reference;

use outcrop_api::{Error, Result};
use serde_json::{Map, Value, json};

/// How deep a schema may nest; the grammar compiler recurses.
const MAX_DEPTH: usize = 64;

/// Keywords that say nothing about what is valid.
pub(super) const ANNOTATIONS: [&str; 16] = [
    "title",
    "description",
    "default",
    "example",
    "examples",
    "deprecated",
    "readOnly",
    "writeOnly",
    "$comment",
    "$anchor",
    "$id",
    "$schema",
    "contentEncoding",
    "contentMediaType",
    "contentSchema",
    // OpenAPI's hint for readers of a oneOf.
    "discriminator",
];

/// Drafts whose keywords mean what those of 2020-12 mean, as far as they are supported.
const DRAFTS: [&str; 3] = [
    "https://json-schema.org/draft/2020-12/schema",
    "https://json-schema.org/draft/2019-09/schema",
    "http://json-schema.org/draft-07/schema",
];

/// The types that `type` may name.
const TYPES: [&str; 7] = [
    "null", "boolean", "integer", "number", "string", "array", "object",
];

/// `schema` in the compiler's words. `field` is for messages.
///
/// # Errors
/// `ValidationException` naming the place and the keyword that is not supported or not sound.
pub(super) fn compile(schema: &Value, field: &str) -> Result<Value> {
    let walk = Walk {
        field,
        root: schema,
        told_once: !merges(schema, 0),
    };
    let mut compiled = match schema {
        Value::Bool(true) => walk.schema(&json!({}), "", 0)?,
        other => walk.schema(other, "", 0)?,
    };
    if let Value::Object(members) = &mut compiled {
        complete::define_any(members);
        // As Python's json.dumps spells it: what models have read most, and spaces are forced.
        let spelling = json!({
            "item_separator": ", ",
            "key_separator": ": ",
            "whitespace_flexible": false,
            "json_allowed_escapes": "nrbtf\\\"",
        });
        members.insert("x-guidance".to_owned(), spelling);
    }
    Ok(compiled)
}

/// One schema's walk.
struct Walk<'a> {
    field: &'a str,
    root: &'a Value,
    /// Whether no value is told by several schemas at once.
    told_once: bool,
}

impl Walk<'_> {
    /// The error of what stands at `path`.
    fn wrong(&self, path: &str, what: impl std::fmt::Display) -> Error {
        let place = if path.is_empty() { "/" } else { path };
        Error::validation(format!("{}: {place}: {what}", self.field))
    }

    /// The schema at `path`, in the compiler's words.
    fn schema(&self, schema: &Value, path: &str, depth: usize) -> Result<Value> {
        if depth > MAX_DEPTH {
            return Err(self.wrong(
                path,
                format!("expected at most {MAX_DEPTH} levels, got more"),
            ));
        }
        let members = match schema {
            Value::Bool(true) if depth > 0 && self.told_once => return Ok(complete::any()),
            Value::Bool(false) if depth > 0 => return Ok(schema.clone()),
            Value::Object(members) => members,
            other => {
                let got = kind(other);
                return Err(self.wrong(path, format!("expected a schema, an object, got {got}")));
            }
        };
        self.check_identity(members, path, depth)?;
        let mut compiled = Map::new();
        for (keyword, value) in members {
            let is_annotation =
                ANNOTATIONS.contains(&keyword.as_str()) || keyword.starts_with("x-");
            if !is_annotation {
                let place = format!("{path}/{keyword}");
                self.keyword(keyword, value, &place, depth, &mut compiled)?;
            }
        }
        self.check_properties(members, path)?;
        complete::complete(&mut compiled, self.told_once);
        Ok(Value::Object(compiled))
    }

    /// Adds the keyword at `path` to `compiled`.
    fn keyword(
        &self,
        keyword: &str,
        value: &Value,
        path: &str,
        depth: usize,
        compiled: &mut Map<String, Value>,
    ) -> Result<()> {
        let value = match keyword {
            "properties" | "$defs" | "definitions" => self.map(value, path, depth)?,
            "patternProperties" => self.patterns(value, path, depth)?,
            "allOf" | "anyOf" | "prefixItems" => self.list(value, path, depth)?,
            "oneOf" => {
                self.check_disjoint(value, path)?;
                let options = self.list(value, path, depth)?;
                return self.insert(compiled, "anyOf", options, path);
            }
            "items" | "additionalProperties" => self.schema(value, path, depth + 1)?,
            "$ref" => self.reference(value, path)?,
            "type" => self.types(value, path)?,
            "const" => self.exact(value, path)?,
            "enum" if value.is_array() => self.exact(value, path)?,
            "enum" => return Err(self.wrong(path, "expected an array of values")),
            "required" => self.names(value, path)?,
            "minLength" | "maxLength" | "minItems" | "maxItems" | "minProperties"
            | "maxProperties" => self.count(value, path)?,
            "minimum" | "maximum" | "exclusiveMinimum" | "exclusiveMaximum" => {
                self.bound(value, path)?
            }
            "multipleOf" => self.divisor(value, path)?,
            "pattern" => {
                let pattern = self.text(value, path)?;
                return self.add_pattern(compiled, pattern::portable(pattern));
            }
            "format" => return self.format(value, path, compiled),
            "uniqueItems" if value == &Value::Bool(false) => return Ok(()),
            _ => return Err(self.wrong(path, "this keyword is not supported")),
        };
        self.insert(compiled, keyword, value, path)
    }

    /// Sets a keyword that another one may have set: two choices are both to be met.
    fn insert(
        &self,
        compiled: &mut Map<String, Value>,
        keyword: &str,
        value: Value,
        path: &str,
    ) -> Result<()> {
        if compiled.contains_key(keyword) {
            return Err(self.wrong(path, "expected anyOf or oneOf, got both; use allOf"));
        }
        compiled.insert(keyword.to_owned(), value);
        Ok(())
    }

    fn map(&self, value: &Value, path: &str, depth: usize) -> Result<Value> {
        let Value::Object(members) = value else {
            return Err(self.wrong(path, "expected an object of schemas"));
        };
        let compiled: Result<Map<String, Value>> = members
            .iter()
            .map(|(name, schema)| {
                let schema = self.schema(schema, &format!("{path}/{name}"), depth + 1)?;
                Ok((name.clone(), schema))
            })
            .collect();
        Ok(Value::Object(compiled?))
    }

    fn patterns(&self, value: &Value, path: &str, depth: usize) -> Result<Value> {
        let Value::Object(members) = self.map(value, path, depth)? else {
            return Ok(Value::Null);
        };
        let portable = members
            .into_iter()
            .map(|(name, schema)| (pattern::portable(&name), schema));
        Ok(Value::Object(portable.collect()))
    }

    fn list(&self, value: &Value, path: &str, depth: usize) -> Result<Value> {
        let Some(schemas) = value.as_array().filter(|schemas| !schemas.is_empty()) else {
            return Err(self.wrong(path, "expected an array of schemas"));
        };
        let compiled: Result<Vec<Value>> = schemas
            .iter()
            .enumerate()
            .map(|(index, schema)| self.schema(schema, &format!("{path}/{index}"), depth + 1))
            .collect();
        Ok(Value::Array(compiled?))
    }

    fn types(&self, value: &Value, path: &str) -> Result<Value> {
        let is_type = |name: &Value| name.as_str().is_some_and(|name| TYPES.contains(&name));
        let is_right = match value {
            Value::Array(names) => !names.is_empty() && names.iter().all(is_type),
            one => is_type(one),
        };
        match is_right {
            true => Ok(value.clone()),
            false => Err(self.wrong(
                path,
                format!(
                    "expected one or several of {}, got {value}",
                    TYPES.join(", ")
                ),
            )),
        }
    }

    fn names(&self, value: &Value, path: &str) -> Result<Value> {
        match value {
            Value::Array(names) if names.iter().all(Value::is_string) => Ok(value.clone()),
            _ => Err(self.wrong(path, "expected an array of names")),
        }
    }

    fn count(&self, value: &Value, path: &str) -> Result<Value> {
        match value.as_u64().filter(|count| *count <= u64::from(u32::MAX)) {
            Some(_) => Ok(value.clone()),
            None => Err(self.wrong(path, format!("expected a count, got {value}"))),
        }
    }

    fn text<'v>(&self, value: &'v Value, path: &str) -> Result<&'v str> {
        value
            .as_str()
            .ok_or_else(|| self.wrong(path, format!("expected text, got {}", kind(value))))
    }

    fn bound(&self, value: &Value, path: &str) -> Result<Value> {
        match value {
            Value::Number(_) => self.exact(value, path),
            other => Err(self.wrong(path, format!("expected a number, got {other}"))),
        }
    }

    /// A divisor that the compiler's arithmetic holds: a whole number of up to eight digits, as it
    /// stands or with the point moved by up to eight places.
    fn divisor(&self, value: &Value, path: &str) -> Result<Value> {
        let Some(divisor) = value.as_f64().filter(|divisor| *divisor > 0.0) else {
            return Err(self.wrong(path, format!("expected a number above 0, got {value}")));
        };
        let (mut scaled, mut places) = (divisor, 0);
        while scaled.fract() != 0.0 && places < 8 {
            scaled *= 10.0;
            places += 1;
        }
        if scaled.fract() != 0.0 || scaled >= 1e8 {
            let what = format!("expected a number of up to eight digits, got {value}");
            return Err(self.wrong(path, what));
        }
        Ok(value.clone())
    }

    /// A value whose numbers, which the compiler reads as doubles, stay what they are.
    fn exact(&self, value: &Value, path: &str) -> Result<Value> {
        match value {
            Value::Number(number) => {
                let read = number.as_f64().unwrap_or(f64::NAN);
                let is_same = match number.as_i128() {
                    Some(whole) => read.is_finite() && read as i128 == whole,
                    None => read.is_finite(),
                };
                if !is_same {
                    let what = format!("expected a number that a double holds, got {number}");
                    return Err(self.wrong(path, what));
                }
            }
            Value::Array(values) => {
                for value in values {
                    self.exact(value, path)?;
                }
            }
            Value::Object(members) => {
                for value in members.values() {
                    self.exact(value, path)?;
                }
            }
            Value::Null | Value::Bool(_) | Value::String(_) => {}
        }
        Ok(value.clone())
    }

    fn format(&self, value: &Value, path: &str, compiled: &mut Map<String, Value>) -> Result<()> {
        let name = self.text(value, path)?;
        match pattern::of_format(name) {
            Some(pattern) => self.add_pattern(compiled, pattern),
            None => {
                let known = pattern::FORMATS.map(|(name, _)| name).join(", ");
                let what = format!("expected one of the formats {known}, got {name}");
                Err(self.wrong(path, what))
            }
        }
    }

    /// Adds a pattern; where there is one already, both are to be met.
    fn add_pattern(&self, compiled: &mut Map<String, Value>, pattern: String) -> Result<()> {
        if !compiled.contains_key("pattern") {
            compiled.insert("pattern".to_owned(), json!(pattern));
            return Ok(());
        }
        let both = compiled.entry("allOf").or_insert_with(|| json!([]));
        if let Value::Array(both) = both {
            both.push(json!({"pattern": pattern}));
        }
        Ok(())
    }

    /// Refuses another dialect, and names that references would be resolved against.
    fn check_identity(&self, members: &Map<String, Value>, path: &str, depth: usize) -> Result<()> {
        if let Some(draft) = members.get("$schema") {
            let name = draft.as_str().unwrap_or_default().trim_end_matches('#');
            if !DRAFTS.contains(&name) {
                let place = format!("{path}/$schema");
                let drafts = DRAFTS.join(", ");
                return Err(self.wrong(&place, format!("expected one of {drafts}, got {draft}")));
            }
        }
        match members.contains_key("$id") && depth > 0 {
            true => {
                let place = format!("{path}/$id");
                Err(self.wrong(&place, "expected at the root only"))
            }
            false => Ok(()),
        }
    }

    /// Refuses a least count of properties that could be reached by one name twice.
    fn check_properties(&self, members: &Map<String, Value>, path: &str) -> Result<()> {
        let required = members.get("required").and_then(Value::as_array);
        let most = required.map_or(0, Vec::len) as u64 + 1;
        match members.get("minProperties").and_then(Value::as_u64) {
            Some(least) if least > most => {
                let place = format!("{path}/minProperties");
                let what =
                    format!("expected at most {most}, one more than are required, got {least}");
                Err(self.wrong(&place, what))
            }
            _ => Ok(()),
        }
    }
}

/// Whether an object's properties may be told by several schemas at once somewhere.
fn merges(schema: &Value, depth: usize) -> bool {
    match schema {
        Value::Object(members) => {
            let has = |keywords: &[&str]| keywords.iter().any(|k| members.contains_key(*k));
            let merges_here = members.contains_key("allOf")
                || has(&["anyOf", "oneOf", "$ref", "const", "enum"])
                    && has(&[
                        "properties",
                        "patternProperties",
                        "required",
                        "additionalProperties",
                    ]);
            depth > 2 * MAX_DEPTH
                || merges_here
                || members.values().any(|value| merges(value, depth + 1))
        }
        Value::Array(values) => values.iter().any(|value| merges(value, depth + 1)),
        _ => false,
    }
}

/// What a value is, for messages.
fn kind(value: &Value) -> &'static str {
    match value {
        Value::Null => "null",
        Value::Bool(_) => "a boolean",
        Value::Number(_) => "a number",
        Value::String(_) => "text",
        Value::Array(_) => "an array",
        Value::Object(_) => "an object",
    }
}

#[cfg(test)]
mod tests;
