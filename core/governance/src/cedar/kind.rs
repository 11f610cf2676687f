//! What a JSON schema says of a value, as Cedar's types and values.

use std::collections::BTreeMap;

use cedar_policy::RestrictedExpression;
use serde_json::{Map, Value, json};

/// Deepest nesting that is followed.
const DEPTH: usize = 16;

/// A type of Cedar's that a JSON schema stands for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Kind {
    Boolean,
    Long,
    /// A number with at most four decimals.
    Decimal,
    String,
    Set(Box<Kind>),
    /// Its members, and whether each must be there.
    Record(BTreeMap<String, (Kind, bool)>),
}

impl Kind {
    /// The type of what `schema` describes, and whether it may be null; none where Cedar has no
    /// such type.
    pub fn of(root: &Value, schema: &Value) -> Option<(Self, bool)> {
        read(root, schema, 0)
    }

    /// The type in the form of Cedar's schemas.
    pub fn in_schema(&self) -> Value {
        match self {
            Self::Boolean => json!({"type": "Boolean"}),
            Self::Long => json!({"type": "Long"}),
            Self::Decimal => json!({"type": "Extension", "name": "decimal"}),
            Self::String => json!({"type": "String"}),
            Self::Set(items) => json!({"type": "Set", "element": items.in_schema()}),
            Self::Record(members) => record(members.iter().map(|(name, (kind, required))| {
                let mut member = kind.in_schema();
                member["required"] = json!(required);
                (name.clone(), member)
            })),
        }
    }

    /// `value` as Cedar's; none where it is not of the type, or Cedar cannot hold it.
    pub fn value(&self, value: &Value) -> Option<RestrictedExpression> {
        match self {
            Self::Boolean => value.as_bool().map(RestrictedExpression::new_bool),
            Self::Long => whole(value).map(RestrictedExpression::new_long),
            Self::Decimal => decimal(value).map(RestrictedExpression::new_decimal),
            Self::String => {
                let text = value.as_str()?.to_string();
                Some(RestrictedExpression::new_string(text))
            }
            Self::Set(kind) => {
                let items = value.as_array()?.iter().map(|item| kind.value(item));
                let items: Option<Vec<_>> = items.collect();
                items.map(RestrictedExpression::new_set)
            }
            Self::Record(members) => {
                let given = value.as_object()?;
                let members = members.iter().filter_map(|(name, (kind, _))| {
                    // What is left out is an error for the policy that asks for it, which denies.
                    let member = kind.value(given.get(name)?)?;
                    Some((name.clone(), member))
                });
                RestrictedExpression::new_record(members).ok()
            }
        }
    }

    /// The places of what holds no other value, as origins name them, with whether a value must be
    /// there.
    pub fn places(&self, place: &str, required: bool) -> Vec<(String, bool)> {
        match self {
            Self::Set(items) => items.places(&format!("{place}[]"), false),
            Self::Record(members) => {
                let inside = members.iter().flat_map(|(name, (kind, must))| {
                    let point = if place.is_empty() { "" } else { "." };
                    kind.places(&format!("{place}{point}{name}"), required && *must)
                });
                inside.collect()
            }
            _ => vec![(place.to_string(), required)],
        }
    }
}

/// A record's type in the form of Cedar's schemas.
pub(super) fn record(members: impl Iterator<Item = (String, Value)>) -> Value {
    json!({"type": "Record", "attributes": members.collect::<Map<_, _>>()})
}

fn read(root: &Value, schema: &Value, depth: usize) -> Option<(Kind, bool)> {
    if depth > DEPTH {
        return None;
    }
    if let Some(place) = schema["$ref"].as_str() {
        return read(root, root.pointer(place.strip_prefix('#')?)?, depth + 1);
    }
    for name in ["anyOf", "oneOf", "allOf"] {
        if let Some(parts) = schema[name].as_array() {
            return one_of(root, parts, depth);
        }
    }
    let nullable = schema["nullable"] == json!(true);
    let values = match (&schema["enum"], &schema["const"]) {
        (Value::Array(values), _) => values.clone(),
        (_, Value::Null) => Vec::new(),
        (_, value) => vec![value.clone()],
    };
    if !values.is_empty() {
        let some: Vec<&Value> = values.iter().filter(|value| !value.is_null()).collect();
        let kind = kind_of_all(&some)?;
        return Some((kind, nullable || some.len() < values.len()));
    }
    let (name, nullable) = match &schema["type"] {
        Value::String(name) => (name.as_str(), nullable),
        Value::Array(names) => {
            let mut some = names.iter().filter(|name| *name != "null");
            let (first, more) = (some.next()?.as_str()?, some.next());
            if more.is_some() {
                return None;
            }
            (first, nullable || names.len() > 1)
        }
        _ if schema["properties"].is_object() => ("object", nullable),
        _ => return None,
    };
    of_type(root, schema, name, depth).map(|kind| (kind, nullable))
}

fn of_type(root: &Value, schema: &Value, name: &str, depth: usize) -> Option<Kind> {
    Some(match name {
        "string" => Kind::String,
        "integer" => Kind::Long,
        "number" => Kind::Decimal,
        "boolean" => Kind::Boolean,
        "array" => {
            let (items, nullable) = read(root, &schema["items"], depth + 1)?;
            if nullable {
                return None;
            }
            Kind::Set(Box::new(items))
        }
        "object" => {
            let required = schema["required"].as_array();
            let must = |name: &str| required.is_some_and(|all| all.iter().any(|one| one == name));
            let members = schema["properties"].as_object().into_iter().flatten();
            let members = members.filter_map(|(name, member)| {
                let (kind, nullable) = read(root, member, depth + 1)?;
                Some((name.clone(), (kind, must(name) && !nullable)))
            });
            Kind::Record(members.collect())
        }
        _ => return None,
    })
}

/// The type that all alternatives share, null aside.
fn one_of(root: &Value, parts: &[Value], depth: usize) -> Option<(Kind, bool)> {
    let some: Vec<&Value> = parts.iter().filter(|part| part["type"] != "null").collect();
    let mut kinds = some.iter().map(|part| read(root, part, depth + 1));
    let (first, mut nullable) = kinds.next()??;
    for kind in kinds {
        let (kind, may_be_null) = kind?;
        if kind != first {
            return None;
        }
        nullable |= may_be_null;
    }
    Some((first, nullable || some.len() < parts.len()))
}

fn kind_of_all(values: &[&Value]) -> Option<Kind> {
    let all = |is: fn(&Value) -> bool| values.iter().all(|value| is(value));
    if all(Value::is_string) {
        return Some(Kind::String);
    }
    if all(Value::is_boolean) {
        return Some(Kind::Boolean);
    }
    all(Value::is_i64).then_some(Kind::Long)
}

/// A whole number, also where it is written as `5.0`.
fn whole(value: &Value) -> Option<i64> {
    value.as_i64().or_else(|| {
        let number = value.as_f64()?;
        (number.fract() == 0.0 && number.abs() < 9e15).then_some(number as i64)
    })
}

/// A number with one to four decimals; none where it has more, or is too large.
fn decimal(value: &Value) -> Option<String> {
    if let Some(number) = value.as_i64() {
        // The least of them has no positive twin.
        return (number.unsigned_abs() < 900_000_000_000_000).then(|| format!("{number}.0"));
    }
    let number = value.as_f64()?;
    let mut text = format!("{number}");
    if !text.contains('.') {
        text.push_str(".0");
    }
    let decimals = text.split('.').nth(1)?.len();
    (decimals <= 4 && number.abs() < 9e14).then_some(text)
}
