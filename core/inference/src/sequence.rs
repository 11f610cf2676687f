//! One request on its way through the engine: its tokens, its pages, and what becomes of its logits.

use std::collections::VecDeque;
use std::sync::Arc;

use outcrop_api::{Result, StopReason, TokenLogprobs, Usage};
use tokio::sync::mpsc::UnboundedSender;

use crate::block_pool::BlockTable;
use crate::detokenizer::Detokenizer;
use crate::grammar::Constraint;
use crate::logprobs::{logprob, token_logprobs};
use crate::lora::Adapter;
use crate::sampler::{Sampler, SamplerScratch};
use crate::step::Wanted;
use crate::stop::StopBuffer;

/// Rows of one step whose every logit is wanted: bounds the room that they take.
const MAX_LOGIT_ROWS: usize = 32;

/// What a sequence tells its caller. After [`SequenceEvent::Done`] or an error nothing follows.
#[derive(Debug)]
pub(crate) enum SequenceEvent {
    /// A token was chosen.
    Token(u32),
    /// Log-probabilities of the token that was chosen.
    Logprobs(TokenLogprobs),
    /// Text is certain to be part of the output.
    Text(String),
    /// Logits of further positions, `(positions, vocabulary)`.
    Logits(Vec<f32>),
    /// Log-probabilities of further tokens of the text that is scored.
    Scores(Vec<f32>),
    /// The sequence ended by itself.
    Done {
        /// Why.
        stop_reason: StopReason,
        /// Tokens read and made.
        usage: Usage,
    },
}

/// Where a sequence's events go. A caller that dropped its end has cancelled.
pub(crate) type Events = UnboundedSender<Result<SequenceEvent>>;

/// One request in the engine.
pub(crate) struct Sequence {
    /// The prompt, and behind it the output so far.
    tokens: Vec<u32>,
    prompt: usize,
    /// Tokens whose keys and values are in the cache.
    computed: usize,
    rope_length: usize,
    task: Task,
    events: Events,
    /// What changes the weights for this sequence; it lives as long.
    pub adapter: Option<Arc<Adapter>>,
    /// The sequence's pages, once it is admitted.
    pub blocks: BlockTable,
}

/// What the logits are for.
enum Task {
    Generate(Box<Generation>),
    Logits,
    Score(Score),
}

/// What is to be scored: the tokens behind the sequence's own, of which the first stands at `first`.
struct Score {
    targets: Vec<u32>,
    /// Position in the text, at least 1.
    first: usize,
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
    /// The token that follows `tokens` by its `logits`, with log-probabilities where they are asked
    /// for. What the constraint forces behind it stands in `forced`.
    fn choose(&mut self, logits: &[f32], tokens: &[u32]) -> Result<(u32, Option<TokenLogprobs>)> {
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
    fn is_complete(&self) -> bool {
        let constraint = self.constraint.as_ref();
        self.forced.is_empty() && constraint.is_some_and(|constraint| constraint.is_complete())
    }
}

impl Sequence {
    /// A sequence that continues `prompt`, which is not empty.
    pub fn generate(prompt: Vec<u32>, generation: Generation, events: Events) -> Self {
        Self::new(prompt, Task::Generate(Box::new(generation)), events)
    }

    /// A sequence that gives the logits at each position of `prompt`, which is not empty.
    pub fn logits(prompt: Vec<u32>, events: Events) -> Self {
        Self::new(prompt, Task::Logits, events)
    }

    /// A sequence that gives the log-probabilities of the tokens of `text` from position `first`
    /// (at least 1 and within it) on.
    pub fn score(mut text: Vec<u32>, first: usize, events: Events) -> Self {
        let targets = text[first..].to_vec();
        // What follows the last token is not asked for.
        text.pop();
        Self::new(text, Task::Score(Score { targets, first }), events)
    }

    fn new(tokens: Vec<u32>, task: Task, events: Events) -> Self {
        Self {
            prompt: tokens.len(),
            rope_length: tokens.len(),
            tokens,
            computed: 0,
            task,
            events,
            adapter: None,
            blocks: BlockTable::default(),
        }
    }

    /// Takes the tokens that the output must begin with. Gives the last event when that was all.
    pub fn begin(&mut self) -> Option<Result<SequenceEvent>> {
        self.take_forced().map(|reason| Ok(self.done(reason)))
    }

    /// The sequence with its weights changed by `adapter`.
    pub fn with_adapter(mut self, adapter: Option<Arc<Adapter>>) -> Self {
        self.adapter = adapter;
        self
    }

    /// Tokens whose keys and values the cache must hold in the worst case.
    pub fn worst_case(&self) -> usize {
        match &self.task {
            Task::Generate(generation) => self.prompt + generation.max_tokens,
            Task::Logits | Task::Score(_) => self.prompt,
        }
    }

    /// Whether nobody waits for the events any more.
    pub fn is_cancelled(&self) -> bool {
        self.events.is_closed()
    }

    /// Position of the first token that is to be computed next.
    pub fn position(&self) -> usize {
        self.computed
    }

    /// The length that its rotary embedding is chosen by.
    pub fn rope_length(&self) -> usize {
        self.rope_length
    }

    /// The tokens that are to be computed: one in decoding, the rest of the prompt in prefill.
    pub fn pending(&self) -> &[u32] {
        &self.tokens[self.computed..]
    }

