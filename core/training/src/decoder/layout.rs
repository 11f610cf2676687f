//! Where a decoder's tensors stand among its parameters.
//!
//! Queries, keys and values stand one behind the other, and so do the gate and the other half of the
//! MLP: each is one product. Whether a checkpoint has them as tensors of their own or as one changes
//! their names only.

use std::ops::Range;

use outcrop_api::Result;
use outcrop_inference::{Checkpoint, DecoderConfig, QkNorm, TensorNames, of_layer, tensor_place};

use crate::parameters::Parameters;
use crate::random::Random;

/// Where weights come from.
#[derive(Clone, Copy)]
pub(super) enum Source<'a> {
    /// A checkpoint in the hub's layout.
    Checkpoint(&'a Checkpoint),
    /// Chance, by a seed.
    Random(u64),
}

/// A projection: its matrix, its bias, and the modules that it is made of.
#[derive(Clone, Debug)]
pub(super) struct Slot {
    pub weight: Range<usize>,
    pub bias: Option<Range<usize>>,
    pub cols: usize,
    /// Output features.
    pub rows: usize,
    /// Each module's name in the checkpoint, and its output features.
    pub modules: Vec<(String, Range<usize>)>,
}

/// Where a layer's tensors stand.
#[derive(Clone, Debug)]
pub(super) struct LayerSlots {
    pub attention_norm: Option<Range<usize>>,
    pub attention_post_norm: Option<Range<usize>>,
    pub qkv: Slot,
    pub qk_norms: Option<(Range<usize>, Range<usize>)>,
    pub output: Slot,
    pub mlp_norm: Option<Range<usize>>,
    pub mlp_post_norm: Option<Range<usize>>,
    pub gate_up: Slot,
    pub down: Slot,
}

/// All tensors with their places.
pub(super) struct Layout {
    pub parameters: Parameters,
    pub layers: Vec<LayerSlots>,
    pub embedding: Range<usize>,
    pub norm: Range<usize>,
    pub output: Option<Range<usize>>,
}

/// How a new tensor starts, where weights come from chance.
#[derive(Clone, Copy)]
enum Start {
    Zero,
    /// What a norm has that changes nothing.
    Identity,
    Deviation(f32),
}

const DEVIATION: f32 = 0.02;

struct Reader<'a> {
    source: Source<'a>,
    config: &'a DecoderConfig,
    names: TensorNames,
    prefix: &'static str,
    parameters: Parameters,
}

impl Layout {
    /// Reads the tensors that `config` describes.
    ///
    /// # Errors
    /// `ModelErrorException` where one is missing or of another shape.
    pub fn read(config: &DecoderConfig, source: Source<'_>) -> Result<Self> {
        let (prefix, output_name) = match source {
            Source::Checkpoint(checkpoint) => tensor_place(checkpoint),
            Source::Random(_) => ("model.", "lm_head.weight"),
        };
        let mut reader = Reader {
            source,
            config,
            names: TensorNames::hugging_face(config),
            prefix,
            parameters: Parameters::default(),
        };
        let (vocabulary, hidden) = (config.vocab_size, config.hidden_size);
        let table = [vocabulary, hidden];
        let embedding = reader.name(reader.names.embedding, 0);
        let embedding = reader.add(embedding, &table, Start::Deviation(DEVIATION))?;
        let layers = (0..config.layers())
            .map(|layer| reader.layer(layer))
            .collect::<Result<_>>()?;
        let norm = reader.name(reader.names.norm, 0);
        let norm = reader.add(norm, &[hidden], Start::Identity)?;
        let output = match config.tied_embeddings {
            true => None,
            false => {
                Some(reader.add(output_name.to_owned(), &table, Start::Deviation(DEVIATION))?)
            }
        };
        Ok(Self {
            parameters: reader.parameters,
            layers,
            embedding,
            norm,
            output,
        })
    }
}

