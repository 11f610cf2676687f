//! A running answer: events that Python takes in batches, as many as are ready.

use std::sync::Arc;
use std::time::Instant;

use outcrop::api::{ContentBlock, EventStream, Reply, StreamEvent};
use outcrop::{Error, Result};
use pyo3::prelude::*;
use serde_json::json;
use tokio::sync::{Mutex, mpsc};
use tokio::task::AbortHandle;

use crate::convert::to_json;
use crate::error::raise;
use crate::future::{Object, run};
use crate::process::PerProcess;

/// Events that may wait for a slow reader before the engine waits too.
const QUEUE: usize = 256;
/// Most events of one batch.
const BATCH: usize = 64;

/// Events on their way: each as JSON, or the error that ends them.
struct Feed {
    events: mpsc::Receiver<Result<String>>,
    failed: Option<Error>,
}

impl Feed {
    /// The next events as a JSON list, at least one; `None` after the last.
    async fn next(&mut self) -> Result<Option<String>> {
        if let Some(error) = self.failed.take() {
            return Err(error);
        }
        let mut ready = Vec::with_capacity(BATCH);
        self.events.recv_many(&mut ready, BATCH).await;
        let mut batch: Vec<String> = Vec::with_capacity(ready.len());
        for event in ready {
            match event {
                Ok(event) => batch.push(event),
                Err(error) if batch.is_empty() => return Err(error),
                Err(error) => self.failed = Some(error),
            }
        }
        Ok((!batch.is_empty()).then(|| format!("[{}]", batch.join(","))))
    }
}

/// A running answer. Dropping or closing it stops the engine within one step.
#[pyclass(frozen)]
pub struct Stream {
    feed: PerProcess<Arc<Mutex<Feed>>>,
    task: AbortHandle,
}

impl Stream {
    /// Starts the answer that `open` gives: the first event says that it has begun, the last holds
    /// the whole reply.
    pub fn start(
        py: Python<'_>,
        open: impl Future<Output = Result<Box<dyn EventStream>>> + Send + 'static,
    ) -> PyResult<Self> {
        let (sender, events) = mpsc::channel(QUEUE);
        let runtime = outcrop::runtime().map_err(|error| raise(py, error))?;
        let task = runtime.spawn(async move {
            if let Err(error) = pump(open, &sender).await {
                let _ = sender.send(Err(error)).await;
            }
        });
        let feed = Feed {
            events,
            failed: None,
        };
        Ok(Self {
            feed: PerProcess::new(Arc::new(Mutex::new(feed))),
            task: task.abort_handle(),
        })
    }
}

/// Passes events on until the reply is whole or nobody reads any more.
async fn pump(
    open: impl Future<Output = Result<Box<dyn EventStream>>>,
    sender: &mpsc::Sender<Result<String>>,
) -> Result<()> {
    let started = Instant::now();
    let mut stream = open.await?;
    let mut content: Vec<ContentBlock> = Vec::new();
    let mut logprobs = Vec::new();
    let mut next = to_json(&"started")?;
    loop {
        if sender.send(Ok(next)).await.is_err() {
            return Ok(());
        }
        let event = match stream.next().await {
            Some(event) => event?,
            None => return Err(Error::internal("the stream ended without an end event")),
        };
        if let StreamEvent::Done { stop_reason, usage } = event {
            let reply = Reply {
                content,
                stop_reason,
                usage,
                latency_ms: started.elapsed().as_millis() as u64,
                logprobs,
            };
            let _ = sender.send(Ok(to_json(&json!({ "reply": reply }))?)).await;
            return Ok(());
        }
        next = to_json(&event)?;
        match (event, content.last_mut()) {
            (StreamEvent::Logprobs(more), _) => logprobs.extend(more),
            (StreamEvent::TextDelta(delta), Some(ContentBlock::Text(text))) => {
                text.push_str(&delta)
            }
            (StreamEvent::TextDelta(delta), _) => content.push(ContentBlock::Text(delta)),
            (StreamEvent::Block(block), _) => content.push(block),
            _ => {}
        }
    }
}

#[pymethods]
impl Stream {
    /// The next events as a JSON list, or None after the last.
    fn next(&self, py: Python<'_>, awaitable: bool) -> PyResult<Object> {
        let feed = self.feed.handle(py)?;
        run(
            py,
            awaitable,
            async move { feed.lock().await.next().await },
            |py, batch| Ok(batch.into_pyobject(py)?.into_any().unbind()),
        )
    }

    /// Stops the answer.
    fn close(&self) {
        if self.feed.get().is_ok() {
            self.task.abort();
        }
    }
}

impl Drop for Stream {
    fn drop(&mut self) {
        self.close();
    }
}
