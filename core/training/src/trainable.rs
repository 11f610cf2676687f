//! What a trainer can move: a model with the gradient of a step.

use std::fmt::Debug;

use outcrop_api::Result;
use outcrop_inference::Checkpoint;
use outcrop_tensor::Pool;

use crate::export::NamedFile;
use crate::options::TrainingOptions;
use crate::parameters::Parameters;

/// What the examples of a step gave.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct StepLoss {
    /// Their mean loss.
    pub loss: f64,
    /// Tokens that went through the model.
    pub tokens: usize,
}

/// A model that is trained on examples.
pub trait Trainable {
    /// What it learns from.
    type Example: Debug;
    /// Room that passes use again.
    type Room: Debug;

    /// Makes it ready for `options` and its examples, within `available` bytes beyond what it holds.
    ///
    /// # Errors
    /// `ValidationException` for what cannot be followed, and where the memory does not suffice.
    fn prepare(
        &mut self,
        options: &TrainingOptions,
        examples: [&[Self::Example]; 2],
        available: Option<u64>,
    ) -> Result<Self::Room>;

    /// The weights that are trained.
    fn trained_parameters(&self) -> &Parameters;

    /// The weights that are trained, to be moved.
    fn trained_values(&mut self) -> &mut [f32];

    /// Adds to `gradients` those of the mean loss of step `step`'s examples.
    ///
    /// # Errors
    /// `ValidationException` for a token that the model does not have.
    fn step(
        &self,
        pool: &Pool,
        examples: &[&Self::Example],
        at: (&TrainingOptions, usize),
        gradients: &mut [f32],
        room: &mut Self::Room,
    ) -> Result<StepLoss>;

    /// The mean loss of examples; 0 where there are none.
    ///
    /// # Errors
    /// As [`Trainable::step`].
    fn evaluate(
        &self,
        pool: &Pool,
        examples: &[Self::Example],
        options: &TrainingOptions,
        room: &mut Self::Room,
    ) -> Result<f64>;

    /// The files of the trained model, the configuration first. What else a folder holds, the tokenizer
    /// above all, is the base's own.
    fn files(&self, pool: &Pool, base: &Checkpoint) -> Vec<NamedFile>;

    /// The files of its adapter in PEFT's layout, `base` being the base model's name there; none where
    /// it has no adapter.
    fn adapter(&self, base: &str) -> Option<Vec<NamedFile>>;

    /// Hands numbers to `add` by which an example differs from others.
    fn digest(example: &Self::Example, add: &mut dyn FnMut(u64));
}
