//! The events of a submitted sequence.

use std::sync::Arc;

use outcrop_api::Result;
use tokio::sync::mpsc::UnboundedReceiver;

use super::Shared;
use crate::backlog::Backlog;
use crate::inbox::{Inbox, stopped};
use crate::sequence::SequenceEvent;

/// The events of a submitted sequence. It keeps the engine alive.
pub(crate) struct SequenceEvents {
    pub(super) receiver: UnboundedReceiver<Result<SequenceEvent>>,
    pub(super) backlog: Backlog,
    /// The scheduler that is to go on when its reader has caught up; none where all was sent.
    pub(super) inbox: Option<Arc<Inbox>>,
    pub(super) _engine: Arc<Shared>,
}

impl SequenceEvents {
    /// The next event. An engine that broke down is an `InternalServerException`.
    pub async fn next(&mut self) -> Result<SequenceEvent> {
        let Some(event) = self.receiver.recv().await else {
            return Err(stopped());
        };
        if let (true, Some(inbox)) = (self.backlog.taken(), &self.inbox) {
            inbox.wake();
        }
        event
    }
}
