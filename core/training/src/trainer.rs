//! Training step by step: the order of the examples, passes, the optimiser, evaluation.
//!
//! A trainer is a function of its model, examples, options and the number of steps made: nothing of
//! it depends on time, threads or what else the machine does. What it is at any step can be written
//! down and taken up again ([`Trainer::checkpoint`]).

use outcrop_api::{Error, Result};
use outcrop_tensor::Pool;
use serde::{Deserialize, Serialize};

use crate::decoder::Decoder;
use crate::optimizer::{AdamW, AdamWOptions};
use crate::options::TrainingOptions;
use crate::random::Random;
use crate::schedule::Schedule;
use crate::trainable::{StepLoss, Trainable};

/// What a step was.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct StepMetrics {
    /// The step's number, from 1.
    pub step: usize,
    /// The epoch that it is of, from 1.
    pub epoch: usize,
    /// Mean loss of the tokens that it learned, before it.
    pub loss: f64,
    /// The learning rate.
    pub learning_rate: f32,
    /// The norm of its gradients, before they were clipped.
    pub gradient_norm: f64,
    /// Tokens that went through the model.
    pub tokens: usize,
    /// Mean loss of the validation examples after it, where they were evaluated.
    pub validation_loss: Option<f64>,
}

/// How far training is.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize)]
pub(crate) struct Progress {
    pub step: usize,
    pub best: Option<f64>,
    /// Evaluations since the best.
    pub worse: usize,
    pub is_stopped: bool,
}

/// A model in training: a decoder, unless another is named.
#[derive(Debug)]
pub struct Trainer<M: Trainable = Decoder> {
    pub(crate) model: M,
    pub(crate) optimizer: AdamW,
    pub(crate) options: TrainingOptions,
    pub(crate) progress: Progress,
    /// The weights of the best evaluation, where training may stop early.
    pub(crate) best: Option<Vec<f32>>,
    pub(crate) examples: Vec<M::Example>,
    validation: Vec<M::Example>,
    /// An epoch and the order of its examples.
    order: Option<(usize, Vec<usize>)>,
    gradients: Vec<f32>,
    room: M::Room,
}

impl<M: Trainable> Trainer<M> {
    /// A trainer at its first step. `available` is the memory that it may use, in bytes, beside what
    /// the model holds; none: any.
    ///
    /// # Errors
    /// `ValidationException` for options that cannot be followed, for no examples, for an early stop
    /// without validation examples, for an example beyond the model's context, and where the memory
    /// does not suffice.
    pub fn new(
        mut model: M,
        options: TrainingOptions,
        (examples, validation): (Vec<M::Example>, Vec<M::Example>),
        available: Option<u64>,
    ) -> Result<Self> {
        options.check()?;
        if examples.is_empty() {
            return Err(Error::validation(
                "training data: expected an example, got none",
            ));
        }
        if options.early_stopping.is_some() && validation.is_empty() {
            return Err(Error::validation(
                "early_stopping: expected validation examples, got none",
            ));
        }
        let room = model.prepare(&options, [&examples, &validation], available)?;
        let count = model.trained_parameters().values.len();
        let clip = options.max_gradient_norm;
        let optimizer = AdamWOptions {
            weight_decay: options.weight_decay,
            clip: (clip > 0.0).then_some(clip),
            ..AdamWOptions::default()
        };
        Ok(Self {
            optimizer: AdamW::new(optimizer, count),
            gradients: vec![0.0; count],
            room,
            progress: Progress::default(),
            best: None,
            order: None,
            model,
            options,
            examples,
            validation,
        })
    }

    /// The model as it is now.
    pub fn model(&self) -> &M {
        &self.model
    }

    /// The model at the end: with the best weights where they were kept.
    pub fn into_model(mut self) -> M {
        if let Some(best) = self.best {
            self.model.trained_values().copy_from_slice(&best);
        }
        self.model
    }

    /// All steps, if training does not stop early.
    pub fn steps(&self) -> usize {
        self.options.epochs * self.steps_of_epoch()
    }

