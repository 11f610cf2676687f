//! Converse and generate: requests, replies and the events between.

use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

use crate::message::{ContentBlock, Message};

/// A request to a chat model.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct ConverseRequest {
    /// The conversation so far; the last message is the user's.
    pub messages: Vec<Message>,
    /// Instructions that stand before the conversation.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub system: Option<String>,
    /// Lengths and sampling.
    #[serde(default)]
    pub inference_config: InferenceConfig,
    /// Tools that the model may ask for.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub tools: Vec<Tool>,
    /// Whether it may, must, or must use a certain one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub tool_choice: Option<ToolChoice>,
    /// A JSON schema that the reply must follow.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub response_schema: Option<Value>,
    /// Further variables of the chat template, such as `enable_thinking`.
    #[serde(default, skip_serializing_if = "Map::is_empty")]
    pub template_variables: Map<String, Value>,
}

/// Lengths and sampling of generation. What is absent takes the default given here.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct InferenceConfig {
    /// Most tokens to generate, at least 1: the prompt and they must fit the context. Default 512,
    /// or as many as still fit where that is less.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub max_tokens: Option<usize>,
    /// Softmax temperature, at least 0; 0 takes the most likely token. Default 0 (greedy).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub temperature: Option<f32>,
    /// Nucleus sampling: smallest set of tokens whose probability reaches it; in (0, 1]. Default 1.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub top_p: Option<f32>,
    /// Only the k most likely tokens; at least 1. Default: all.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub top_k: Option<usize>,
    /// Only tokens at least this fraction as likely as the most likely; in [0, 1]. Default 0.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub min_p: Option<f32>,
    /// Divides positive and multiplies negative logits of tokens that occurred (CTRL,
    /// arXiv:1909.05858); above 0. Default 1.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub repetition_penalty: Option<f32>,
    /// Texts that end the generation; they are not part of the output. At most 16, none empty.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub stop_sequences: Vec<String>,
    /// Seed of the sampler. Default 0: two calls with the same input give the same output.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub seed: Option<u64>,
}

/// A tool's declaration.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Tool {
    /// The name that the model calls it by.
    pub name: String,
    /// What it does, for the model.
    #[serde(default)]
    pub description: String,
    /// JSON schema of its arguments.
    pub input_schema: Value,
}

/// Whether the model may, must, or must use a certain tool.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum ToolChoice {
    /// The model decides.
    Auto {},
    /// One of the tools.
    Any {},
    /// This one.
    Tool {
        /// Its name.
        name: String,
    },
}

/// A prompt without a chat template.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(untagged)]
pub enum Prompt {
    /// Text; special tokens are added as the tokenizer's post-processor says.
    Text(String),
    /// Token ids, taken as they are.
    Ids(Vec<u32>),
}

/// A request to continue a prompt, without a chat template.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct GenerateRequest {
    /// What to continue.
    pub prompt: Prompt,
    /// Lengths and sampling.
    #[serde(default)]
    pub inference_config: InferenceConfig,
}

/// Why generation ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum StopReason {
    /// The model ended its turn.
    EndTurn,
    /// The model asks for a tool.
    ToolUse,
    /// `max_tokens` were generated.
    MaxTokens,
    /// A stop sequence appeared.
    StopSequence,
}

/// Tokens that were really read and made.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Usage {
    /// Tokens of the prompt.
    pub input_tokens: usize,
    /// Tokens generated, an end-of-turn token included.
    pub output_tokens: usize,
    /// Their sum.
    pub total_tokens: usize,
}

impl Usage {
    /// The usage of a call that read `input` and made `output` tokens.
    pub fn new(input: usize, output: usize) -> Self {
        Self {
            input_tokens: input,
            output_tokens: output,
            total_tokens: input + output,
        }
    }
}

/// The whole answer to a [`ConverseRequest`].
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Reply {
    /// The assistant's blocks.
    pub content: Vec<ContentBlock>,
    /// Why it ended.
    pub stop_reason: StopReason,
    /// Tokens read and made.
    pub usage: Usage,
    /// From the call to its end, in milliseconds of wall time.
    pub latency_ms: u64,
}

/// The whole answer to a [`GenerateRequest`].
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Completion {
    /// The generated text, without special tokens and without the stop sequence.
    pub text: String,
    /// The generated ids, in order, an end-of-turn token included.
    pub ids: Vec<u32>,
    /// Why it ended.
    pub stop_reason: StopReason,
    /// Tokens read and made.
    pub usage: Usage,
    /// From the call to its end, in milliseconds of wall time.
    pub latency_ms: u64,
}

/// One event of a running answer. The last is [`StreamEvent::Done`] unless an error ends it.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum StreamEvent {
    /// More text of the current text block: whole characters only.
    TextDelta(String),
    /// A block that is not plain text, whole. It ends the text block before it.
    Block(ContentBlock),
    /// Ids as they were generated (only from `generate`).
    Ids(Vec<u32>),
    /// The end.
    #[serde(rename_all = "camelCase")]
    Done {
        /// Why it ended.
        stop_reason: StopReason,
        /// Tokens read and made.
        usage: Usage,
    },
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn the_end_event_has_camel_case_members() {
        let end = StreamEvent::Done {
            stop_reason: StopReason::EndTurn,
            usage: Usage::new(2, 3),
        };
        let expected = serde_json::json!({ "done": { "stopReason": "end_turn",
            "usage": { "inputTokens": 2, "outputTokens": 3, "totalTokens": 5 } } });
        assert_eq!(serde_json::to_value(end).unwrap(), expected);
    }
}
