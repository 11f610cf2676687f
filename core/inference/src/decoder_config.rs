//! The description of a decoder's architecture as data, which one forward pass follows.

mod check;
mod family;
mod fields;
mod gguf;
mod hugging_face;
mod layer_fields;
mod names;
mod parts;
mod rope_fields;

use outcrop_api::{Error, Result};

use crate::weights::ModelSource;

pub use names::{TensorNames, of_layer};
pub use parts::{
    ExpertsConfig, GatedActivation, NormPlacement, QkNorm, RopeConfig, RopeOrder, RopeScaling,
    Routing,
};

/// Architectures that [`DecoderConfig::from_source`] reads, by Hugging Face's `model_type`.
pub const ARCHITECTURES: &[&str] = &[
    "llama",
    "mistral",
    "mixtral",
    "qwen2",
    "qwen3",
    "qwen3_moe",
    "gemma2",
    "gemma3",
    "gemma3_text",
    "phi3",
    "smollm3",
    "granite",
    "olmo2",
    "gpt_oss",
];

/// Largest believed size of one dimension of a model.
const MAX_DIMENSION: usize = 1 << 24;

/// A decoder-only transformer of normalised attention and gated MLPs.
#[derive(Clone, Debug, PartialEq)]
pub struct DecoderConfig {
    /// Hugging Face's `model_type`.
    pub architecture: String,
    /// Width of the residual stream.
    pub hidden_size: usize,
    /// Width of the MLP of dense layers.
    pub intermediate_size: usize,
    /// Query heads.
    pub heads: usize,
    /// Key and value heads; each serves `heads / kv_heads` query heads.
    pub kv_heads: usize,
    /// Width of one head.
    pub head_dim: usize,
    /// Tokens that the logits range over.
    pub vocab_size: usize,
    /// Most positions that the model was made for.
    pub context_length: usize,
    /// Added to the mean square in RMSNorm (arXiv:1910.07467).
    pub norm_eps: f32,
    /// Added to the weights of every RMSNorm as they are stored: Gemma's norms multiply by 1 + w.
    pub norm_offset: f32,
    /// Where a layer's two halves are normalised.
    pub norms: NormPlacement,
    /// The rotary embeddings that layers choose from.
    pub ropes: Vec<RopeConfig>,
    /// One entry a layer: which of `ropes` turns its queries and keys, if any does.
    pub layer_ropes: Vec<Option<usize>>,
    /// How queries and keys are normalised before they are turned.
    pub qk_norm: QkNorm,
    /// Query, key and value projections have a bias.
    pub qkv_bias: bool,
    /// The attention's output projection has a bias.
    pub output_bias: bool,
    /// The three projections of the MLP have a bias.
    pub mlp_bias: bool,
    /// What the MLP does between its projections.
    pub activation: GatedActivation,
    /// The mixture of experts that takes the MLP's place in some layers.
    pub experts: Option<ExpertsConfig>,
    /// The output projection is the embedding matrix.
    pub tied_embeddings: bool,
    /// Multiplies the tokens' embeddings.
    pub embedding_multiplier: f32,
    /// Multiplies what a half of a layer adds to the residual stream.
    pub residual_multiplier: f32,
    /// Multiplies the logits.
    pub logits_multiplier: f32,
    /// Bounds the logits: `cap * tanh(logit / cap)`.
    pub logits_soft_cap: Option<f32>,
    /// Multiplies the dot products of queries and keys.
    pub attention_scale: f32,
    /// Bounds the scaled dot products: `cap * tanh(score / cap)`.
    pub attention_soft_cap: Option<f32>,
    /// Each head has a sink: a score that takes part in the softmax and has no value.
    pub attention_sinks: bool,
    /// One entry a layer: how many positions back its attention sees, itself included.
    pub sliding_windows: Vec<Option<usize>>,
}

impl DecoderConfig {
    /// The description that a checkpoint's `config.json` or GGUF metadata gives.
    ///
    /// # Errors
    /// `ModelErrorException` naming the field, its value and what was expected; for an
    /// architecture that is not known, what is.
    pub fn from_source(source: &ModelSource) -> Result<Self> {
        let config = match source {
            ModelSource::HuggingFace { config, .. } => hugging_face::read(config),
            ModelSource::Gguf { metadata } => gguf::read(metadata),
        }
        .and_then(|config| config.check().map(|()| config));
        config.map_err(Error::model)
    }

    /// Number of layers.
    pub fn layers(&self) -> usize {
        self.sliding_windows.len()
    }

    /// Width of all query heads together.
    pub fn query_size(&self) -> usize {
        self.heads * self.head_dim
    }

    /// Width of all key heads, or all value heads, together.
    pub fn kv_size(&self) -> usize {
        self.kv_heads * self.head_dim
    }
}

/// What is said of an architecture that is not known.
fn unknown_architecture(field: &str, found: &str) -> String {
    format!(
        "{field}: expected one of {}, got {found:?}",
        ARCHITECTURES.join(", ")
    )
}
