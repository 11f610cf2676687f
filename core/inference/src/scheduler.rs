//! Batches whatever is in flight: decoding sequences beside chunks of prompts, step after step.

use std::borrow::Cow;
use std::sync::Arc;

use outcrop_api::{Error, ErrorKind, Result, Speculation, StopReason};

use crate::block_pool::{BlockPool, BlockTable, PAGE_TOKENS};
use crate::inbox::{Command, Inbox, stopped};
use crate::pins::Pins;
use crate::prefix::Saved;
use crate::prefix_index::Scope;
use crate::sequence::{Given, MOST_LOOKAHEAD, Sequence};
use crate::speculation::Speculator;
use crate::statistics::EngineStatistics;
use crate::step::{Asked, Choice, Made, Rows, StepModel};
use crate::step_plan::StepPlanner;

/// Most tokens of a step that are guesses: beyond it their rows cost more than they save.
const MOST_GUESSES: usize = 32;

/// Bounds of a step.
#[derive(Clone, Copy, Debug)]
pub(crate) struct StepLimits {
    /// Most sequences in flight.
    pub max_batch: usize,
    /// Most tokens of one step.
    pub step_tokens: usize,
}

/// The loop that drives a model; it owns every sequence in flight.
///
/// Pages are taken as sequences grow. Where none is left, the last in order gives its own up and
/// waits again: what it has is computed anew later, to the same bytes. The first in order never has
/// to, so there is always one that comes to its end.
pub(crate) struct Scheduler<M> {
    model: M,
    inbox: Arc<Inbox>,
    blocks: BlockPool,
    limits: StepLimits,
    planner: StepPlanner,
    speculator: Speculator,
    pins: Pins,
    /// The more urgent first, then by arrival.
    running: Vec<Sequence>,
    /// What is counted since the start.
    statistics: EngineStatistics,
}

/// A sequence that was not admitted.
enum Refusal {
    /// There is no room now.
    Waits(Box<Sequence>),
    /// There will be none while what is held is held.
    Ends(Box<Sequence>, Error),
}

/// Closes the inbox however the scheduler ends, by a panic too: callers hear of it and none hangs.
struct CloseOnExit(Arc<Inbox>);

impl Drop for CloseOnExit {
    fn drop(&mut self) {
        self.0.close();
    }
}

impl<M: StepModel> Scheduler<M> {
    /// A scheduler of what comes through `inbox`, with the pages of `blocks`.
    pub fn new(
        model: M,
        speculator: Speculator,
        inbox: Arc<Inbox>,
        blocks: BlockPool,
        limits: StepLimits,
    ) -> Self {
        let scheduler = Self {
            model,
            inbox,
            blocks,
            limits,
            planner: StepPlanner::default(),
            speculator,
            pins: Pins::default(),
            running: Vec::new(),
            statistics: EngineStatistics::default(),
        };
        scheduler.publish();
        scheduler
    }

    /// Runs until the inbox is closed.
    pub fn run(mut self) {
        let _closes = CloseOnExit(self.inbox.clone());
        while self.inbox.wait(self.running.len()) {
            for command in self.inbox.take_commands() {
                self.obey(command);
            }
            self.admit();
            self.turn_anew();
            match self.mark_paused() {
                true => self.pause(),
                false if !self.running.is_empty() => self.step(),
                false => {}
            }
        }
        for sequence in self.running {
            sequence.end(Err(stopped()));
        }
    }

    /// Does what was asked.
    fn obey(&mut self, command: Command) {
        // Who asked and has gone needs no answer.
        match command {
            Command::Unpin(number) => self.pins.release(number, &mut self.blocks),
            Command::Save(number, answer) => {
                let mut bytes = Vec::new();
                for &page in self.pins.get(number).map_or(&[][..], BlockTable::pages) {
                    self.model.read_page(page, &mut bytes);
                }
                let _ = answer.send(Ok(bytes));
            }
            Command::Restore(saved, answer) => {
                let _ = answer.send(self.restore(&saved));
            }
        }
        self.publish();
    }

    /// Writes a saved prefix to pages of its own and holds them.
    fn restore(&mut self, saved: &Saved) -> Result<()> {
        let (size, count) = (
            self.model.page_bytes(),
            saved.ids.len().div_ceil(PAGE_TOKENS),
        );
        if saved.pages.len() != size * count {
            let (got, tokens) = (saved.pages.len(), saved.ids.len());
            return Err(Error::validation(format!(
                "prefix: expected {} bytes for {tokens} tokens, got {got}",
                size * count
            )));
        }
        let Some(mut table) = self.blocks.allocate(saved.ids.len()) else {
            let available = self.blocks.available();
            return Err(Error::new(
                ErrorKind::ServiceQuotaExceededException,
                format!(
                    "kv_tokens: expected room for {} tokens, got {available} without an owner",
                    saved.ids.len()
                ),
            ));
        };
        for (&page, bytes) in table.pages().iter().zip(saved.pages.chunks_exact(size)) {
            self.model.write_page(page, bytes);
        }
        self.blocks.index(saved.scope, &mut table, &saved.ids, true);
        self.pins
            .hold(saved.number, table, &self.running, &mut self.blocks)
    }

