//! The bounded queue between callers and the scheduler.

use std::collections::VecDeque;
use std::sync::{Condvar, Mutex, MutexGuard, PoisonError};

use outcrop_api::{Error, ErrorKind, Result};

use crate::sequence::Sequence;

/// Requests that wait for the scheduler. At most `limit` requests wait and run together.
pub(crate) struct Inbox {
    state: Mutex<State>,
    changed: Condvar,
    limit: usize,
}

#[derive(Default)]
struct State {
    waiting: VecDeque<Sequence>,
    running: usize,
    is_closed: bool,
}

impl Inbox {
    /// An empty inbox for `limit` requests.
    pub fn new(limit: usize) -> Self {
        Self {
            state: Mutex::default(),
            changed: Condvar::new(),
            limit,
        }
    }

    /// Hands `sequence` to the scheduler.
    ///
    /// # Errors
    /// `ThrottlingException` when the queue is full, `InternalServerException` when the scheduler
    /// has ended.
    pub fn submit(&self, sequence: Sequence) -> Result<()> {
        let mut state = self.lock();
        if state.is_closed {
            return Err(stopped());
        }
        if state.waiting.len() + state.running >= self.limit {
            state.waiting.retain(|waiting| !waiting.is_cancelled());
        }
        let (waiting, running) = (state.waiting.len(), state.running);
        if waiting + running >= self.limit {
            return Err(Error::new(
                ErrorKind::ThrottlingException,
                format!(
                    "engine queue: expected fewer than {} requests at once, got {running} running and {waiting} waiting",
                    self.limit
                ),
            ));
        }
        state.waiting.push_back(sequence);
        self.changed.notify_one();
        Ok(())
    }

    /// Moves the waiting sequences that `admit` takes, first come first served, to `running`.
    /// Sleeps while there is nothing to run. False when the engine was closed.
    pub fn admit(
        &self,
        running: &mut Vec<Sequence>,
        mut admit: impl FnMut(&mut Sequence, usize) -> bool,
    ) -> bool {
        let mut state = self.lock();
        loop {
            if state.is_closed {
                return false;
            }
            while let Some(mut first) = state.waiting.pop_front() {
                if first.is_cancelled() {
                    continue;
                }
                if !admit(&mut first, running.len()) {
                    state.waiting.push_front(first);
                    break;
                }
                running.push(first);
            }
            state.running = running.len();
            if !running.is_empty() {
                return true;
            }
            state = self
                .changed
                .wait(state)
                .unwrap_or_else(PoisonError::into_inner);
        }
    }

    /// Notes how many sequences run.
    pub fn set_running(&self, running: usize) {
        self.lock().running = running;
    }

    /// Whether the engine was closed.
    pub fn is_closed(&self) -> bool {
        self.lock().is_closed
    }

    /// Ends the scheduler after its current layer, and every request with it.
    pub fn close(&self) {
        let waiting = {
            let mut state = self.lock();
            state.is_closed = true;
            std::mem::take(&mut state.waiting)
        };
        for sequence in waiting {
            sequence.end(Err(stopped()));
        }
        self.changed.notify_all();
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        // No code that can panic runs under the lock with the state half changed.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// What callers of an engine that has ended are told.
pub(crate) fn stopped() -> Error {
    Error::internal("engine: its scheduler has stopped; open the model again")
}
