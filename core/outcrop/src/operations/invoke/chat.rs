//! The bodies of chat completions: OpenAI's models, and Mistral's that read messages.

use outcrop_api::Result;
use serde_json::{Map, Value, json};

use super::text_format::{Asked, ChunkFormat, TextFormat};
use crate::operations::Members;
use crate::operations::chat_completions::{Completion, CompletionChunks, converse_input};

/// Chat completions of the model that is asked for by a name.
pub(super) struct Chat {
    name: String,
}

impl Chat {
    pub fn new(name: &str) -> Self {
        Self {
            name: name.to_string(),
        }
    }
}

impl TextFormat for Chat {
    fn ask(&self, mut body: Members) -> Result<Asked> {
        // The model and the way of answering are those of the call.
        body.only("model", &[json!(self.name)])?;
        Ok(Asked::Conversation(converse_input(body)?))
    }

    fn answer(&self, output: &Map<String, Value>) -> Result<Value> {
        Completion::new(&self.name).whole(output)
    }

    fn chunks(&self) -> Box<dyn ChunkFormat> {
        Box::new(CompletionChunks::new(Completion::new(&self.name), true))
    }
}

impl ChunkFormat for CompletionChunks {
    fn push(&mut self, event: &str, value: &Value) -> Result<Vec<Value>> {
        Ok(CompletionChunks::push(self, event, value)?
            .into_iter()
            .collect())
    }
}