    /// Admits the waiting sequences that there is room for, in turn.
    fn admit(&mut self) {
        loop {
            let is_full = self.running.len() >= self.limits.max_batch;
            // In a full batch only those find a place who are more urgent than the last.
            let last = self.running.last().filter(|_| is_full);
            let least = last.map(|s| s.turn.priority.saturating_add(1));
            let Some(sequence) = self.inbox.next(&self.running, least) else {
                return;
            };
            if is_full {
                self.preempt_last();
            }
            match self.place(sequence) {
                Ok(()) => {}
                Err(Refusal::Waits(sequence)) => {
                    return self.inbox.put_back(*sequence, self.running.len());
                }
                Err(Refusal::Ends(sequence, error)) => sequence.end(Err(error)),
            }
        }
    }

    /// Finds pages for all that is pending of `sequence`, and gives it back where there are too few.
    fn place(&mut self, mut sequence: Sequence) -> std::result::Result<(), Refusal> {
        sequence.scope = Scope {
            adapter: sequence.adapter.as_ref().map(|adapter| adapter.identity()),
            rope: self.model.rope_class(sequence.rope_length()),
            draft: sequence.speculation == Speculation::Draft,
        };
        loop {
            self.reuse(&mut sequence);
            if let Err(error) = self.pins.check_room(&sequence, &self.blocks) {
                self.give_up(&mut sequence);
                return Err(Refusal::Ends(Box::new(sequence), error));
            }
            let pending = sequence.position() + sequence.pending().len() + 1;
            let wanted = pending.min(sequence.worst_case()).div_ceil(PAGE_TOKENS);
            let more = wanted.saturating_sub(sequence.blocks.pages().len());
            // Who runs may want a page soon.
            if more + self.running.len() <= self.blocks.available_pages() || self.running.is_empty()
            {
                break;
            }
            self.give_up(&mut sequence);
            let is_last = |last: &&Sequence| last.turn.priority < sequence.turn.priority;
            if self.running.last().filter(is_last).is_none() {
                return Err(Refusal::Waits(Box::new(sequence)));
            }
            self.preempt_last();
        }
        let before = |other: &Sequence| other.turn.is_before(&sequence.turn);
        let place = self.running.partition_point(before);
        self.running.insert(place, sequence);
        Ok(())
    }

    /// Lets sequences that have outgrown their rotary embedding be computed anew by another one.
    fn turn_anew(&mut self) {
        let mut index = 0;
        while let Some(sequence) = self.running.get(index) {
            let current = sequence.rope_length();
            let length = self.model.rope_length(current, sequence.tokens().len());
            if length == current {
                index += 1;
                continue;
            }
            let mut sequence = self.running.remove(index);
            self.give_up(&mut sequence);
            sequence.set_rope_length(length);
            match self.place(sequence) {
                Ok(()) => {}
                Err(Refusal::Waits(sequence)) => {
                    self.inbox.put_back(*sequence, self.running.len());
                }
                Err(Refusal::Ends(sequence, error)) => sequence.end(Err(error)),
            }
            // Others may have moved.
            index = 0;
        }
    }

    /// Takes what the prefix cache knows of the sequence's next tokens.
    fn reuse(&mut self, sequence: &mut Sequence) {
        if sequence.position() < sequence.blocks.capacity() {
            return;
        }
        let most = sequence.most_reusable();
        let mut table = std::mem::take(&mut sequence.blocks);
        let scope = sequence.scope;
        let (known, copy) = self
            .blocks
            .extend(scope, &mut table, sequence.tokens(), most);
        if let Some(copy) = copy {
            self.model.copy_page(copy.from, copy.to);
            self.speculator.copy_page(copy.from, copy.to);
        }
        sequence.blocks = table;
        sequence.reuse(known);
    }

    /// Lets sequences wait whose readers are behind. Where others wait for a place they go on, so
    /// that theirs comes free. Whether all of them wait.
    fn mark_paused(&mut self) -> bool {
        let may_pause = !self.inbox.has_waiting();
        for sequence in &mut self.running {
            sequence.is_paused = may_pause && sequence.is_ahead();
        }
        !self.running.is_empty() && self.running.iter().all(|sequence| sequence.is_paused)
    }

