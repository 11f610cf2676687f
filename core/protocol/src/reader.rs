//! A body that is made as it is read, as another language reads it.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use tokio::sync::{Mutex, Notify};

use crate::http::Chunks;

/// Reads a body chunk by chunk. Any thread may close it, while another waits for a chunk too.
/// Clones are the same reader; dropping the last stops the work behind the body.
#[derive(Clone)]
pub struct ChunkReader(Arc<Shared>);

struct Shared {
    /// Gone after the body's end.
    chunks: Mutex<Option<Box<dyn Chunks>>>,
    closed: AtomicBool,
    closing: Notify,
}

impl ChunkReader {
    /// The reader of `chunks`.
    pub fn new(chunks: Box<dyn Chunks>) -> Self {
        Self(Arc::new(Shared {
            chunks: Mutex::new(Some(chunks)),
            closed: AtomicBool::new(false),
            closing: Notify::new(),
        }))
    }

    /// The next chunk; `None` at the end, and where the reader is closed.
    pub fn next(&self) -> impl Future<Output = Option<Vec<u8>>> + Send + 'static {
        let shared = self.0.clone();
        async move {
            let mut chunks = shared.chunks.lock().await;
            if shared.closed.load(Ordering::SeqCst) {
                *chunks = None;
            }
            let reading = chunks.as_mut()?;
            let chunk = tokio::select! {
                biased;
                () = shared.closing.notified() => None,
                chunk = reading.next() => chunk,
            };
            if chunk.is_none() {
                *chunks = None;
            }
            chunk
        }
    }

    /// Ends the body and stops the work behind it. Closing it again does nothing.
    pub fn close(&self) {
        self.0.closed.store(true, Ordering::SeqCst);
        self.0.closing.notify_one();
        // Where a chunk is waited for, that wait ends and drops the chunks.
        if let Ok(mut chunks) = self.0.chunks.try_lock() {
            *chunks = None;
            return;
        }
        let shared = self.0.clone();
        if let Ok(runtime) = outcrop::runtime() {
            runtime.spawn(async move { *shared.chunks.lock().await = None });
        }
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use outcrop::api::BoxFuture;

    use super::*;

    /// Gives one chunk, then stalls; tells when it is dropped.
    struct Stalling {
        given: bool,
        dropped: Arc<AtomicBool>,
    }

    impl Chunks for Stalling {
        fn next(&mut self) -> BoxFuture<'_, Option<Vec<u8>>> {
            Box::pin(async move {
                if self.given {
                    std::future::pending::<()>().await;
                }
                self.given = true;
                Some(vec![7])
            })
        }
    }

    impl Drop for Stalling {
        fn drop(&mut self) {
            self.dropped.store(true, Ordering::SeqCst);
        }
    }

    fn stalling() -> (ChunkReader, Arc<AtomicBool>) {
        let dropped = Arc::new(AtomicBool::new(false));
        let chunks = Stalling {
            given: false,
            dropped: dropped.clone(),
        };
        (ChunkReader::new(Box::new(chunks)), dropped)
    }

    #[test]
    fn closing_drops_the_chunks_at_once() {
        let (reader, dropped) = stalling();
        let runtime = outcrop::runtime().unwrap();
        assert_eq!(runtime.block_on(reader.next()), Some(vec![7]));
        reader.close();
        assert!(dropped.load(Ordering::SeqCst));
        assert_eq!(runtime.block_on(reader.next()), None);
    }

    #[test]
    fn closing_ends_a_wait_of_another_thread() {
        let (reader, dropped) = stalling();
        let runtime = outcrop::runtime().unwrap();
        runtime.block_on(reader.next());
        let waiting = runtime.spawn(reader.next());
        std::thread::sleep(std::time::Duration::from_millis(20));
        reader.close();
        assert_eq!(runtime.block_on(waiting).unwrap(), None);
        assert!(dropped.load(Ordering::SeqCst));
    }
}
