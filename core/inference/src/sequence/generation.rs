//! The state of a text that is being generated, and how its next token is chosen.

use std::collections::VecDeque;
use std::sync::Arc;

use outcrop_api::{Result, TokenLogprobs};

use crate::detokenizer::Detokenizer;
use crate::grammar::Constraint;
use crate::logprobs::token_logprobs;
use crate::sampler::{Sampler, SamplerScratch};
use crate::stop::StopBuffer;

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
    /// The token that follows `tokens` by its `logits`, with log-probabilities where they are asked
    /// for. What the constraint forces behind it stands in `forced`.
    pub(super) fn choose(
        &mut self,
        logits: &[f32],
        tokens: &[u32],
    ) -> Result<(u32, Option<TokenLogprobs>)> {
        let id = match self.forced.pop_front() {
            Some(id) => id,
            None => self.sample(logits, tokens)?,
        };
        let logprobs = self.logprobs.map(|top| token_logprobs(logits, id, top));
        Ok((id, logprobs.transpose()?))
    }

    fn sample(&mut self, logits: &[f32], tokens: &[u32]) -> Result<u32> {
        let (sampler, scratch) = (&self.sampler, &mut self.scratch);
        let Some(constraint) = &mut self.constraint else {
            return sampler.sample(logits, tokens, None, scratch);
        };
        let id = sampler.sample(logits, tokens, Some(constraint.allowed()), scratch)?;
        if !self.end_ids.contains(&id) {
            self.forced.extend(constraint.commit(id)?);
        }
        Ok(id)
    }

    /// Whether the constraint is met and lets nothing more follow.
    pub(super) fn is_complete(&self) -> bool {
        let constraint = self.constraint.as_ref();
        self.forced.is_empty() && constraint.is_some_and(|constraint| constraint.is_complete())
    }
}
