//! One request on its way through the engine: its tokens and its pages.

mod advance;
mod choices;
mod event;
mod generation;

use std::borrow::Cow;
use std::sync::Arc;

use outcrop_api::{Result, Scheduling, Speculation, StopReason};

use crate::backlog::Backlog;
use crate::block_pool::{BlockTable, PAGE_TOKENS};
use crate::cache_account::CacheAccount;
use crate::lora::Adapter;
use crate::prefix_index::Scope;
use crate::step::Wanted;
use crate::turn::Turn;

pub(crate) use advance::Given;
pub(crate) use event::{Events, SequenceEvent};
pub(crate) use generation::Generation;

/// Rows of one step, of all prompts together, whose every logit is wanted: bounds the room that they
/// take.
pub(crate) const MAX_LOGIT_ROWS: usize = 64;

/// Tokens guessed ahead at first.
const FIRST_LOOKAHEAD: usize = 4;
/// Most tokens guessed ahead.
pub(crate) const MOST_LOOKAHEAD: usize = 8;

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
        self.tokens.truncate(length);
        self.guesses.extend(guessed);
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
}