    /// Lets go of those that were left, and sleeps for a moment.
    fn pause(&mut self) {
        let ended = self.running.iter().map(|_| None).collect();
        self.release(ended);
        self.inbox.pause();
    }

    /// Computes one step, hands out its logits and lets go of what has ended.
    fn step(&mut self) {
        for index in 0..self.running.len() {
            if !self.running[index].is_decoding() {
                let mut sequence = self.running.remove(index);
                self.reuse(&mut sequence);
                self.running.insert(index, sequence);
            }
        }
        let budget = self.limits.step_tokens;
        let mut counts = self.planner.plan(&self.running, budget);
        self.make_room(&mut counts);
        self.bound_guesses();
        let left = budget - counts.iter().sum::<usize>();
        let inbox = self.inbox.clone();
        let is_open = || !inbox.is_closed();
        let room = (&mut self.blocks, &is_open as &dyn Fn() -> bool);
        self.speculator
            .guess(&mut self.running, &counts, left.min(MOST_GUESSES), room);
        self.statistics.steps += 1;
        let ended = self.compute(&counts);
        self.release(ended);
    }

    /// Keeps guesses from going beyond where a sequence outgrows its rotary embedding.
    fn bound_guesses(&mut self) {
        for sequence in &mut self.running {
            let (current, tokens) = (sequence.rope_length(), sequence.tokens().len());
            let fits = |more: &usize| self.model.rope_length(current, tokens + more) == current;
            sequence.guess_room = (0..=MOST_LOOKAHEAD).rev().find(fits).unwrap_or(0);
        }
    }

    /// Runs the model over `counts` pending tokens of each sequence and hands out its logits. Gives
    /// for each why it has ended, if it has.
    fn compute(&mut self, counts: &[usize]) -> Vec<Option<Result<StopReason>>> {
        let planned: Vec<usize> = (0..counts.len()).filter(|&i| counts[i] > 0).collect();
        let tokens: Vec<Cow<'_, [u32]>> = planned
            .iter()
            .map(|&index| self.running[index].next_tokens(counts[index]))
            .collect();
        let rows: Vec<Rows<'_>> = planned
            .iter()
            .zip(&tokens)
            .map(|(&index, tokens)| {
                let sequence = &self.running[index];
                Rows {
                    tokens,
                    position: sequence.position(),
                    pages: sequence.blocks.pages(),
                    rope_length: sequence.rope_length(),
                    wanted: sequence.wanted(counts[index]),
                    adapter: sequence.adapter.as_deref(),
                }
            })
            .collect();
        let wanted: Vec<usize> = rows.iter().map(Rows::wanted_count).collect();
        let is_awaited = |s: &Sequence| !s.is_cancelled() && s.turn.timeout().is_none();
        let (inbox, running) = (&self.inbox, &self.running);
        let keep_going =
            || !inbox.is_closed() && planned.iter().any(|&index| is_awaited(&running[index]));
        let (vocab, chooses) = (self.model.vocab_size(), self.model.chooses());
        let choices = match chooses {
            true => choices(running, &planned, &wanted),
            false => Vec::new(),
        };
        let gives_logits = |&index: &usize| !(chooses && running[index].is_choosing());
        let with_logits = planned.iter().any(gives_logits);
        let asked = Asked {
            choices: &choices,
            logits: with_logits,
        };
        let mut ended: Vec<Option<Result<StopReason>>> = running.iter().map(|_| None).collect();
        let step = self.model.step_and_choose(&rows, asked, &keep_going);
        let Made {
            mut logits,
            mut chosen,
        } = match step {
            Ok(Some(made)) => made,
            Ok(None) => return ended,
            Err(error) => {
                for index in planned {
                    let own = Error::new(error.kind(), error.message().to_owned());
                    ended[index] = Some(Err(own));
                }
                return ended;
            }
        };
        drop((choices, rows));
        drop(tokens);
        for (index, wanted) in planned.into_iter().zip(wanted) {
            let sequence = &mut self.running[index];
            let mut own = Given::Logits(&[]);
            if with_logits {
                let (first, rest) = logits.split_at(wanted * vocab);
                (own, logits) = (Given::Logits(first), rest);
            }
            if chooses && sequence.is_choosing() {
                let (first, rest) = chosen.split_at(wanted);
                (own, chosen) = (Given::Chosen(first), rest);
            }
            sequence.last_step = self.statistics.steps;
            let guessed = sequence.guesses.len();
            let whole = sequence.position() + counts[index];
            ended[index] = sequence.advance(counts[index], own);
            self.statistics.guessed_tokens += guessed as u64;
            self.statistics.accepted_tokens += (sequence.position() - whole) as u64;
            remember(&mut self.blocks, sequence, false);
        }
        ended
    }

