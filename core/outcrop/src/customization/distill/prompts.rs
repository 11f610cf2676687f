//! The prompts that a teacher is asked: from JSON lines, or from the log of calls made before.

use std::path::Path;

use outcrop_api::{Error, Result};
use outcrop_governance::Principal;
use outcrop_store::sha256;
use outcrop_training::{BadLine, Random};
use serde_json::{Value, json};

use super::logs;
use super::{Distillation, LeftOut};
use crate::customization::data;
use crate::session::Session;

/// Parts of the prompts, of which one is held out where no validation prompts are given.
const PART: usize = 10;
/// Most prompts that are held out then.
const MOST_HELD_OUT: usize = 200;

/// A conversation that waits for an answer.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Prompt {
    pub system: Option<String>,
    /// Its turns in Converse's form; the last is the user's.
    pub messages: Vec<Value>,
    /// The right answer, where it is told.
    pub reference: Option<String>,
    /// What the teacher has said to it before.
    pub recorded: Option<super::answers::Answer>,
}

/// The prompts that are learned from, and those that are only asked.
#[derive(Debug)]
pub(super) struct Prompts {
    pub learned: Vec<Prompt>,
    pub held_out: Vec<Prompt>,
    pub left_out: LeftOut,
}

impl Prompt {
    /// What tells it from the others.
    pub fn digest(&self) -> String {
        sha256(json!([self.system, self.messages]).to_string().as_bytes())
    }

    /// The training line of the prompt with its answer.
    pub fn line(&self, answer: &str) -> Value {
        let mut messages = self.messages.clone();
        messages.push(json!({"role": "assistant", "content": [{"text": answer}]}));
        let mut line = json!({"messages": messages});
        if let Some(system) = &self.system {
            line["system"] = json!([{"text": system}]);
        }
        line
    }

    /// The request of Converse that asks it.
    pub fn request(&self, model: &str, most: usize) -> Value {
        let mut request = json!({
            "modelId": model,
            "messages": self.messages,
            "inferenceConfig": {"maxTokens": most, "temperature": 0.0},
        });
        if let Some(system) = &self.system {
            request["system"] = json!([{"text": system}]);
        }
        request
    }
}

/// Reads the prompts of a distillation.
///
/// # Errors
/// `ValidationException` with the bad lines by number, or for too few prompts.
pub(super) fn read(
    session: &Session,
    principal: &Principal,
    (asked, validation): (&Distillation, &[String]),
    seed: u64,
) -> Result<Prompts> {
    let (mut learned, mut left_out) = (Vec::new(), LeftOut::default());
    if let Some(place) = &asked.prompts {
        learned = of_place(session, principal, place)?;
    }
    if let Some(source) = &asked.logs {
        let folder = data::path_of(session, principal, &source.uri)?;
        learned.extend(logs::read(
            &folder,
            source,
            session,
            &asked.teacher,
            &mut left_out,
        )?);
    }
    let mut held_out = Vec::new();
    for place in validation {
        held_out.extend(of_place(session, principal, place)?);
    }
    if validation.is_empty() && learned.len() > 1 {
        let mut order: Vec<usize> = (0..learned.len()).collect();
        Random::of_parts(seed, &[u64::MAX]).shuffle(&mut order);
        let mut chosen = order[..(learned.len() / PART).clamp(1, MOST_HELD_OUT)].to_vec();
        chosen.sort_unstable();
        held_out = chosen.iter().map(|index| learned[*index].clone()).collect();
        // A prompt that is there twice is learned from in neither place.
        let held: Vec<String> = held_out.iter().map(Prompt::digest).collect();
        learned.retain(|prompt| !held.contains(&prompt.digest()));
    }
    if learned.is_empty() || held_out.is_empty() {
        return Err(Error::validation(format!(
            "prompts: expected some to learn from and some to hold out, got {} and {}",
            learned.len(),
            held_out.len()
        )));
    }
    Ok(Prompts {
        learned,
        held_out,
        left_out,
    })
}

fn of_place(session: &Session, principal: &Principal, place: &str) -> Result<Vec<Prompt>> {
    let (mut prompts, mut bad) = (Vec::new(), Vec::new());
    for path in data::files(&data::path_of(session, principal, place)?, &["jsonl"])? {
        let text = std::fs::read_to_string(&path).map_err(data::unreadable(&path))?;
        of_lines(&path, &text, &mut prompts, &mut bad);
    }
    match bad.is_empty() {
        true => Ok(prompts),
        false => Err(Error::validation(BadLine::list(&bad, "prompts"))),
    }
}

