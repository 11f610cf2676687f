//! One request on its way through the engine: its tokens, its pages, and what becomes of its logits.

use std::borrow::Cow;
use std::collections::VecDeque;
use std::sync::Arc;

use outcrop_api::{Result, Scheduling, Speculation, StopReason, TokenLogprobs, Usage};
use tokio::sync::mpsc::UnboundedSender;

use crate::backlog::Backlog;
use crate::block_pool::{BlockTable, PAGE_TOKENS};
use crate::cache_account::CacheAccount;
use crate::detokenizer::Detokenizer;
use crate::grammar::Constraint;
use crate::logprobs::{logprob, token_logprobs};
use crate::lora::Adapter;
use crate::prefix_index::Scope;
use crate::sampler::{Sampler, SamplerScratch};
use crate::step::Wanted;
use crate::stop::StopBuffer;
use crate::turn::Turn;

/// Rows of one step, of all prompts together, whose every logit is wanted: bounds the room that they
/// take.
pub(crate) const MAX_LOGIT_ROWS: usize = 64;

/// Tokens guessed ahead at first.
const FIRST_LOOKAHEAD: usize = 4;
/// Most tokens guessed ahead.
pub(crate) const MOST_LOOKAHEAD: usize = 8;

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
    /// Positions whose logits were given out, where each position's are wanted.
    given: usize,
    task: Task,
    events: Events,
    /// None where its reader does not count: it then waits for none.
    backlog: Option<Backlog>,
    /// What changes the weights for this sequence; it lives as long.
    pub adapter: Option<Arc<Adapter>>,
    /// The sequence's pages, once it is admitted.
    pub blocks: BlockTable,
    /// What its keys and values depend on beside its tokens, once it is admitted.
    pub scope: Scope,
    /// Whether it waits for its reader.
    pub is_paused: bool,
    /// Its place in the queue.
    pub turn: Turn,
    /// The number of the step that last took some of it.
    pub last_step: u64,
    /// How its tokens are guessed ahead.
    pub speculation: Speculation,
    /// The tokens guessed for the next step.
    pub guesses: Vec<u32>,
    /// How many may be guessed before its positions would be turned otherwise.
    pub guess_room: usize,
    /// How many are guessed next: more where they came true.
    lookahead: usize,
    /// Tokens whose keys and values are in the draft model's cache.
    pub draft_computed: usize,
    /// Where the prompt's keys and values came from.
    pub account: CacheAccount,
}