    /// Gives each planned sequence the pages that it needs; those for which there are none wait.
    fn make_room(&mut self, counts: &mut Vec<usize>) {
        let mut index = 0;
        while index < self.running.len() {
            let sequence = &mut self.running[index];
            let end = sequence.position() + counts[index];
            if self.blocks.grow(&mut sequence.blocks, end) {
                index += 1;
            } else {
                self.preempt_last();
                counts.truncate(self.running.len());
            }
        }
    }

    /// Lets the last sequence in order wait again, without its pages.
    fn preempt_last(&mut self) {
        if let Some(mut last) = self.running.pop() {
            self.statistics.preemptions += 1;
            self.give_up(&mut last);
            self.inbox.put_back(last, self.running.len());
        }
    }

    /// Takes the sequence's pages back; what it has computed of them is known from now on.
    fn give_up(&mut self, sequence: &mut Sequence) {
        remember(&mut self.blocks, sequence, true);
        self.blocks.release(std::mem::take(&mut sequence.blocks));
        sequence.restart();
    }

    /// Lets go of the sequences that were cancelled, that are too late, or that have `ended`.
    fn release(&mut self, ended: Vec<Option<Result<StopReason>>>) {
        let (mut last_events, mut held) = (Vec::new(), Vec::new());
        for (mut sequence, last) in std::mem::take(&mut self.running).into_iter().zip(ended) {
            let last = last.or_else(|| sequence.turn.timeout().map(Err));
            if last.is_none() && !sequence.is_cancelled() {
                self.running.push(sequence);
                continue;
            }
            self.statistics.cache_read_tokens += sequence.account.read_tokens() as u64;
            remember(&mut self.blocks, &mut sequence, true);
            let table = std::mem::take(&mut sequence.blocks);
            let is_whole = matches!(last, Some(Ok(_))) && !sequence.is_cancelled();
            let last = match sequence.pin().filter(|_| is_whole) {
                None => {
                    self.blocks.release(table);
                    last
                }
                Some(number) => {
                    held.push((number, table, sequence));
                    continue;
                }
            };
            last_events.extend(last.map(|last| (sequence, last)));
        }
        for (number, table, sequence) in held {
            let holds = self
                .pins
                .hold(number, table, &self.running, &mut self.blocks);
            last_events.push((sequence, holds.map(|()| StopReason::EndTurn)));
        }
        if cfg!(any(test, debug_assertions)) {
            assert_eq!(self.check(), Ok(()), "the KV cache's pages");
        }
        // Their places are free before their callers hear of it: the next call finds one.
        self.publish();
        for (sequence, last) in last_events {
            sequence.end(last);
        }
    }

    /// Tells what can be told from outside.
    fn publish(&self) {
        let pages = self.blocks.counts();
        self.inbox.publish(EngineStatistics {
            running: self.running.len(),
            page_tokens: PAGE_TOKENS,
            pages: pages.total,
            free_pages: pages.free,
            cached_pages: pages.kept,
            pinned_pages: self.pins.pages(),
            ..self.statistics
        });
    }

    /// Checks that every page is accounted for.
    ///
    /// # Errors
    /// What is wrong.
    fn check(&self) -> std::result::Result<(), String> {
        let tables = self.running.iter().map(|sequence| &sequence.blocks);
        self.blocks.check(tables.chain(self.pins.tables()))
    }
}

/// How the tokens of those sequences are chosen that generate, `wanted` rows each of the `planned`.
fn choices<'a>(running: &'a [Sequence], planned: &[usize], wanted: &[usize]) -> Vec<Choice<'a>> {
    let (mut choices, mut row) = (Vec::new(), 0);
    for (&index, &wanted) in planned.iter().zip(wanted) {
        if wanted > 0 {
            running[index].choices(row, &mut choices);
        }
        row += wanted;
    }
    choices
}

/// Notes in the prefix cache what `sequence` has computed, at the end (`with_rest`) of its last page
/// too.
fn remember(blocks: &mut BlockPool, sequence: &mut Sequence, with_rest: bool) {
    let mut table: BlockTable = std::mem::take(&mut sequence.blocks);
    let added = blocks.index(
        sequence.scope,
        &mut table,
        sequence.computed_tokens(),
        with_rest,
    );
    sequence.blocks = table;
    for positions in added {
        sequence.account.write(positions.start, positions.end);
    }
}

#[cfg(test)]
mod tests;
