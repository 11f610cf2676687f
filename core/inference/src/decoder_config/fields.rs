//! The fields of a `config.json`, read with what is expected of them.

use serde_json::Value;

use super::MAX_DIMENSION;
use super::family::Family;

pub(super) type Read<T> = Result<T, String>;

/// A model's fields with its family's defaults.
pub(super) struct Fields<'a> {
    pub family: &'static Family,
    pub config: &'a Value,
}

/// A field as it is shown in an error.
pub(super) fn shown(value: Option<&Value>) -> String {
    value.map_or_else(|| "nothing".to_owned(), Value::to_string)
}

/// The field `name`, where it is there and not null.
pub(super) fn present<'a>(object: &'a Value, name: &str) -> Option<&'a Value> {
    object.get(name).filter(|value| !value.is_null())
}

impl<'a> Fields<'a> {
    /// The fields of `config`.
    pub fn of(family: &'static Family, config: &'a Value) -> Self {
        Self { family, config }
    }

    /// The field `name` as a whole number above 0, which is there or has a default.
    pub fn size(&self, name: &str) -> Read<usize> {
        let default = self.family.default(name).map(|n| n as usize);
        size(self.config, name, default)
    }

    /// The field `name` as a whole number above 0. A null is `computed`, as is an absent one without
    /// a default.
    pub fn size_or(&self, name: &str, computed: usize) -> Read<usize> {
        let default = match self.config.get(name) {
            None => self.family.default(name).map(|n| n as usize),
            Some(_) => None,
        };
        size(self.config, name, Some(default.unwrap_or(computed)))
    }

    /// The field `name` as a number; `None` where it is null, or absent and without a default.
    pub fn number(&self, name: &str) -> Read<Option<f64>> {
        match self.config.get(name) {
            None => Ok(self.family.default(name)),
            Some(_) => optional_number(self.config, name),
        }
    }

    /// The field `name` as numbers; truth values are 0 and 1.
    pub fn numbers(&self, name: &str) -> Read<Vec<f64>> {
        numbers(self.config, name)
    }

    /// The field `name` as true or false.
    pub fn flag(&self, name: &str, default: bool) -> Read<bool> {
        flag(self.config, name, default)
    }
}

/// The field `name` of `object` as a whole number above 0; an absent or null one takes the default,
/// where there is one.
pub(super) fn size(object: &Value, name: &str, default: Option<usize>) -> Read<usize> {
    match count(object, name, default)? {
        0 => Err(out_of_range(name, &Value::from(0))),
        n => Ok(n),
    }
}

/// As [`size`], 0 included.
pub(super) fn count(object: &Value, name: &str, default: Option<usize>) -> Read<usize> {
    match present(object, name) {
        None => default.ok_or_else(|| format!("{name}: expected a whole number, got nothing")),
        Some(value) => value
            .as_u64()
            .and_then(|n| usize::try_from(n).ok())
            .filter(|n| *n <= MAX_DIMENSION)
            .ok_or_else(|| out_of_range(name, value)),
    }
}

fn out_of_range(name: &str, value: &Value) -> String {
    format!("{name}: expected a whole number in 1..={MAX_DIMENSION}, got {value}")
}

/// The field `name` of `object` as a number; an absent or null one takes the default, where there
/// is one.
pub(super) fn number(object: &Value, name: &str, default: Option<f64>) -> Read<f64> {
    match present(object, name) {
        None => default.ok_or_else(|| format!("{name}: expected a number, got nothing")),
        Some(value) => value
            .as_f64()
            .ok_or_else(|| format!("{name}: expected a number, got {value}")),
    }
}

/// The field `name` of `object` as a number, where it is there.
pub(super) fn optional_number(object: &Value, name: &str) -> Read<Option<f64>> {
    present(object, name)
        .map(|_| number(object, name, None))
        .transpose()
}

/// The field `name` of `object` as numbers; truth values are 0 and 1.
pub(super) fn numbers(object: &Value, name: &str) -> Read<Vec<f64>> {
    let as_number = |value: &Value| value.as_f64().or(value.as_bool().map(f64::from));
    let values = object.get(name).and_then(Value::as_array);
    values
        .and_then(|values| values.iter().map(as_number).collect())
        .ok_or_else(|| {
            let found = shown(object.get(name));
            format!("{name}: expected an array of numbers, got {found}")
        })
}

/// The field `name` of `object` as true or false.
pub(super) fn flag(object: &Value, name: &str, default: bool) -> Read<bool> {
    match present(object, name) {
        None => Ok(default),
        Some(value) => value
            .as_bool()
            .ok_or_else(|| format!("{name}: expected true or false, got {value}")),
    }
}
