//! What is known of a loaded model.

use serde::{Deserialize, Serialize};

/// What a model is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ModelKind {
    /// Chats and continues prompts.
    Chat,
    /// Turns texts into vectors.
    Embedding,
    /// Scores texts against a query.
    Rerank,
}

/// What is known of a loaded model.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct ModelInfo {
    /// The id that it was opened by.
    pub id: String,
    /// What it is for.
    pub kind: ModelKind,
    /// The architecture, by Hugging Face's `model_type`, such as `llama`; `quote` for the quoting reader.
    pub architecture: String,
    /// Number of parameters.
    pub parameters: u64,
    /// Storage of most weights, such as `F32`, `BF16` or `Q4_K`.
    pub quantization: String,
    /// Most tokens that one sequence holds.
    pub context_length: usize,
    /// Length of an embedding, for an embedding model.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub dimensions: Option<usize>,
    /// Number of tokens that the logits range over, for a decoder.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub vocabulary: Option<usize>,
    /// Where it runs: `cpu`, `cuda:0`, or `remote`.
    pub device: String,
    /// Why it runs there, where that was not what the session asked for by name.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub device_reason: Option<String>,
    /// Bytes of its weights.
    pub bytes: u64,
}

/// What is known of a loaded LoRA adapter.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct AdapterInfo {
    /// The name that requests call it by.
    pub name: String,
    /// The projections that it changes in some layer, such as `self_attn.q_proj`.
    pub modules: Vec<String>,
    /// The ranks of its matrices, ascending.
    pub ranks: Vec<usize>,
    /// Bytes of its matrices in memory.
    pub bytes: u64,
}

/// Memory that a model needs once it is loaded, from its files' headers.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct MemoryEstimate {
    /// Bytes of the weights.
    pub weights: u64,
    /// Bytes of keys and values that one token takes; 0 for an encoder.
    pub kv_bytes_per_token: u64,
    /// Tokens that the KV cache may hold for all sequences together.
    pub kv_tokens: u64,
    /// Bytes of the KV cache when it is full. It grows to them as sequences need it.
    pub kv_bytes: u64,
    /// Bytes of a forward pass, of the tokenizer's tables and of the program, at most.
    pub working: u64,
    /// Their sum.
    pub total: u64,
    /// Bytes that the machine, or the control group of this process, has left; absent where the
    /// system does not tell.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub available: Option<u64>,
    /// Whether `total` is within `available`; absent where that is.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub fits: Option<bool>,
}
