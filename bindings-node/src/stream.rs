//! Streams of events: pulled in chunks, stopped by `cancel`.

use std::sync::Arc;

use napi::bindgen_prelude::{Env, PromiseRaw};
use napi_derive::napi;
use outcrop::api::EventStream;
use outcrop::{Error, Result};
use tokio::sync::{Mutex, mpsc};
use tokio::task::AbortHandle;

use crate::call::{Cancellation, promise, to_json};

/// Events waiting for the caller; a full channel holds the engine back.
const WAITING_EVENTS: usize = 64;

/// Events of a running answer or sync.
#[napi]
pub struct EventQueue {
    events: Arc<Mutex<Incoming>>,
    task: AbortHandle,
}

struct Incoming {
    receiver: mpsc::Receiver<Result<String>>,
    error: Option<Error>,
}

impl EventQueue {
    /// A queue filled by `work`, which is given the sending end.
    pub(crate) fn fill<F>(work: impl FnOnce(mpsc::Sender<Result<String>>) -> F) -> Result<Self>
    where
        F: Future<Output = ()> + Send + 'static,
    {
        let (sender, receiver) = mpsc::channel(WAITING_EVENTS);
        let task = outcrop::runtime()?.spawn(work(sender)).abort_handle();
        let events = Arc::new(Mutex::new(Incoming {
            receiver,
            error: None,
        }));
        Ok(Self { events, task })
    }

    /// The events of an answer.
    pub(crate) fn of(mut stream: Box<dyn EventStream>) -> Result<Self> {
        Self::fill(|sender| async move {
            while let Some(event) = stream.next().await {
                let ended = event.is_err();
                let sent = sender.send(event.and_then(|event| to_json(&event))).await;
                if ended || sent.is_err() {
                    break;
                }
            }
        })
    }
}

#[napi]
impl EventQueue {
    /// The events that are there, at least one, as a JSON array; null at the end.
    #[napi(ts_return_type = "Promise<string | null>")]
    pub fn next<'env>(&self, env: &'env Env) -> napi::Result<PromiseRaw<'env, Option<String>>> {
        let events = self.events.clone();
        promise(env, &Cancellation::default(), async move {
            let mut incoming = events.lock().await;
            if let Some(error) = incoming.error.take() {
                return Err(error);
            }
            let mut chunk = Vec::new();
            incoming
                .receiver
                .recv_many(&mut chunk, WAITING_EVENTS)
                .await;
            let mut texts = Vec::with_capacity(chunk.len());
            for event in chunk {
                match event {
                    Ok(text) => texts.push(text),
                    // What came before the error is delivered first.
                    Err(error) if texts.is_empty() => return Err(error),
                    Err(error) => incoming.error = Some(error),
                }
            }
            Ok((!texts.is_empty()).then(|| format!("[{}]", texts.join(","))))
        })
    }

    /// Stops the work behind the events.
    #[napi]
    pub fn cancel(&self) {
        self.task.abort();
    }
}

impl Drop for EventQueue {
    fn drop(&mut self) {
        self.task.abort();
    }
}