    /// Steps made.
    pub fn step(&self) -> usize {
        self.progress.step
    }

    /// Whether all steps are made, or it stopped early.
    pub fn is_done(&self) -> bool {
        self.progress.is_stopped || self.progress.step >= self.steps()
    }

    fn steps_of_epoch(&self) -> usize {
        self.examples.len().div_ceil(self.options.batch_size)
    }

    /// The examples of step `step`, counted from 0: each epoch in an order of its own.
    fn examples_of(&mut self, step: usize) -> Vec<usize> {
        let (epoch, within) = (step / self.steps_of_epoch(), step % self.steps_of_epoch());
        let order = match self.order.take() {
            Some((own, order)) if own == epoch => order,
            _ => {
                let mut order: Vec<usize> = (0..self.examples.len()).collect();
                Random::of_parts(self.options.seed, &[epoch as u64]).shuffle(&mut order);
                order
            }
        };
        let first = within * self.options.batch_size;
        let chosen = order[first..order.len().min(first + self.options.batch_size)].to_vec();
        self.order = Some((epoch, order));
        chosen
    }

    /// Makes one step.
    ///
    /// # Errors
    /// `ModelErrorException` where the loss is no number any more; `ValidationException` for a token
    /// that the model does not have.
    pub fn advance(&mut self, pool: &Pool) -> Result<StepMetrics> {
        let step = self.progress.step;
        let chosen = self.examples_of(step);
        let chosen: Vec<&M::Example> = chosen.iter().map(|i| &self.examples[*i]).collect();
        pool.run_chunks(&mut self.gradients, 1 << 15, |_, part| part.fill(0.0));
        let (gradients, room) = (&mut self.gradients, &mut self.room);
        let at = (&self.options, step);
        let StepLoss { loss, tokens } = self.model.step(pool, &chosen, at, gradients, room)?;
        if !loss.is_finite() {
            return Err(Error::model(format!(
                "training went astray at step {}: its loss is {loss}; expected a lower learning_rate \
                 than {}",
                step + 1,
                self.options.learning_rate
            )));
        }
        let learning_rate = self.schedule().at(step);
        let weights = self.model.trained_values();
        let norm = self
            .optimizer
            .step(pool, weights, &self.gradients, learning_rate);
        self.progress.step += 1;
        Ok(StepMetrics {
            step: step + 1,
            epoch: step / self.steps_of_epoch() + 1,
            loss,
            learning_rate,
            gradient_norm: norm,
            tokens,
            validation_loss: self.evaluate_if_due(pool)?,
        })
    }

    fn schedule(&self) -> Schedule {
        Schedule {
            learning_rate: self.options.learning_rate,
            warmup_steps: self.options.warmup_steps,
            steps: self.steps(),
            decay: self.options.decay,
        }
    }

    fn evaluate_if_due(&mut self, pool: &Pool) -> Result<Option<f64>> {
        let every = self.options.evaluate_every.unwrap_or(self.steps_of_epoch());
        let step = self.progress.step;
        let is_due = step.is_multiple_of(every) || step == self.steps();
        if self.validation.is_empty() || !is_due {
            return Ok(None);
        }
        let loss = self.evaluate(pool)?;
        if let Some(stopping) = self.options.early_stopping {
            let is_better = self
                .progress
                .best
                .is_none_or(|best| loss < best - stopping.threshold);
            if is_better {
                self.progress.best = Some(loss);
                self.progress.worse = 0;
                let values = &self.model.trained_parameters().values;
                self.best.get_or_insert_default().clone_from(values);
            } else {
                self.progress.worse += 1;
                self.progress.is_stopped = self.progress.worse >= stopping.patience;
            }
        }
        Ok(Some(loss))
    }

    /// The mean loss of the validation examples; 0 where there are none.
    ///
    /// # Errors
    /// As [`Trainer::advance`].
    pub fn evaluate(&mut self, pool: &Pool) -> Result<f64> {
        let room = &mut self.room;
        self.model
            .evaluate(pool, &self.validation, &self.options, room)
    }
}
