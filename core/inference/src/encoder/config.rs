//! The description of an encoder's architecture as data, which one forward pass follows.

use std::collections::BTreeMap;

use serde_json::Value;

use super::{families, gguf};
use crate::decoder_config::RopeScaling;
use crate::weights::{Checkpoint, GgufValue};

/// Architectures that [`EncoderConfig::from_json`] reads, by the `model_type` of `config.json`.
pub const ENCODER_ARCHITECTURES: &[&str] = &[
    "bert",
    "roberta",
    "xlm-roberta",
    "camembert",
    "modernbert",
    "nomic_bert",
];

/// Largest believed size of one dimension of a model.
const MAX_DIMENSION: u64 = 1 << 24;

/// The function between the two products of the MLP.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Activation {
    /// With the error function (arXiv:1606.08415).
    Gelu,
    /// Its approximation with tanh.
    GeluTanh,
    /// `x * sigmoid(x)`.
    Silu,
    /// `max(x, 0)`.
    Relu,
    /// The hyperbolic tangent.
    Tanh,
}

/// Where a layer's norms stand.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum NormOrder {
    /// After each half of a layer, over its sum with the residual stream (BERT).
    Post,
    /// Before each half, and once behind the last layer (ModernBERT). The first layer has no norm
    /// before its attention: the embeddings are normalised already.
    Pre,
}

/// How a token's position reaches the model.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Positions {
    /// A table of `rows` vectors, added to the words'. With `padding`, positions begin behind that
    /// number, and a padding token stands at it (RoBERTa).
    Learned {
        /// Rows of the table.
        rows: usize,
        /// The id of the padding token.
        padding: Option<u32>,
    },
    /// Queries and keys are turned, as each layer's entry says (arXiv:2104.09864).
    Rotary,
}

/// What distinguishes one layer's attention.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct LayerAttention {
    /// Base of rope's frequencies, with [`Positions::Rotary`].
    pub theta: f64,
    /// How many positions a token sees to either side; `None`: all.
    pub window: Option<usize>,
}

/// Which products and norms have a bias.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Biases {
    /// Queries, keys and values.
    pub qkv: bool,
    /// The attention's output.
    pub attention_output: bool,
    /// The first products of the MLP.
    pub up: bool,
    /// Its last one.
    pub down: bool,
    /// The norms within layers and behind them.
    pub norm: bool,
}

/// The architecture of an encoder.
#[derive(Clone, Debug, PartialEq)]
pub struct EncoderConfig {
    /// `model_type` of its `config.json`.
    pub architecture: String,
    /// One entry a layer.
    pub layers: Vec<LayerAttention>,
    /// Length of a token's vector.
    pub hidden: usize,
    /// Length of the MLP's inner vector.
    pub intermediate: usize,
    /// Attention heads; `hidden` is a multiple.
    pub heads: usize,
    /// Rows of the table of words.
    pub vocabulary: usize,
    /// The longest input, in tokens.
    pub context_length: usize,
    /// How positions reach the model.
    pub positions: Positions,
    /// With [`Positions::Rotary`]: how frequencies change for long inputs.
    pub scaling: RopeScaling,
    /// Rows of the table of segments; 0 where there is none.
    pub types: usize,
    /// Added to the variance in layer norms.
    pub eps: f32,
    /// Where the norms stand.
    pub norm_order: NormOrder,
    /// The MLP's activation.
    pub activation: Activation,
    /// The MLP's activation is multiplied by a second product of its input (arXiv:2002.05202).
    pub gated: bool,
    /// Which products and norms have a bias.
    pub biases: Biases,
}

impl EncoderConfig {
    /// Reads the `config.json` of an encoder.
    ///
    /// # Errors
    /// A message that names the field, what was expected and what came; for an architecture that is
    /// not known, what is.
    pub fn from_json(config: &Value) -> Result<Self, String> {
        let fields = Fields(config);
        let read = match config["model_type"].as_str().unwrap_or_default() {
            "bert" => families::bert(&fields)?,
            "roberta" | "xlm-roberta" | "camembert" => families::roberta(&fields)?,
            "modernbert" => families::modernbert(&fields)?,
            "nomic_bert" => families::nomic_bert(&fields)?,
            _ => {
                return Err(format!(
                    "model_type: expected one of {}, got {}",
                    ENCODER_ARCHITECTURES.join(", "),
                    config["model_type"]
                ));
            }
        };
        read.check()?;
        Ok(read)
    }

