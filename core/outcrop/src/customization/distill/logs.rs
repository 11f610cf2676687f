//! Prompts and answers from the log of model calls, as invocation logging writes it to a bucket.

use std::io::Read;
use std::path::{Path, PathBuf};

use flate2::read::GzDecoder;
use outcrop_api::{Error, Result, Usage};
use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::LeftOut;
use super::answers::Answer;
use super::prompts::{Prompt, of_messages, text_of};
use crate::customization::data::unreadable;
use crate::session::Session;

/// Where recorded calls are, and which of them count.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct LogSource {
    /// The folder or prefix that invocation logging writes to.
    pub uri: String,
    /// Whether the recorded answers of the teacher are learned; otherwise it is asked anew.
    #[serde(default)]
    pub use_responses: bool,
    /// Bedrock's `requestMetadataFilters`: `equals`, `notEquals`, `andAll` or `orAll`.
    #[serde(default)]
    pub filters: Option<Value>,
}

/// The prompts of the records below `folder`, each once.
///
/// # Errors
/// `ValidationException` for a folder or a record that cannot be read, or a filter of another form.
pub(super) fn read(
    folder: &Path,
    source: &LogSource,
    session: &Session,
    teacher: &str,
    left_out: &mut LeftOut,
) -> Result<Vec<Prompt>> {
    if let Some(filter) = &source.filters {
        check(filter)?;
    }
    let mut files = Vec::new();
    collect(folder, &mut files)?;
    files.sort_unstable();
    if files.is_empty() {
        return Err(Error::validation(format!(
            "There is no record of a model call at {}",
            folder.display()
        )));
    }
    let (mut prompts, mut seen) = (Vec::new(), std::collections::HashSet::new());
    for file in files {
        for (number, line) in (1..).zip(text(&file)?.lines()) {
            let record: Value = serde_json::from_str(line).map_err(|error| {
                let file = file.display();
                Error::validation(format!("{file} line {number}: expected JSON: {error}"))
            })?;
            let is_meant = source.filters.as_ref();
            if !is_meant.is_none_or(|filter| holds(filter, &record["requestMetadata"])) {
                continue;
            }
            let Some(mut prompt) = prompt(&record) else {
                left_out.other_records += 1;
                continue;
            };
            if source.use_responses {
                if !is_of(session, teacher, &record)? {
                    left_out.other_records += 1;
                    continue;
                }
                prompt.recorded = answer(&record);
            }
            if seen.insert(prompt.digest()) {
                prompts.push(prompt);
            }
        }
    }
    Ok(prompts)
}

/// Whether the teacher made the record, by the name that was asked for or by the model that ran.
fn is_of(session: &Session, teacher: &str, record: &Value) -> Result<bool> {
    let shelf = session.shelf();
    let own = shelf.resolution(teacher)?.model;
    let names = [&record["modelId"], &record["invokedModelId"]];
    for name in names.into_iter().filter_map(Value::as_str) {
        if name == teacher || shelf.resolution(name).is_ok_and(|found| found.model == own) {
            return Ok(true);
        }
    }
    Ok(false)
}

/// What a record of Converse was asked; none for other operations, and for what is more than text.
fn prompt(record: &Value) -> Option<Prompt> {
    let operation = record["operation"].as_str()?;
    if !operation.starts_with("Converse") {
        return None;
    }
    let input = &record["input"]["inputBodyJson"];
    let system = match &input["system"] {
        Value::Null => None,
        Value::Array(blocks) if blocks.is_empty() => None,
        system => Some(text_of(system)?),
    };
    let prompt = of_messages(system, input["messages"].as_array()?).ok()?;
    // A conversation that ends with the assistant was to be continued: that is no question.
    prompt.reference.is_none().then_some(prompt)
}

/// What the model said, where the record holds it and it ended by itself.
fn answer(record: &Value) -> Option<Answer> {
    let output = &record["output"]["outputBodyJson"];
    let (text, stop) = match output {
        Value::Array(events) => streamed(events),
        _ => {
            let message = &output["output"]["message"]["content"];
            let native = &output["content"];
            let text = text_of(if message.is_null() { native } else { message });
            (text, output["stopReason"].as_str().map(str::to_owned))
        }
    };
    let tokens = |side: &str, name: &str| record[side][name].as_u64().unwrap_or(0) as usize;
    let (input, made) = (
        tokens("input", "inputTokenCount"),
        tokens("output", "outputTokenCount"),
    );
    Some(Answer {
        prompt: String::new(),
        text: text?,
        stop: stop.unwrap_or_default(),
        usage: Usage {
            input_tokens: input,
            output_tokens: made,
            total_tokens: input + made,
            ..Usage::default()
        },
        latency_ms: None,
    })
}

