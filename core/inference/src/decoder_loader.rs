//! A decoder's tensors, read from a checkpoint by the names of its kind.

use outcrop_api::{Error, Result};
use outcrop_tensor::Weight;

use crate::decoder_config::{DecoderConfig, ExpertsConfig, QkNorm, TensorNames, of_layer};
use crate::decoder_experts::Experts;
use crate::decoder_weights::{Decoder, GatedMlp, Layer, Linear, Mlp};
use crate::gpt_oss_experts::GptOssExperts;
use crate::rope::RotaryEmbedding;
use crate::weights::{Checkpoint, ModelSource, WeightsError};

type Read<T> = std::result::Result<T, WeightsError>;

/// GGUF's tensor of divisors of rope's frequencies, where a model has one.
const ROPE_DIVISORS: &str = "rope_freqs.weight";
const LONG_DIVISORS: &str = "rope_factors_long.weight";
const SHORT_DIVISORS: &str = "rope_factors_short.weight";

/// The output projection, where it is not the embedding.
const GGUF_OUTPUT: &str = "output.weight";

/// Where a Hugging Face checkpoint's decoder may stand, with its output projection: by itself,
/// beside a vision tower in the hub's layout or in that of transformers 5, and without its head.
const PREFIXES: [(&str, &str); 4] = [
    ("model.", "lm_head.weight"),
    ("language_model.model.", "language_model.lm_head.weight"),
    ("model.language_model.", "lm_head.weight"),
    ("", "lm_head.weight"),
];

/// Reads a decoder's tensors by the names of its kind of checkpoint.
struct Loader<'a> {
    checkpoint: &'a Checkpoint,
    names: TensorNames,
    prefix: &'static str,
    is_gguf: bool,
    /// Whether matrices are laid out for products on the CPU.
    packs: bool,
    config: &'a DecoderConfig,
}