    /// Reads the description of the encoder that a GGUF file with these `metadata` holds.
    ///
    /// # Errors
    /// As [`EncoderConfig::from_json`], by the keys of the metadata.
    pub fn from_gguf(
        metadata: &BTreeMap<String, GgufValue>,
        checkpoint: &Checkpoint,
    ) -> Result<Self, String> {
        let read = gguf::read(metadata, checkpoint)?;
        read.check()?;
        Ok(read)
    }

    /// Width of one head.
    pub fn head_dim(&self) -> usize {
        self.hidden / self.heads
    }

    fn check(&self) -> Result<(), String> {
        if !self.hidden.is_multiple_of(self.heads) {
            return Err(format!(
                "hidden_size: expected a multiple of {} heads, got {}",
                self.heads, self.hidden
            ));
        }
        if self.positions == Positions::Rotary {
            if !self.head_dim().is_multiple_of(2) {
                return Err(format!(
                    "hidden_size: expected heads of an even width, got {}",
                    self.head_dim()
                ));
            }
            let wrong = |layer: &&LayerAttention| !(layer.theta > 0.0 && layer.theta.is_finite());
            if let Some(layer) = self.layers.iter().find(wrong) {
                return Err(format!("rope_theta: expected above 0, got {}", layer.theta));
            }
        }
        match self.eps >= 0.0 && self.eps.is_finite() {
            true => Ok(()),
            false => Err(format!(
                "layer_norm_eps: expected 0 or more, got {}",
                self.eps
            )),
        }
    }
}

/// The fields of a `config.json`, read by name.
pub(super) struct Fields<'a>(pub &'a Value);

impl Fields<'_> {
    pub fn size(&self, name: &str) -> Result<usize, String> {
        match self.0[name].as_u64() {
            Some(value @ 1..=MAX_DIMENSION) => Ok(value as usize),
            _ => Err(format!(
                "{name}: expected 1..={MAX_DIMENSION}, got {}",
                self.0[name]
            )),
        }
    }

    /// The first of `names` that is there.
    pub fn either_size(&self, names: [&str; 2]) -> Result<usize, String> {
        let is_first = !self.0[names[0]].is_null() || self.0[names[1]].is_null();
        self.size(names[usize::from(!is_first)])
    }

    pub fn number_or(&self, name: &str, otherwise: f64) -> Result<f64, String> {
        match &self.0[name] {
            Value::Null => Ok(otherwise),
            value => value
                .as_f64()
                .ok_or_else(|| format!("{name}: expected a number, got {value}")),
        }
    }

    pub fn flag_or(&self, name: &str, otherwise: bool) -> Result<bool, String> {
        match &self.0[name] {
            Value::Null => Ok(otherwise),
            value => value
                .as_bool()
                .ok_or_else(|| format!("{name}: expected true or false, got {value}")),
        }
    }

    /// Refuses a flag that is set to what no code follows.
    pub fn expect_flag(&self, name: &str, expected: bool) -> Result<(), String> {
        match self.flag_or(name, expected)? == expected {
            true => Ok(()),
            false => Err(format!("{name}: expected {expected}, got {}", !expected)),
        }
    }

    pub fn activation(&self, name: &str, otherwise: &str) -> Result<Activation, String> {
        let text = self.0[name].as_str().unwrap_or(otherwise);
        activation(text).ok_or_else(|| {
            format!(
                "{name}: expected gelu, gelu_new, gelu_pytorch_tanh, silu, relu or tanh, got {text}"
            )
        })
    }
}

/// An activation by transformers' name.
pub(crate) fn activation(name: &str) -> Option<Activation> {
    Some(match name {
        "gelu" | "gelu_python" => Activation::Gelu,
        "gelu_new" | "gelu_pytorch_tanh" | "gelu_fast" => Activation::GeluTanh,
        "silu" | "swish" => Activation::Silu,
        "relu" => Activation::Relu,
        "tanh" => Activation::Tanh,
        _ => return None,
    })
}
