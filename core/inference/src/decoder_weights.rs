//! A decoder's weights, read from a checkpoint by the names of its kind.

use outcrop_api::{Error, Result};
use outcrop_tensor::{Pool, Weight, ops};

use crate::decoder_config::{DecoderConfig, TensorNames, of_layer};
use crate::rope::RotaryEmbedding;
use crate::weights::{Checkpoint, ModelSource, WeightsError};

/// A decoder-only transformer's weights.
#[derive(Debug)]
pub struct Decoder {
    pub(crate) config: DecoderConfig,
    pub(crate) rope: RotaryEmbedding,
    pub(crate) embedding: Weight,
    pub(crate) layers: Vec<Layer>,
    pub(crate) norm: Vec<f32>,
    /// `None`: the embedding is the output projection too.
    pub(crate) output: Option<Weight>,
}

/// A projection of a layer, by what it gives.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Site {
    /// Queries.
    Query,
    /// Keys.
    Key,
    /// Values.
    Value,
    /// What attention adds to the residual stream.
    Output,
    /// The gate of a dense MLP.
    Gate,
    /// The other half of a dense MLP.
    Up,
    /// What a dense MLP adds to the residual stream.
    Down,
}

/// A projection with its bias.
#[derive(Debug)]
pub(crate) struct Linear {
    pub(crate) weight: Weight,
    pub(crate) bias: Option<Vec<f32>>,
}

/// One layer's weights.
#[derive(Debug)]
pub(crate) struct Layer {
    pub(crate) attention_norm: Vec<f32>,
    pub(crate) query: Linear,
    pub(crate) key: Linear,
    pub(crate) value: Linear,
    /// Norms of each query's and key's head, where the architecture has them.
    pub(crate) head_norms: Option<(Vec<f32>, Vec<f32>)>,
    pub(crate) attention_output: Linear,
    pub(crate) mlp_norm: Vec<f32>,
    pub(crate) gate: Linear,
    pub(crate) up: Linear,
    pub(crate) down: Linear,
}

impl Linear {
    /// Writes the projection of `x`'s rows to `out`.
    pub fn apply(&self, pool: &Pool, x: &[f32], out: &mut [f32]) {
        ops::linear(pool, x, &self.weight, self.bias.as_deref(), out);
    }
}

impl Layer {
    /// The projection at `site`, where the layer has it.
    pub fn linear(&self, site: Site) -> Option<&Linear> {
        Some(match site {
            Site::Query => &self.query,
            Site::Key => &self.key,
            Site::Value => &self.value,
            Site::Output => &self.attention_output,
            Site::Gate => &self.gate,
            Site::Up => &self.up,
            Site::Down => &self.down,
        })
    }
}

/// Reads a decoder's tensors by the names of its kind of checkpoint.
struct Loader<'a> {
    checkpoint: &'a Checkpoint,
    names: &'static TensorNames,
    config: &'a DecoderConfig,
}

impl Loader<'_> {
    fn matrix(
        &self,
        name: &str,
        rows: usize,
        cols: usize,
    ) -> std::result::Result<Weight, WeightsError> {
        Ok(self.checkpoint.matrix(name, rows, cols)?.pack())
    }

    /// The projection `pattern` of `layer` from `cols` inputs to `rows` outputs.
    fn linear(
        &self,
        pattern: &str,
        layer: usize,
        (rows, cols): (usize, usize),
        has_bias: bool,
    ) -> std::result::Result<Linear, WeightsError> {
        let name = of_layer(pattern, layer);
        let bias = format!("{name}.bias");
        Ok(Linear {
            weight: self.matrix(&format!("{name}.weight"), rows, cols)?,
            bias: has_bias
                .then(|| self.checkpoint.vector(&bias, rows))
                .transpose()?,
        })
    }

    fn layer(&self, layer: usize) -> std::result::Result<Layer, WeightsError> {
        let (config, names) = (self.config, self.names);
        let (hidden, mlp) = (config.hidden_size, config.intermediate_size);
        let (query, kv) = (config.query_size(), config.kv_size());
        let vector = |pattern: &str, len| self.checkpoint.vector(&of_layer(pattern, layer), len);
        let head_norms = if config.qk_norm {
            let query_norm = vector(names.query_norm, config.head_dim)?;
            Some((query_norm, vector(names.key_norm, config.head_dim)?))
        } else {
            None
        };
        Ok(Layer {
            attention_norm: vector(names.attention_norm, hidden)?,
            query: self.linear(names.query, layer, (query, hidden), config.qkv_bias)?,
            key: self.linear(names.key, layer, (kv, hidden), config.qkv_bias)?,
            value: self.linear(names.value, layer, (kv, hidden), config.qkv_bias)?,
            head_norms,
            attention_output: self.linear(
                names.attention_output,
                layer,
                (hidden, query),
                config.output_bias,
            )?,
            mlp_norm: vector(names.mlp_norm, hidden)?,
            gate: self.linear(names.gate, layer, (mlp, hidden), config.mlp_bias)?,
            up: self.linear(names.up, layer, (mlp, hidden), config.mlp_bias)?,
            down: self.linear(names.down, layer, (hidden, mlp), config.mlp_bias)?,
        })
    }
}

impl Decoder {
    /// The weights of `checkpoint` as `config` describes them.
    ///
    /// # Errors
    /// `ModelErrorException` naming the file and the tensor that is missing or of another shape.
    pub fn load(config: DecoderConfig, checkpoint: &Checkpoint) -> Result<Self> {
        let is_gguf = matches!(checkpoint.config(), ModelSource::Gguf { .. });
        let loader = Loader {
            checkpoint,
            names: if is_gguf {
                &TensorNames::GGUF
            } else {
                &TensorNames::HUGGING_FACE
            },
            config: &config,
        };
        let names = loader.names;
        let layers = (0..config.layers())
            .map(|layer| loader.layer(layer))
            .collect::<std::result::Result<_, _>>()?;
        // A GGUF file says that its embeddings are tied by leaving the output out.
        let is_tied = config.tied_embeddings || (is_gguf && !checkpoint.contains(names.output));
        let (vocab, hidden) = (config.vocab_size, config.hidden_size);
        let output = if is_tied {
            None
        } else {
            Some(loader.matrix(names.output, vocab, hidden)?)
        };
        let divisors = rope_divisors(&config, checkpoint, is_gguf)?;
        Ok(Self {
            rope: RotaryEmbedding::new(&config.rope, divisors.as_deref()),
            embedding: loader.matrix(names.embedding, vocab, hidden)?,
            layers,
            norm: checkpoint.vector(names.norm, hidden)?,
            output,
            config,
        })
    }
}

/// GGUF's divisors of rope's frequencies, where the model has them.
fn rope_divisors(
    config: &DecoderConfig,
    checkpoint: &Checkpoint,
    is_gguf: bool,
) -> Result<Option<Vec<f32>>> {
    let name = TensorNames::ROPE_DIVISORS;
    if !is_gguf || !checkpoint.contains(name) {
        return Ok(None);
    }
    let divisors = checkpoint.vector(name, config.rope.dimensions / 2)?;
    match divisors.iter().find(|d| !(**d > 0.0 && d.is_finite())) {
        Some(wrong) => Err(Error::model(format!(
            "{name}: expected divisors above 0, got {wrong}"
        ))),
        None => Ok(Some(divisors)),
    }
}