    /// Which logits a step over the next `count` pending tokens must give.
    pub fn wanted(&self, count: usize) -> Wanted {
        let end = self.computed + count;
        match &self.task {
            Task::Logits => Wanted::All,
            Task::Score(score) if end >= score.first => Wanted::All,
            Task::Generate(_) if end == self.tokens.len() => Wanted::Last,
            Task::Generate(_) | Task::Score(_) => Wanted::None,
        }
    }

    /// How many of `room` tokens a step may take of it, so that the logits that it gives stay few.
    pub fn most(&self, room: usize) -> usize {
        let unscored = match &self.task {
            Task::Generate(_) => return room,
            Task::Logits => 0,
            Task::Score(score) => (score.first - 1).saturating_sub(self.computed),
        };
        room.min(if unscored > 0 {
            unscored
        } else {
            MAX_LOGIT_ROWS
        })
    }

    /// Takes in a step over the next `count` pending tokens with the `logits` that it gave. Gives
    /// the last event when the sequence has ended, for [`Sequence::end`].
    pub fn advance(&mut self, count: usize, logits: &[f32]) -> Option<Result<SequenceEvent>> {
        let start = self.computed;
        self.computed += count;
        match &mut self.task {
            Task::Logits => {
                send(&self.events, SequenceEvent::Logits(logits.to_vec()));
                (self.computed == self.prompt).then(|| Ok(self.done(StopReason::EndTurn)))
            }
            Task::Score(_) if logits.is_empty() => None,
            Task::Score(score) => match score.logprobs(start + 1, logits, count) {
                Ok(logprobs) => {
                    send(&self.events, SequenceEvent::Scores(logprobs));
                    (self.computed == self.prompt).then(|| Ok(self.done(StopReason::EndTurn)))
                }
                Err(error) => Some(Err(error)),
            },
            Task::Generate(_) if logits.is_empty() => None,
            Task::Generate(generation) => match generation.choose(logits, &self.tokens) {
                Ok((id, logprobs)) => {
                    let reason = self.take(id, logprobs).or_else(|| self.take_forced());
                    reason.map(|reason| Ok(self.done(reason)))
                }
                Err(error) => Some(Err(error)),
            },
        }
    }

    /// Appends the tokens that the constraint leaves no choice about: the model computes them
    /// together with the next step. Says why the sequence has ended, when it has.
    ///
    /// Where log-probabilities are asked for, each waits for its own row of logits.
    fn take_forced(&mut self) -> Option<StopReason> {
        while let Task::Generate(generation) = &mut self.task {
            if generation.logprobs.is_some() {
                return None;
            }
            let id = generation.forced.pop_front()?;
            if let Some(reason) = self.take(id, None) {
                return Some(reason);
            }
        }
        None
    }

    /// Appends the chosen token. Says why the sequence has ended, when it has.
    fn take(&mut self, id: u32, logprobs: Option<TokenLogprobs>) -> Option<StopReason> {
        self.tokens.push(id);
        let made = self.tokens.len() - self.prompt;
        let Task::Generate(generation) = &mut self.task else {
            return None;
        };
        send(&self.events, SequenceEvent::Token(id));
        if let Some(logprobs) = logprobs {
            send(&self.events, SequenceEvent::Logprobs(logprobs));
        }
        let is_end = generation.end_ids.contains(&id);
        let ends = if is_end || generation.is_complete() {
            Some(StopReason::EndTurn)
        } else if made == generation.max_tokens {
            Some(StopReason::MaxTokens)
        } else {
            None
        };
        let detokenizer = &mut generation.detokenizer;
        let mut text = String::new();
        if !is_end {
            text = detokenizer.push(id);
        }
        if ends.is_some() {
            text.push_str(&detokenizer.finish());
        }
        let mut passed = generation.stop.push(&text);
        let ends = if passed.stopped {
            Some(StopReason::StopSequence)
        } else {
            ends
        };
        if ends.is_some() && !passed.stopped {
            passed.text.push_str(&generation.stop.finish());
        }
        if !passed.text.is_empty() {
            send(&self.events, SequenceEvent::Text(passed.text));
        }
        ends
    }

    /// The event of a sequence that ended by itself.
    fn done(&self, stop_reason: StopReason) -> SequenceEvent {
        SequenceEvent::Done {
            stop_reason,
            usage: Usage::new(self.prompt, self.tokens.len() - self.prompt),
        }
    }

    /// Sends the last event.
    pub fn end(self, last: Result<SequenceEvent>) {
        // A caller that has gone needs none.
        let _ = self.events.send(last);
    }
}

impl Score {
    /// Log-probabilities of the `count` tokens from `position` on, by a row of `logits` each.
    fn logprobs(&self, position: usize, logits: &[f32], count: usize) -> Result<Vec<f32>> {
        let rows = logits.chunks_exact(logits.len() / count);
        let targets = &self.targets[position - self.first..];
        rows.zip(targets)
            .map(|(row, &id)| logprob(row, id))
            .collect()
    }
}

/// Sends an event; a caller that has gone is noticed by [`Sequence::is_cancelled`].
fn send(events: &Events, event: SequenceEvent) {
    let _ = events.send(Ok(event));
}
