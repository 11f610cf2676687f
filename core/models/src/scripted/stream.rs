//! The events of a scripted answer, with its pauses.

use std::collections::VecDeque;
use std::time::Instant;

use outcrop_api::{BoxFuture, Error, ErrorKind, EventStream, Result, StreamEvent};

use super::written::Step;

/// The rest of a scripted answer. Dropping it ends every pause and stall.
pub(super) struct Scripted {
    steps: VecDeque<Step>,
    deadline: Option<Instant>,
    /// When the pause that is being waited for is over.
    wake: Option<Instant>,
}

impl Scripted {
    pub fn new(steps: VecDeque<Step>, deadline: Option<Instant>) -> Self {
        Self {
            steps,
            deadline,
            wake: None,
        }
    }

    async fn step(&mut self) -> Option<Result<StreamEvent>> {
        loop {
            match self.steps.front()? {
                Step::Wait(pause) if pause.is_zero() => {}
                Step::Wait(pause) => {
                    let wake = *self.wake.get_or_insert_with(|| Instant::now() + *pause);
                    if let Err(late) = self.wait_until(Some(wake)).await {
                        self.steps.clear();
                        return Some(Err(late));
                    }
                    self.wake = None;
                }
                Step::Stall => {
                    let late = self.wait_until(None).await;
                    self.steps.clear();
                    return late.err().map(Err);
                }
                Step::Event(event) => {
                    let event = event.clone();
                    self.steps.pop_front();
                    return Some(Ok(event));
                }
                Step::Fail(fault) => {
                    let error = fault.raise();
                    self.steps.clear();
                    return Some(Err(error));
                }
            }
            self.steps.pop_front();
        }
    }

    /// Waits until then, or for ever; an error where the request's deadline is before that.
    async fn wait_until(&self, wake: Option<Instant>) -> Result<()> {
        let sleep = |until: Instant| tokio::time::sleep_until(until.into());
        match (wake, self.deadline) {
            (None, None) => std::future::pending().await,
            (Some(wake), None) => sleep(wake).await,
            (Some(wake), Some(deadline)) if wake <= deadline => sleep(wake).await,
            (_, Some(deadline)) => {
                sleep(deadline).await;
                return Err(Error::new(
                    ErrorKind::ModelTimeoutException,
                    "deadline_ms: the script's pauses are longer than the request allows",
                ));
            }
        }
        Ok(())
    }
}

impl EventStream for Scripted {
    fn next(&mut self) -> BoxFuture<'_, Option<Result<StreamEvent>>> {
        Box::pin(self.step())
    }
}
