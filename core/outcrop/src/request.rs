//! Requests as JSON text, with errors that name the member that is wrong.

use outcrop_api::{ContentBlock, ConverseRequest, Error, Message, Result};
use serde::Deserialize;
use serde::de::DeserializeOwned;
use serde_json::Value;

/// The value of type `T` that the JSON of `field` holds.
///
/// # Errors
/// `ValidationException` that names the field and what is wrong in it.
pub fn from_json<T: DeserializeOwned>(field: &str, json: &str) -> Result<T> {
    serde_json::from_str(json)
        .map_err(|error| Error::validation(format!("{field}: {error}")).with_source(error))
}

/// A conversation.
///
/// # Errors
/// `ValidationException` that names the message and the block that it is in.
pub fn conversation(json: &str) -> Result<ConverseRequest> {
    from_json("request", json).map_err(|error| locate(json).unwrap_or(error))
}

/// The error of the first message or block that is not of the API's form.
fn locate(json: &str) -> Option<Error> {
    let request: Value = serde_json::from_str(json).ok()?;
    for (index, message) in request["messages"].as_array()?.iter().enumerate() {
        for (at, block) in message["content"].as_array()?.iter().enumerate() {
            if let Err(error) = ContentBlock::deserialize(block) {
                let path = format!("messages[{index}].content[{at}]");
                return Some(Error::validation(format!("{path}: {error}")));
            }
        }
        if let Err(error) = Message::deserialize(message) {
            return Some(Error::validation(format!("messages[{index}]: {error}")));
        }
    }
    None
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn an_error_names_its_place() {
        let message = |json: &str| conversation(json).unwrap_err().message().to_string();
        let block = r#"{"messages": [{"role": "user", "content": [{"text": "a"}, {"image": 1}]}]}"#;
        assert!(message(block).starts_with("messages[0].content[1]: unknown variant `image`"));
        let role = r#"{"messages": [{"role": "robot", "content": []}]}"#;
        assert!(message(role).starts_with("messages[0]: unknown variant `robot`"));
        assert!(message(r#"{"messages": [], "x": 1}"#).starts_with("request: unknown field `x`"));
    }
}
