//! Batches whatever is in flight: decoding sequences beside chunks of prompts, step after step.

use std::sync::Arc;

use outcrop_api::{Result, StopReason};

use crate::block_pool::{BlockPool, BlockTable, PAGE_TOKENS};
use crate::inbox::{Inbox, stopped};
use crate::prefix_index::Scope;
use crate::sequence::Sequence;
use crate::statistics::EngineStatistics;
use crate::step::{Rows, StepModel};
use crate::step_plan::StepPlanner;

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
    /// The more urgent first, then by arrival.
    running: Vec<Sequence>,
    /// What is counted since the start.
    statistics: EngineStatistics,
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
    pub fn new(model: M, inbox: Arc<Inbox>, blocks: BlockPool, limits: StepLimits) -> Self {
        let scheduler = Self {
            model,
            inbox,
            blocks,
            limits,
            planner: StepPlanner::default(),
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
            self.admit();
            self.turn_anew();
            if !self.running.is_empty() {
                self.step();
            }
        }
        for sequence in self.running {
            sequence.end(Err(stopped()));
        }
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
            if let Err(sequence) = self.place(sequence) {
                return self.inbox.put_back(*sequence, self.running.len());
            }
        }
    }

    /// Finds pages for all that is pending of `sequence`, and gives it back where there are too few.
    fn place(&mut self, mut sequence: Sequence) -> std::result::Result<(), Box<Sequence>> {
        sequence.scope = Scope {
            adapter: sequence.adapter.as_ref().map(|adapter| adapter.identity()),
            rope: self.model.rope_class(sequence.rope_length()),
        };
        loop {
            self.reuse(&mut sequence);
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
                return Err(Box::new(sequence));
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
            if let Err(sequence) = self.place(sequence) {
                self.inbox.put_back(*sequence, self.running.len());
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
        }
        sequence.blocks = table;
        sequence.reuse(known);
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
        let mut counts = self.planner.plan(&self.running, self.limits.step_tokens);
        self.make_room(&mut counts);
        self.statistics.steps += 1;
        let steps = self.statistics.steps;
        let planned = || {
            let counted = self.running.iter().zip(&counts);
            counted.filter(|(_, count)| **count > 0)
        };
        let rows: Vec<Rows<'_>> = planned()
            .map(|(sequence, &count)| Rows {
                tokens: &sequence.pending()[..count],
                position: sequence.position(),
                pages: sequence.blocks.pages(),
                rope_length: sequence.rope_length(),
                wanted: sequence.wanted(count),
                adapter: sequence.adapter.as_deref(),
            })
            .collect();
        let wanted: Vec<usize> = rows.iter().map(Rows::wanted_count).collect();
        let inbox = &self.inbox;
        let is_awaited = |s: &Sequence| !s.is_cancelled() && s.turn.timeout().is_none();
        let keep_going =
            || !inbox.is_closed() && planned().any(|(sequence, _)| is_awaited(sequence));
        let vocab = self.model.vocab_size();
        let mut ended: Vec<Option<Result<StopReason>>> =
            self.running.iter().map(|_| None).collect();
        if let Some(logits) = self.model.step(&rows, &keep_going) {
            drop(rows);
            let mut logits = logits;
            let mut wanted = wanted.into_iter();
            for (index, count) in counts
                .into_iter()
                .enumerate()
                .filter(|(_, count)| *count > 0)
            {
                let (own, rest) = logits.split_at(wanted.next().unwrap_or(0) * vocab);
                logits = rest;
                let sequence = &mut self.running[index];
                sequence.last_step = steps;
                ended[index] = sequence.advance(count, own);
                remember(&mut self.blocks, sequence, false);
            }
        }
        self.release(ended);
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
        let mut last_events = Vec::new();
        for (mut sequence, last) in std::mem::take(&mut self.running).into_iter().zip(ended) {
            let last = last.or_else(|| sequence.turn.timeout().map(Err));
            if last.is_none() && !sequence.is_cancelled() {
                self.running.push(sequence);
                continue;
            }
            self.statistics.cache_read_tokens += sequence.account.read_tokens() as u64;
            remember(&mut self.blocks, &mut sequence, true);
            self.blocks.release(std::mem::take(&mut sequence.blocks));
            last_events.extend(last.map(|last| (sequence, last)));
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
            ..self.statistics
        });
    }

    /// Checks that every page is accounted for.
    ///
    /// # Errors
    /// What is wrong.
    fn check(&self) -> std::result::Result<(), String> {
        let tables = self.running.iter().map(|sequence| &sequence.blocks);
        self.blocks.check(tables)
    }
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
