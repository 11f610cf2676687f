//! Checks a request's members against their shapes and says what is wrong in the service's words.

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use serde_json::{Map, Value};

use crate::constraint::{self, Constraint};
use crate::member_path::{MemberPath, Step};
use crate::service_model::{Kind, ServiceModel, Shape, ShapeId, Structure, TimestampForm};

/// Members of bedrock-runtime whose values, with all that is in them, no message shows: prompts are
/// confidential there although the service model does not say so.
const PROMPTS: [&str; 2] = ["content", "system"];

/// Checks `input`, an object of the members of the structure `shape`.
///
/// # Errors
/// The message of the `ValidationException`: the first value of a wrong JSON type, or else every
/// constraint that does not hold.
pub fn validate(
    service: &ServiceModel,
    shape: ShapeId,
    input: &Map<String, Value>,
) -> Result<(), String> {
    let mut check = Check {
        service,
        violations: Vec::new(),
        union: None,
    };
    check.structure(service.shape(shape), input, &MemberPath::Root)?;
    match (check.violations.len(), check.union) {
        (0, None) => Ok(()),
        (0, Some(message)) => Err(message),
        (count, _) => Err(format!(
            "{count} validation error{} detected: {}",
            if count == 1 { "" } else { "s" },
            check.violations.join("; ")
        )),
    }
}

struct Check<'m> {
    service: &'m ServiceModel,
    violations: Vec<String>,
    /// What is wrong with the first union that has not one member, which the service tells only
    /// where all else is right.
    union: Option<String>,
}

type Typed = Result<(), String>;