impl Reader<'_> {
    fn name(&self, pattern: &str, layer: usize) -> String {
        format!("{}{}", self.prefix, of_layer(pattern, layer))
    }

    fn has(&self, name: &str) -> bool {
        match self.source {
            Source::Checkpoint(checkpoint) => checkpoint.contains(name),
            Source::Random(_) => false,
        }
    }

    fn add(&mut self, name: String, shape: &[usize], start: Start) -> Result<Range<usize>> {
        let count = shape.iter().product();
        let values = match (self.source, start) {
            (Source::Checkpoint(checkpoint), _) => checkpoint.numbers(&name, shape)?,
            (_, Start::Zero) => vec![0.0; count],
            (_, Start::Identity) => vec![1.0 - self.config.norm_offset; count],
            (Source::Random(seed), Start::Deviation(deviation)) => {
                let mut random = Random::of_parts(seed, &[self.parameters.values.len() as u64]);
                (0..count).map(|_| random.normal() * deviation).collect()
            }
        };
        Ok(self.parameters.add(name, shape, &values))
    }

    fn norm(
        &mut self,
        is_there: bool,
        pattern: &str,
        layer: usize,
    ) -> Result<Option<Range<usize>>> {
        let name = self.name(pattern, layer);
        let shape = [self.config.hidden_size];
        is_there
            .then(|| self.add(name, &shape, Start::Identity))
            .transpose()
    }

    /// The projections `patterns` of `layer`, of tensors of their own or parts of `fused`.
    fn slot(
        &mut self,
        (patterns, fused): (&[&str], &str),
        layer: usize,
        (rows, cols): (&[usize], usize),
        (has_bias, start): (bool, Start),
    ) -> Result<Slot> {
        let fused = self.name(fused, layer);
        let own: Vec<String> = patterns.iter().map(|p| self.name(p, layer)).collect();
        let total: usize = rows.iter().sum();
        let is_fused =
            !self.has(&format!("{}.weight", own[0])) && self.has(&format!("{fused}.weight"));
        let parts: Vec<(String, usize)> = match is_fused {
            true => vec![(fused, total)],
            false => own.into_iter().zip(rows.iter().copied()).collect(),
        };
        let (first, mut end, mut modules) = (self.parameters.values.len(), 0, Vec::new());
        for (name, rows) in &parts {
            self.add(format!("{name}.weight"), &[*rows, cols], start)?;
            modules.push((name.clone(), end..end + rows));
            end += rows;
        }
        let weight = first..self.parameters.values.len();
        if has_bias {
            for (name, rows) in &parts {
                self.add(format!("{name}.bias"), &[*rows], Start::Zero)?;
            }
        }
        let bias = has_bias.then_some(weight.end..self.parameters.values.len());
        Ok(Slot {
            weight,
            bias,
            cols,
            rows: total,
            modules,
        })
    }

    fn layer(&mut self, layer: usize) -> Result<LayerSlots> {
        let (config, names) = (self.config, self.names);
        let (hidden, width) = (config.hidden_size, config.intermediate_size);
        let (query, kv) = (config.query_size(), config.kv_size());
        let (before, after) = (config.norms.is_before(), config.norms.is_after());
        let plain = Start::Deviation(DEVIATION);
        let residual = Start::Deviation(DEVIATION / (2.0 * config.layers() as f32).sqrt());
        let attention_norm = self.norm(before, names.attention_norm, layer)?;
        let qkv = (&[names.query, names.key, names.value][..], names.fused_qkv);
        let shape = (&[query, kv, kv][..], hidden);
        let qkv = self.slot(qkv, layer, shape, (config.qkv_bias, plain))?;
        let qk_norms = self.qk_norms(layer)?;
        let output = (&[names.attention_output][..], names.attention_output);
        let shape = (&[hidden][..], query);
        let output = self.slot(output, layer, shape, (config.output_bias, residual))?;
        let attention_post_norm = self.norm(after, names.attention_post_norm, layer)?;
        let mlp_norm = self.norm(before, names.mlp_norm, layer)?;
        let gate_up = (&[names.gate, names.up][..], names.fused_gate_up);
        let shape = (&[width, width][..], hidden);
        let gate_up = self.slot(gate_up, layer, shape, (config.mlp_bias, plain))?;
        let down = (&[names.down][..], names.down);
        let shape = (&[hidden][..], width);
        let down = self.slot(down, layer, shape, (config.mlp_bias, residual))?;
        Ok(LayerSlots {
            attention_norm,
            attention_post_norm,
            qkv,
            qk_norms,
            output,
            mlp_norm,
            mlp_post_norm: self.norm(after, names.mlp_post_norm, layer)?,
            gate_up,
            down,
        })
    }

    fn qk_norms(&mut self, layer: usize) -> Result<Option<(Range<usize>, Range<usize>)>> {
        let config = self.config;
        let (query, key) = match config.qk_norm {
            QkNorm::None => return Ok(None),
            QkNorm::Heads => (config.head_dim, config.head_dim),
            QkNorm::Whole => (config.query_size(), config.kv_size()),
        };
        let names = [self.names.query_norm, self.names.key_norm];
        let [query_name, key_name] = names.map(|pattern| self.name(pattern, layer));
        let query = self.add(query_name, &[query], Start::Identity)?;
        Ok(Some((query, self.add(key_name, &[key], Start::Identity)?)))
    }
}
