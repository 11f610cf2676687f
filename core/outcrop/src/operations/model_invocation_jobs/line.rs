//! One record of a batch: a line of input, the call that it asks for, and the line of output.

use outcrop_api::{Error, Result, Usage};
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value, json};

use crate::governance::Caller;
use crate::operations::{Operation, Service};
use crate::session::Session;

/// What the records of a job are asked of.
#[derive(Clone)]
pub(super) struct Asked {
    pub session: Session,
    pub caller: Caller,
    pub model_id: String,
    /// Whether the records are Converse requests, not bodies of `InvokeModel`.
    pub is_converse: bool,
}

/// A record that was answered, as it is kept until the job ends.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(super) struct Done {
    /// The line of output.
    pub line: Value,
    /// Tokens that were read and made for it.
    pub usage: Usage,
}

impl Done {
    /// Whether the model has answered.
    pub fn is_success(&self) -> bool {
        self.line.get("modelOutput").is_some()
    }
}

/// Runs the record of `line`, the one at `position` of its file. What fails is the record's error.
pub(super) async fn answer(asked: Asked, line: String, position: usize) -> Done {
    let mut record = Map::new();
    record.insert("recordId".into(), json!(format!("CALL{:07}", position + 1)));
    let mut usage = Usage::default();
    let result = match parse(&line) {
        Ok((id, input)) => {
            if let Some(id) = id {
                record.insert("recordId".into(), json!(id));
            }
            record.insert("modelInput".into(), input.clone());
            call(asked, input, &mut usage).await
        }
        Err(error) => Err(error),
    };
    match result {
        Ok(output) => record.insert("modelOutput".into(), output),
        Err(error) => record.insert(
            "error".into(),
            json!({
                "errorCode": error.kind().http_status(),
                "errorMessage": error.message(),
            }),
        ),
    };
    Done {
        line: Value::Object(record),
        usage,
    }
}

/// The id of a record, where it has one, and its input.
fn parse(line: &str) -> Result<(Option<String>, Value)> {
    let wrong = |what: &str| Error::validation(format!("The record is malformed: {what}"));
    let record: Value = serde_json::from_str(line).map_err(|error| wrong(&error.to_string()))?;
    let Value::Object(mut record) = record else {
        return Err(wrong("expected an object with recordId and modelInput"));
    };
    let id = match record.remove("recordId") {
        None => None,
        Some(Value::String(id)) => Some(id),
        Some(other) => return Err(wrong(&format!("recordId: expected a text, got {other}"))),
    };
    match record.remove("modelInput") {
        Some(input @ Value::Object(_)) => Ok((id, input)),
        _ => Err(wrong("modelInput: expected an object")),
    }
}

async fn call(asked: Asked, mut input: Value, usage: &mut Usage) -> Result<Value> {
    let name = if asked.is_converse {
        "Converse"
    } else {
        "InvokeModel"
    };
    let operation = Operation::find(Service::BedrockRuntime, name);
    let operation = operation.ok_or_else(|| Error::internal(format!("{name} has no row")))?;
    let body = match asked.is_converse {
        true => {
            input["modelId"] = json!(asked.model_id);
            Vec::new()
        }
        false => {
            let body = input.to_string().into_bytes();
            input = json!({"modelId": asked.model_id});
            body
        }
    };
    let called = asked
        .session
        .call(asked.caller, operation, input, body)
        .await;
    *usage = called.usage.unwrap_or_default();
    let answer = called.answer?;
    match answer.payload {
        None => Ok(Value::Object(answer.output)),
        Some(body) => serde_json::from_slice(&body).map_err(|error| {
            Error::internal(format!("the model's answer is no JSON: {error}")).with_source(error)
        }),
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn records_are_objects_with_an_input() {
        let (id, input) = parse(r#"{"recordId": "a", "modelInput": {"x": 1}}"#).unwrap();
        assert_eq!((id.as_deref(), input), (Some("a"), json!({"x": 1})));
        assert_eq!(parse(r#"{"modelInput": {}}"#).unwrap().0, None);
        for wrong in [
            "",
            "{",
            "[]",
            "{}",
            r#"{"modelInput": "x"}"#,
            r#"{"recordId": 1, "modelInput": {}}"#,
        ] {
            let error = parse(wrong).unwrap_err();
            assert!(
                error.message().starts_with("The record is malformed"),
                "{wrong}"
            );
        }
    }
}
