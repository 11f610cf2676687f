//! A source that one caller reads, in batches of what is ready, and any other may close.

use std::future::poll_fn;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::task::{Context, Poll};

use outcrop_api::BoxFuture;
use tokio::sync::{Mutex, Notify};

use crate::runtime::runtime;

/// Most items of one batch: whoever reads has its own work to do between two of them.
const BATCH: usize = 64;

/// What is made item by item, as it is read. Dropping it stops the work behind it.
pub trait Source: Send + 'static {
    /// What is read.
    type Item: Send + 'static;

    /// The next item; `None` at the end.
    fn next(&mut self) -> BoxFuture<'_, Option<Self::Item>>;
}

/// Reads a source. Any thread may close it, while another waits for an item too. Clones are the
/// same reader; dropping the last stops the work behind the source.
pub struct Reader<S: Source>(Arc<Shared<S>>);

struct Shared<S: Source> {
    state: Mutex<State<S>>,
    closed: AtomicBool,
    closing: Notify,
}

enum State<S: Source> {
    Idle(S),
    /// Asked for an item that is not there yet. Whoever asked may be gone: the next one waits on.
    Reading(BoxFuture<'static, (S, Option<S::Item>)>),
    Ended,
}

impl<S: Source> Reader<S> {
    /// The reader of `source`.
    pub fn new(source: S) -> Self {
        Self(Arc::new(Shared {
            state: Mutex::new(State::Idle(source)),
            closed: AtomicBool::new(false),
            closing: Notify::new(),
        }))
    }

    /// The items that are there, at least one; none at the end, and where the reader is closed. An
    /// item is handed over as soon as it is made: none waits for the next.
    pub fn next(&self) -> impl Future<Output = Vec<S::Item>> + Send + 'static {
        let shared = self.0.clone();
        async move {
            let mut state = shared.state.lock().await;
            if shared.closed.load(Ordering::SeqCst) {
                *state = State::Ended;
            }
            let items = tokio::select! {
                biased;
                () = shared.closing.notified() => Vec::new(),
                items = poll_fn(|context| state.ready(context)) => items,
            };
            if items.is_empty() {
                *state = State::Ended;
            }
            items
        }
    }

    /// Ends the source and stops the work behind it. Closing it again does nothing.
    pub fn close(&self) {
        self.0.closed.store(true, Ordering::SeqCst);
        self.0.closing.notify_one();
        // Where an item is waited for, that wait ends and drops the source.
        if let Ok(mut state) = self.0.state.try_lock() {
            *state = State::Ended;
            return;
        }
        let shared = self.0.clone();
        if let Ok(runtime) = runtime() {
            runtime.spawn(async move { *shared.state.lock().await = State::Ended });
        }
    }
}

impl<S: Source> State<S> {
    /// A batch of items.
    fn ready(&mut self, context: &mut Context<'_>) -> Poll<Vec<S::Item>> {
        let mut items = Vec::new();
        while items.len() < BATCH {
            match self.poll(context) {
                Poll::Ready(Some(item)) => items.push(item),
                Poll::Pending if items.is_empty() => return Poll::Pending,
                Poll::Ready(None) | Poll::Pending => break,
            }
        }
        Poll::Ready(items)
    }

    /// The next item.
    fn poll(&mut self, context: &mut Context<'_>) -> Poll<Option<S::Item>> {
        let mut reading = match std::mem::replace(self, State::Ended) {
            State::Idle(mut source) => Box::pin(async move {
                let item = source.next().await;
                (source, item)
            }),
            State::Reading(reading) => reading,
            State::Ended => return Poll::Ready(None),
        };
        match reading.as_mut().poll(context) {
            Poll::Pending => {
                *self = State::Reading(reading);
                Poll::Pending
            }
            Poll::Ready((source, Some(item))) => {
                *self = State::Idle(source);
                Poll::Ready(Some(item))
            }
            Poll::Ready((_, None)) => Poll::Ready(None),
        }
    }
}

impl<S: Source> Clone for Reader<S> {
    fn clone(&self) -> Self {
        Self(self.0.clone())
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    /// Gives three items, then stalls; tells when it is dropped.
    struct Stalling {
        given: u8,
        dropped: Arc<AtomicBool>,
    }

    impl Source for Stalling {
        type Item = u8;

        fn next(&mut self) -> BoxFuture<'_, Option<u8>> {
            Box::pin(async move {
                // What is lost where a wait is given up and begun anew.
                self.given += 1;
                if self.given > 3 {
                    std::future::pending::<()>().await;
                }
                Some(self.given)
            })
        }
    }

    impl Drop for Stalling {
        fn drop(&mut self) {
            self.dropped.store(true, Ordering::SeqCst);
        }
    }

    fn stalling() -> (Reader<Stalling>, Arc<AtomicBool>) {
        let dropped = Arc::new(AtomicBool::new(false));
        let source = Stalling {
            given: 0,
            dropped: dropped.clone(),
        };
        (Reader::new(source), dropped)
    }

    #[test]
    fn what_is_ready_comes_in_one_batch_and_closing_drops_the_source_at_once() {
        let (reader, dropped) = stalling();
        let runtime = runtime().unwrap();
        assert_eq!(runtime.block_on(reader.next()), [1, 2, 3]);
        reader.close();
        assert!(dropped.load(Ordering::SeqCst));
        assert!(runtime.block_on(reader.next()).is_empty());
    }

    #[test]
    fn closing_ends_a_wait_of_another_thread() {
        let (reader, dropped) = stalling();
        let runtime = runtime().unwrap();
        runtime.block_on(reader.next());
        let waiting = runtime.spawn(reader.next());
        std::thread::sleep(std::time::Duration::from_millis(20));
        reader.close();
        assert!(runtime.block_on(waiting).unwrap().is_empty());
        assert!(dropped.load(Ordering::SeqCst));
    }

    #[test]
    fn a_wait_that_was_given_up_loses_nothing() {
        let items = tokio::sync::mpsc::channel(1);
        let (sender, reader) = (items.0, Reader::new(Received(items.1)));
        let runtime = runtime().unwrap();
        let first = reader.next();
        let limit = std::time::Duration::from_millis(5);
        let given_up = runtime.block_on(async { tokio::time::timeout(limit, first).await });
        assert!(given_up.is_err());
        sender.blocking_send(7).unwrap();
        assert_eq!(runtime.block_on(reader.next()), [7]);
        drop(sender);
        assert!(runtime.block_on(reader.next()).is_empty());
    }

    /// Its second item comes after a wait that keeps the first in hand.
    struct Received(tokio::sync::mpsc::Receiver<u8>);

    impl Source for Received {
        type Item = u8;

        fn next(&mut self) -> BoxFuture<'_, Option<u8>> {
            Box::pin(async move { self.0.recv().await })
        }
    }
}