impl Loader<'_> {
    fn name(&self, pattern: &str, layer: usize) -> String {
        format!("{}{}", self.prefix, of_layer(pattern, layer))
    }

    fn laid_out(&self, weight: Weight) -> Weight {
        match self.packs {
            true => weight.pack(),
            false => weight,
        }
    }

    fn matrix(&self, name: &str, rows: usize, cols: usize) -> Read<Weight> {
        Ok(self.laid_out(self.checkpoint.matrix(name, rows, cols)?))
    }

    /// The vector `name` of `len` numbers with `offset` added.
    fn norm(&self, name: &str, len: usize) -> Read<Vec<f32>> {
        let mut weight = self.checkpoint.vector(name, len)?;
        weight
            .iter_mut()
            .for_each(|w| *w += self.config.norm_offset);
        Ok(weight)
    }

    fn layer_norm(&self, is_there: bool, pattern: &str, layer: usize) -> Read<Option<Vec<f32>>> {
        let name = self.name(pattern, layer);
        is_there
            .then(|| self.norm(&name, self.config.hidden_size))
            .transpose()
    }

    /// The bias of the projection `name`, whose tensor is of `shape`, from the element `first` on.
    fn bias(&self, name: &str, shape: &[usize], first: usize, len: usize) -> Read<Vec<f32>> {
        let all = self.checkpoint.numbers(&format!("{name}.bias"), shape)?;
        Ok(all[first..first + len].to_vec())
    }

    /// The projections `patterns` of `layer` from `cols` inputs to `rows` outputs each: tensors of
    /// their own, or parts of the tensor `fused`, one behind the other.
    fn linears<const N: usize>(
        &self,
        (patterns, fused): ([&str; N], &str),
        layer: usize,
        (rows, cols): ([usize; N], usize),
        has_bias: bool,
    ) -> Read<Vec<Linear>> {
        let names = patterns.map(|pattern| self.name(pattern, layer));
        let fused = self.name(fused, layer);
        let has = |name: &str| self.checkpoint.contains(&format!("{name}.weight"));
        let is_fused = !has(&names[0]) && has(&fused);
        let total = rows.iter().sum();
        let mut first = 0;
        let mut linears = Vec::new();
        for (own, rows) in names.into_iter().zip(rows) {
            let (name, start, whole) = if is_fused {
                (&fused, first, total)
            } else {
                (&own, 0, rows)
            };
            let has_bias =
                has_bias || self.is_gguf && self.checkpoint.contains(&format!("{name}.bias"));
            let weight = self.checkpoint.rows(
                &format!("{name}.weight"),
                &[whole, cols],
                start..start + rows,
            )?;
            linears.push(Linear {
                weight: self.laid_out(weight),
                bias: has_bias
                    .then(|| self.bias(name, &[whole], start, rows))
                    .transpose()?,
            });
            first += rows;
        }
        Ok(linears)
    }

    fn linear(
        &self,
        pattern: &str,
        layer: usize,
        (rows, cols): (usize, usize),
        has_bias: bool,
    ) -> Read<Linear> {
        let mut linears = self.linears(([pattern], pattern), layer, ([rows], cols), has_bias)?;
        Ok(linears.remove(0))
    }

    fn qk_norms(&self, layer: usize) -> Read<Option<(Vec<f32>, Vec<f32>)>> {
        let config = self.config;
        let (query, key) = match config.qk_norm {
            QkNorm::None => return Ok(None),
            QkNorm::Heads => (config.head_dim, config.head_dim),
            QkNorm::Whole => (config.query_size(), config.kv_size()),
        };
        Ok(Some((
            self.norm(&self.name(self.names.query_norm, layer), query)?,
            self.norm(&self.name(self.names.key_norm, layer), key)?,
        )))
    }

    fn dense(&self, layer: usize) -> Read<GatedMlp> {
        let (config, names) = (self.config, &self.names);
        let (hidden, width) = (config.hidden_size, config.intermediate_size);
        let halves = ([names.gate, names.up], names.fused_gate_up);
        let shape = ([width, width], hidden);
        let mut halves = self.linears(halves, layer, shape, config.mlp_bias)?;
        Ok(GatedMlp {
            up: halves.remove(1),
            gate: halves.remove(0),
            down: self.linear(names.down, layer, (hidden, width), config.mlp_bias)?,
        })
    }

    /// The projection `pattern` of expert `expert`.
    fn expert_linear(
        &self,
        pattern: &str,
        (layer, expert): (usize, usize),
        (rows, cols): (usize, usize),
    ) -> Read<Linear> {
        let name = self.name(pattern, layer).replace("<>", &expert.to_string());
        let count = self.config.experts.as_ref().map_or(0, |e| e.count);
        // Where the experts are stacked, a tensor holds all of them.
        let (shape, bias_shape, expert) = match self.names.stacked_experts {
            true => (vec![count, rows, cols], vec![count, rows], expert),
            false => (vec![rows, cols], vec![rows], 0),
        };
        let part = expert * rows..(expert + 1) * rows;
        let weight = self
            .checkpoint
            .rows(&format!("{name}.weight"), &shape, part.clone())?;
        let has_bias = self.config.mlp_bias
            || self.is_gguf && self.checkpoint.contains(&format!("{name}.bias"));
        Ok(Linear {
            weight: self.laid_out(weight),
            bias: has_bias
                .then(|| self.bias(&name, &bias_shape, part.start, rows))
                .transpose()?,
        })
    }

    fn experts(&self, config: &ExpertsConfig, layer: usize) -> Read<Experts> {
        let names = &self.names;
        let (hidden, width) = (self.config.hidden_size, config.intermediate_size);
        let expert = |expert: usize| {
            let at = (layer, expert);
            Ok(GatedMlp {
                gate: self.expert_linear(names.expert_gate, at, (width, hidden))?,
                up: self.expert_linear(names.expert_up, at, (width, hidden))?,
                down: self.expert_linear(names.expert_down, at, (hidden, width))?,
            })
        };
        let router = (config.count, hidden);
        let router = self.linear(names.router, layer, router, config.router_bias)?;
        let experts = match (self.config.architecture.as_str(), self.is_gguf) {
            ("gpt_oss", false) => GptOssExperts {
                checkpoint: self.checkpoint,
                config,
                hidden_size: hidden,
                prefix: self.name("layers.{}.mlp.experts.", layer),
            }
            .read()?,
            _ => (0..config.count).map(expert).collect::<Read<_>>()?,
        };
        Ok(Experts { router, experts })
    }

    fn layer(&self, layer: usize) -> Read<Layer> {
        let (config, names) = (self.config, &self.names);
        let hidden = config.hidden_size;
        let (query, kv) = (config.query_size(), config.kv_size());
        let (before, after) = (config.norms.is_before(), config.norms.is_after());
        let qkv = ([names.query, names.key, names.value], names.fused_qkv);
        let mut qkv = self.linears(qkv, layer, ([query, kv, kv], hidden), config.qkv_bias)?;
        let sinks = self.name(names.sinks, layer);
        Ok(Layer {
            attention_norm: self.layer_norm(before, names.attention_norm, layer)?,
            attention_post_norm: self.layer_norm(after, names.attention_post_norm, layer)?,
            value: qkv.remove(2),
            key: qkv.remove(1),
            query: qkv.remove(0),
            qk_norms: self.qk_norms(layer)?,
            sinks: config
                .attention_sinks
                .then(|| self.checkpoint.vector(&sinks, config.heads))
                .transpose()?,
            output: self.linear(
                names.attention_output,
                layer,
                (hidden, query),
                config.output_bias,
            )?,
            mlp_norm: self.layer_norm(before, names.mlp_norm, layer)?,
            mlp_post_norm: self.layer_norm(after, names.mlp_post_norm, layer)?,
            mlp: match &config.experts {
                Some(experts) if experts.layers[layer] => {
                    Mlp::Experts(self.experts(experts, layer)?)
                }
                _ => Mlp::Dense(self.dense(layer)?),
            },
        })
    }
}

