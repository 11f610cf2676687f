//! One step of a model over rows of several sequences: the seam between scheduler and decoder.

use std::borrow::Cow;

use outcrop_api::{Result, TokenLogprobs};

use crate::lora::Adapter;
use crate::sampler::Draw;

/// Consecutive tokens of one sequence in a step.
#[derive(Clone, Copy, Debug)]
pub struct Rows<'a> {
    /// The tokens, at least one.
    pub tokens: &'a [u32],
    /// Position of the first.
    pub position: usize,
    /// The sequence's pages in the cache, in order: they reach to the last token.
    pub pages: &'a [u32],
    /// The length that the sequence's rotary embedding is chosen by, where that depends on one: the
    /// tokens known when its keys began to be computed. The same for all of a sequence's rows.
    pub rope_length: usize,
    /// Which logits are wanted.
    pub wanted: Wanted,
    /// What changes the weights for these rows.
    pub adapter: Option<&'a Adapter>,
}

/// Which of its rows' logits a sequence wants.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Wanted {
    /// None: more of the prompt follows.
    None,
    /// The last row's.
    Last,
    /// The last rows', so many.
    LastRows(usize),
    /// Every row's.
    All,
}

impl Rows<'_> {
    /// How many rows of logits are wanted.
    pub fn wanted_count(&self) -> usize {
        match self.wanted {
            Wanted::None => 0,
            Wanted::Last => 1,
            Wanted::LastRows(count) => count.min(self.tokens.len()),
            Wanted::All => self.tokens.len(),
        }
    }
}

/// How the token behind a wanted row is chosen, by a model that chooses itself.
#[derive(Clone, Debug)]
pub(crate) struct Choice<'a> {
    /// Which of the step's wanted rows.
    pub row: usize,
    /// The sampler's numbers there.
    pub draw: Draw,
    /// The tokens so far; empty where the draw does not ask for them.
    pub tokens: Cow<'a, [u32]>,
    /// The tokens that may be chosen, as [`crate::sampler::Sampler::sample`] takes them; `None`: all.
    pub allowed: Option<Cow<'a, [u32]>>,
    /// The token, where there is no choice.
    pub given: Option<u32>,
    /// How many of the most likely tokens stand beside it with their log-probabilities. `None`: no
    /// log-probabilities are asked for.
    pub logprobs: Option<usize>,
}

/// A token that a model chose.
#[derive(Clone, Debug, Default)]
pub(crate) struct ChosenToken {
    /// `None`: the logits are no finite numbers.
    pub id: Option<u32>,
    /// Where they were asked for and the logits are numbers.
    pub logprobs: Option<TokenLogprobs>,
}

/// What is asked of a step beside its rows.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Asked<'a> {
    /// The tokens to choose, in the order of their rows; none of a model that does not choose.
    pub choices: &'a [Choice<'a>],
    /// Whether the logits are asked for.
    pub logits: bool,
}

/// What a step made.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Made<'a> {
    /// `(wanted rows, vocabulary)`; empty where they were not asked for.
    pub logits: &'a [f32],
    /// A token a choice.
    pub chosen: &'a [ChosenToken],
}

/// A model with its cache, as the scheduler drives it.
pub(crate) trait StepModel: Send {
    /// Number of tokens that a row of logits ranges over.
    fn vocab_size(&self) -> usize;

    /// A number that two sequences of these rope lengths share only where their positions are turned
    /// alike.
    fn rope_class(&self, rope_length: usize) -> usize;

    /// The rope length that a sequence of `tokens` tokens must have which began with `current`: where
    /// it is another, all its keys and values are to be computed anew.
    fn rope_length(&self, current: usize, _tokens: usize) -> usize {
        current
    }

    /// Computes `rows` and gives the wanted logits, `(wanted rows, vocabulary)` in their order.
    ///
    /// `None` where `keep_going`, which is asked between layers, said no: then the same rows may be
    /// computed again.
    ///
    /// # Errors
    /// What the device that computes fails with: the rows are not computed, the model goes on.
    fn step(&mut self, rows: &[Rows<'_>], keep_going: &dyn Fn() -> bool) -> Result<Option<&[f32]>>;

    /// Whether it chooses tokens itself: their logits then stay where it computes.
    fn chooses(&self) -> bool {
        false
    }

    /// As [`StepModel::step`], and chooses the tokens that are asked for.
    fn step_and_choose(
        &mut self,
        rows: &[Rows<'_>],
        _asked: Asked<'_>,
        keep_going: &dyn Fn() -> bool,
    ) -> Result<Option<Made<'_>>> {
        let made = |logits| Made {
            logits,
            chosen: &[],
        };
        Ok(self.step(rows, keep_going)?.map(made))
    }

    /// The bytes of a page of the cache, at the end of `out`.
    fn read_page(&self, page: u32, out: &mut Vec<u8>);

    /// Number of bytes of a page.
    fn page_bytes(&self) -> usize;

    /// Fills a page of the cache with its bytes.
    fn write_page(&mut self, page: u32, bytes: &[u8]);

    /// Copies a page of the cache to another.
    fn copy_page(&mut self, from: u32, to: u32);
}
