//! An encoder's weights, read from a checkpoint by its family's names.

use outcrop_tensor::Weight;

use super::config::{EncoderConfig, NormOrder, Positions};
use crate::dense::{Dense, LayerNorm, Precision};
use crate::weights::{Checkpoint, ModelSource, WeightsError};

/// The tables that make a token's first vector.
pub(super) struct Tables {
    pub words: Weight,
    pub positions: Option<Weight>,
    pub types: Option<Weight>,
    pub norm: LayerNorm,
}

/// One layer's weights.
pub(super) struct Layer {
    /// With [`NormOrder::Pre`] before the attention (but in the first layer), with
    /// [`NormOrder::Post`] behind it.
    pub attention_norm: Option<LayerNorm>,
    /// Queries, keys and values, `(3 * hidden, hidden)`.
    pub qkv: Dense,
    pub attention_output: Dense,
    /// Before or behind the MLP.
    pub mlp_norm: LayerNorm,
    /// What goes through the activation.
    pub up: Dense,
    /// What its result is multiplied by.
    pub factor: Option<Dense>,
    pub down: Dense,
}

impl Layer {
    /// The layer with its products at another precision.
    ///
    /// # Errors
    /// A message where a width does not allow it.
    pub fn at(self, precision: Precision) -> Result<Self, String> {
        Ok(Self {
            qkv: self.qkv.at(precision)?,
            attention_output: self.attention_output.at(precision)?,
            up: self.up.at(precision)?,
            factor: self.factor.map(|factor| factor.at(precision)).transpose()?,
            down: self.down.at(precision)?,
            ..self
        })
    }
}

/// Names of tensors, those of a layer behind [`Names::layer`] and its number.
struct Names {
    words: &'static str,
    positions: &'static str,
    types: &'static str,
    norm: &'static str,
    layer: &'static str,
    /// One name for the fused product, or three.
    qkv: &'static [&'static str],
    attention_output: &'static str,
    attention_norm: &'static str,
    up: &'static str,
    /// The gated MLP's other product; the same name where both are one tensor, `up` first.
    factor: &'static str,
    down: &'static str,
    mlp_norm: &'static str,
    /// Behind the last layer, with [`NormOrder::Pre`].
    final_norm: &'static str,
}

const BERT: Names = Names {
    words: "embeddings.word_embeddings",
    positions: "embeddings.position_embeddings",
    types: "embeddings.token_type_embeddings",
    norm: "embeddings.LayerNorm",
    layer: "encoder.layer",
    qkv: &[
        "attention.self.query",
        "attention.self.key",
        "attention.self.value",
    ],
    attention_output: "attention.output.dense",
    attention_norm: "attention.output.LayerNorm",
    up: "intermediate.dense",
    factor: "",
    down: "output.dense",
    mlp_norm: "output.LayerNorm",
    final_norm: "",
};

const MODERNBERT: Names = Names {
    words: "embeddings.tok_embeddings",
    norm: "embeddings.norm",
    layer: "layers",
    qkv: &["attn.Wqkv"],
    attention_output: "attn.Wo",
    attention_norm: "attn_norm",
    up: "mlp.Wi",
    factor: "mlp.Wi",
    down: "mlp.Wo",
    mlp_norm: "mlp_norm",
    final_norm: "final_norm",
    ..BERT
};

/// As in the repository of nomic-embed-text-v1.5.
const NOMIC: Names = Names {
    norm: "emb_ln",
    layer: "encoder.layers",
    qkv: &["attn.Wqkv"],
    attention_output: "attn.out_proj",
    attention_norm: "norm1",
    up: "mlp.fc12",
    factor: "mlp.fc11",
    down: "mlp.fc2",
    mlp_norm: "norm2",
    ..BERT
};

/// As transformers 5 names them.
const NOMIC_NATIVE: Names = Names {
    layer: "layers",
    qkv: &["self_attn.q_proj", "self_attn.k_proj", "self_attn.v_proj"],
    attention_output: "self_attn.o_proj",
    attention_norm: "post_attention_layernorm",
    up: "mlp.gate_proj",
    factor: "mlp.up_proj",
    down: "mlp.down_proj",
    mlp_norm: "post_mlp_layernorm",
    ..BERT
};

/// llama.cpp's names (`gguf-py/gguf/constants.py`).
const GGUF: Names = Names {
    words: "token_embd",
    positions: "position_embd",
    types: "token_types",
    norm: "token_embd_norm",
    layer: "blk",
    qkv: &["attn_q", "attn_k", "attn_v"],
    attention_output: "attn_output",
    attention_norm: "attn_output_norm",
    up: "ffn_up",
    factor: "",
    down: "ffn_down",
    mlp_norm: "layer_output_norm",
    final_norm: "output_norm",
};

const GGUF_MODERNBERT: Names = Names {
    attention_norm: "attn_norm",
    factor: "ffn_up",
    mlp_norm: "ffn_norm",
    ..GGUF
};

const GGUF_NOMIC: Names = Names {
    up: "ffn_gate",
    factor: "ffn_up",
    ..GGUF
};

/// Queries, keys and values of a GGUF file where they are one tensor.
const GGUF_FUSED: &[&str] = &["attn_qkv"];

/// What the names of all tensors of the encoder may begin with, where a head stands beside it.
const PREFIXES: [&str; 6] = [
    "",
    "bert.",
    "roberta.",
    "model.",
    "nomic_bert.",
    "camembert.",
];

/// The names in a GGUF file of transformers' `architecture`.
fn gguf_names(architecture: &str, checkpoint: &Checkpoint) -> Names {
    let mut names = match architecture {
        "modernbert" => GGUF_MODERNBERT,
        "nomic_bert" => GGUF_NOMIC,
        _ => GGUF,
    };
    if checkpoint.contains("blk.0.attn_qkv.weight") {
        names.qkv = GGUF_FUSED;
    }
    names
}

