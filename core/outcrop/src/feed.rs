//! Events on their way to another language: JSON, taken in batches, as many as are ready.

use std::sync::Arc;
use std::time::Instant;

use outcrop_api::{
    Completion, ConverseRequest, Error, EventStream, Gathered, GenerateRequest, Reply, Result,
    StopReason, Usage,
};
use serde::Serialize;
use tokio::sync::mpsc::{Receiver, Sender, channel};
use tokio::sync::{Mutex, OwnedMutexGuard};
use tokio::task::AbortHandle;

use crate::model::Model;
use crate::runtime::runtime;

/// Events that may wait for a slow reader before the work waits too.
const WAITING: usize = 256;
/// Most events of one batch.
const BATCH: usize = 64;

/// The events of running work. Dropping or cancelling it stops the work within one engine step.
///
/// A conversation's events are `"started"` once the request was taken, then each
/// [`outcrop_api::StreamEvent`], and in place of the last `{"reply": …}`, the whole reply; those of
/// a prompt end in `{"completion": …}`.
pub struct Feed {
    incoming: Arc<Mutex<Incoming>>,
    task: AbortHandle,
}

struct Incoming {
    events: Receiver<Result<String>>,
    failed: Option<Error>,
}

/// The last event of an answer.
#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
enum Whole {
    Reply(Reply),
    Completion(Completion),
}

/// The sending end of a feed.
pub type FeedSender = Sender<Result<String>>;

impl Feed {
    /// Starts `work`, which is given the sending end.
    ///
    /// # Errors
    /// `InternalServerException` where the operating system gives no threads.
    pub fn fill<F>(work: impl FnOnce(FeedSender) -> F) -> Result<Self>
    where
        F: Future<Output = ()> + Send + 'static,
    {
        let (sender, events) = channel(WAITING);
        let task = runtime()?.spawn(work(sender)).abort_handle();
        let incoming = Incoming {
            events,
            failed: None,
        };
        Ok(Self {
            incoming: Arc::new(Mutex::new(incoming)),
            task,
        })
    }

    /// Starts answering a conversation.
    ///
    /// # Errors
    /// As [`Feed::fill`]; a request that cannot be served is the error of the first batch.
    pub fn converse(model: Model, request: ConverseRequest) -> Result<Self> {
        Self::answer(
            async move { model.stream(request).await },
            |gathered, end, ms| Whole::Reply(gathered.into_reply(end, ms)),
        )
    }

    /// Starts continuing a prompt.
    ///
    /// # Errors
    /// As [`Feed::converse`].
    pub fn generate(model: Model, request: GenerateRequest) -> Result<Self> {
        Self::answer(
            async move { model.generate_stream(request).await },
            |gathered, end, ms| Whole::Completion(gathered.into_completion(end, ms)),
        )
    }

    fn answer(
        open: impl Future<Output = Result<Box<dyn EventStream>>> + Send + 'static,
        last: impl Fn(Gathered, (StopReason, Usage), u64) -> Whole + Send + 'static,
    ) -> Result<Self> {
        Self::fill(|sender| async move {
            if let Err(error) = pump(open, last, &sender).await {
                let _ = sender.send(Err(error)).await;
            }
        })
    }

    /// The next events as a JSON list, at least one; `None` after the last. An error comes after
    /// the events before it.
    ///
    /// # Errors
    /// What ended the work early.
    pub fn next(&self) -> impl Future<Output = Result<Option<String>>> + Send + 'static {
        let incoming = self.incoming.clone();
        async move {
            let incoming = incoming.lock_owned().await;
            batch(incoming).await
        }
    }

    /// Stops the work.
    pub fn cancel(&self) {
        self.task.abort();
    }
}

impl Drop for Feed {
    fn drop(&mut self) {
        self.cancel();
    }
}

async fn batch(mut incoming: OwnedMutexGuard<Incoming>) -> Result<Option<String>> {
    if let Some(error) = incoming.failed.take() {
        return Err(error);
    }
    let mut ready = Vec::with_capacity(BATCH);
    incoming.events.recv_many(&mut ready, BATCH).await;
    let mut events: Vec<String> = Vec::with_capacity(ready.len());
    for event in ready {
        match event {
            Ok(event) => events.push(event),
            Err(error) if events.is_empty() => return Err(error),
            Err(error) => incoming.failed = Some(error),
        }
    }
    Ok((!events.is_empty()).then(|| format!("[{}]", events.join(","))))
}

/// Passes events on until the answer is whole or nobody reads any more.
async fn pump(
    open: impl Future<Output = Result<Box<dyn EventStream>>>,
    last: impl Fn(Gathered, (StopReason, Usage), u64) -> Whole,
    sender: &FeedSender,
) -> Result<()> {
    let started = Instant::now();
    let mut stream = open.await?;
    let mut gathered = Gathered::default();
    let mut next = to_json(&"started")?;
    loop {
        if sender.send(Ok(next)).await.is_err() {
            return Ok(());
        }
        let event = match stream.next().await {
            Some(event) => event?,
            None => return Err(Error::internal("the stream ended without an end event")),
        };
        next = to_json(&event)?;
        if let Some(end) = gathered.push(event) {
            let answer = last(gathered, end, started.elapsed().as_millis() as u64);
            let _ = sender.send(to_json(&answer)).await;
            return Ok(());
        }
    }
}

/// `value` as JSON text.
///
/// # Errors
/// `InternalServerException` where it has no JSON form.
pub fn to_json(value: &impl Serialize) -> Result<String> {
    serde_json::to_string(value).map_err(|error| {
        Error::internal(format!("a result could not be written as JSON: {error}"))
            .with_source(error)
    })
}
