//! Filters on documents' metadata, in the form of Bedrock's `RetrievalFilter`.

use outcrop_api as api;
use outcrop_store::Snapshot;
use serde_json::{Map, Value};

use crate::document::DocumentFacts;

/// The attribute that holds a document's URI beside its own metadata.
pub const SOURCE_URI: &str = "x-amz-bedrock-kb-source-uri";
/// The attribute that holds the id of a document's data source beside its own metadata.
pub const DATA_SOURCE_ID: &str = "x-amz-bedrock-kb-data-source-id";
/// Filters inside each other.
const MAX_DEPTH: usize = 32;

/// What a document's metadata must fulfil for its passages to be found.
#[derive(Clone, Debug, PartialEq)]
pub enum Filter {
    /// A condition on one attribute.
    One {
        /// How the attribute is compared.
        operator: Operator,
        /// The attribute's name.
        key: String,
        /// What it is compared with.
        value: Value,
    },
    /// All of them hold.
    AndAll(Vec<Filter>),
    /// At least one of them holds.
    OrAll(Vec<Filter>),
}

/// How an attribute is compared with a filter's value. Where the attribute is absent, none holds but
/// `notEquals`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Operator {
    /// It is the value.
    Equals,
    /// It is not the value, or is absent.
    NotEquals,
    /// It is a greater number.
    GreaterThan,
    /// It is a greater number, or the same.
    GreaterThanOrEquals,
    /// It is a smaller number.
    LessThan,
    /// It is a smaller number, or the same.
    LessThanOrEquals,
    /// It is one of the values.
    In,
    /// It is none of the values.
    NotIn,
    /// It is a text that begins with the value.
    StartsWith,
    /// It is a text with the value in it, or a list with such a text.
    StringContains,
    /// It is a list with the value in it.
    ListContains,
}

impl Operator {
    const ALL: [(&'static str, Operator); 11] = [
        ("equals", Self::Equals),
        ("notEquals", Self::NotEquals),
        ("greaterThan", Self::GreaterThan),
        ("greaterThanOrEquals", Self::GreaterThanOrEquals),
        ("lessThan", Self::LessThan),
        ("lessThanOrEquals", Self::LessThanOrEquals),
        ("in", Self::In),
        ("notIn", Self::NotIn),
        ("startsWith", Self::StartsWith),
        ("stringContains", Self::StringContains),
        ("listContains", Self::ListContains),
    ];

    /// What a value of it must be, where `value` is not.
    fn refuses(self, value: &Value) -> Option<&'static str> {
        let scalar = |v: &Value| v.is_string() || v.is_number() || v.is_boolean();
        let (right, expected) = match self {
            Self::Equals | Self::NotEquals => (scalar(value), "a string, a number or a boolean"),
            Self::GreaterThan
            | Self::GreaterThanOrEquals
            | Self::LessThan
            | Self::LessThanOrEquals => (value.is_number(), "a number"),
            Self::In | Self::NotIn => (
                value
                    .as_array()
                    .is_some_and(|list| !list.is_empty() && list.iter().all(scalar)),
                "a list of strings, numbers or booleans",
            ),
            Self::StartsWith | Self::StringContains => (value.is_string(), "a string"),
            Self::ListContains => (value.is_string(), "a string"),
        };
        (!right).then_some(expected)
    }

    fn holds(self, attribute: Option<&Value>, value: &Value) -> bool {
        let Some(attribute) = attribute else {
            return self == Self::NotEquals;
        };
        let compared =
            |holds: fn(std::cmp::Ordering) -> bool| order(attribute, value).is_some_and(holds);
        let listed = || {
            value
                .as_array()
                .is_some_and(|l| l.iter().any(|v| same(attribute, v)))
        };
        let wanted = value.as_str().unwrap_or_default();
        match self {
            Self::Equals => same(attribute, value),
            Self::NotEquals => !same(attribute, value),
            Self::GreaterThan => compared(std::cmp::Ordering::is_gt),
            Self::GreaterThanOrEquals => compared(std::cmp::Ordering::is_ge),
            Self::LessThan => compared(std::cmp::Ordering::is_lt),
            Self::LessThanOrEquals => compared(std::cmp::Ordering::is_le),
            Self::In => listed(),
            Self::NotIn => !listed(),
            Self::StartsWith => attribute.as_str().is_some_and(|s| s.starts_with(wanted)),
            Self::StringContains => {
                let has = |v: &Value| v.as_str().is_some_and(|s| s.contains(wanted));
                has(attribute) || attribute.as_array().is_some_and(|l| l.iter().any(has))
            }
            Self::ListContains => attribute
                .as_array()
                .is_some_and(|list| list.iter().any(|v| same(v, value))),
        }
    }
}

