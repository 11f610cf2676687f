//! What a training job is told.

use outcrop_api::{Error, Result};
use serde::{Deserialize, Serialize};

use crate::decoder::LowRankOptions;
use crate::schedule::Decay;

/// When to stop because the validation loss no longer falls.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct EarlyStopping {
    /// How much lower the loss must be to count as better.
    pub threshold: f64,
    /// Evaluations without a better loss before the job stops.
    pub patience: usize,
}

/// What the numbers of a job's products are rounded to before they are multiplied.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Precision {
    /// Not at all.
    #[default]
    Float32,
    /// Eight bits of mantissa, summed in F32. Weights, the optimiser, norms, softmax and the loss stay
    /// in F32 (arXiv:1710.03740).
    Bfloat16,
}

impl Precision {
    fn is_default(&self) -> bool {
        *self == Self::default()
    }

    /// As the products name it.
    pub(crate) fn of_products(self) -> outcrop_tensor::Precision {
        match self {
            Self::Float32 => outcrop_tensor::Precision::Float32,
            Self::Bfloat16 => outcrop_tensor::Precision::Bfloat16,
        }
    }
}

/// What a training job is told.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct TrainingOptions {
    /// The adapter that is trained; none: all weights are.
    pub low_rank: Option<LowRankOptions>,
    /// Times that all examples are seen (3).
    pub epochs: usize,
    /// Examples of a step (8).
    pub batch_size: usize,
    /// The highest learning rate (1e-4).
    pub learning_rate: f32,
    /// Steps before it is reached (0).
    pub warmup_steps: usize,
    /// How it falls then.
    pub decay: Decay,
    /// Decoupled decay of the trained weights (0.01).
    pub weight_decay: f32,
    /// The largest norm of a step's gradients (1); 0 for any.
    pub max_gradient_norm: f32,
    /// Of the order of the examples, the adapter's start and what is dropped (0).
    pub seed: u64,
    /// Tokens that go through the model at a time, unless one example is longer: a step's gradients
    /// are summed over as many passes as it takes (4096).
    pub pass_tokens: usize,
    /// Steps between evaluations of the validation examples; none: at the end of each epoch.
    pub evaluate_every: Option<usize>,
    /// When to stop early; the best weights are kept then.
    pub early_stopping: Option<EarlyStopping>,
    /// Compute layers anew on the way back, for less memory; none: where it would not fit otherwise.
    pub recompute: Option<bool>,
    /// What products are computed in (F32). The default is not written, so that checkpoints of jobs
    /// before there was a choice go on.
    #[serde(skip_serializing_if = "Precision::is_default")]
    pub precision: Precision,
    /// What cosines are divided by where an embedding model is trained: the lower, the more the nearest
    /// wrong text counts (0.05). The default is not written either.
    #[serde(skip_serializing_if = "is_usual")]
    pub temperature: f32,
}

/// The temperature where nothing is said.
const TEMPERATURE: f32 = 0.05;

fn is_usual(temperature: &f32) -> bool {
    *temperature == TEMPERATURE
}

impl Default for TrainingOptions {
    fn default() -> Self {
        Self {
            low_rank: None,
            epochs: 3,
            batch_size: 8,
            learning_rate: 1e-4,
            warmup_steps: 0,
            decay: Decay::default(),
            weight_decay: 0.01,
            max_gradient_norm: 1.0,
            seed: 0,
            pass_tokens: 4096,
            evaluate_every: None,
            early_stopping: None,
            recompute: None,
            precision: Precision::default(),
            temperature: TEMPERATURE,
        }
    }
}

impl TrainingOptions {
    /// Refuses what cannot be followed.
    ///
    /// # Errors
    /// `ValidationException` naming the option, its value and what was expected.
    pub fn check(&self) -> Result<()> {
        let counts = [
            ("epochs", self.epochs),
            ("batch_size", self.batch_size),
            ("pass_tokens", self.pass_tokens),
            ("evaluate_every", self.evaluate_every.unwrap_or(1)),
            (
                "early_stopping.patience",
                self.early_stopping.map_or(1, |e| e.patience),
            ),
        ];
        if let Some((name, _)) = counts.iter().find(|(_, count)| *count == 0) {
            return Err(Error::validation(format!(
                "{name}: expected at least 1, got 0"
            )));
        }
        if !(self.learning_rate > 0.0 && self.learning_rate.is_finite()) {
            let got = self.learning_rate;
            return Err(Error::validation(format!(
                "learning_rate: expected above 0, got {got}"
            )));
        }
        if !(self.temperature > 0.0 && self.temperature.is_finite()) {
            let got = self.temperature;
            return Err(Error::validation(format!(
                "temperature: expected above 0, got {got}"
            )));
        }
        let threshold = self.early_stopping.map_or(0.0, |e| e.threshold as f32);
        let amounts = [
            ("weight_decay", self.weight_decay),
            ("max_gradient_norm", self.max_gradient_norm),
            ("early_stopping.threshold", threshold),
        ];
        match amounts
            .iter()
            .find(|(_, value)| !(*value >= 0.0 && value.is_finite()))
        {
            Some((name, got)) => Err(Error::validation(format!(
                "{name}: expected 0 or more, got {got}"
            ))),
            None => Ok(()),
        }
    }
}
