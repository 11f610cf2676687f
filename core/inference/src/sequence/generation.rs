//! The state of a text that is being generated, and how its next token is chosen.

use std::collections::VecDeque;
use std::sync::Arc;

use outcrop_api::{Error, Result, TokenLogprobs};

use crate::detokenizer::Detokenizer;
use crate::grammar::Constraint;
use crate::logprobs::token_logprobs;
use crate::sampler::{Sampler, SamplerScratch};
use crate::step::ChosenToken;
use crate::stop::StopBuffer;

/// What a step gives for a row whose token is to be chosen.
#[derive(Clone, Copy)]
pub(crate) enum Row<'a> {
    /// One logit a token of the vocabulary.
    Logits(&'a [f32]),
    /// The token that the model chose.
    Chosen(&'a ChosenToken),
}

/// The state of a text that is being generated.
pub(crate) struct Generation {
    /// How tokens are chosen.
    pub sampler: Sampler,
    /// Room for the sampler.
    pub scratch: SamplerScratch,
    /// Tokens to whole characters.
    pub detokenizer: Detokenizer,
    /// Where the text ends.
    pub stop: StopBuffer,
    /// Ids that end the model's turn.
    pub end_ids: Arc<[u32]>,
    /// Most tokens to generate.
    pub max_tokens: usize,
    /// How many of the most likely tokens stand beside each chosen one. `None`: no log-probabilities.
    pub logprobs: Option<usize>,
    /// What the output must look like, where it must.
    pub constraint: Option<Box<Constraint>>,
    /// The next tokens, where the constraint leaves no choice about them.
    pub forced: VecDeque<u32>,
}

impl Generation {
    /// The token that follows `tokens`, by its row of logits or as the model chose it, with
    /// log-probabilities where they are asked for. What the constraint forces behind it stands in
    /// `forced`.
    pub(super) fn choose(
        &mut self,
        row: Row<'_>,
        tokens: &[u32],
    ) -> Result<(u32, Option<TokenLogprobs>)> {
        let id = match (self.forced.pop_front(), row) {
            (Some(id), _) => id,
            (None, Row::Logits(logits)) => self.sample(logits, tokens)?,
            (None, Row::Chosen(chosen)) => {
                let id = chosen.id.ok_or_else(no_numbers)?;
                self.follow(id)?;
                id
            }
        };
        let logprobs = match (self.logprobs, row) {
            (None, _) => None,
            (Some(top), Row::Logits(logits)) => Some(token_logprobs(logits, id, top)?),
            (Some(_), Row::Chosen(chosen)) => Some(chosen.logprobs.clone().ok_or_else(no_numbers)?),
        };
        Ok((id, logprobs))
    }

    fn sample(&mut self, logits: &[f32], tokens: &[u32]) -> Result<u32> {
        let (sampler, scratch) = (&self.sampler, &mut self.scratch);
        let allowed = self.constraint.as_ref().map(|own| own.allowed());
        let id = sampler.sample(logits, tokens, allowed, scratch)?;
        self.follow(id)?;
        Ok(id)
    }

    /// Takes `id` into the constraint, where there is one and the turn goes on.
    fn follow(&mut self, id: u32) -> Result<()> {
        if let Some(constraint) = &mut self.constraint
            && !self.end_ids.contains(&id)
        {
            self.forced.extend(constraint.commit(id)?);
        }
        Ok(())
    }

    /// Whether the constraint is met and lets nothing more follow.
    pub(super) fn is_complete(&self) -> bool {
        let constraint = self.constraint.as_ref();
        self.forced.is_empty() && constraint.is_some_and(|constraint| constraint.is_complete())
    }
}

fn no_numbers() -> Error {
    Error::model("logits: expected finite numbers, got others")
}