impl Check<'_> {
    fn structure(
        &mut self,
        shape: &Shape,
        members: &Map<String, Value>,
        path: &MemberPath,
    ) -> Typed {
        let Kind::Structure(structure) = &shape.kind else {
            return Ok(());
        };
        for member in &structure.members {
            let prompt = self.service.name == "bedrock-runtime" && PROMPTS.contains(&member.name);
            let here = match prompt || shape.sensitive {
                true => path.secret(Step::Member(member.name)),
                false => path.then(Step::Member(member.name)),
            };
            match members.get(member.name) {
                Some(value) if !value.is_null() => self.value(member.shape, value, &here)?,
                // The body of an InvokeModel is carried as bytes beside the members.
                _ if member.required && structure.payload != Some(member.name) => {
                    self.missing(&here);
                }
                _ => {}
            }
        }
        for name in members.keys() {
            // What is not in the model would be accepted and not honoured.
            if structure.member(name).is_none() {
                let here = path.then(Step::Member(name));
                self.violation(None, None, &here, "Member must be in the service model");
            }
        }
        if structure.union && self.union.is_none() {
            self.union = union_problem(shape.name, structure, members, path);
        }
        Ok(())
    }

    fn value(&mut self, shape: ShapeId, value: &Value, path: &MemberPath) -> Typed {
        let shape = self.service.shape(shape);
        match (&shape.kind, value) {
            (Kind::Structure(_), Value::Object(members)) => self.structure(shape, members, path),
            (Kind::List(member, limits), Value::Array(items)) => {
                self.constraints(shape, value, path, constraint::length(*limits, items.len()));
                self.list(*member, items, path)
            }
            (Kind::Map(key, member, limits), Value::Object(entries)) => {
                self.constraints(
                    shape,
                    value,
                    path,
                    constraint::length(*limits, entries.len()),
                );
                self.map(*key, *member, entries, path)
            }
            (Kind::Document, _) => Ok(()),
            _ => {
                let broken = scalar(shape, value).map_err(|text| wrong_type(&text, path))?;
                self.constraints(shape, value, path, broken);
                Ok(())
            }
        }
    }

    fn list(&mut self, member: ShapeId, items: &[Value], path: &MemberPath) -> Typed {
        let shape = self.service.shape(member);
        let mut broken = false;
        for (at, item) in items.iter().enumerate() {
            let here = path.then(Step::Item(at + 1));
            if item.is_null() {
                self.missing(&here);
            } else if is_scalar(shape) {
                broken |= !scalar(shape, item)
                    .map_err(|text| wrong_type(&text, &here))?
                    .is_empty();
            } else {
                self.value(member, item, &here)?;
            }
        }
        if broken {
            let all = constraint::all(shape).join(", ");
            let shown = Value::Array(items.to_vec());
            let what = format!("Member must satisfy constraint: [{all}]");
            self.violation(Some(shape), Some(&shown), path, &what);
        }
        Ok(())
    }

    fn map(
        &mut self,
        key: ShapeId,
        member: ShapeId,
        entries: &Map<String, Value>,
        path: &MemberPath,
    ) -> Typed {
        let (key, shape) = (self.service.shape(key), self.service.shape(member));
        let (mut bad_keys, mut bad_values) = (false, false);
        for (name, value) in entries {
            let here = path.then(Step::Member(name));
            let name = Value::String(name.clone());
            bad_keys |= !scalar(key, &name)
                .map_err(|text| wrong_type(&text, &here))?
                .is_empty();
            if value.is_null() {
                self.missing(&here);
            } else if is_scalar(shape) {
                bad_values |= !scalar(shape, value)
                    .map_err(|text| wrong_type(&text, &here))?
                    .is_empty();
            } else {
                self.value(member, value, &here.then(Step::Entry))?;
            }
        }
        for (broken, part, shape) in [(bad_keys, "keys", key), (bad_values, "value", shape)] {
            if broken {
                let all = constraint::all(shape).join(", ");
                let what = format!("Map {part} must satisfy constraint: [{all}]");
                self.violation(Some(shape), None, path, &what);
            }
        }
        Ok(())
    }

    fn constraints(
        &mut self,
        shape: &Shape,
        value: &Value,
        path: &MemberPath,
        broken: Vec<Constraint>,
    ) {
        for constraint in broken {
            self.violation(Some(shape), Some(value), path, &constraint.to_string());
        }
    }

    fn missing(&mut self, path: &MemberPath) {
        self.violation(None, Some(&Value::Null), path, "Member must not be null");
    }

    fn violation(
        &mut self,
        shape: Option<&Shape>,
        value: Option<&Value>,
        path: &MemberPath,
        constraint: &str,
    ) {
        let secret = path.is_secret() || shape.is_some_and(|shape| shape.sensitive);
        let value = value.filter(|_| !secret).and_then(shown);
        let value = value.map(|value| format!(" {value}")).unwrap_or_default();
        self.violations.push(format!(
            "Value{value} at '{path}' failed to satisfy constraint: {constraint}"
        ));
    }
}

/// What is wrong with a union that has not exactly one member. Positions are counted from 0 here.
fn union_problem(
    name: &str,
    structure: &Structure,
    members: &Map<String, Value>,
    path: &MemberPath,
) -> Option<String> {
    let set = members.values().filter(|value| !value.is_null()).count();
    let how = match set {
        0 => "must set one of the following keys",
        1 => return None,
        _ => "must set only one of the following keys",
    };
    let keys: Vec<&str> = structure.members.iter().map(|member| member.name).collect();
    let (keys, at) = (keys.join(", "), path.counted_from_zero());
    Some(format!("{name} object at {at} {how}: {keys}."))
}

/// The value as the service shows it; nothing for what it has no short form of.
fn shown(value: &Value) -> Option<String> {
    let plain = |value: &Value| match value {
        Value::String(text) => Some(text.clone()),
        Value::Number(_) | Value::Bool(_) => Some(value.to_string()),
        _ => None,
    };
    match value {
        Value::Null => Some("null".to_string()),
        Value::Array(items) => {
            let items: Option<Vec<String>> = items.iter().map(plain).collect();
            Some(format!("'[{}]'", items?.join(", ")))
        }
        value => Some(format!("'{}'", plain(value)?)),
    }
}

