//! The prompts that an embedding model wants before its texts, by name.

use std::collections::BTreeMap;
use std::path::Path;

use outcrop_api::{DOCUMENT_PROMPT, Error, QUERY_PROMPT, Result};

use crate::weights::{WeightsError, read_json};

/// Names under which models keep the prompt of documents, the first that is there being it.
const DOCUMENT_NAMES: [&str; 3] = [DOCUMENT_PROMPT, "passage", "corpus"];

/// A model's prompts: `prompts` and `default_prompt_name` of sentence-transformers'
/// `config_sentence_transformers.json`.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Prompts {
    named: BTreeMap<String, String>,
    default: Option<String>,
}

impl Prompts {
    /// The prompts of a model's folder, none where it has no such file.
    ///
    /// # Errors
    /// [`WeightsError::Corrupt`] for a prompt that is no text, or a default that has no prompt.
    pub fn from_folder(folder: &Path) -> std::result::Result<Self, WeightsError> {
        let file = folder.join("config_sentence_transformers.json");
        if !file.exists() {
            return Ok(Self::default());
        }
        let config = read_json(&file, "the prompts of sentence-transformers")?;
        let mut named = BTreeMap::new();
        for (name, prompt) in config["prompts"].as_object().into_iter().flatten() {
            let text = match prompt {
                serde_json::Value::Null => "",
                serde_json::Value::String(text) => text,
                other => {
                    let detail = format!("prompts.{name}: expected a text, got {other}");
                    return Err(WeightsError::corrupt(&file, detail));
                }
            };
            named.insert(name.clone(), text.to_owned());
        }
        let default = config["default_prompt_name"].as_str().map(str::to_owned);
        if let Some(name) = default.as_ref().filter(|name| !named.contains_key(*name)) {
            let detail = format!(
                "default_prompt_name: expected one of {:?}, got {name:?}",
                named.keys()
            );
            return Err(WeightsError::corrupt(&file, detail));
        }
        Ok(Self { named, default })
    }

    /// The prompt of that name; the default one, or nothing, without a name.
    ///
    /// # Errors
    /// `ValidationException` with the names that there are, for another one.
    pub fn choose(&self, name: Option<&str>) -> Result<&str> {
        let find = |name: &str| self.named.get(name).map(String::as_str);
        match name {
            None => Ok(self.default_prompt()),
            Some(QUERY_PROMPT) => Ok(find(QUERY_PROMPT).unwrap_or_default()),
            Some(DOCUMENT_PROMPT) => Ok(DOCUMENT_NAMES
                .into_iter()
                .find_map(find)
                .unwrap_or_default()),
            Some(name) => find(name).ok_or_else(|| {
                let mut names: Vec<&str> = self.named.keys().map(String::as_str).collect();
                names.extend([QUERY_PROMPT, DOCUMENT_PROMPT]);
                names.sort_unstable();
                names.dedup();
                Error::validation(format!(
                    "prompt: expected one of {}, got {name:?}",
                    names.join(", ")
                ))
            }),
        }
    }

    /// The default prompt; empty where there is none.
    pub fn default_prompt(&self) -> &str {
        let name = self.default.as_ref();
        name.and_then(|name| self.named.get(name))
            .map_or("", String::as_str)
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    fn prompts(named: &[(&str, &str)], default: Option<&str>) -> Prompts {
        Prompts {
            named: named
                .iter()
                .map(|(name, text)| ((*name).to_owned(), (*text).to_owned()))
                .collect(),
            default: default.map(str::to_owned),
        }
    }

    #[test]
    fn a_prompt_is_chosen_by_name() {
        let e5 = prompts(&[("query", "query: "), ("passage", "passage: ")], None);
        assert_eq!(e5.choose(None).unwrap(), "");
        assert_eq!(e5.choose(Some("query")).unwrap(), "query: ");
        assert_eq!(e5.choose(Some("passage")).unwrap(), "passage: ");
        assert_eq!(e5.choose(Some("document")).unwrap(), "passage: ");
        let error = e5.choose(Some("clustering")).unwrap_err().to_string();
        assert!(
            error.contains("document, passage, query") && error.contains("clustering"),
            "{error}"
        );
        let plain = Prompts::default();
        assert_eq!(plain.choose(Some("query")).unwrap(), "");
        assert_eq!(plain.choose(Some("document")).unwrap(), "");
        assert!(plain.choose(Some("passage")).is_err());
        let default = prompts(&[("search", "find: ")], Some("search"));
        assert_eq!(default.choose(None).unwrap(), "find: ");
        assert_eq!(default.choose(Some("query")).unwrap(), "");
    }
}
