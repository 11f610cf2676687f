//! The description of a decoder's architecture as data, which one forward pass follows.

mod gguf;
mod hugging_face;
mod names;

use outcrop_api::{Error, Result};

use crate::weights::ModelSource;

pub(crate) use names::{TensorNames, of_layer};

/// Architectures that [`DecoderConfig::from_source`] reads, by Hugging Face's `model_type` and
/// llama.cpp's `general.architecture`, which agree on these.
pub const ARCHITECTURES: &[&str] = &["llama", "qwen2", "qwen3"];

/// Largest believed size of one dimension of a model.
const MAX_DIMENSION: usize = 1 << 24;

/// A decoder-only transformer with pre-normalisation and a gated MLP.
#[derive(Clone, Debug, PartialEq)]
pub struct DecoderConfig {
    /// Hugging Face's `model_type`.
    pub architecture: String,
    /// Width of the residual stream.
    pub hidden_size: usize,
    /// Width of the MLP.
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
    /// How positions turn queries and keys.
    pub rope: RopeConfig,
    /// Queries and keys are normalised by head before they are turned.
    pub qk_norm: bool,
    /// Query, key and value projections have a bias.
    pub qkv_bias: bool,
    /// The attention's output projection has a bias.
    pub output_bias: bool,
    /// The three projections of the MLP have a bias.
    pub mlp_bias: bool,
    /// The output projection is the embedding matrix.
    pub tied_embeddings: bool,
    /// Multiplies the dot products of queries and keys.
    pub attention_scale: f32,
    /// One entry a layer: how many positions back its attention sees, itself included.
    pub sliding_windows: Vec<Option<usize>>,
}

/// Rotary position embedding (arXiv:2104.09864).
#[derive(Clone, Debug, PartialEq)]
pub struct RopeConfig {
    /// Base of the frequencies.
    pub theta: f64,
    /// Width of the part of a head that is turned, from its start.
    pub dimensions: usize,
    /// Which elements of a head form a pair.
    pub order: RopeOrder,
    /// How the frequencies are changed for a longer context.
    pub scaling: RopeScaling,
}

/// Which elements of a head are turned together.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum RopeOrder {
    /// `i` and `i + dimensions / 2`: Hugging Face's layout, ggml's NEOX.
    Halves,
    /// `2 i` and `2 i + 1`: the papers' layout, ggml's NORM. llama.cpp's converter permutes the
    /// rows of Llama's query and key projections to it.
    Interleaved,
}

/// How rope's frequencies are changed for a longer context.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum RopeScaling {
    /// Not at all.
    None,
    /// All divided by `factor` (arXiv:2306.15595).
    Linear {
        /// The factor.
        factor: f64,
    },
    /// Low ones divided by `factor`, high ones kept, blended between (Llama 3.1).
    Llama3 {
        /// Divides the low frequencies.
        factor: f64,
        /// Wavelengths above `original_context / low_freq_factor` are scaled.
        low_freq_factor: f64,
        /// Wavelengths below `original_context / high_freq_factor` are kept.
        high_freq_factor: f64,
        /// The context before scaling.
        original_context: f64,
    },
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

    /// Checks that the numbers fit together and are of a size to calculate with.
    fn check(&self) -> std::result::Result<(), String> {
        let dimensions = [
            ("hidden_size", self.hidden_size),
            ("intermediate_size", self.intermediate_size),
            ("num_attention_heads", self.heads),
            ("num_key_value_heads", self.kv_heads),
            ("head_dim", self.head_dim),
            ("vocab_size", self.vocab_size),
            ("num_hidden_layers", self.layers()),
            ("max_position_embeddings", self.context_length),
        ];
        for (name, value) in dimensions {
            if value == 0 || value > MAX_DIMENSION {
                return Err(format!("{name}: expected 1..={MAX_DIMENSION}, got {value}"));
            }
        }
        if !self.heads.is_multiple_of(self.kv_heads) {
            return Err(format!(
                "num_attention_heads: expected a multiple of num_key_value_heads, {}, got {}",
                self.kv_heads, self.heads
            ));
        }
        if self.query_size() > MAX_DIMENSION {
            return Err(format!(
                "head_dim: expected num_attention_heads * head_dim up to {MAX_DIMENSION}, got {} * {}",
                self.heads, self.head_dim
            ));
        }
        let rope = &self.rope;
        if rope.dimensions == 0
            || !rope.dimensions.is_multiple_of(2)
            || rope.dimensions > self.head_dim
        {
            return Err(format!(
                "rope dimensions: expected an even number in 2..={}, got {}",
                self.head_dim, rope.dimensions
            ));
        }
        if !(rope.theta > 0.0 && rope.theta.is_finite()) {
            return Err(format!("rope_theta: expected above 0, got {}", rope.theta));
        }
        if !(self.norm_eps >= 0.0 && self.norm_eps.is_finite()) {
            return Err(format!(
                "rms_norm_eps: expected 0 or more, got {}",
                self.norm_eps
            ));
        }
        if self.sliding_windows.contains(&Some(0)) {
            return Err("sliding_window: expected at least 1, got 0".to_owned());
        }
        Ok(())
    }
}

/// What is said of an architecture that is not known.
fn unknown_architecture(field: &str, found: &str) -> String {
    format!(
        "{field}: expected one of {}, got {found:?}",
        ARCHITECTURES.join(", ")
    )
}

/// Scaling by what both kinds of checkpoint call `linear` or Llama 3's, with its numbers checked.
fn checked_scaling(scaling: RopeScaling) -> std::result::Result<RopeScaling, String> {
    let numbers: &[(&str, f64)] = match &scaling {
        RopeScaling::None => &[],
        RopeScaling::Linear { factor } => &[("factor", *factor)],
        RopeScaling::Llama3 {
            factor,
            low_freq_factor,
            high_freq_factor,
            original_context,
        } => &[
            ("factor", *factor),
            ("low_freq_factor", *low_freq_factor),
            ("high_freq_factor", *high_freq_factor),
            ("original_max_position_embeddings", *original_context),
        ],
    };
    match numbers.iter().find(|(_, n)| !(*n > 0.0 && n.is_finite())) {
        Some((name, n)) => Err(format!("rope_scaling.{name}: expected above 0, got {n}")),
        None => Ok(scaling),
    }
}
