//! A decoder as a trainer moves it: the examples of a step are packed into passes.

use outcrop_api::{Error, Result};
use outcrop_inference::Checkpoint;
use outcrop_tensor::Pool;

use super::{Decoder, DropoutKey, Room};
use crate::batch::Batch;
use crate::dataset::Example;
use crate::export::NamedFile;
use crate::memory::MemoryPlan;
use crate::options::TrainingOptions;
use crate::parameters::Parameters;
use crate::trainable::{StepLoss, Trainable};

impl Trainable for Decoder {
    type Example = Example;
    type Room = Room;

    fn prepare(
        &mut self,
        options: &TrainingOptions,
        examples: [&[Example]; 2],
        available: Option<u64>,
    ) -> Result<Room> {
        if let Some(low_rank) = &options.low_rank {
            self.add_low_rank(low_rank.clone(), options.seed)?;
        }
        let lengths = examples.into_iter().flatten().map(|e| e.ids.len());
        let longest = lengths.max().unwrap_or(0);
        let context = self.config.context_length;
        if longest > context {
            return Err(Error::validation(format!(
                "training data: expected examples of at most {context} tokens, got one of {longest}"
            )));
        }
        let plan = MemoryPlan::new(self, options, longest, available)?;
        Ok(Room::new(plan.recompute, options.precision))
    }

    fn trained_parameters(&self) -> &Parameters {
        self.trained_parameters()
    }

    fn trained_values(&mut self) -> &mut [f32] {
        self.trained_values()
    }

    fn step(
        &self,
        pool: &Pool,
        examples: &[&Example],
        (options, step): (&TrainingOptions, usize),
        gradients: &mut [f32],
        room: &mut Room,
    ) -> Result<StepLoss> {
        let passes = passes(examples, options.pass_tokens);
        let learned: usize = passes.iter().map(Batch::learned).sum();
        let scale = 1.0 / learned.max(1) as f32;
        let mut sum = 0.0;
        for (part, batch) in (0..).zip(&passes) {
            let key = DropoutKey {
                seed: options.seed,
                step: step as u64,
                part,
            };
            sum += self.loss_and_gradients(pool, batch, (scale, Some(key)), gradients, room)?;
        }
        Ok(StepLoss {
            loss: sum / learned.max(1) as f64,
            tokens: passes.iter().map(|batch| batch.ids.len()).sum(),
        })
    }

    fn evaluate(
        &self,
        pool: &Pool,
        examples: &[Example],
        options: &TrainingOptions,
        room: &mut Room,
    ) -> Result<f64> {
        let all: Vec<&Example> = examples.iter().collect();
        let (mut sum, mut learned) = (0.0, 0);
        for batch in passes(&all, options.pass_tokens) {
            learned += batch.learned();
            sum += self.loss(pool, &batch, room)?;
        }
        Ok(sum / learned.max(1) as f64)
    }

    fn files(&self, pool: &Pool, base: &Checkpoint) -> Vec<NamedFile> {
        self.model_files(pool, base)
    }

    fn adapter(&self, base: &str) -> Option<Vec<NamedFile>> {
        self.adapter_files(base)
    }

    fn digest(Example { ids, learned }: &Example, add: &mut dyn FnMut(u64)) {
        add(ids.len() as u64);
        ids.iter().for_each(|id| add(u64::from(*id)));
        learned
            .iter()
            .for_each(|range| add((range.start ^ range.end << 32) as u64));
    }
}

/// Packs examples, in their order, into passes of up to `tokens`.
fn passes(examples: &[&Example], tokens: usize) -> Vec<Batch> {
    let mut passes: Vec<Batch> = Vec::new();
    for example in examples {
        let fits = |batch: &&mut Batch| batch.ids.len() + example.ids.len() <= tokens;
        if passes.last_mut().filter(fits).is_none() {
            passes.push(Batch::default());
        }
        if let Some(batch) = passes.last_mut() {
            batch.push(&example.ids, |position| example.is_learned(position));
        }
    }
    passes
}
