//! What the next step computes: how many tokens of each sequence, within a stated budget.

use std::cmp::Reverse;
use std::collections::HashMap;

use crate::block_pool::PAGE_TOKENS;
use crate::sequence::{MAX_LOGIT_ROWS, Sequence};

/// While sequences decode, prompts take this part of the budget, so that tokens keep coming.
const PROMPT_SHARE_BESIDE_DECODE: usize = 4;

/// Tokens of a prompt that a caller is given at a time.
const QUANTUM: usize = PAGE_TOKENS;

/// Shares the budgets of steps out.
///
/// Sequences that wait for their readers are given nothing. Decoding ones come first, those that waited longest before the others. What is left goes to
/// prompts: to the most urgent, and among these to the caller that had the fewest tokens so far,
/// however many requests it has; a caller's own come in order of arrival.
#[derive(Debug, Default)]
pub(crate) struct StepPlanner {
    /// Prompt tokens that each caller with a sequence in flight was given so far.
    served: HashMap<Option<String>, u64>,
}

impl StepPlanner {
    /// How many pending tokens of each of `running` the next step computes: together at most
    /// `budget`, at least 1.
    pub fn plan(&mut self, running: &[Sequence], budget: usize) -> Vec<usize> {
        let mut counts = vec![0; running.len()];
        let mut decoding: Vec<usize> = (0..running.len())
            .filter(|&index| running[index].is_decoding() && !running[index].is_paused)
            .collect();
        decoding.sort_by_key(|&index| {
            (
                Reverse(running[index].turn.priority),
                running[index].last_step,
            )
        });
        let mut room = budget;
        for &index in &decoding {
            counts[index] = running[index].pending().len().min(room);
            room -= counts[index];
        }
        if !decoding.is_empty() {
            room = room.min((budget / PROMPT_SHARE_BESIDE_DECODE).max(1));
        }
        self.share(running, room, &mut counts);
        for (sequence, count) in running.iter().zip(&mut counts) {
            *count = to_whole_page(sequence, *count);
        }
        counts
    }

    /// Shares `room` tokens out among the prompts of `running`.
    fn share(&mut self, running: &[Sequence], mut room: usize, counts: &mut [usize]) {
        let mut prompts: Vec<usize> = (0..running.len())
            .filter(|&index| !running[index].is_decoding())
            .collect();
        self.welcome(running);
        let mut rows = MAX_LOGIT_ROWS;
        while room > 0 {
            prompts.retain(|&index| {
                let most = running[index].most(counts[index] + room);
                let is_full = rows == 0 && running[index].gives_rows();
                !is_full && counts[index] < most.min(running[index].pending().len())
            });
            let next = prompts.iter().copied().min_by_key(|&index| {
                let turn = &running[index].turn;
                let served = self.served.get(&turn.caller).copied();
                (Reverse(turn.priority), served, turn.arrival)
            });
            let Some(index) = next else { return };
            let gives_rows = running[index].gives_rows();
            let next = room.min(QUANTUM).min(if gives_rows { rows } else { room });
            let most = running[index].most(counts[index] + next);
            let more = most.min(running[index].pending().len()) - counts[index];
            counts[index] += more;
            room -= more;
            rows -= if gives_rows { more } else { 0 };
            if let Some(served) = self.served.get_mut(&running[index].turn.caller) {
                *served += more as u64;
            }
        }
    }

    /// Lets callers in on even terms with those that are there, and forgets those that have gone.
    fn welcome(&mut self, running: &[Sequence]) {
        self.served
            .retain(|caller, _| running.iter().any(|s| s.turn.caller == *caller));
        let least = self.served.values().copied().min().unwrap_or(0);
        for sequence in running {
            if !self.served.contains_key(&sequence.turn.caller) {
                self.served.insert(sequence.turn.caller.clone(), least);
            }
        }
    }
}

/// So many of the next `count` tokens of a prompt that they end with a page, where they can: a page
/// that is whole can be shared at once.
fn to_whole_page(sequence: &Sequence, count: usize) -> usize {
    let end = sequence.position() + count;
    let whole = end - end % PAGE_TOKENS;
    if count < sequence.pending().len() && whole > sequence.position() {
        whole - sequence.position()
    } else {
        count
    }
}