/// Reads an encoder's tensors.
pub(super) struct Loader<'a> {
    checkpoint: &'a Checkpoint,
    config: &'a EncoderConfig,
    names: Names,
    prefix: &'static str,
}

impl<'a> Loader<'a> {
    pub fn new(
        checkpoint: &'a Checkpoint,
        config: &'a EncoderConfig,
    ) -> Result<Self, WeightsError> {
        let is_gguf = matches!(checkpoint.config(), ModelSource::Gguf { .. });
        let names = match config.architecture.as_str() {
            name if is_gguf => gguf_names(name, checkpoint),
            "modernbert" => MODERNBERT,
            "nomic_bert"
                if checkpoint
                    .names()
                    .any(|name| name.ends_with("attn.Wqkv.weight")) =>
            {
                NOMIC
            }
            "nomic_bert" => NOMIC_NATIVE,
            _ => BERT,
        };
        let words = |prefix: &str| format!("{prefix}{}.weight", names.words);
        let prefix = PREFIXES
            .into_iter()
            .find(|prefix| checkpoint.contains(&words(prefix)))
            .ok_or_else(|| WeightsError::NoTensor {
                file: checkpoint.path().to_owned(),
                name: words(""),
            })?;
        Ok(Self {
            checkpoint,
            config,
            names,
            prefix,
        })
    }

    /// What the names of the encoder's tensors begin with.
    pub fn prefix(&self) -> &'static str {
        self.prefix
    }

    pub fn tables(&self) -> Result<Tables, WeightsError> {
        let table = |name: &str, rows| {
            let name = format!("{}{name}.weight", self.prefix);
            self.checkpoint.matrix(&name, rows, self.config.hidden)
        };
        let norm = format!("{}{}", self.prefix, self.names.norm);
        let has_bias = self.config.norm_order == NormOrder::Post || self.config.biases.norm;
        Ok(Tables {
            words: table(self.names.words, self.config.vocabulary)?,
            positions: match self.config.positions {
                Positions::Learned { rows, .. } => Some(table(self.names.positions, rows)?),
                Positions::Rotary => None,
            },
            types: match self.config.types {
                0 => None,
                rows => Some(table(self.names.types, rows)?),
            },
            norm: self.norm(&norm, has_bias)?,
        })
    }

    pub fn layer(&self, index: usize) -> Result<Layer, WeightsError> {
        let (config, names) = (self.config, &self.names);
        let (hidden, inner) = (config.hidden, config.intermediate);
        let name_of = |name: &str| format!("{}{}.{index}.{name}", self.prefix, names.layer);
        let dense = |name: &str, shape, has_bias| {
            Dense::load(self.checkpoint, &name_of(name), shape, has_bias)
        };
        let norm = |name: &str| self.norm(&name_of(name), config.biases.norm);
        let is_bare = config.norm_order == NormOrder::Pre && index == 0;
        let (up, factor) = match (config.gated, names.up == names.factor) {
            (false, _) => (dense(names.up, (inner, hidden), config.biases.up)?, None),
            (true, false) => (
                dense(names.up, (inner, hidden), config.biases.up)?,
                Some(dense(names.factor, (inner, hidden), config.biases.up)?),
            ),
            (true, true) => {
                let [up, factor] = self.halves(&name_of(names.up))?;
                (up, Some(factor))
            }
        };
        let each = 3 * hidden / names.qkv.len();
        let qkv: Vec<_> = names.qkv.iter().map(|name| (name_of(name), each)).collect();
        Ok(Layer {
            attention_norm: match is_bare {
                true => None,
                false => Some(norm(names.attention_norm)?),
            },
            qkv: Dense::load_stacked(self.checkpoint, &qkv, hidden, config.biases.qkv)?,
            attention_output: dense(
                names.attention_output,
                (hidden, hidden),
                config.biases.attention_output,
            )?,
            mlp_norm: norm(names.mlp_norm)?,
            up,
            factor,
            down: dense(names.down, (hidden, inner), config.biases.down)?,
        })
    }

    /// The two products of a gated MLP that stand in one tensor.
    fn halves(&self, name: &str) -> Result<[Dense; 2], WeightsError> {
        let (hidden, inner) = (self.config.hidden, self.config.intermediate);
        let matrix = self
            .checkpoint
            .matrix(&format!("{name}.weight"), 2 * inner, hidden)?;
        let bias = match self.config.biases.up {
            true => Some(self.checkpoint.vector(&format!("{name}.bias"), 2 * inner)?),
            false => None,
        };
        let half = |first: usize| {
            let mut values = vec![0.0; inner * hidden];
            for (row, values) in values.chunks_exact_mut(hidden).enumerate() {
                matrix.dequantize_row(first + row, values);
            }
            let bias = bias
                .as_ref()
                .map(|bias| bias[first..first + inner].to_vec());
            Dense::from_rows(self.checkpoint, values, hidden, bias)
        };
        Ok([half(0)?, half(inner)?])
    }

    /// The norm behind the last layer.
    pub fn final_norm(&self) -> Result<Option<LayerNorm>, WeightsError> {
        match self.config.norm_order {
            NormOrder::Post => Ok(None),
            NormOrder::Pre => {
                let name = format!("{}{}", self.prefix, self.names.final_norm);
                self.norm(&name, self.config.biases.norm).map(Some)
            }
        }
    }

    fn norm(&self, name: &str, has_bias: bool) -> Result<LayerNorm, WeightsError> {
        let (width, eps) = (self.config.hidden, self.config.eps);
        LayerNorm::load(self.checkpoint, name, width, eps, has_bias)
    }
}
