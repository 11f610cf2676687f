//! An encoder as a trainer moves it: the examples of a step are each other's negatives.

use outcrop_api::{Error, Result};
use outcrop_inference::Checkpoint;
use outcrop_tensor::Pool;

use super::{EncoderRoom, Pair, SentenceEncoder};
use crate::export::{NamedFile, encoder_files};
use crate::layers::contrastive::Pairs;
use crate::options::TrainingOptions;
use crate::parameters::Parameters;
use crate::trainable::{StepLoss, Trainable};

/// The texts of a step: anchors, positives, negatives.
struct Texts<'a> {
    all: Vec<&'a [u32]>,
    anchors: usize,
    /// See [`Pairs::excluded`].
    excluded: Vec<(usize, usize)>,
}

impl<'a> Texts<'a> {
    fn of(pairs: &[&'a Pair]) -> Self {
        let anchors = pairs.iter().map(|pair| &pair.anchor[..]);
        let positives = pairs.iter().map(|pair| &pair.positive[..]);
        let negatives = pairs.iter().flat_map(|pair| pair.negatives.iter());
        let candidates: Vec<&[u32]> = positives.chain(negatives.map(|ids| &ids[..])).collect();
        let mut excluded = Vec::new();
        for (anchor, pair) in pairs.iter().enumerate() {
            let same = candidates.iter().enumerate();
            let same = same.filter(|(other, ids)| *other != anchor && **ids == pair.positive);
            excluded.extend(same.map(|(other, _)| (anchor, other)));
        }
        Self {
            all: anchors.chain(candidates).collect(),
            anchors: pairs.len(),
            excluded,
        }
    }

    fn tokens(&self) -> usize {
        self.all.iter().map(|ids| ids.len()).sum()
    }
}

impl SentenceEncoder {
    /// The sum of the losses of `pairs`; with `gradients`, those of the losses multiplied by the scale
    /// are added to them.
    ///
    /// # Errors
    /// `ValidationException` for a token that the model does not have.
    pub fn loss(
        &self,
        pool: &Pool,
        (pairs, temperature): (&[&Pair], f32),
        gradients: Option<(f32, &mut [f32])>,
        room: &mut EncoderRoom,
    ) -> Result<f64> {
        let texts = Texts::of(pairs);
        self.check_texts(&texts.all)?;
        self.forward(pool, &texts.all, room);
        let losses = Pairs {
            vectors: &room.kept.vectors,
            width: self.config.hidden,
            anchors: texts.anchors,
            temperature,
            excluded: &texts.excluded,
        };
        let Some((scale, gradients)) = gradients else {
            return Ok(losses.loss(pool, 1.0, None));
        };
        room.vectors_gradient.resize(room.kept.vectors.len(), 0.0);
        let loss = losses.loss(pool, scale, Some(&mut room.vectors_gradient));
        self.backward(pool, gradients, room);
        Ok(loss)
    }

    /// Bytes that a step with `tokens` tokens takes beyond the weights.
    fn bytes(&self, tokens: usize, keeps_best: bool) -> u64 {
        let (hidden, inner) = (self.config.hidden, self.config.intermediate);
        let of_layer = 8 * hidden + inner + self.config.heads;
        let of_pass = 9 * hidden + inner;
        let weights = self.layout.parameters.values.len() * (3 + usize::from(keeps_best));
        4 * (weights + tokens * (self.config.layers.len() * of_layer + of_pass)) as u64
    }
}

impl Trainable for SentenceEncoder {
    type Example = Pair;
    type Room = EncoderRoom;

    fn prepare(
        &mut self,
        options: &TrainingOptions,
        examples: [&[Pair]; 2],
        available: Option<u64>,
    ) -> Result<EncoderRoom> {
        if options.low_rank.is_some() {
            return Err(Error::validation(
                "method: expected full for an embedding model, got lora",
            ));
        }
        if options.batch_size < 2 && examples[0].iter().all(|pair| pair.negatives.is_empty()) {
            return Err(Error::validation(
                "batch_size: expected at least 2, as the examples of a step are each other's negatives, \
                 got 1",
            ));
        }
        let mut counts: Vec<usize> = Vec::new();
        for pair in examples.into_iter().flatten() {
            let texts = Texts::of(&[pair]);
            self.check_texts(&texts.all)?;
            counts.push(texts.tokens());
        }
        // The largest examples may all be of one step.
        counts.sort_unstable_by(|a, b| b.cmp(a));
        let tokens = counts.iter().take(options.batch_size).sum();
        let needed = self.bytes(tokens, options.early_stopping.is_some());
        match available {
            Some(available) if needed > available => Err(Error::validation(format!(
                "training needs about {} MiB for a step of {tokens} tokens, and {} MiB are free: expected \
                 a smaller batch_size, or shorter texts",
                needed >> 20,
                available >> 20
            ))),
            _ => Ok(EncoderRoom::new(options.precision)),
        }
    }

    fn trained_parameters(&self) -> &Parameters {
        self.parameters()
    }

    fn trained_values(&mut self) -> &mut [f32] {
        &mut self.layout.parameters.values
    }

    fn step(
        &self,
        pool: &Pool,
        examples: &[&Pair],
        (options, _): (&TrainingOptions, usize),
        gradients: &mut [f32],
        room: &mut EncoderRoom,
    ) -> Result<StepLoss> {
        let count = examples.len().max(1);
        let back = Some((1.0 / count as f32, gradients));
        let sum = self.loss(pool, (examples, options.temperature), back, room)?;
        Ok(StepLoss {
            loss: sum / count as f64,
            tokens: Texts::of(examples).tokens(),
        })
    }

    fn evaluate(
        &self,
        pool: &Pool,
        examples: &[Pair],
        options: &TrainingOptions,
        room: &mut EncoderRoom,
    ) -> Result<f64> {
        let all: Vec<&Pair> = examples.iter().collect();
        let mut sum = 0.0;
        for batch in all.chunks(options.batch_size) {
            sum += self.loss(pool, (batch, options.temperature), None, room)?;
        }
        Ok(sum / all.len().max(1) as f64)
    }

    fn files(&self, _: &Pool, base: &Checkpoint) -> Vec<NamedFile> {
        encoder_files(self.parameters(), base)
    }

    fn adapter(&self, _: &str) -> Option<Vec<NamedFile>> {
        None
    }

    fn digest(pair: &Pair, add: &mut dyn FnMut(u64)) {
        let texts = [&pair.anchor, &pair.positive];
        for ids in texts.into_iter().chain(&pair.negatives) {
            add(ids.len() as u64);
            ids.iter().for_each(|id| add(u64::from(*id)));
        }
    }
}
