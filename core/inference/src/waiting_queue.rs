//! The requests that wait, and whose turn it is.

use std::collections::HashMap;

use crate::sequence::Sequence;

/// Callers whose last turn is remembered.
const CALLERS: usize = 1024;

/// Requests that wait. Of the most urgent, the one of the caller with the fewest in flight is next,
/// then of the caller whose last turn was longest ago, then the one that came first.
#[derive(Default)]
pub(crate) struct WaitingQueue {
    waiting: Vec<Sequence>,
    /// When each caller had its last turn.
    turns: HashMap<Option<String>, u64>,
    turn: u64,
}

impl WaitingQueue {
    /// Number of requests that wait.
    pub fn len(&self) -> usize {
        self.waiting.len()
    }

    /// Adds a request.
    pub fn push(&mut self, sequence: Sequence) {
        self.waiting.push(sequence);
    }

    /// Takes the next request of a priority of at least `least`, beside those that are `running`.
    pub fn pop(&mut self, running: &[Sequence], least: Option<i32>) -> Option<Sequence> {
        let most = self.waiting.iter().map(|s| s.turn.priority).max()?;
        if least.is_some_and(|least| most < least) {
            return None;
        }
        let mut in_flight: HashMap<&Option<String>, usize> = HashMap::new();
        for sequence in running {
            *in_flight.entry(&sequence.turn.caller).or_default() += 1;
        }
        let (next, _) = self
            .waiting
            .iter()
            .enumerate()
            .filter(|(_, s)| s.turn.priority == most)
            .min_by_key(|(_, s)| {
                let caller = &s.turn.caller;
                let in_flight = in_flight.get(caller).copied().unwrap_or(0);
                let last = self.turns.get(caller).copied().unwrap_or(0);
                (in_flight, last, s.turn.arrival)
            })?;
        let next = self.waiting.swap_remove(next);
        self.had_turn(next.turn.caller.clone());
        Some(next)
    }

    /// Takes those out that `ends` says, each with what it gave.
    pub fn take_ended<T>(&mut self, ends: impl Fn(&Sequence) -> Option<T>) -> Vec<(Sequence, T)> {
        let mut ended = Vec::new();
        for sequence in std::mem::take(&mut self.waiting) {
            match ends(&sequence) {
                Some(why) => ended.push((sequence, why)),
                None => self.waiting.push(sequence),
            }
        }
        ended
    }

    fn had_turn(&mut self, caller: Option<String>) {
        self.turn += 1;
        self.turns.insert(caller, self.turn);
        if self.turns.len() > CALLERS {
            let oldest = self.turn - (CALLERS / 2) as u64;
            self.turns.retain(|_, turn| *turn > oldest);
        }
    }
}