fn is_scalar(shape: &Shape) -> bool {
    !matches!(
        shape.kind,
        Kind::Structure(_) | Kind::List(..) | Kind::Map(..) | Kind::Document
    )
}

/// The constraints that a scalar breaks, or what is wrong with its JSON type.
fn scalar(shape: &Shape, value: &Value) -> Result<Vec<Constraint>, String> {
    match (&shape.kind, value) {
        (Kind::String(limits, pattern), Value::String(text)) => {
            let mut broken = constraint::length(*limits, text.chars().count());
            if let Some(pattern) = pattern.as_ref().filter(|pattern| !pattern.matches(text)) {
                // The service tells it before a text that is too short, after one that is too long.
                let too_long = matches!(broken.first(), Some(Constraint::LongestLength(_)));
                broken.insert(usize::from(too_long), Constraint::Pattern(pattern.source()));
            }
            Ok(broken)
        }
        (Kind::Enum(values), Value::String(text)) => Ok(constraint::one_of(values, text)),
        (Kind::Integer(limits) | Kind::Long(limits), Value::Number(number)) => {
            let small = matches!(shape.kind, Kind::Integer(_));
            match number
                .as_i64()
                .filter(|it| !small || i32::try_from(*it).is_ok())
            {
                Some(whole) => Ok(constraint::range(*limits, whole as f64)),
                None => Err(cannot_be(shape, value)),
            }
        }
        (Kind::Float(limits), Value::Number(number)) => Ok(constraint::range(
            *limits,
            number.as_f64().unwrap_or(f64::NAN),
        )),
        (Kind::Boolean, Value::Bool(_)) => Ok(Vec::new()),
        (Kind::Blob(limits), Value::String(text)) => match STANDARD.decode(text) {
            Ok(bytes) => Ok(constraint::length(*limits, bytes.len())),
            Err(error) => Err(format!("Invalid base64 in a blob: {error}")),
        },
        (Kind::Timestamp(TimestampForm::Rfc3339), Value::String(text)) => {
            match chrono::DateTime::parse_from_rfc3339(text) {
                Ok(_) => Ok(Vec::new()),
                Err(_) => Err(format!("'{text}' can not be converted to a Timestamp")),
            }
        }
        (Kind::Timestamp(TimestampForm::EpochSeconds), Value::Number(_)) => Ok(Vec::new()),
        _ => Err(cannot_be(shape, value)),
    }
}

fn cannot_be(shape: &Shape, value: &Value) -> String {
    let wanted = match shape.kind {
        Kind::Structure(_) | Kind::Map(..) => "a Structure",
        Kind::List(..) => "a List",
        Kind::String(..) | Kind::Enum(_) => "a String",
        Kind::Integer(_) => "an Integer",
        Kind::Long(_) => "a Long",
        Kind::Float(_) => "a Float",
        Kind::Boolean => "a Boolean",
        Kind::Blob(_) => "a Blob",
        Kind::Timestamp(_) => "a Timestamp",
        Kind::Document => "a Document",
    };
    match value {
        Value::Object(_) => "Start of structure or map found where not expected".to_string(),
        Value::Array(_) => "Start of list found where not expected".to_string(),
        Value::String(_) => format!("STRING_VALUE can not be converted to {wanted}"),
        Value::Number(_) => format!("NUMBER_VALUE can not be converted to {wanted}"),
        Value::Bool(true) => format!("TRUE_VALUE can not be converted to {wanted}"),
        Value::Bool(false) => format!("FALSE_VALUE can not be converted to {wanted}"),
        Value::Null => format!("NULL_VALUE can not be converted to {wanted}"),
    }
}

/// The service's words, with the member that they leave out.
fn wrong_type(text: &str, path: &MemberPath) -> String {
    format!("{text}: '{path}'")
}

#[cfg(test)]
mod tests;
