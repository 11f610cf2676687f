//! A decoder's weights.

use outcrop_tensor::{Pool, Projection, Weight, ops};

use crate::decoder_config::DecoderConfig;
use crate::decoder_experts::Experts;
use crate::rope::RotaryEmbedding;

/// A decoder-only transformer's weights.
#[derive(Debug)]
pub struct Decoder {
    pub(crate) config: DecoderConfig,
    /// As [`DecoderConfig::ropes`].
    pub(crate) ropes: Vec<RotaryEmbedding>,
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
    /// The scores that choose a token's experts.
    Router,
    /// The gate of an expert, by its number.
    ExpertGate(usize),
    /// The other half of an expert.
    ExpertUp(usize),
    /// What an expert gives.
    ExpertDown(usize),
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
    /// What goes into attention is normalised by this.
    pub(crate) attention_norm: Option<Vec<f32>>,
    /// What comes out of attention is normalised by this.
    pub(crate) attention_post_norm: Option<Vec<f32>>,
    pub(crate) query: Linear,
    pub(crate) key: Linear,
    pub(crate) value: Linear,
    /// Norms of queries and keys, where the architecture has them.
    pub(crate) qk_norms: Option<(Vec<f32>, Vec<f32>)>,
    /// One a head, where the architecture has them.
    pub(crate) sinks: Option<Vec<f32>>,
    pub(crate) output: Linear,
    /// What goes into the MLP is normalised by this.
    pub(crate) mlp_norm: Option<Vec<f32>>,
    /// What comes out of the MLP is normalised by this.
    pub(crate) mlp_post_norm: Option<Vec<f32>>,
    pub(crate) mlp: Mlp,
}

/// The second half of a layer.
#[derive(Debug)]
pub(crate) enum Mlp {
    Dense(GatedMlp),
    Experts(Experts),
}

/// `down(activation(gate(x), up(x)))`.
#[derive(Debug)]
pub(crate) struct GatedMlp {
    pub(crate) gate: Linear,
    pub(crate) up: Linear,
    pub(crate) down: Linear,
}

impl Layer {
    /// The projection at `site`; a layer has a dense MLP's or those of experts.
    pub fn linear(&self, site: Site) -> Option<&Linear> {
        let (dense, mixture) = match &self.mlp {
            Mlp::Dense(mlp) => (Some(mlp), None),
            Mlp::Experts(experts) => (None, Some(experts)),
        };
        let expert = |number: usize| mixture.and_then(|mixture| mixture.experts.get(number));
        match site {
            Site::Query => Some(&self.query),
            Site::Key => Some(&self.key),
            Site::Value => Some(&self.value),
            Site::Output => Some(&self.output),
            Site::Gate => dense.map(|mlp| &mlp.gate),
            Site::Up => dense.map(|mlp| &mlp.up),
            Site::Down => dense.map(|mlp| &mlp.down),
            Site::Router => mixture.map(|mixture| &mixture.router),
            Site::ExpertGate(number) => expert(number).map(|mlp| &mlp.gate),
            Site::ExpertUp(number) => expert(number).map(|mlp| &mlp.up),
            Site::ExpertDown(number) => expert(number).map(|mlp| &mlp.down),
        }
    }
}

impl Layer {
    /// The sites that the layer has.
    pub fn sites(&self) -> Vec<Site> {
        let mut sites = vec![Site::Query, Site::Key, Site::Value, Site::Output];
        match &self.mlp {
            Mlp::Dense(_) => sites.extend([Site::Gate, Site::Up, Site::Down]),
            Mlp::Experts(own) => {
                sites.push(Site::Router);
                let of_expert = |number| {
                    [
                        Site::ExpertGate(number),
                        Site::ExpertUp(number),
                        Site::ExpertDown(number),
                    ]
                };
                sites.extend((0..own.experts.len()).flat_map(of_expert));
            }
        }
        sites
    }
}

impl Linear {
    /// Writes the projection of `x`'s rows to `out`.
    pub fn apply(&self, pool: &Pool, x: &[f32], out: &mut [f32]) {
        ops::linear(pool, x, &self.weight, self.bias.as_deref(), out);
    }

    /// The projection of rows to `out`, to be done with others of the same rows.
    pub fn projection<'a>(&'a self, out: &'a mut [f32]) -> Projection<'a> {
        Projection {
            weight: &self.weight,
            bias: self.bias.as_deref(),
            out,
        }
    }
}

impl Decoder {
    /// Writes the row of the output projection that makes the logits of token `id`, below
    /// `vocab_size`.
    pub(crate) fn output_row(&self, id: u32, row: &mut [f32]) {
        let output = self.output.as_ref().unwrap_or(&self.embedding);
        output.dequantize_row(id as usize, row);
    }
}