fn streamed(events: &[Value]) -> (Option<String>, Option<String>) {
    let texts = events
        .iter()
        .filter_map(|event| event["contentBlockDelta"]["delta"]["text"].as_str());
    let stop = events
        .iter()
        .find_map(|event| event["messageStop"]["stopReason"].as_str());
    (Some(texts.collect()), stop.map(str::to_owned))
}

/// Refuses a filter that is none of Bedrock's.
fn check(filter: &Value) -> Result<()> {
    let is_base = |filter: &Value| {
        let Some((name, value)) = only(filter) else {
            return false;
        };
        let is_pair = only(value).is_some_and(|(_, value)| value.is_string());
        ["equals", "notEquals"].contains(&name) && is_pair
    };
    let is_sound = match only(filter) {
        Some(("andAll" | "orAll", Value::Array(parts))) => {
            !parts.is_empty() && parts.iter().all(is_base)
        }
        _ => is_base(filter),
    };
    match is_sound {
        true => Ok(()),
        false => Err(Error::validation(format!(
            "requestMetadataFilters: expected one of equals, notEquals, andAll and orAll, got {filter}"
        ))),
    }
}

fn holds(filter: &Value, metadata: &Value) -> bool {
    let Some((name, value)) = only(filter) else {
        return false;
    };
    let is = || only(value).is_some_and(|(key, expected)| metadata.get(key) == Some(expected));
    let parts = || value.as_array().into_iter().flatten();
    match name {
        "equals" => is(),
        "notEquals" => !is(),
        "andAll" => parts().all(|part| holds(part, metadata)),
        _ => parts().any(|part| holds(part, metadata)),
    }
}

/// The one member of an object that has one.
fn only(value: &Value) -> Option<(&str, &Value)> {
    let members = value.as_object().filter(|members| members.len() == 1)?;
    members
        .iter()
        .next()
        .map(|(name, value)| (&name[..], value))
}

fn collect(from: &Path, files: &mut Vec<PathBuf>) -> Result<()> {
    if from.is_file() {
        files.push(from.to_path_buf());
        return Ok(());
    }
    for entry in std::fs::read_dir(from).map_err(unreadable(from))? {
        let path = entry.map_err(unreadable(from))?.path();
        let name = path
            .file_name()
            .unwrap_or_default()
            .to_string_lossy()
            .into_owned();
        if path.is_dir() {
            collect(&path, files)?;
        } else if [".json", ".jsonl", ".json.gz"]
            .iter()
            .any(|end| name.ends_with(end))
        {
            files.push(path);
        }
    }
    Ok(())
}

fn text(file: &Path) -> Result<String> {
    let bytes = std::fs::read(file).map_err(unreadable(file))?;
    let mut text = String::new();
    let read = match file.extension().is_some_and(|end| end == "gz") {
        true => GzDecoder::new(&bytes[..]).read_to_string(&mut text),
        false => (&bytes[..]).read_to_string(&mut text),
    };
    read.map_err(unreadable(file))?;
    Ok(text)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use serde_json::json;

    #[test]
    fn filters_are_those_of_bedrock() {
        let metadata = json!({"team": "cards", "kind": "test"});
        let cards = json!({"equals": {"team": "cards"}});
        let no_test = json!({"notEquals": {"kind": "test"}});
        assert!(holds(&cards, &metadata) && !holds(&no_test, &metadata));
        assert!(!holds(&json!({"andAll": [cards, no_test]}), &metadata));
        assert!(holds(&json!({"orAll": [cards, no_test]}), &metadata));
        assert!(holds(&no_test, &Value::Null) && !holds(&cards, &Value::Null));
        for wrong in [
            json!({}),
            json!({"equals": {}}),
            json!({"orAll": []}),
            json!({"is": {"a": "b"}}),
        ] {
            assert!(
                check(&wrong)
                    .unwrap_err()
                    .message()
                    .contains("expected one of"),
                "{wrong}"
            );
        }
    }
}
