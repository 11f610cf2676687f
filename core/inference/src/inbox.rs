//! The bounded queue between callers and the scheduler.

use std::sync::{Condvar, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use outcrop_api::{Error, ErrorKind, Result};
use tokio::sync::oneshot;

use crate::prefix::Saved;
use crate::sequence::Sequence;
use crate::statistics::EngineStatistics;
use crate::waiting_queue::WaitingQueue;

/// How long a scheduler whose readers are all behind sleeps before it looks for those that left.
const PAUSE: Duration = Duration::from_millis(5);

/// Requests that wait for the scheduler. At most `limit` requests wait and run together.
pub(crate) struct Inbox {
    state: Mutex<State>,
    changed: Condvar,
    limit: usize,
}

/// What callers ask of the scheduler beside requests.
pub(crate) enum Command {
    /// Let a held prefix go.
    Unpin(u64),
    /// Give a held prefix's bytes.
    Save(u64, oneshot::Sender<Result<Vec<u8>>>),
    /// Bring a saved prefix back.
    Restore(Box<Saved>, oneshot::Sender<Result<()>>),
}

#[derive(Default)]
struct State {
    commands: Vec<Command>,
    waiting: WaitingQueue,
    running: usize,
    arrivals: u64,
    statistics: EngineStatistics,
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
    pub fn submit(&self, mut sequence: Sequence) -> Result<()> {
        let mut state = self.lock();
        if state.is_closed {
            return Err(stopped());
        }
        if state.waiting.len() + state.running >= self.limit {
            state.waiting.take_ended(|s| s.is_cancelled().then_some(()));
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
        state.arrivals += 1;
        sequence.turn.arrival = state.arrivals;
        state.waiting.push(sequence);
        self.changed.notify_one();
        Ok(())
    }

    /// Asks something of the scheduler. One that has ended answers nothing.
    pub fn command(&self, command: Command) {
        let mut state = self.lock();
        if !state.is_closed {
            state.commands.push(command);
            self.changed.notify_one();
        }
    }

    /// What was asked since.
    pub fn take_commands(&self) -> Vec<Command> {
        std::mem::take(&mut self.lock().commands)
    }

    /// Lets go of the waiting requests that were cancelled or whose time is over. Sleeps while
    /// nothing waits and nothing is `running`. False when the engine was closed.
    pub fn wait(&self, running: usize) -> bool {
        let ended = {
            let mut state = self.lock();
            state.running = running;
            while !state.is_closed
                && running == 0
                && state.waiting.len() == 0
                && state.commands.is_empty()
            {
                state = self
                    .changed
                    .wait(state)
                    .unwrap_or_else(PoisonError::into_inner);
            }
            if state.is_closed {
                return false;
            }
            let ends =
                |s: &Sequence| (s.is_cancelled().then_some(None)).or(s.turn.timeout().map(Some));
            state.waiting.take_ended(ends)
        };
        for (sequence, why) in ended {
            if let Some(timeout) = why {
                sequence.end(Err(timeout));
            }
        }
        true
    }

    /// Whether requests wait for a place.
    pub fn has_waiting(&self) -> bool {
        self.lock().waiting.len() > 0
    }

    /// Has the scheduler look again at what it runs.
    pub fn wake(&self) {
        self.changed.notify_one();
    }

    /// Sleeps for a moment, or until something is asked of the scheduler.
    pub fn pause(&self) {
        let state = self.lock();
        if !state.is_closed && state.commands.is_empty() && state.waiting.len() == 0 {
            let woken = self.changed.wait_timeout(state, PAUSE);
            drop(woken.unwrap_or_else(PoisonError::into_inner));
        }
    }

    /// The waiting request whose turn it is beside those that are `running`, of a priority of at
    /// least `least`.
    pub fn next(&self, running: &[Sequence], least: Option<i32>) -> Option<Sequence> {
        let mut state = self.lock();
        let next = state.waiting.pop(running, least)?;
        // It counts as running while the scheduler looks for room.
        state.running = running.len() + 1;
        Some(next)
    }

    /// Lets a request wait again that found no room, or had to make room for another.
    pub fn put_back(&self, sequence: Sequence, running: usize) {
        let mut state = self.lock();
        state.running = running;
        if state.is_closed {
            drop(state);
            return sequence.end(Err(stopped()));
        }
        state.waiting.push(sequence);
    }

    /// Notes what the scheduler tells of itself.
    pub fn publish(&self, statistics: EngineStatistics) {
        let mut state = self.lock();
        state.running = statistics.running;
        state.statistics = statistics;
    }

    /// What the scheduler last told of itself.
    pub fn statistics(&self) -> EngineStatistics {
        let state = self.lock();
        EngineStatistics {
            running: state.running,
            waiting: state.waiting.len(),
            ..state.statistics
        }
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
            state.commands.clear();
            state.waiting.take_ended(|_| Some(()))
        };
        for (sequence, ()) in waiting {
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
