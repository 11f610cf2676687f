//! What every format of a text model has: a way in, a way out, and a way out in pieces.

use outcrop_api::{
    ConverseRequest, GenerateRequest, InferenceConfig, Message, Prompt, Result, Role,
};
use outcrop_inference::Tokenizer;
use serde_json::{Map, Value};

use crate::operations::Members;

/// What a body asks for.
pub(super) enum Asked {
    /// The members of a `Converse` request, save its model.
    Conversation(Map<String, Value>),
    /// To continue a prompt that the caller has templated.
    Prompt(Box<GenerateRequest>),
}

/// A body format of text models.
pub(super) trait TextFormat: Send + Sync {
    /// Reads a body.
    ///
    /// # Errors
    /// `ValidationException` that names a member which is wrong or not supported.
    fn ask(&self, body: Members) -> Result<Asked>;

    /// The body of the answer whose `Converse` members are `output`.
    ///
    /// # Errors
    /// `ModelErrorException` where it has no form in this format.
    fn answer(&self, output: &Map<String, Value>) -> Result<Value>;

    /// The chunks of a stream.
    fn chunks(&self) -> Box<dyn ChunkFormat>;
}

/// The pieces of a streamed answer in a format.
pub(super) trait ChunkFormat: Send {
    /// What an event of `ConverseStream` becomes. The last, `metadata`, becomes at least one: the
    /// last of those carries the counts of the whole.
    ///
    /// # Errors
    /// `ModelErrorException` where it has no form in this format.
    fn push(&mut self, event: &str, value: &Value) -> Result<Vec<Value>>;
}

/// A request for `prompt` with the sampling of `config`.
pub(super) fn continuing(prompt: String, config: InferenceConfig) -> Asked {
    Asked::Prompt(Box::new(GenerateRequest {
        inference_config: config,
        ..GenerateRequest::new(Prompt::Text(prompt))
    }))
}

/// The prompt with one start token: callers write it, and so does the tokenizer.
pub(super) fn with_one_start(prompt: Prompt, tokenizer: &Tokenizer) -> Result<Prompt> {
    let Prompt::Text(text) = &prompt else {
        return Ok(prompt);
    };
    let bare = tokenizer.encode(text, false)?;
    let whole = tokenizer.encode(text, true)?;
    let is_doubled = whole.len() > bare.len() && whole.len() > 1 && whole[0] == whole[1];
    Ok(Prompt::Ids(if is_doubled { bare } else { whole }))
}

/// The same request for a model that reads messages only.
pub(super) fn as_conversation(request: GenerateRequest) -> ConverseRequest {
    let text = match request.prompt {
        Prompt::Text(text) => text,
        Prompt::Ids(_) => String::new(),
    };
    ConverseRequest {
        messages: vec![Message::text(Role::User, text)],
        inference_config: request.inference_config,
        ..ConverseRequest::default()
    }
}

/// The text of an answer.
pub(super) fn text_of(output: &Map<String, Value>) -> String {
    let content = output
        .get("output")
        .and_then(|it| it.pointer("/message/content"));
    let blocks = content.and_then(Value::as_array).into_iter().flatten();
    let texts = blocks.map(|block| match block.get("citationsContent") {
        Some(cited) => {
            let parts = cited["content"].as_array().into_iter().flatten();
            parts.filter_map(|part| part["text"].as_str()).collect()
        }
        None => block["text"].as_str().unwrap_or_default().to_string(),
    });
    texts.collect()
}

/// A count of an answer's usage.
pub(super) fn count(usage: Option<&Value>, name: &str) -> u64 {
    usage.and_then(|usage| usage[name].as_u64()).unwrap_or(0)
}

/// Whether the answer was cut off.
pub(super) fn is_cut(reason: Option<&Value>) -> bool {
    matches!(
        reason.and_then(Value::as_str),
        Some("max_tokens" | "model_context_window_exceeded")
    )
}

/// Why the answer ended, as prompt formats say it.
pub(super) fn finish_reason(stop: Option<&Value>) -> &'static str {
    match is_cut(stop) {
        true => "length",
        false => "stop",
    }
}
