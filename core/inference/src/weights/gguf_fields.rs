//! The entries of GGUF metadata that belong to an architecture, read by name.

use std::collections::BTreeMap;

use super::GgufValue;

/// Largest believed size of one dimension of a model.
const MAX_DIMENSION: usize = 1 << 24;

/// Metadata with the name that stands before an architecture's keys.
#[derive(Clone, Copy, Debug)]
pub(crate) struct GgufFields<'a> {
    pub entries: &'a BTreeMap<String, GgufValue>,
    pub architecture: &'a str,
}

impl<'a> GgufFields<'a> {
    /// The entry `name` of the architecture.
    pub fn get(&self, name: &str) -> Option<&'a GgufValue> {
        self.entries.get(&self.key(name))
    }

    /// The whole key of the entry `name`.
    pub fn key(&self, name: &str) -> String {
        format!("{}.{name}", self.architecture)
    }

    /// The entry `name` as a whole number above 0.
    pub fn size(&self, name: &str, default: Option<usize>) -> Result<usize, String> {
        let key = self.key(name);
        let Some(value) = self.get(name) else {
            return default.ok_or_else(|| format!("{key}: expected a whole number, got nothing"));
        };
        value
            .as_u64()
            .and_then(|n| usize::try_from(n).ok())
            .filter(|n| (1..=MAX_DIMENSION).contains(n))
            .ok_or_else(|| {
                format!("{key}: expected a whole number in 1..={MAX_DIMENSION}, got {value}")
            })
    }

    /// The entry `name` as a whole number, 0 where it is absent or 0.
    pub fn count(&self, name: &str) -> Result<usize, String> {
        match self.get(name) {
            None => Ok(0),
            Some(value) if value.as_u64() == Some(0) => Ok(0),
            Some(_) => self.size(name, None),
        }
    }

    /// The entry `name` as a number.
    pub fn number(&self, name: &str, default: Option<f64>) -> Result<f64, String> {
        let key = self.key(name);
        match self.get(name) {
            None => default.ok_or_else(|| format!("{key}: expected a number, got nothing")),
            Some(GgufValue::Float(value)) => Ok(*value),
            Some(other) => Err(format!("{key}: expected a number, got {other}")),
        }
    }

    /// Refuses a flag that is set to what no code follows.
    pub fn expect_flag(&self, name: &str, expected: bool) -> Result<(), String> {
        match self.get(name) {
            Some(value) if value.as_bool() != Some(expected) => Err(format!(
                "{}: expected {expected}, got {value}",
                self.key(name)
            )),
            _ => Ok(()),
        }
    }

    /// Number of the tokenizer's tokens.
    pub fn tokens(&self) -> Option<usize> {
        let tokens = self.entries.get("tokenizer.ggml.tokens")?;
        tokens.as_strings().map(<[String]>::len)
    }
}
