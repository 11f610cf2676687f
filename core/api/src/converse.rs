//! Converse and generate: requests, replies and the events between.

use std::collections::BTreeMap;

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
    /// What every reply must look like, from its first character on; beside tools, every reply that
    /// calls none. One that `max_tokens` or a stop sequence cut off says so by its stop reason.
    /// Default: any text.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub output_format: Option<OutputFormat>,
    /// Name of a loaded LoRA adapter. Default: the base model.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub adapter: Option<String>,
    /// How tokens are guessed ahead; it changes the speed only. Default: as the model was opened.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub speculation: Option<Speculation>,
    /// Its place in the queue.
    #[serde(default, skip_serializing_if = "Scheduling::is_default")]
    pub scheduling: Scheduling,
    /// Further variables of the chat template, such as `enable_thinking`.
    #[serde(default, skip_serializing_if = "Map::is_empty")]
    pub template_variables: Map<String, Value>,
    /// The caller's own tags of the request, for records and for scripts; no other model sees them.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub request_metadata: BTreeMap<String, String>,
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
    /// Log-probabilities of each generated token and of so many of the most likely ones beside it,
    /// 0 to 20. Default: none.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub logprobs: Option<usize>,
}

/// What an output must look like; the model cannot leave it.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub enum OutputFormat {
    /// JSON that this JSON schema (draft 2020-12) accepts, spelt as Python's `json.dumps` spells it.
    /// A keyword that cannot be honoured is refused by name. Of what the schema leaves open, an
    /// object has no properties but those that are named unless the schema says
    /// `additionalProperties`, and numbers have no exponent.
    JsonSchema(Value),
    /// Text that this regular expression matches as a whole.
    Regex(String),
    /// Text of this Lark grammar, from its rule `start`.
    Lark(String),
    /// One verbatim span, of at least one character, of one of these texts.
    Quote(Vec<String>),
}

impl OutputFormat {
    /// The option that callers ask for it by.
    pub fn option(&self) -> &'static str {
        match self {
            Self::JsonSchema(_) => "response_schema",
            Self::Regex(_) => "regex",
            Self::Lark(_) => "lark",
            Self::Quote(_) => "quote",
        }
    }
}

/// How tokens are guessed ahead, to be checked several at a time. The output's bytes stay the same.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Speculation {
    /// Not at all.
    #[default]
    Off,
    /// By what followed the same words earlier in the prompt or output.
    PromptLookup,
    /// By the draft model that the model was opened with.
    Draft,
}

/// A request's place in the queue.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Scheduling {
    /// Who asks; callers take turns, however many requests each has waiting. Default: one caller.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub caller: Option<String>,
    /// Higher runs first. Default 0.
    #[serde(default)]
    pub priority: i32,
    /// Milliseconds from submission after which the request ends with a `ModelTimeoutException`.
    /// Default: none.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub deadline_ms: Option<u64>,
}

impl Scheduling {
    /// Whether nothing is asked for.
    pub fn is_default(&self) -> bool {
        *self == Self::default()
    }
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
    /// What every output must look like. Default: any text.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub output_format: Option<OutputFormat>,
    /// Name of a loaded LoRA adapter. Default: the base model.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub adapter: Option<String>,
    /// How tokens are guessed ahead; it changes the speed only. Default: as the model was opened.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub speculation: Option<Speculation>,
    /// Its place in the queue.
    #[serde(default, skip_serializing_if = "Scheduling::is_default")]
    pub scheduling: Scheduling,
}

impl GenerateRequest {
    /// A request to continue `prompt`, with everything else at its default.
    pub fn new(prompt: Prompt) -> Self {
        Self {
            prompt,
            inference_config: InferenceConfig::default(),
            output_format: None,
            adapter: None,
            speculation: None,
            scheduling: Scheduling::default(),
        }
    }
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
    /// A guardrail stepped in.
    GuardrailIntervened,
    /// The model's owner filtered what it said.
    ContentFiltered,
    /// What the model said is not of the form that it must have.
    MalformedModelOutput,
    /// The model asked for a tool in a form that cannot be read.
    MalformedToolUse,
    /// The context was full.
    ModelContextWindowExceeded,
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
    /// Of the prompt's tokens, those whose keys and values were found in the prefix cache.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub cache_read_input_tokens: usize,
    /// Of the prompt's tokens, those that this call computed and left in the prefix cache.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub cache_write_input_tokens: usize,
}

fn is_zero(count: &usize) -> bool {
    *count == 0
}

impl Usage {
    /// The usage of a call that read `input` and made `output` tokens.
    pub fn new(input: usize, output: usize) -> Self {
        Self {
            input_tokens: input,
            output_tokens: output,
            total_tokens: input + output,
            ..Self::default()
        }
    }
}

/// A generated token with its log-probability.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct TokenLogprobs {
    /// The token that was chosen.
    pub id: u32,
    /// The natural logarithm of its probability by the model's own softmax: before temperature,
    /// penalties, filters and formats.
    pub logprob: f32,
    /// The most likely tokens with their log-probabilities, the most likely first; the lower id
    /// first among equals.
    pub top: Vec<(u32, f32)>,
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
    /// One entry a generated token, where the request asked for `logprobs`.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub logprobs: Vec<TokenLogprobs>,
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
    /// One entry a generated token, where the request asked for `logprobs`.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub logprobs: Vec<TokenLogprobs>,
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
    /// Log-probabilities of further tokens, where the request asked for them.
    Logprobs(Vec<TokenLogprobs>),
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