/// How two numbers are ordered: whole numbers exactly, others as doubles; none for anything else.
fn order(a: &Value, b: &Value) -> Option<std::cmp::Ordering> {
    match (a.as_i64(), b.as_i64()) {
        (Some(a), Some(b)) => Some(a.cmp(&b)),
        _ => a.as_f64()?.partial_cmp(&b.as_f64()?),
    }
}

/// Whether two values are the same; `1` and `1.0` are.
fn same(a: &Value, b: &Value) -> bool {
    a == b || order(a, b).is_some_and(std::cmp::Ordering::is_eq)
}

impl Filter {
    /// Reads a filter: an object with one member, such as
    /// `{"equals": {"key": "year", "value": 2024}}` or `{"andAll": [{…}, {…}]}`.
    ///
    /// # Errors
    /// `ValidationException` that names the member.
    pub fn from_json(value: &Value) -> api::Result<Self> {
        Self::read(value, "filter", MAX_DEPTH)
    }

    fn read(value: &Value, at: &str, depth: usize) -> api::Result<Self> {
        let wrong = |what: String| api::Error::validation(format!("{at}: {what}"));
        if depth == 0 {
            return Err(wrong(format!(
                "expected at most {MAX_DEPTH} filters inside each other"
            )));
        }
        let mut members = value.as_object().into_iter().flatten();
        let (Some((name, inner)), None) = (members.next(), members.next()) else {
            return Err(wrong(format!(
                "expected an object with one operator, got {value}"
            )));
        };
        let at = format!("{at}.{name}");
        if name == "andAll" || name == "orAll" {
            let list = inner.as_array().map(Vec::as_slice).unwrap_or_default();
            if list.len() < 2 {
                return Err(api::Error::validation(format!(
                    "{at}: expected a list of at least 2 filters, got {inner}"
                )));
            }
            let read = |(n, one)| Self::read(one, &format!("{at}[{n}]"), depth - 1);
            let list = list
                .iter()
                .enumerate()
                .map(read)
                .collect::<api::Result<_>>()?;
            return Ok(match name.as_str() {
                "andAll" => Self::AndAll(list),
                _ => Self::OrAll(list),
            });
        }
        let known = Operator::ALL.iter().find(|(known, _)| known == name);
        let Some(&(_, operator)) = known else {
            let names: Vec<&str> = Operator::ALL.iter().map(|(name, _)| *name).collect();
            return Err(api::Error::validation(format!(
                "{at}: expected one of {}, andAll, orAll",
                names.join(", ")
            )));
        };
        Self::condition(operator, inner, &at)
    }

    fn condition(operator: Operator, inner: &Value, at: &str) -> api::Result<Self> {
        let members = inner.as_object();
        let extra = members.and_then(|m| m.keys().find(|k| *k != "key" && *k != "value"));
        if let Some(name) = extra {
            return Err(api::Error::validation(format!(
                "{at}.{name}: expected key and value alone"
            )));
        }
        let key = inner["key"].as_str().filter(|key| !key.is_empty());
        let Some(key) = key else {
            return Err(api::Error::validation(format!(
                "{at}.key: expected an attribute's name, got {}",
                inner["key"]
            )));
        };
        let value = &inner["value"];
        if let Some(expected) = operator.refuses(value) {
            return Err(api::Error::validation(format!(
                "{at}.value: expected {expected}, got {value}"
            )));
        }
        Ok(Self::One {
            operator,
            key: key.to_owned(),
            value: value.clone(),
        })
    }

    /// Whether a document with these attributes passes.
    pub fn accepts(&self, attributes: &Map<String, Value>) -> bool {
        self.accepts_by(&|key| attributes.get(key))
    }

