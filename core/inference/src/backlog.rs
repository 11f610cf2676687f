//! How far a sequence's output is ahead of its reader.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};

/// Events that may wait for a reader before its sequence waits for it.
const MOST: usize = 128;
/// Events that are left when it goes on.
const FEW: usize = 32;

/// The events of a sequence that its reader has not taken yet. Clones are the same backlog.
#[derive(Clone, Debug, Default)]
pub(crate) struct Backlog(Arc<Count>);

#[derive(Debug, Default)]
struct Count {
    events: AtomicUsize,
    /// Set when too many wait, until few do.
    is_full: AtomicBool,
}

impl Backlog {
    /// Counts an event that was sent.
    pub fn sent(&self) {
        if self.0.events.fetch_add(1, Ordering::AcqRel) + 1 >= MOST {
            self.0.is_full.store(true, Ordering::Release);
        }
    }

    /// Counts an event that was taken. Whether the sequence may go on again with that.
    pub fn taken(&self) -> bool {
        let before = self.0.events.fetch_sub(1, Ordering::AcqRel);
        before <= FEW + 1 && self.0.is_full.swap(false, Ordering::AcqRel)
    }

    /// Whether the sequence is to wait for its reader.
    pub fn is_full(&self) -> bool {
        self.0.is_full.load(Ordering::Acquire)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_full_backlog_is_full_until_few_are_left() {
        let backlog = Backlog::default();
        for sent in 1..=MOST {
            backlog.sent();
            assert_eq!(backlog.is_full(), sent == MOST);
        }
        for left in (FEW + 1..MOST).rev() {
            assert!(!backlog.taken(), "{left}");
            assert!(backlog.is_full());
        }
        assert!(backlog.taken());
        assert!(!backlog.is_full());
        assert!(!backlog.taken());
    }
}
