//! A request's body, read within the limits.

use std::sync::Arc;
use std::time::Duration;

use http_body_util::BodyExt;
use hyper::body::{Body, Incoming};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::time::{Instant, timeout, timeout_at};

use crate::refusal::Refusal;
use crate::server::Limits;

/// What one permit of the room for bodies stands for.
const UNIT: usize = 64 * 1024;
/// What is read of a body that nobody wants, so that its sender can read the refusal.
const DRAINED: usize = 64 * 1024 * 1024;
const DRAIN_TIME: Duration = Duration::from_secs(5);

/// The room that all requests' bodies share.
#[derive(Clone)]
pub(super) struct BodyRoom(Arc<Semaphore>);

/// A body, and the room that it takes.
pub(super) struct Received {
    pub bytes: Vec<u8>,
    pub room: Option<OwnedSemaphorePermit>,
}

impl BodyRoom {
    pub fn new(bytes: usize) -> Self {
        Self(Arc::new(Semaphore::new(bytes.div_ceil(UNIT))))
    }

    /// Reads the whole body.
    pub async fn receive(&self, body: &mut Incoming, limits: &Limits) -> Result<Received, Refusal> {
        if body.size_hint().lower() > limits.body_bytes as u64 {
            return Err(too_large(limits));
        }
        let mut received = Received {
            bytes: Vec::new(),
            room: None,
        };
        let end = Instant::now() + limits.body_time;
        loop {
            let pause = (Instant::now() + limits.body_pause).min(end);
            let frame = match timeout_at(pause, body.frame()).await {
                Err(_) => return Err(too_slow(limits)),
                Ok(None) => return Ok(received),
                Ok(Some(Err(error))) => {
                    let message = format!("The request's body cannot be read: {error}");
                    return Err(Refusal::new("ValidationException", 400, message));
                }
                Ok(Some(Ok(frame))) => frame,
            };
            let Ok(data) = frame.into_data() else {
                continue;
            };
            if received.bytes.len() + data.len() > limits.body_bytes {
                return Err(too_large(limits));
            }
            self.widen(&mut received, data.len())?;
            received.bytes.extend_from_slice(&data);
        }
    }

    fn widen(&self, received: &mut Received, more: usize) -> Result<(), Refusal> {
        let needed = (received.bytes.len() + more).div_ceil(UNIT);
        let held = received
            .room
            .as_ref()
            .map_or(0, OwnedSemaphorePermit::num_permits);
        let lacking = needed.saturating_sub(held);
        if lacking == 0 {
            return Ok(());
        }
        let lacking = u32::try_from(lacking).unwrap_or(u32::MAX);
        let Ok(more) = self.0.clone().try_acquire_many_owned(lacking) else {
            return Err(Refusal::new(
                "ThrottlingException",
                429,
                "Too many requests: the bodies of those in flight fill the memory set aside for them.",
            ));
        };
        match received.room.as_mut() {
            Some(room) => room.merge(more),
            None => received.room = Some(more),
        }
        Ok(())
    }
}

/// Reads and forgets what is left of a refused request's body, within limits: a sender that is
/// still writing when the connection is closed would not see the refusal.
pub(super) async fn drain(body: &mut Incoming) {
    let mut left = DRAINED;
    let all = async {
        while let Some(Ok(frame)) = body.frame().await {
            let size = frame.data_ref().map_or(0, |data| data.len());
            match left.checked_sub(size) {
                Some(rest) => left = rest,
                None => break,
            }
        }
    };
    let _ = timeout(DRAIN_TIME, all).await;
}

fn too_large(limits: &Limits) -> Refusal {
    let message = format!(
        "Request body is too large: at most {} bytes are read.",
        limits.body_bytes
    );
    Refusal::new("RequestEntityTooLargeException", 413, message)
}

fn too_slow(limits: &Limits) -> Refusal {
    let message = format!(
        "The request's body did not come in time: within {} s of pause and {} s in all.",
        limits.body_pause.as_secs(),
        limits.body_time.as_secs()
    );
    Refusal::new("RequestTimeoutException", 408, message)
}
