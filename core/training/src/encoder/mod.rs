//! An encoder that embeds texts, trained so that what belongs together lies near.

mod layout;
mod pass;
mod train;

use outcrop_api::{Error, Result};
use outcrop_inference::{
    Activation, Checkpoint, EncoderConfig, ModelSource, NormOrder, PoolingMode, Positions,
};
use outcrop_tensor::Pool;

pub use pass::EncoderRoom;

use crate::layers::gelu::Gelu;
use crate::layers::pooling::Pooled;
use crate::parameters::Parameters;
use layout::Layout;

/// An anchor, what belongs to it, and what does not, as tokens.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Pair {
    /// A query, or a text of which another is a paraphrase.
    pub anchor: Vec<u32>,
    /// What should be found for it.
    pub positive: Vec<u32>,
    /// What should not, beside the positives of the batch's other anchors.
    pub negatives: Vec<Vec<u32>>,
}

/// A BERT-shaped encoder with pooling in F32, to be trained. All its weights are.
#[derive(Clone, Debug)]
pub struct SentenceEncoder {
    config: EncoderConfig,
    layout: Layout,
    gelu: Gelu,
    pooled: Pooled,
}

impl SentenceEncoder {
    /// The encoder of opened weights, converted to F32, whose texts' vectors are pooled by `pooling` and
    /// scaled to length 1.
    ///
    /// # Errors
    /// `ValidationException` naming what the architecture has that is not trained; `ModelErrorException`
    /// where a tensor is missing or of another shape.
    pub fn load(checkpoint: &Checkpoint, pooling: PoolingMode) -> Result<Self> {
        let ModelSource::HuggingFace { config, .. } = checkpoint.config() else {
            let path = checkpoint.path().display();
            let expected = "training starts from a folder with config.json and safetensors";
            return Err(Error::validation(format!("{path}: {expected}, got GGUF")));
        };
        let config = EncoderConfig::from_json(config).map_err(|detail| {
            let path = checkpoint.path().display();
            Error::validation(format!(
                "{path}: {detail}; no other embedding model can be trained yet"
            ))
        })?;
        let (gelu, pooled) = check(&config, pooling)?;
        Ok(Self {
            layout: Layout::read(&config, checkpoint)?,
            config,
            gelu,
            pooled,
        })
    }

    /// The architecture.
    pub fn config(&self) -> &EncoderConfig {
        &self.config
    }

    /// The weights, all of which are trained.
    pub fn parameters(&self) -> &Parameters {
        &self.layout.parameters
    }

    /// The vectors of texts, of length 1, `(texts, hidden)`.
    ///
    /// # Errors
    /// `ValidationException` for an id that the vocabulary does not hold, or a text that is empty or
    /// longer than the model takes.
    pub fn embed(&self, pool: &Pool, texts: &[&[u32]], room: &mut EncoderRoom) -> Result<Vec<f32>> {
        self.check_texts(texts)?;
        self.forward(pool, texts, room);
        Ok(room.kept.vectors.clone())
    }

    fn check_texts(&self, texts: &[&[u32]]) -> Result<()> {
        let (words, most) = (self.config.vocabulary, self.config.context_length);
        for text in texts {
            if let Some(id) = text.iter().find(|id| **id as usize >= words) {
                let message = format!("token id {id}: the model has {words} words");
                return Err(Error::validation(message));
            }
            if !(1..=most).contains(&text.len()) {
                let got = text.len();
                return Err(Error::validation(format!(
                    "training data: expected texts of 1..={most} tokens, got one of {got}"
                )));
            }
        }
        Ok(())
    }
}

/// Refuses what has no way back yet, and gives the MLP's and the pooling's form.
fn check(config: &EncoderConfig, pooling: PoolingMode) -> Result<(Gelu, Pooled)> {
    let refuse = |what: &str| {
        let family = &config.architecture;
        Err(Error::validation(format!(
            "{family}: {what} cannot be trained yet; expected an encoder of BERT's or RoBERTa's shape"
        )))
    };
    let biases = config.biases;
    let has_all = biases.qkv && biases.attention_output && biases.up && biases.down && biases.norm;
    if config.norm_order != NormOrder::Post || config.gated || !has_all || config.types == 0 {
        return refuse("its layers");
    }
    if matches!(config.positions, Positions::Rotary) {
        return refuse("its positions");
    }
    let gelu = match config.activation {
        Activation::Gelu => Gelu::Exact,
        Activation::GeluTanh => Gelu::Tanh,
        _ => return refuse("its activation"),
    };
    match pooling {
        PoolingMode::Mean => Ok((gelu, Pooled::Mean)),
        PoolingMode::Cls => Ok((gelu, Pooled::First)),
        other => refuse(&format!("pooling by {other:?}")),
    }
}
