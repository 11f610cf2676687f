//! Where an encoder's tensors stand among its parameters, in the names of BERT's checkpoints.

use std::ops::Range;

use outcrop_api::{Error, Result};
use outcrop_inference::{Checkpoint, EncoderConfig, Positions};

use crate::parameters::Parameters;

/// A projection: its matrix and its bias.
#[derive(Clone, Debug)]
pub(super) struct Slot {
    pub weight: Range<usize>,
    pub bias: Range<usize>,
    pub cols: usize,
}

/// Where a layer's tensors stand. A norm's bias stands behind its weight.
#[derive(Clone, Debug)]
pub(super) struct LayerSlots {
    /// Queries, keys and values, as one product.
    pub qkv: Slot,
    pub output: Slot,
    pub attention_norm: Range<usize>,
    pub up: Slot,
    pub down: Slot,
    pub mlp_norm: Range<usize>,
}

/// All tensors with their places.
#[derive(Clone, Debug)]
pub(super) struct Layout {
    pub parameters: Parameters,
    pub words: Range<usize>,
    pub positions: Range<usize>,
    /// Of the first segment, which all tokens are of.
    pub types: Range<usize>,
    pub norm: Range<usize>,
    pub layers: Vec<LayerSlots>,
}

struct Reader<'a> {
    checkpoint: &'a Checkpoint,
    prefix: &'static str,
    parameters: Parameters,
}

impl Layout {
    /// Reads the tensors that `config` describes.
    ///
    /// # Errors
    /// `ModelErrorException` where one is missing or of another shape.
    pub fn read(config: &EncoderConfig, checkpoint: &Checkpoint) -> Result<Self> {
        let prefixes = ["", "bert.", "roberta."];
        let word = "embeddings.word_embeddings.weight";
        let has = |prefix: &&&str| checkpoint.contains(&format!("{prefix}{word}"));
        let prefix = prefixes.iter().find(has);
        let prefix =
            prefix.ok_or_else(|| Error::model(format!("the model has no tensor {word}")))?;
        let mut reader = Reader {
            checkpoint,
            prefix,
            parameters: Parameters::default(),
        };
        let hidden = config.hidden;
        let rows = match config.positions {
            Positions::Learned { rows, .. } => rows,
            Positions::Rotary => 0,
        };
        let words = reader.add(word, &[config.vocabulary, hidden])?;
        let name = "embeddings.position_embeddings.weight";
        let positions = reader.add(name, &[rows, hidden])?;
        let name = "embeddings.token_type_embeddings.weight";
        let types = reader.add(name, &[config.types, hidden])?;
        let norm = reader.norm("embeddings.LayerNorm", hidden)?;
        let layers = (0..config.layers.len()).map(|layer| reader.layer(config, layer));
        Ok(Self {
            layers: layers.collect::<Result<_>>()?,
            parameters: reader.parameters,
            words,
            positions,
            types,
            norm,
        })
    }
}

impl Reader<'_> {
    fn add(&mut self, name: &str, shape: &[usize]) -> Result<Range<usize>> {
        let name = format!("{}{name}", self.prefix);
        let values = self.checkpoint.numbers(&name, shape)?;
        Ok(self.parameters.add(name, shape, &values))
    }

    fn norm(&mut self, name: &str, width: usize) -> Result<Range<usize>> {
        let weight = self.add(&format!("{name}.weight"), &[width])?;
        let bias = self.add(&format!("{name}.bias"), &[width])?;
        Ok(weight.start..bias.end)
    }

    /// The projections `names`, one behind the other, as one.
    fn slot(&mut self, names: &[String], (rows, cols): (usize, usize)) -> Result<Slot> {
        let start = self.parameters.values.len();
        for name in names {
            self.add(&format!("{name}.weight"), &[rows, cols])?;
        }
        let weight = start..self.parameters.values.len();
        for name in names {
            self.add(&format!("{name}.bias"), &[rows])?;
        }
        Ok(Slot {
            bias: weight.end..self.parameters.values.len(),
            weight,
            cols,
        })
    }

    fn layer(&mut self, config: &EncoderConfig, layer: usize) -> Result<LayerSlots> {
        let (hidden, inner) = (config.hidden, config.intermediate);
        let name = |part: &str| format!("encoder.layer.{layer}.{part}");
        let qkv = ["query", "key", "value"].map(|part| name(&format!("attention.self.{part}")));
        Ok(LayerSlots {
            qkv: self.slot(&qkv, (hidden, hidden))?,
            output: self.slot(&[name("attention.output.dense")], (hidden, hidden))?,
            attention_norm: self.norm(&name("attention.output.LayerNorm"), hidden)?,
            up: self.slot(&[name("intermediate.dense")], (inner, hidden))?,
            down: self.slot(&[name("output.dense")], (hidden, inner))?,
            mlp_norm: self.norm(&name("output.LayerNorm"), hidden)?,
        })
    }
}
