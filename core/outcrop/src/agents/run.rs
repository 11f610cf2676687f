//! A turn that is being driven: events for its caller, and the results of the calls that the caller
//! runs.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Instant;

use outcrop_agents::{CallEnd, Outcome};
use outcrop_api::{Error, Result};
use tokio::sync::Notify;

use super::recorded::Recorded;
use crate::feed::Feed;

/// A turn that is being driven. Dropping it stops the work; what was recorded stays, and a later
/// call goes on from there.
///
/// Its events are, as JSON: `{"text": …}`, a part of what the model says; `{"trace": …}`; `{"calls":
/// […]}`, which the caller is to run, giving the result of each to [`Run::give`]; and at last
/// `{"result": …}`.
pub struct Run {
    feed: Feed,
    open: Arc<Open>,
}

/// The session of a turn that is being driven.
pub(super) struct Open {
    state: Mutex<State>,
    pub given: Notify,
}

struct State {
    /// Taken when the turn is no longer driven.
    recorded: Option<Recorded>,
    /// When the calls began that are being run.
    started: HashMap<String, Instant>,
}

impl Run {
    pub(super) fn new(feed: Feed, open: Arc<Open>) -> Self {
        Self { feed, open }
    }

    /// The next events as a JSON list, at least one; `None` after the last.
    ///
    /// # Errors
    /// What ended the turn early.
    pub fn next(&self) -> impl Future<Output = Result<Option<String>>> + Send + 'static {
        self.feed.next()
    }

    /// Gives the result of a call that the caller has run. Once this returns, it is recorded. False
    /// where the call's time was over before, so that it was recorded as timed out.
    ///
    /// # Errors
    /// `ConflictException` where the turn is no longer driven; those of the store.
    pub fn give(&self, call: &str, outcome: Outcome) -> Result<bool> {
        let took_ms = self.open.took_ms(call);
        let given = self
            .open
            .with(|recorded| recorded.end_call(CallEnd::of(call, outcome, took_ms)))?;
        self.open.given.notify_one();
        Ok(given)
    }

    /// Stops the work.
    pub fn cancel(&self) {
        self.feed.cancel();
        self.open.close();
    }
}

impl Drop for Run {
    fn drop(&mut self) {
        self.cancel();
    }
}

impl Open {
    pub fn new(recorded: Recorded) -> Self {
        Self {
            state: Mutex::new(State {
                recorded: Some(recorded),
                started: HashMap::new(),
            }),
            given: Notify::new(),
        }
    }

    /// Works on the session, which nobody else does meanwhile.
    ///
    /// # Errors
    /// `ConflictException` where it is no longer driven; those of `work`.
    pub fn with<T>(&self, work: impl FnOnce(&mut Recorded) -> Result<T>) -> Result<T> {
        match &mut self.state().recorded {
            Some(recorded) => work(recorded),
            None => Err(Error::conflict("the turn is not driven any more")),
        }
    }

    /// Notes when calls begin.
    pub fn start(&self, calls: &[String]) {
        let now = Instant::now();
        let mut state = self.state();
        state
            .started
            .extend(calls.iter().map(|call| (call.clone(), now)));
    }

    /// Milliseconds since a call began.
    pub fn took_ms(&self, call: &str) -> u64 {
        let state = self.state();
        state
            .started
            .get(call)
            .map_or(0, |began| began.elapsed().as_millis() as u64)
    }

    /// Takes the session, of which nothing is being run, for work that waits; [`Open::put`] gives it
    /// back.
    ///
    /// # Errors
    /// `ConflictException` where it is no longer driven.
    pub fn take(&self) -> Result<Recorded> {
        let recorded = self.state().recorded.take();
        recorded.ok_or_else(|| Error::conflict("the turn is not driven any more"))
    }

    /// Gives the session back.
    pub fn put(&self, recorded: Recorded) {
        self.state().recorded = Some(recorded);
    }

    /// Lets go of the session: another call may open it.
    pub fn close(&self) {
        self.state().recorded = None;
    }

    fn state(&self) -> MutexGuard<'_, State> {
        // A fact is applied whole or not at all.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
