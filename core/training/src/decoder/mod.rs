//! A decoder whose weights are trained: its tensors, and one pass forward and back.

mod backward;
mod forward;
mod layout;
mod low_rank;
mod room;
mod train;

use std::ops::Range;

use outcrop_api::{Error, Result};
use outcrop_inference::{Checkpoint, DecoderConfig, ModelSource, RotaryEmbedding};
use outcrop_tensor::{Gate, Pool};
use serde_json::Value;

pub use low_rank::{DropoutKey, LowRankOptions};
pub use room::Room;

use crate::batch::{Batch, NO_TARGET};
use crate::layers::gated;
use crate::layers::linear::Linear;
use crate::parameters::Parameters;
use layout::{LayerSlots, Layout, Slot, Source};
use low_rank::LowRankModel;

/// A decoder-only transformer in F32, to be trained.
#[derive(Clone, Debug)]
pub struct Decoder {
    config: DecoderConfig,
    gate: Gate,
    ropes: Vec<RotaryEmbedding>,
    parameters: Parameters,
    layers: Vec<LayerSlots>,
    embedding: Range<usize>,
    norm: Range<usize>,
    /// `None`: the embedding is the output projection too.
    output: Option<Range<usize>>,
    low_rank: Option<LowRankModel>,
}

/// Which of a decoder's weights are trained.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Trained {
    /// All.
    Full,
    /// Those of its low-rank adapter.
    LowRank,
}

impl Decoder {
    /// The decoder of opened weights, converted to F32.
    ///
    /// # Errors
    /// `ValidationException` naming what the architecture has that is not trained; for weights in
    /// GGUF. `ModelErrorException` where a tensor is missing or of another shape.
    pub fn load(checkpoint: &Checkpoint) -> Result<Self> {
        if let ModelSource::Gguf { .. } = checkpoint.config() {
            let path = checkpoint.path().display();
            let expected = "training starts from a folder with config.json and safetensors";
            return Err(Error::validation(format!("{path}: {expected}, got GGUF")));
        }
        let config = DecoderConfig::from_source(checkpoint.config())?;
        Self::from_layout(config, Source::Checkpoint(checkpoint))
    }

    /// A decoder of a Hugging Face `config.json`, its weights random by `seed`: of deviation 0.02, and
    /// less at the projections that add to the residual stream (Radford et al., 2019).
    ///
    /// # Errors
    /// As [`Decoder::load`].
    pub fn random(config: &Value, seed: u64) -> Result<Self> {
        let source = ModelSource::HuggingFace {
            folder: std::path::PathBuf::new(),
            config: config.clone(),
        };
        let config = DecoderConfig::from_source(&source)?;
        Self::from_layout(config, Source::Random(seed))
    }

    fn from_layout(config: DecoderConfig, source: Source<'_>) -> Result<Self> {
        let gate = check(&config)?;
        let layout = Layout::read(&config, source)?;
        Ok(Self {
            gate,
            ropes: config
                .ropes
                .iter()
                .map(|rope| RotaryEmbedding::new(rope, None))
                .collect(),
            parameters: layout.parameters,
            layers: layout.layers,
            embedding: layout.embedding,
            norm: layout.norm,
            output: layout.output,
            low_rank: None,
            config,
        })
    }

    /// The architecture.
    pub fn config(&self) -> &DecoderConfig {
        &self.config
    }

    /// The weights of the model itself.
    pub fn parameters(&self) -> &Parameters {
        &self.parameters
    }

    /// Which weights are trained: those of the adapter, where it has one.
    pub fn trained(&self) -> Trained {
        match self.low_rank {
            Some(_) => Trained::LowRank,
            None => Trained::Full,
        }
    }

    /// The weights that are trained.
    pub fn trained_parameters(&self) -> &Parameters {
        match &self.low_rank {
            Some(low_rank) => &low_rank.parameters,
            None => &self.parameters,
        }
    }

    /// The weights that are trained, to be moved.
    pub fn trained_values(&mut self) -> &mut [f32] {
        match &mut self.low_rank {
            Some(low_rank) => &mut low_rank.parameters.values,
            None => &mut self.parameters.values,
        }
    }

    /// The logits of each row of `batch`, `(rows, vocab_size)`. Nothing is dropped.
    ///
    /// # Errors
    /// `ValidationException` for an id that the vocabulary does not hold.
    pub fn logits(&self, pool: &Pool, batch: &Batch, room: &mut Room) -> Result<Vec<f32>> {
        self.check_batch(batch)?;
        self.forward(pool, batch, room, None);
        let all: Vec<usize> = (0..batch.ids.len()).collect();
        self.gather(pool, &all, room);
        Ok(self
            .head()
            .logits(pool, &mut room.head, &room.picked_normed))
    }

    /// The sum of the losses of the rows of `batch` that have a target. Nothing is dropped.
    ///
    /// # Errors
    /// As [`Decoder::logits`].
    pub fn loss(&self, pool: &Pool, batch: &Batch, room: &mut Room) -> Result<f64> {
        self.check_batch(batch)?;
        self.forward(pool, batch, room, None);
        let (rows, targets) = learned(batch);
        self.gather(pool, &rows, room);
        let Room {
            head,
            picked_normed,
            ..
        } = room;
        Ok(self.head().loss(pool, head, picked_normed, &targets))
    }

    fn check_batch(&self, batch: &Batch) -> Result<()> {
        let words = self.config.vocab_size;
        let targets = batch.targets.iter().filter(|t| **t != NO_TARGET);
        match batch
            .ids
            .iter()
            .chain(targets)
            .find(|id| **id as usize >= words)
        {
            Some(id) => Err(Error::validation(format!(
                "token id {id}: the model has {words} words"
            ))),
            None => Ok(()),
        }
    }

    fn linear(&self, slot: &Slot) -> Linear<'_> {
        Linear {
            weight: self.parameters.at(&slot.weight),
            bias: slot.bias.as_ref().map(|bias| self.parameters.at(bias)),
            cols: slot.cols,
        }
    }

    /// A norm's weights as they multiply.
    fn norm_weight(&self, range: &Range<usize>) -> Vec<f32> {
        let offset = self.config.norm_offset;
        self.parameters
            .at(range)
            .iter()
            .map(|w| w + offset)
            .collect()
    }
}

/// The rows that are learned, and their targets.
fn learned(batch: &Batch) -> (Vec<usize>, Vec<u32>) {
    let targets = batch.targets.iter().copied().enumerate();
    targets.filter(|(_, target)| *target != NO_TARGET).unzip()
}

/// Refuses what has no way back yet, and gives the gate of the MLP.
fn check(config: &DecoderConfig) -> Result<Gate> {
    let refuse = |what: &str| {
        let family = &config.architecture;
        Error::validation(format!("{family}: {what} cannot be trained yet"))
    };
    if config.experts.is_some() {
        return Err(refuse("a mixture of experts"));
    }
    if config.attention_sinks {
        return Err(refuse("attention with sinks"));
    }
    gated::gate(config.activation).ok_or_else(|| refuse("its MLP's activation"))
}
