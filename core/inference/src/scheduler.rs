//! Batches whatever is in flight: decoding sequences beside chunks of prompts, step after step.

use std::sync::Arc;

use outcrop_api::Result;

use crate::block_pool::BlockPool;
use crate::inbox::{Inbox, stopped};
use crate::sequence::{Sequence, SequenceEvent};
use crate::step::{Rows, StepModel};

/// While sequences decode, prompts take this part of `prefill_chunk`, so that tokens keep coming.
const CHUNK_SHARE_BESIDE_DECODE: usize = 4;

/// Bounds of a step.
#[derive(Clone, Copy, Debug)]
pub(crate) struct StepLimits {
    /// Most sequences in flight.
    pub max_batch: usize,
    /// Most prompt tokens of one step.
    pub prefill_chunk: usize,
}

/// The loop that drives a model; it owns every sequence in flight.
pub(crate) struct Scheduler<M> {
    model: M,
    inbox: Arc<Inbox>,
    blocks: BlockPool,
    limits: StepLimits,
    running: Vec<Sequence>,
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
        Self {
            model,
            inbox,
            blocks,
            limits,
            running: Vec::new(),
        }
    }

    /// Runs until the inbox is closed.
    pub fn run(mut self) {
        let _closes = CloseOnExit(self.inbox.clone());
        while self.admit() {
            self.step();
        }
        for sequence in self.running {
            sequence.end(Err(stopped()));
        }
    }

    /// Admits waiting sequences whose worst case fits beside those in flight, in their order, so
    /// that none that runs can ever lack a page. False when the engine was closed.
    fn admit(&mut self) -> bool {
        let (blocks, max_batch) = (&mut self.blocks, self.limits.max_batch);
        self.inbox.admit(&mut self.running, |sequence, running| {
            let table = (running < max_batch)
                .then(|| blocks.allocate(sequence.worst_case()))
                .flatten();
            match table {
                Some(table) => {
                    sequence.blocks = table;
                    true
                }
                None => false,
            }
        })
    }

    /// Computes one step, hands out its logits and lets go of what has ended.
    fn step(&mut self) {
        let counts = plan(&self.running, self.limits);
        let planned = || {
            self.running
                .iter()
                .zip(&counts)
                .filter(|(_, count)| **count > 0)
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
        let keep_going =
            || !inbox.is_closed() && planned().any(|(sequence, _)| !sequence.is_cancelled());
        let vocab = self.model.vocab_size();
        let mut ended: Vec<Option<Result<SequenceEvent>>> =
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
                ended[index] = self.running[index].advance(count, own);
            }
        }
        self.release(ended);
    }

    /// Lets go of the sequences that were cancelled, or that have `ended` with a last event.
    fn release(&mut self, ended: Vec<Option<Result<SequenceEvent>>>) {
        let mut last_events = Vec::new();
        for (mut sequence, last) in std::mem::take(&mut self.running).into_iter().zip(ended) {
            if last.is_none() && !sequence.is_cancelled() {
                self.running.push(sequence);
                continue;
            }
            self.blocks.release(std::mem::take(&mut sequence.blocks));
            last_events.extend(last.map(|last| (sequence, last)));
        }
        // Their places are free before their callers hear of it: the next call finds one.
        self.inbox.set_running(self.running.len());
        for (sequence, last) in last_events {
            sequence.end(last);
        }
    }
}

/// How many pending tokens of each sequence the next step computes.
fn plan(running: &[Sequence], limits: StepLimits) -> Vec<usize> {
    let decodes = running.iter().any(|s| s.pending().len() == 1);
    let mut room = if decodes {
        (limits.prefill_chunk / CHUNK_SHARE_BESIDE_DECODE).max(1)
    } else {
        limits.prefill_chunk
    };
    let count = |sequence: &Sequence| {
        let pending = sequence.pending().len();
        if pending == 1 {
            return 1;
        }
        let count = pending.min(sequence.most(room));
        room -= count;
        count
    };
    running.iter().map(count).collect()
}

#[cfg(test)]
mod tests;
