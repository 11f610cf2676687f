//! Events on their way to another language: JSON, taken in batches, as many as are ready.

use std::pin::Pin;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll, Waker};
use std::time::Instant;

use outcrop_api::{
    BoxFuture, Completion, ConverseRequest, Error, EventStream, Gathered, GenerateRequest, Reply,
    Result, StopReason, StreamEvent, Usage,
};
use serde::Serialize;
use tokio::sync::mpsc::{Receiver, Sender, channel};
use tokio::task::JoinHandle;

use crate::caught::caught;
use crate::model::Model;
use crate::reader::{Reader, Source};
use crate::runtime::runtime;

/// Events that may wait for a slow reader before the work waits too.
const WAITING: usize = 256;

/// The events of running work. Clones are the same; dropping the last or cancelling one stops the
/// work within one engine step.
///
/// A conversation's events are `"started"` once the request was taken, then each
/// [`outcrop_api::StreamEvent`], and in place of the last `{"reply": …}`, the whole reply; those of
/// a prompt end in `{"completion": …}`.
#[derive(Clone)]
pub struct Feed {
    events: Reader<Events>,
    /// What ended the work, until it is told.
    failed: Arc<Mutex<Option<Error>>>,
}

/// Where the events come from.
enum Events {
    /// A task that sends them.
    Sent(Receiver<Result<String>>, #[allow(dead_code)] Task<()>),
    /// An answer that makes them as they are asked for.
    Answer(Box<Answer>),
}

type Opened = Result<Box<dyn EventStream>>;

/// A running answer.
struct Answer {
    started: Instant,
    /// Gone once the stream is there.
    open: Option<BoxFuture<'static, Opened>>,
    /// None before, and after the last event.
    stream: Option<Box<dyn EventStream>>,
    gathered: Gathered,
    last: fn(Gathered, (StopReason, Usage), u64) -> Whole,
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

/// A task of the runtime, which ends with this.
struct Task<T>(JoinHandle<T>);

impl<T> Drop for Task<T> {
    fn drop(&mut self) {
        self.0.abort();
    }
}

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
        let task = Task(runtime()?.spawn(work(sender)));
        Ok(Self::of(Events::Sent(events, task)))
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
        open: impl Future<Output = Opened> + Send + 'static,
        last: fn(Gathered, (StopReason, Usage), u64) -> Whole,
    ) -> Result<Self> {
        Ok(Self::of(Events::Answer(Box::new(Answer {
            started: Instant::now(),
            open: Some(begun(open)?),
            stream: None,
            gathered: Gathered::default(),
            last,
        }))))
    }

    fn of(events: Events) -> Self {
        Self {
            events: Reader::new(events),
            failed: Arc::default(),
        }
    }

    /// The next events as a JSON list, at least one; `None` after the last. An error comes after
    /// the events before it.
    ///
    /// # Errors
    /// What ended the work early.
    pub fn next(&self) -> impl Future<Output = Result<Option<String>>> + Send + 'static {
        let (events, failed) = (self.events.next(), self.failed.clone());
        async move {
            if let Some(error) = failure(&failed).take() {
                return Err(error);
            }
            let mut told = String::new();
            for event in events.await {
                match event {
                    Ok(event) => {
                        told.push(if told.is_empty() { '[' } else { ',' });
                        told.push_str(&event);
                    }
                    Err(error) if told.is_empty() => return Err(error),
                    Err(error) => *failure(&failed) = Some(error),
                }
            }
            Ok((!told.is_empty()).then(|| told + "]"))
        }
    }

    /// Stops the work.
    pub fn cancel(&self) {
        self.events.close();
    }
}

fn failure(failed: &Mutex<Option<Error>>) -> MutexGuard<'_, Option<Error>> {
    failed.lock().unwrap_or_else(PoisonError::into_inner)
}

/// `open`, begun: here, as far as it comes without waiting, and from there on the runtime.
fn begun(
    open: impl Future<Output = Opened> + Send + 'static,
) -> Result<BoxFuture<'static, Opened>> {
    let runtime = runtime()?;
    let _inside = runtime.enter();
    let mut open = caught(Box::pin(open));
    let flat = |opened: Result<Opened>| opened.and_then(|opened| opened);
    match Pin::new(&mut open).poll(&mut Context::from_waker(Waker::noop())) {
        Poll::Ready(opened) => Ok(Box::pin(std::future::ready(flat(opened)))),
        Poll::Pending => {
            let mut task = Task(runtime.spawn(open));
            Ok(Box::pin(async move {
                let opened = (&mut task.0).await;
                opened.map_or_else(|_| Err(Error::cancelled()), flat)
            }))
        }
    }
}

impl Source for Events {
    type Item = Result<String>;

    fn next(&mut self) -> BoxFuture<'_, Option<Result<String>>> {
        match self {
            Self::Sent(events, _) => Box::pin(events.recv()),
            Self::Answer(answer) => Box::pin(answer.next()),
        }
    }
}

impl Answer {
    async fn next(&mut self) -> Option<Result<String>> {
        if let Some(open) = self.open.take() {
            return Some(match open.await {
                Ok(stream) => {
                    self.stream = Some(stream);
                    to_json(&"started")
                }
                Err(error) => Err(error),
            });
        }
        let event = match caught(self.stream.as_mut()?.next()).await {
            Ok(Some(event)) => event,
            Ok(None) => Err(Error::internal("the stream ended without an end event")),
            Err(fault) => Err(fault),
        };
        let told = event.and_then(|event| self.told(event));
        if told.is_err() {
            self.stream = None;
        }
        Some(told)
    }

    /// An event as JSON; the last one as the whole answer.
    fn told(&mut self, event: StreamEvent) -> Result<String> {
        let told = to_json(&event)?;
        let Some(end) = self.gathered.push(event) else {
            return Ok(told);
        };
        self.stream = None;
        let gathered = std::mem::take(&mut self.gathered);
        let elapsed = self.started.elapsed().as_millis() as u64;
        to_json(&(self.last)(gathered, end, elapsed))
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