/// What the logits are for.
enum Task {
    Generate(Box<Generation>),
    Logits,
    Score(Score),
    /// None: the keys and values are to stay, by this number.
    Prefix(u64),
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
        let (targets, rope_length) = (text[first..].to_vec(), text.len());
        // What follows the last token is not asked for.
        text.pop();
        Self {
            rope_length,
            ..Self::new(text, Task::Score(Score { targets, first }), events)
        }
    }

    /// A sequence that computes the keys and values of `ids`, which are not empty, to be held by
    /// `number`.
    pub fn prefix(ids: Vec<u32>, number: u64, events: Events) -> Self {
        Self::new(ids, Task::Prefix(number), events)
    }

    /// The number that its pages are to be held by at its end.
    pub fn pin(&self) -> Option<u64> {
        match self.task {
            Task::Prefix(number) => Some(number),
            _ => None,
        }
    }

    fn new(tokens: Vec<u32>, task: Task, events: Events) -> Self {
        Self {
            prompt: tokens.len(),
            rope_length: tokens.len(),
            account: CacheAccount::new(tokens.len()),
            tokens,
            computed: 0,
            given: 0,
            task,
            events,
            backlog: None,
            adapter: None,
            blocks: BlockTable::default(),
            scope: Scope::default(),
            is_paused: false,
            turn: Turn::new(Scheduling::default()),
            speculation: Speculation::Off,
            guesses: Vec::new(),
            guess_room: MOST_LOOKAHEAD,
            lookahead: FIRST_LOOKAHEAD,
            draft_computed: 0,
            last_step: 0,
        }
    }

    /// The sequence with its tokens guessed ahead so.
    pub fn with_speculation(mut self, speculation: Speculation) -> Self {
        self.speculation = speculation;
        self
    }

    /// The sequence with its place in the queue.
    pub fn scheduled(mut self, scheduling: Scheduling) -> Self {
        self.turn = Turn::new(scheduling);
        self
    }

    /// Takes the tokens that the output must begin with. Says why it ends when that was all.
    pub fn begin(&mut self) -> Option<Result<StopReason>> {
        self.take_forced().map(Ok)
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
            Task::Logits | Task::Score(_) | Task::Prefix(_) => self.prompt,
        }
    }

    /// The events that its reader has not taken yet, counted from the first call on: its reader
    /// counts those that it takes.
    pub fn count_backlog(&mut self) -> Backlog {
        self.backlog.get_or_insert_default().clone()
    }

    /// Whether it is to wait for its reader.
    pub fn is_ahead(&self) -> bool {
        self.backlog.as_ref().is_some_and(Backlog::is_full)
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

    /// Takes in that its positions are turned for another length from now on.
    pub fn set_rope_length(&mut self, rope_length: usize) {
        self.rope_length = rope_length;
    }

    /// The tokens that are to be computed: one in decoding (several where a constraint left no
    /// choice), the rest of the prompt in prefill.
    pub fn pending(&self) -> &[u32] {
        &self.tokens[self.computed..]
    }

    /// All tokens so far.
    pub fn tokens(&self) -> &[u32] {
        &self.tokens
    }

    /// The tokens whose keys and values are in the cache, and in the draft model's where it has one.
    pub fn computed_tokens(&self) -> &[u32] {
        match self.speculation {
            Speculation::Draft => &self.tokens[..self.computed.min(self.draft_computed)],
            Speculation::Off | Speculation::PromptLookup => &self.tokens[..self.computed],
        }
    }

    /// The next `count` pending tokens, with the guesses behind the last.
    pub fn next_tokens(&self, count: usize) -> Cow<'_, [u32]> {
        let pending = &self.pending()[..count];
        if self.guesses.is_empty() {
            return pending.into();
        }
        [pending, &self.guesses].concat().into()
    }

    /// How many tokens may be guessed: so many that all can be taken.
    pub fn most_guesses(&self) -> usize {
        match &self.task {
            Task::Generate(generation) if generation.forced.is_empty() => {
                let room = self.worst_case().saturating_sub(self.tokens.len() + 1);
                self.lookahead.min(room).min(self.guess_room)
            }
            _ => 0,
        }
    }

    /// Guesses the token behind the guesses by the draft model's `logits`: what its own sampler
    /// would take there.
    pub fn guess(&mut self, logits: &[f32]) {
        let Task::Generate(generation) = &mut self.task else {
            return;
        };
        let length = self.tokens.len();
        self.tokens.extend(&self.guesses);
        let (sampler, scratch) = (&generation.sampler, &mut generation.scratch);
        // A draft model that breaks down guesses nothing.
        let guessed = sampler.sample(logits, &self.tokens, None, scratch);
        self.guesses.extend(guessed);
        self.tokens.truncate(length);
    }

    /// Whether a step of a few tokens makes another one.
    pub fn is_decoding(&self) -> bool {
        let pending = self.pending().len();
        pending == 1 || self.computed >= self.prompt && pending <= PAGE_TOKENS
    }

    /// The first position whose logits are still wanted.
    fn first_wanted(&self) -> usize {
        match &self.task {
            Task::Generate(_) => self.tokens.len() - 1,
            Task::Prefix(_) => self.tokens.len(),
            Task::Logits => self.given,
            Task::Score(score) => self.given.max(score.first - 1),
        }
    }

    /// How many tokens may be taken from the prefix cache, where only keys and values are.
    pub fn most_reusable(&self) -> usize {
        // The last is always computed.
        self.first_wanted().min(self.tokens.len() - 1)
    }

    /// Takes in that the values of the first `known` tokens are there.
    pub fn reuse(&mut self, known: usize) {
        self.computed = self.computed.max(known);
        self.draft_computed = self.draft_computed.max(known);
    }

    /// Takes in that its pages are gone: all its tokens are to be computed again.
    pub fn restart(&mut self) {
        self.computed = 0;
        self.draft_computed = 0;
    }

    /// Which logits a step over the next `count` pending tokens must give.
    pub fn wanted(&self, count: usize) -> Wanted {
        let end = self.computed + count;
        match &self.task {
            _ if end <= self.first_wanted() => Wanted::None,
            Task::Generate(_) if self.guesses.is_empty() => Wanted::Last,
            Task::Generate(_) => Wanted::LastRows(1 + self.guesses.len()),
            Task::Logits | Task::Score(_) | Task::Prefix(_) => Wanted::All,
        }
    }

    /// Whether the next of its prompt's tokens each give a row of logits.
    pub fn gives_rows(&self) -> bool {
        !matches!(self.task, Task::Generate(_)) && self.computed >= self.first_wanted()
    }

    /// How many of `room` tokens a step may take of it: those that give rows of logits not together
    /// with those before them, that give none.
    pub fn most(&self, room: usize) -> usize {
        if matches!(self.task, Task::Generate(_) | Task::Prefix(_)) {
            return room;
        }
        match self.first_wanted().saturating_sub(self.computed) {
            0 => room,
            unwanted => room.min(unwanted),
        }
    }

    /// Takes in a step over the next `count` pending tokens with the `logits` that it gave. Says why
    /// the sequence has ended, when it has, for [`Sequence::end`].
    pub fn advance(&mut self, count: usize, logits: &[f32]) -> Option<Result<StopReason>> {
        let start = self.computed;
        self.computed += count;
        if start < self.prompt {
            self.account.read(start);
            self.account.compute(start, self.computed);
        }
        if logits.is_empty() {
            let is_done = self.pin().is_some() && self.computed == self.prompt;
            return is_done.then_some(Ok(StopReason::EndTurn));
        }
        match &mut self.task {
            Task::Logits => send(
                (&self.events, &self.backlog),
                SequenceEvent::Logits(logits.to_vec()),
            ),
            Task::Score(score) => match score.logprobs(start + 1, logits, count) {
                Ok(logprobs) => send(
                    (&self.events, &self.backlog),
                    SequenceEvent::Scores(logprobs),
                ),
                Err(error) => return Some(Err(error)),
            },
            Task::Generate(_) => return self.take_chosen(logits),
            Task::Prefix(_) => {}
        }
        self.given = self.computed;
        (self.computed == self.prompt).then_some(Ok(StopReason::EndTurn))
    }

    /// Takes the tokens that the rows of `logits` give: the last pending token's, and those of the
    /// guesses for as long as these are what is chosen.
    fn take_chosen(&mut self, logits: &[f32]) -> Option<Result<StopReason>> {
        let guesses = std::mem::take(&mut self.guesses);
        let start = self.computed;
        let rows: Vec<&[f32]> = logits
            .chunks_exact(logits.len() / (1 + guesses.len()))
            .collect();
        let mut reason = None;
        while reason.is_none() && self.computed == self.tokens.len() {
            let Task::Generate(generation) = &mut self.task else {
                break;
            };
            let chosen = generation.choose(rows[self.computed - start], &self.tokens);
            let (id, logprobs) = match chosen {
                Ok(chosen) => chosen,
                Err(error) => return Some(Err(error)),
            };
            reason = self.take(id, logprobs).or_else(|| self.take_forced());
            let taken = self.tokens[self.computed..].iter();
            let came_true = taken.zip(&guesses[self.computed - start..]);
            self.computed += came_true.take_while(|(a, b)| a == b).count();
        }
        let came_true = self.computed - start;
        if came_true < guesses.len() {
            self.lookahead = (came_true + 1).max(2);
        } else if came_true > 0 {
            self.lookahead = (2 * self.lookahead).min(MOST_LOOKAHEAD);
        }
        if self.draft_computed == start {
            // The draft model has computed all guesses but the last.
            let ahead = start + guesses.len().saturating_sub(1);
            self.draft_computed = ahead.min(self.computed);
        }
        reason.map(Ok)
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
        send((&self.events, &self.backlog), SequenceEvent::Token(id));
        if let Some(logprobs) = logprobs {
            send(
                (&self.events, &self.backlog),
                SequenceEvent::Logprobs(logprobs),
            );
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
            send(
                (&self.events, &self.backlog),
                SequenceEvent::Text(passed.text),
            );
        }
        ends
    }

    /// Sends the last event: why it ended by itself, or what ended it.
    pub fn end(self, last: Result<StopReason>) {
        let usage = Usage {
            cache_read_input_tokens: self.account.read_tokens(),
            cache_write_input_tokens: self.account.written_tokens(),
            ..Usage::new(self.prompt, self.tokens.len() - self.prompt)
        };
        let done = |stop_reason| SequenceEvent::Done { stop_reason, usage };
        if let Some(backlog) = &self.backlog {
            backlog.sent();
        }
        // A caller that has gone needs none.
        let _ = self.events.send(last.map(done));
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
fn send((events, backlog): (&Events, &Option<Backlog>), event: SequenceEvent) {
    if let Some(backlog) = backlog {
        backlog.sent();
    }
    let _ = events.send(Ok(event));
}
