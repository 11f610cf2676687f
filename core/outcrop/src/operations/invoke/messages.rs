//! The bodies of Anthropic's models.

use std::sync::Mutex;

use outcrop_api::Result;
use serde_json::{Map, Value, json};

use super::text_format::{Asked, ChunkFormat, TextFormat};
use crate::operations::Members;
use crate::operations::anthropic::{MessageEvents, converse_input, message, message_id};

/// Anthropic's messages, for the model that is asked for by a name.
pub(super) struct Messages {
    name: String,
    /// The request's stop sequences, once it was read.
    stops: Mutex<Vec<String>>,
}

impl Messages {
    pub fn new(name: &str) -> Self {
        Self {
            name: name.to_string(),
            stops: Mutex::default(),
        }
    }

    fn stops(&self) -> Vec<String> {
        let stops = self.stops.lock();
        stops.map(|stops| stops.clone()).unwrap_or_default()
    }
}

impl TextFormat for Messages {
    fn ask(&self, mut body: Members) -> Result<Asked> {
        body.only("anthropic_version", &[json!("bedrock-2023-05-31")])?;
        let input = converse_input(body)?;
        let config = input.get("inferenceConfig");
        let given = config.and_then(|config| config["stopSequences"].as_array());
        if let (Some(given), Ok(mut stops)) = (given, self.stops.lock()) {
            let given = given.iter().filter_map(Value::as_str);
            *stops = given.map(str::to_string).collect();
        }
        Ok(Asked::Conversation(input))
    }

    fn answer(&self, output: &Map<String, Value>) -> Result<Value> {
        message(output, &message_id(), &self.name, &self.stops())
    }

    fn chunks(&self) -> Box<dyn ChunkFormat> {
        Box::new(MessageEvents::new(message_id(), &self.name, self.stops()))
    }
}

impl ChunkFormat for MessageEvents {
    fn push(&mut self, event: &str, value: &Value) -> Result<Vec<Value>> {
        MessageEvents::push(self, event, value)
    }
}
