//! The thread that a scheduler runs on: one an engine and process, joined when the engine goes.

use std::sync::{Arc, Mutex, PoisonError};
use std::thread::JoinHandle;

use outcrop_api::{Error, Result};

use crate::inbox::Inbox;

/// Starts a scheduler that serves an inbox, and gives its thread.
type Start = Box<dyn Fn(Arc<Inbox>) -> std::io::Result<JoinHandle<()>> + Send + Sync>;

/// A scheduler's thread with its inbox.
///
/// Threads do not survive `fork`: a child process that calls gets a scheduler of its own.
pub(crate) struct EngineThread {
    start: Start,
    /// Most requests that wait and run together.
    limit: usize,
    running: Mutex<Option<Running>>,
}

struct Running {
    process: u32,
    inbox: Arc<Inbox>,
    thread: JoinHandle<()>,
}

impl EngineThread {
    /// A thread that `start` starts at the first call, for `limit` requests at once.
    pub fn new(
        limit: usize,
        start: impl Fn(Arc<Inbox>) -> std::io::Result<JoinHandle<()>> + Send + Sync + 'static,
    ) -> Self {
        Self {
            start: Box::new(start),
            limit,
            running: Mutex::new(None),
        }
    }

    /// The inbox of this process's scheduler.
    ///
    /// # Errors
    /// `InternalServerException` where the system gives no thread.
    pub fn inbox(&self) -> Result<Arc<Inbox>> {
        let mut running = self.running.lock().unwrap_or_else(PoisonError::into_inner);
        let process = std::process::id();
        if let Some(own) = running.as_ref().filter(|r| r.process == process) {
            return Ok(own.inbox.clone());
        }
        let inbox = Arc::new(Inbox::new(self.limit));
        let thread = (self.start)(inbox.clone()).map_err(|e| {
            Error::internal(format!("engine: no thread for its scheduler: {e}")).with_source(e)
        })?;
        let started = Running {
            process,
            inbox: inbox.clone(),
            thread,
        };
        if let Some(parents) = running.replace(started) {
            parents.abandon();
        }
        Ok(inbox)
    }
}

impl Running {
    /// Lets go of a thread that lives in the parent process only: here there is nothing to join,
    /// and a lock that it held stays locked.
    fn abandon(self) {
        std::mem::forget(self);
    }
}

impl Drop for EngineThread {
    fn drop(&mut self) {
        let running = self
            .running
            .get_mut()
            .unwrap_or_else(PoisonError::into_inner)
            .take();
        let Some(running) = running else { return };
        if running.process != std::process::id() {
            return running.abandon();
        }
        running.inbox.close();
        // A scheduler that panicked has told its callers already.
        let _ = running.thread.join();
    }
}
