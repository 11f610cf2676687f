//! Reads a JSON value part by part, naming the place of what is wrong.

use outcrop_api::{Error, Result};
use serde_json::Value;

/// Most characters of a value that a message shows.
const SHOWN: usize = 80;

/// A part of a JSON value with its place, such as `script[2].answer.delay_ms`.
#[derive(Clone, Debug)]
pub(crate) struct Place<'a> {
    value: &'a Value,
    path: String,
}

impl<'a> Place<'a> {
    /// The whole value.
    pub fn root(value: &'a Value) -> Self {
        Self {
            value,
            path: String::new(),
        }
    }

    pub fn value(&self) -> &'a Value {
        self.value
    }

    /// Its place for messages; that of the whole value is `spec`.
    pub fn path(&self) -> &str {
        match self.path.as_str() {
            "" => "spec",
            path => path,
        }
    }

    /// The error of another value than was expected.
    pub fn wrong(&self, expected: impl std::fmt::Display) -> Error {
        let got = shown(&self.value.to_string());
        Error::validation(format!("{}: expected {expected}, got {got}", self.path()))
    }

    /// Refuses what is no object, and members that nothing reads.
    pub fn only(&self, allowed: &[&str]) -> Result<()> {
        let members = self
            .value
            .as_object()
            .ok_or_else(|| self.wrong(format!("an object with {}", allowed.join(", "))))?;
        match members
            .keys()
            .find(|name| !allowed.contains(&name.as_str()))
        {
            None => Ok(()),
            Some(name) => Err(Error::validation(format!(
                "{}: unknown member {name:?}; expected {}",
                self.path(),
                allowed.join(", ")
            ))),
        }
    }

    /// The member of that name, where it is there.
    pub fn member(&self, name: &str) -> Option<Place<'a>> {
        Some(Place {
            value: self.value.get(name)?,
            path: match self.path.is_empty() {
                true => name.into(),
                false => format!("{}.{name}", self.path),
            },
        })
    }

    /// The member of that name.
    pub fn required(&self, name: &str) -> Result<Place<'a>> {
        self.member(name).ok_or_else(|| {
            Error::validation(format!("{}: expected a member {name:?}", self.path()))
        })
    }

    /// The member of that name as `read` reads it, where it is there.
    pub fn optional<T>(
        &self,
        name: &str,
        read: impl FnOnce(&Place<'a>) -> Result<T>,
    ) -> Result<Option<T>> {
        self.member(name).map(|place| read(&place)).transpose()
    }

    /// Exactly one of the members of these names.
    pub fn one_of(&self, names: &[&'static str]) -> Result<(&'static str, Place<'a>)> {
        let mut there = names
            .iter()
            .filter_map(|name| Some((*name, self.member(name)?)));
        match (there.next(), there.next()) {
            (Some(one), None) => Ok(one),
            _ => Err(self.wrong(format!("exactly one of {}", names.join(", ")))),
        }
    }

    /// The items of a list of at least one.
    pub fn items(&self) -> Result<Vec<Place<'a>>> {
        match self.value.as_array() {
            Some(items) if !items.is_empty() => Ok(items
                .iter()
                .enumerate()
                .map(|(at, value)| Place {
                    value,
                    path: format!("{}[{at}]", self.path),
                })
                .collect()),
            _ => Err(self.wrong("a list of at least one")),
        }
    }

    /// The members of an object by name.
    pub fn entries(&self) -> Result<Vec<(&'a str, Place<'a>)>> {
        let members = self
            .value
            .as_object()
            .ok_or_else(|| self.wrong("an object"))?;
        Ok(members
            .iter()
            .map(|(name, value)| {
                let path = format!("{}[{name:?}]", self.path);
                (name.as_str(), Place { value, path })
            })
            .collect())
    }

    pub fn text(&self) -> Result<&'a str> {
        self.value.as_str().ok_or_else(|| self.wrong("a text"))
    }

    /// A text of at least one character.
    pub fn name(&self) -> Result<&'a str> {
        match self.text()? {
            "" => Err(self.wrong("a text of at least one character")),
            text => Ok(text),
        }
    }

    /// One text, or a list of texts.
    pub fn texts(&self) -> Result<Vec<String>> {
        let expected = || self.wrong("a text or a list of texts");
        match self.value {
            Value::String(text) => Ok(vec![text.clone()]),
            Value::Array(items) => items
                .iter()
                .map(|item| item.as_str().map(str::to_string).ok_or_else(expected))
                .collect(),
            _ => Err(expected()),
        }
    }

    /// A whole number within `range`.
    pub fn count(&self, range: std::ops::RangeInclusive<u64>) -> Result<u64> {
        let found = self.value.as_u64().filter(|count| range.contains(count));
        found.ok_or_else(|| {
            self.wrong(format!(
                "a whole number of {} to {}",
                range.start(),
                range.end()
            ))
        })
    }

    /// A number that a vector or a score can hold.
    pub fn number(&self) -> Result<f32> {
        self.value
            .as_f64()
            .map(|number| number as f32)
            .filter(|number| number.is_finite())
            .ok_or_else(|| self.wrong("a number"))
    }

    /// One of `choices`, by its name.
    pub fn choice<T: Copy>(&self, choices: &[(&str, T)]) -> Result<T> {
        let name = self.value.as_str();
        choices
            .iter()
            .find(|(choice, _)| name == Some(choice))
            .map(|(_, value)| *value)
            .ok_or_else(|| {
                let names: Vec<&str> = choices.iter().map(|(name, _)| *name).collect();
                self.wrong(format!("one of {}", names.join(", ")))
            })
    }
}

/// `text`, or its beginning with how long it is.
pub(crate) fn shown(text: &str) -> String {
    match text.char_indices().nth(SHOWN) {
        None => text.into(),
        Some((end, _)) => format!("{}… ({} characters)", &text[..end], text.chars().count()),
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use serde_json::json;

    #[test]
    fn an_error_names_its_place_and_what_came() {
        let value = json!({"script": [{"answer": {"delay_ms": "soon"}}], "x": 1});
        let root = Place::root(&value);
        let items = root.required("script").unwrap().items().unwrap();
        let delay = items[0]
            .required("answer")
            .unwrap()
            .required("delay_ms")
            .unwrap();
        let message = delay.count(0..=9).unwrap_err().message().to_string();
        assert_eq!(
            message,
            "script[0].answer.delay_ms: expected a whole number of 0 to 9, got \"soon\""
        );
        let message = root.only(&["script"]).unwrap_err().message().to_string();
        assert_eq!(message, "spec: unknown member \"x\"; expected script");
        assert!(items[0].required("y").is_err() && items[0].items().is_err());
    }

    #[test]
    fn a_long_value_is_shown_with_its_length() {
        assert_eq!(shown("ab"), "ab");
        assert!(shown(&"é".repeat(100)).ends_with("é… (100 characters)"));
    }
}
