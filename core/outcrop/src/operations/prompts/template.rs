//! Templates of prompts: `{{name}}` stands for a variable.

use std::collections::BTreeSet;

use outcrop_api::{Error, Result};
use serde_json::Value;

/// Most bytes between the braces of a variable, with those that close it.
const MAX_VARIABLE: usize = 256;

/// A part of a template.
enum Part<'a> {
    Text(&'a str),
    Variable(&'a str),
}

/// Checks what the shape of a variant does not say.
///
/// # Errors
/// `ValidationException` where its type is not that of its template, it names a model and an
/// agent, or its template has a variable that it does not list.
pub(super) fn check(variant: &Value) -> Result<()> {
    let name = variant["name"].as_str().unwrap_or_default();
    let configuration = &variant["templateConfiguration"];
    let is_text = configuration.get("text").is_some();
    if is_text != (variant["templateType"] == "TEXT") {
        return Err(Error::validation(format!(
            "The template type of variant {name} is not that of its template configuration."
        )));
    }
    if variant.get("modelId").is_some() && variant.get("genAiResource").is_some() {
        return Err(Error::validation(format!(
            "The variant {name} has both modelId and genAiResource: expected one of them."
        )));
    }
    let listed = variables(variant);
    let mut used = BTreeSet::new();
    for text in texts(configuration) {
        used.extend(parts(text).filter_map(|part| match part {
            Part::Variable(name) => Some(name),
            Part::Text(_) => None,
        }));
    }
    match used.iter().find(|name| !listed.contains(*name)) {
        None => Ok(()),
        Some(unknown) => Err(Error::validation(format!(
            "The template of variant {name} has the variable {unknown}, which is not in its \
             inputVariables."
        ))),
    }
}

/// The names that a variant lists as its variables.
pub(super) fn variables(variant: &Value) -> BTreeSet<&str> {
    let configuration = variant["templateConfiguration"].as_object();
    let template = configuration.and_then(|c| c.values().next());
    let listed = template.and_then(|template| template["inputVariables"].as_array());
    let names = listed.into_iter().flatten();
    names
        .filter_map(|variable| variable["name"].as_str())
        .collect()
}

/// The text with its variables filled in by `value`; what that fills in is taken as it is.
pub(super) fn fill(text: &str, value: &dyn Fn(&str) -> Option<String>) -> String {
    parts(text)
        .map(|part| match part {
            Part::Text(text) => text.to_string(),
            Part::Variable(name) => value(name).unwrap_or_default(),
        })
        .collect()
}

/// The texts of a template configuration that may hold variables.
fn texts(configuration: &Value) -> Vec<&str> {
    let chat = &configuration["chat"];
    let messages = chat["messages"].as_array().into_iter().flatten();
    let content = messages.flat_map(|message| message["content"].as_array().into_iter().flatten());
    let system = chat["system"].as_array().into_iter().flatten();
    let blocks = content.chain(system).map(|block| &block["text"]);
    [&configuration["text"]["text"]]
        .into_iter()
        .chain(blocks)
        .filter_map(Value::as_str)
        .collect()
}

fn parts(text: &str) -> impl Iterator<Item = Part<'_>> {
    let mut rest = text;
    std::iter::from_fn(move || {
        if rest.is_empty() {
            return None;
        }
        if let Some((name, tail)) = variable_at(rest) {
            rest = tail;
            return Some(Part::Variable(name));
        }
        let mut places = rest.char_indices().map(|(at, _)| at).skip(1);
        let end = places.find(|&at| variable_at(&rest[at..]).is_some());
        let (text, tail) = rest.split_at(end.unwrap_or(rest.len()));
        rest = tail;
        Some(Part::Text(text))
    })
}

/// The variable that `text` begins with, and what follows it.
fn variable_at(text: &str) -> Option<(&str, &str)> {
    let rest = text.strip_prefix("{{")?;
    let near = &rest.as_bytes()[..rest.len().min(MAX_VARIABLE)];
    let end = near.windows(2).position(|pair| pair == b"}}")?;
    let (name, tail) = (&rest[..end], &rest[end + 2..]);
    let name = name.trim();
    let plain = |c: char| c.is_ascii_alphanumeric() || matches!(c, '_' | '-');
    (!name.is_empty() && name.chars().all(plain)).then_some((name, tail))
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use serde_json::json;

    #[test]
    fn variables_are_filled_once_and_other_braces_stay() {
        let value = |name: &str| Some(format!("<{name}{{{{b}}}}>"));
        assert_eq!(fill("{{a}} and {{ b }}.", &value), "<a{{b}}> and <b{{b}}>.");
        for text in ["", "{{", "{{}}", "{{a b}}", "{a}", "{\"x\": {}}", "é{{"] {
            assert_eq!(fill(text, &value), text);
        }
        assert_eq!(fill("{{{a}}}", &|_| Some("x".into())), "{x}");
    }

    fn variant(text: &str) -> Value {
        json!({
            "name": "v",
            "templateType": "TEXT",
            "templateConfiguration": {"text": {"text": text, "inputVariables": [{"name": "a"}]}},
        })
    }

    #[test]
    fn a_variant_lists_its_variables_and_is_of_its_type() {
        check(&variant("{{a}}")).unwrap();
        assert!(
            check(&variant("{{b}}"))
                .unwrap_err()
                .message()
                .contains("variable b")
        );
        let mut chat = variant("{{a}}");
        chat["templateType"] = json!("CHAT");
        assert!(check(&chat).is_err());
    }
}