    fn accepts_by<'a>(&self, attribute: &dyn Fn(&str) -> Option<&'a Value>) -> bool {
        match self {
            Self::One {
                operator,
                key,
                value,
            } => operator.holds(attribute(key), value),
            Self::AndAll(list) => list.iter().all(|one| one.accepts_by(attribute)),
            Self::OrAll(list) => list.iter().any(|one| one.accepts_by(attribute)),
        }
    }

    /// A bit a row of the snapshot, lowest bit of the first word first: whether its document passes.
    ///
    /// # Errors
    /// `InternalServerException` where a document's entry cannot be read.
    pub(crate) fn rows(&self, snapshot: &Snapshot) -> api::Result<Vec<u64>> {
        let mut rows = vec![0u64; snapshot.row_count().div_ceil(64)];
        for (key, entry) in snapshot.documents() {
            let facts = DocumentFacts::of(key, entry)?;
            let attributes = attributes(facts.metadata, &facts.uri, entry.source.as_deref());
            if !self.accepts(&attributes) {
                continue;
            }
            for chunk in snapshot.chunks(key) {
                if let Some(word) = rows.get_mut(chunk.row as usize / 64) {
                    *word |= 1 << (chunk.row % 64);
                }
            }
        }
        Ok(rows)
    }
}

/// What filters see of a document: its metadata, its URI and its data source.
pub(crate) fn attributes(
    metadata: Map<String, Value>,
    uri: &str,
    source: Option<&str>,
) -> Map<String, Value> {
    let mut attributes = metadata;
    attributes.insert(SOURCE_URI.to_owned(), uri.into());
    if let Some(source) = source {
        attributes.insert(DATA_SOURCE_ID.to_owned(), source.into());
    }
    attributes
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use serde_json::json;

    fn accepts(filter: Value) -> bool {
        let attributes = json!({"year": 2024, "rate": 1.5, "open": true, "animal": "cat",
            "animals": ["dog", "cat"]});
        Filter::from_json(&filter)
            .unwrap()
            .accepts(attributes.as_object().unwrap())
    }

    #[test]
    fn each_operator_holds_as_bedrock_says() {
        for (operator, key, value, expected) in [
            ("equals", "year", json!(2024), true),
            ("equals", "year", json!(2024.0), true),
            ("equals", "year", json!("2024"), false),
            ("equals", "open", json!(true), true),
            ("notEquals", "animal", json!("cat"), false),
            ("notEquals", "animal", json!("dog"), true),
            ("notEquals", "absent", json!("cat"), true),
            ("greaterThan", "year", json!(2023.5), true),
            ("greaterThan", "year", json!(2024), false),
            ("greaterThanOrEquals", "year", json!(2024), true),
            ("lessThan", "rate", json!(2), true),
            ("lessThan", "animal", json!(2), false),
            ("lessThanOrEquals", "rate", json!(1.5), true),
            ("in", "animal", json!(["cow", "cat"]), true),
            ("in", "absent", json!(["cat"]), false),
            ("notIn", "animal", json!(["cow"]), true),
            ("notIn", "animal", json!(["cat"]), false),
            ("notIn", "absent", json!(["cat"]), false),
            ("startsWith", "animal", json!("ca"), true),
            ("startsWith", "animals", json!("do"), false),
            ("stringContains", "animal", json!("at"), true),
            ("stringContains", "animals", json!("og"), true),
            ("stringContains", "year", json!("20"), false),
            ("listContains", "animals", json!("cat"), true),
            ("listContains", "animals", json!("ca"), false),
            ("listContains", "animal", json!("cat"), false),
        ] {
            let filter = json!({operator: {"key": key, "value": value}});
            assert_eq!(accepts(filter.clone()), expected, "{filter}");
        }
        let cat = json!({"equals": {"key": "animal", "value": "cat"}});
        let old = json!({"lessThan": {"key": "year", "value": 2000}});
        assert!(!accepts(json!({"andAll": [cat, old]})));
        assert!(accepts(json!({"orAll": [old, cat]})));
    }

    #[test]
    fn what_is_no_filter_is_refused_by_name() {
        for (filter, expected) in [
            (
                json!({}),
                "filter: expected an object with one operator, got {}",
            ),
            (
                json!({"like": {"key": "a", "value": 1}}),
                "filter.like: expected one of equals",
            ),
            (
                json!({"orAll": [{"equals": {"key": "a", "value": 1}}]}),
                "filter.orAll: expected a list of at least 2 filters",
            ),
            (
                json!({"andAll": [{"in": {"key": "a", "value": "b"}}, {}]}),
                "filter.andAll[0].in.value: expected a list of strings",
            ),
            (
                json!({"equals": {"value": 1}}),
                "filter.equals.key: expected an attribute's name, got null",
            ),
            (
                json!({"equals": {"key": "a", "value": 1, "not": 2}}),
                "filter.equals.not: expected key and value alone",
            ),
        ] {
            let error = Filter::from_json(&filter).unwrap_err();
            assert!(error.message().starts_with(expected), "{error}");
        }
    }
}
