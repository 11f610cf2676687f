//! What a connection is doing, for whoever ends those that do nothing.

use std::pin::Pin;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::task::{Context, Poll};
use std::time::{Duration, Instant};

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::sync::OwnedSemaphorePermit;

/// A connection's requests in flight, and when it last did something. Clones are the same.
#[derive(Clone)]
pub(super) struct Activity(Arc<State>);

struct State {
    running: AtomicUsize,
    last: Mutex<Instant>,
}

/// A request in flight, and what it holds until its end.
pub(super) struct Running {
    activity: Activity,
    held: [Option<OwnedSemaphorePermit>; 2],
}

impl Activity {
    pub fn new() -> Self {
        Self(Arc::new(State {
            running: AtomicUsize::new(0),
            last: Mutex::new(Instant::now()),
        }))
    }

    /// Notes a request, until it is dropped.
    pub fn begin(&self) -> Running {
        self.0.running.fetch_add(1, Ordering::AcqRel);
        Running {
            activity: self.clone(),
            held: [None, None],
        }
    }

    /// How long nothing has run and nothing was written; zero while something runs. What is read
    /// does not count: a head may come byte by byte.
    pub fn idle(&self) -> Duration {
        if self.0.running.load(Ordering::Acquire) > 0 {
            return Duration::ZERO;
        }
        let last = self.0.last.lock().unwrap_or_else(PoisonError::into_inner);
        last.elapsed()
    }

    fn touch(&self) {
        *self.0.last.lock().unwrap_or_else(PoisonError::into_inner) = Instant::now();
    }
}

impl Running {
    /// Keeps places that the request takes.
    pub fn keep(&mut self, held: [Option<OwnedSemaphorePermit>; 2]) {
        self.held = held;
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        self.activity.touch();
        self.activity.0.running.fetch_sub(1, Ordering::AcqRel);
    }
}

/// A connection whose writes are noted.
pub(super) struct Watched<I> {
    io: I,
    activity: Activity,
}

impl<I> Watched<I> {
    pub fn new(io: I, activity: Activity) -> Self {
        Self { io, activity }
    }

    fn noted(&self, written: Poll<std::io::Result<usize>>) -> Poll<std::io::Result<usize>> {
        if matches!(written, Poll::Ready(Ok(1..))) {
            self.activity.touch();
        }
        written
    }
}

impl<I: AsyncRead + Unpin> AsyncRead for Watched<I> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<std::io::Result<()>> {
        Pin::new(&mut self.io).poll_read(cx, buffer)
    }
}

impl<I: AsyncWrite + Unpin> AsyncWrite for Watched<I> {
    fn poll_write(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<std::io::Result<usize>> {
        let written = Pin::new(&mut self.io).poll_write(cx, bytes);
        self.noted(written)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        slices: &[std::io::IoSlice<'_>],
    ) -> Poll<std::io::Result<usize>> {
        let written = Pin::new(&mut self.io).poll_write_vectored(cx, slices);
        self.noted(written)
    }

    fn is_write_vectored(&self) -> bool {
        self.io.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<std::io::Result<()>> {
        Pin::new(&mut self.io).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<std::io::Result<()>> {
        Pin::new(&mut self.io).poll_shutdown(cx)
    }
}