fn of_lines(path: &Path, text: &str, prompts: &mut Vec<Prompt>, bad: &mut Vec<BadLine>) {
    for (number, line) in (1..).zip(text.lines()) {
        if line.trim().is_empty() {
            continue;
        }
        let value = serde_json::from_str::<Value>(line)
            .map_err(|error| format!("expected a JSON object: {error}"));
        match value.and_then(|value| of_line(&value)) {
            Ok(prompt) => prompts.push(prompt),
            Err(reason) => bad.push(BadLine {
                file: path.display().to_string(),
                line: number,
                reason,
            }),
        }
    }
}

/// The prompt of a line: `prompt`, with a `completion` where the right answer is known, or `messages`,
/// whose last turn of the assistant is the right answer.
fn of_line(value: &Value) -> std::result::Result<Prompt, String> {
    let system = match &value["system"] {
        Value::Null => None,
        system => Some(text_of(system).ok_or("system: expected a text or blocks of text")?),
    };
    if let Some(prompt) = value.get("prompt") {
        let prompt = prompt.as_str().filter(|text| !text.is_empty());
        let prompt = prompt.ok_or("prompt: expected a text")?;
        let completion = &value["completion"];
        if !completion.is_null() && !completion.is_string() {
            return Err(format!("completion: expected a text, got {completion}"));
        }
        return Ok(Prompt {
            system,
            messages: vec![json!({"role": "user", "content": [{"text": prompt}]})],
            reference: completion.as_str().map(str::to_owned),
            recorded: None,
        });
    }
    let messages = value["messages"].as_array();
    of_messages(system, messages.ok_or("expected prompt, or messages")?)
}

/// The prompt of a conversation in Converse's form.
pub(super) fn of_messages(
    system: Option<String>,
    messages: &[Value],
) -> std::result::Result<Prompt, String> {
    let (mut turns, mut texts) = (Vec::new(), Vec::new());
    for (index, message) in messages.iter().enumerate() {
        let role = ["user", "assistant"][index % 2];
        if message["role"] != role {
            return Err(format!(
                "messages.{index}.role: expected {role}, got {}",
                message["role"]
            ));
        }
        let text = text_of(&message["content"]);
        let text = text.ok_or(format!("messages.{index}.content: expected blocks of text"))?;
        turns.push(json!({"role": role, "content": [{"text": text}]}));
        texts.push(text);
    }
    let mut reference = None;
    if turns.len() % 2 == 0 {
        turns.pop();
        reference = texts.pop();
    }
    match turns.is_empty() {
        true => Err("messages: expected a turn of the user, got none".to_owned()),
        false => Ok(Prompt {
            system,
            messages: turns,
            reference,
            recorded: None,
        }),
    }
}

/// A text, or the text of blocks that hold nothing else.
pub(super) fn text_of(value: &Value) -> Option<String> {
    if let Some(text) = value.as_str() {
        return Some(text.to_owned());
    }
    let blocks = value.as_array().filter(|blocks| !blocks.is_empty())?;
    let texts = blocks.iter().map(|block| match block.as_object()?.len() {
        1 => block["text"].as_str(),
        _ => None,
    });
    texts
        .collect::<Option<Vec<_>>>()
        .map(|texts| texts.join("\n"))
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn lines_become_prompts_and_what_is_wrong_is_told() {
        let prompt =
            of_line(&json!({"prompt": "Fee?", "completion": "3", "system": "Brief."})).unwrap();
        assert_eq!(prompt.reference.as_deref(), Some("3"));
        assert_eq!(prompt.system.as_deref(), Some("Brief."));
        let user = json!({"role": "user", "content": [{"text": "Fee?"}]});
        let told = json!({"role": "assistant", "content": [{"text": "3"}]});
        let same =
            of_line(&json!({"system": [{"text": "Brief."}], "messages": [user, told]})).unwrap();
        assert_eq!(same, prompt);
        assert_eq!(same.line("4")["messages"][1]["content"][0]["text"], "4");
        assert_eq!(
            of_line(&json!({"messages": [user]})).unwrap().reference,
            None
        );
        for (line, expected) in [
            (json!({"text": "a"}), "expected prompt, or messages"),
            (json!({"prompt": ""}), "prompt: expected a text"),
            (
                json!({"messages": [told]}),
                "messages.0.role: expected user",
            ),
            (json!({"messages": []}), "got none"),
            (
                json!({"prompt": "a", "completion": 3}),
                "completion: expected a text, got 3",
            ),
        ] {
            let error = of_line(&line).unwrap_err();
            assert!(error.contains(expected), "{error}");
        }
    }
}
