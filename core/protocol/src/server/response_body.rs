//! A response's body, passed on as it is made.

use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Duration;

use hyper::body::{Body, Bytes, Frame, SizeHint};
use tokio::sync::mpsc::{Receiver, Sender, channel};
use tokio::time::timeout;

use crate::http::Chunks;
use crate::server::activity::Running;

/// How long a response waits for its first chunk, so that head and chunk leave in one write.
const FIRST_CHUNK: Duration = Duration::from_millis(20);

/// A body that hyper sends.
pub(super) enum ResponseBody {
    /// Known whole.
    Whole(Option<Bytes>),
    /// Made by a task that waits for its reader.
    Streamed {
        first: Option<Bytes>,
        rest: Receiver<Piece>,
        ended: bool,
    },
}

/// What the task behind a stream hands over.
pub(super) enum Piece {
    Chunk(Bytes),
    End,
}

/// The reader of a stream paused for too long, or the work behind it broke off.
#[derive(Debug)]
pub(super) struct BrokenOff;

impl ResponseBody {
    pub fn whole(bytes: Vec<u8>) -> Self {
        Self::Whole(Some(bytes.into()))
    }

    /// A stream of `chunks`. The task behind it ends, and with it the work that makes them, as soon
    /// as nobody reads any more, or the reader has paused for `pause`.
    pub async fn streamed(chunks: Box<dyn Chunks>, pause: Duration, running: Running) -> Self {
        let (sender, mut rest) = channel(1);
        tokio::spawn(pass_on(chunks, sender, pause, running));
        let first = timeout(FIRST_CHUNK, rest.recv()).await;
        let (first, ended) = match first {
            Ok(Some(Piece::Chunk(chunk))) => (Some(chunk), false),
            Ok(Some(Piece::End)) => (None, true),
            Ok(None) | Err(_) => (None, false),
        };
        Self::Streamed { first, rest, ended }
    }
}

async fn pass_on(
    mut chunks: Box<dyn Chunks>,
    sender: Sender<Piece>,
    pause: Duration,
    _running: Running,
) {
    loop {
        let chunk = tokio::select! {
            () = sender.closed() => return,
            chunk = chunks.next() => chunk,
        };
        let is_last = chunk.is_none();
        let piece = chunk.map_or(Piece::End, |chunk| Piece::Chunk(chunk.into()));
        match timeout(pause, sender.send(piece)).await {
            Ok(Ok(())) if !is_last => {}
            // Read to its end, given up, or too slow: without an end the response is broken off.
            _ => return,
        }
    }
}

impl Body for ResponseBody {
    type Data = Bytes;
    type Error = BrokenOff;

    fn poll_frame(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, BrokenOff>>> {
        let chunk = |bytes| Poll::Ready(Some(Ok(Frame::data(bytes))));
        match self.get_mut() {
            Self::Whole(bytes) => match bytes.take() {
                Some(bytes) if !bytes.is_empty() => chunk(bytes),
                _ => Poll::Ready(None),
            },
            Self::Streamed { first, rest, ended } => {
                if let Some(bytes) = first.take() {
                    return chunk(bytes);
                }
                if *ended {
                    return Poll::Ready(None);
                }
                match rest.poll_recv(cx) {
                    Poll::Pending => Poll::Pending,
                    Poll::Ready(Some(Piece::Chunk(bytes))) => chunk(bytes),
                    Poll::Ready(Some(Piece::End)) => {
                        *ended = true;
                        Poll::Ready(None)
                    }
                    Poll::Ready(None) => {
                        *ended = true;
                        Poll::Ready(Some(Err(BrokenOff)))
                    }
                }
            }
        }
    }

    fn is_end_stream(&self) -> bool {
        match self {
            Self::Whole(bytes) => bytes.as_ref().is_none_or(Bytes::is_empty),
            Self::Streamed { first, ended, .. } => *ended && first.is_none(),
        }
    }

    fn size_hint(&self) -> SizeHint {
        match self {
            Self::Whole(bytes) => {
                SizeHint::with_exact(bytes.as_ref().map_or(0, |bytes| bytes.len() as u64))
            }
            Self::Streamed { .. } => SizeHint::default(),
        }
    }
}

impl std::fmt::Display for BrokenOff {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("the stream was broken off")
    }
}

impl std::error::Error for BrokenOff {}