impl Decoder {
    /// The weights of `checkpoint` as `config` describes them.
    ///
    /// # Errors
    /// `ModelErrorException` naming the file and the tensor that is missing or of another shape.
    pub fn load(config: DecoderConfig, checkpoint: &Checkpoint) -> Result<Self> {
        Self::read(config, checkpoint, true)
    }

    /// The weights as they are stored, to be copied to a device.
    ///
    /// # Errors
    /// As [`Decoder::load`].
    pub(crate) fn load_stored(config: DecoderConfig, checkpoint: &Checkpoint) -> Result<Self> {
        Self::read(config, checkpoint, false)
    }

    fn read(config: DecoderConfig, checkpoint: &Checkpoint, packs: bool) -> Result<Self> {
        let is_gguf = matches!(checkpoint.config(), ModelSource::Gguf { .. });
        let (prefix, output_name) = if is_gguf {
            ("", GGUF_OUTPUT)
        } else {
            tensor_place(checkpoint)
        };
        let loader = Loader {
            checkpoint,
            names: if is_gguf {
                TensorNames::gguf(&config)
            } else {
                TensorNames::hugging_face(&config)
            },
            prefix,
            is_gguf,
            packs,
            config: &config,
        };
        let layers = (0..config.layers())
            .map(|layer| loader.layer(layer))
            .collect::<std::result::Result<_, _>>()?;
        // A GGUF file says that its embeddings are tied by leaving the output out.
        let is_tied = config.tied_embeddings || (is_gguf && !checkpoint.contains(output_name));
        let (vocab, hidden) = (config.vocab_size, config.hidden_size);
        let output = if is_tied {
            None
        } else {
            Some(loader.matrix(output_name, vocab, hidden)?)
        };
        let ropes = config
            .ropes
            .iter()
            .map(|rope| {
                let divisors = rope_divisors(&config, rope.dimensions / 2, checkpoint)?;
                Ok(RotaryEmbedding::new(rope, divisors.as_deref()))
            })
            .collect::<Result<_>>()?;
        let embedding = loader.name(loader.names.embedding, 0);
        Ok(Self {
            ropes,
            embedding: loader.matrix(&embedding, vocab, hidden)?,
            layers,
            norm: loader.norm(&loader.name(loader.names.norm, 0), hidden)?,
            output,
            config,
        })
    }
}

/// What stands before the names of a Hugging Face checkpoint's tensors, and its output projection.
pub fn tensor_place(checkpoint: &Checkpoint) -> (&'static str, &'static str) {
    let names = PREFIXES.into_iter();
    let mut found =
        names.filter(|(prefix, _)| checkpoint.contains(&format!("{prefix}embed_tokens.weight")));
    found.next().unwrap_or(PREFIXES[0])
}

/// GGUF's divisors of rope's frequencies, where the model has them: of Llama 3, or of LongRoPE, whose
/// long ones hold for the whole of a context longer than the original one, as in llama.cpp.
fn rope_divisors(
    config: &DecoderConfig,
    pairs: usize,
    checkpoint: &Checkpoint,
) -> Result<Option<Vec<f32>>> {
    let ModelSource::Gguf { metadata } = checkpoint.config() else {
        return Ok(None);
    };
    let original = metadata
        .iter()
        .find(|(key, _)| key.ends_with(".rope.scaling.original_context_length"))
        .and_then(|(_, value)| value.as_u64());
    let is_long = original.is_some_and(|original| config.context_length as u64 > original);
    let factors = if is_long {
        LONG_DIVISORS
    } else {
        SHORT_DIVISORS
    };
    let mut names = [ROPE_DIVISORS, factors].into_iter();
    let Some(name) = names.find(|name| checkpoint.contains(name)) else {
        return Ok(None);
    };
    let divisors = checkpoint.vector(name, pairs)?;
    match divisors.iter().find(|d| !(**d > 0.0 && d.is_finite())) {
        Some(wrong) => Err(Error::model(format!(
            "{name}: expected divisors above 0, got {wrong}"
        ))),
        None => Ok(Some(divisors)),
    }
}
