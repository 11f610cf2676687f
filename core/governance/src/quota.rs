//! How much may run at once.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use outcrop_api::{Error, ErrorKind, Result};

/// Calls that may be in flight at once, over all callers of a session.
#[derive(Clone, Debug)]
pub struct Quota {
    in_flight: Arc<AtomicUsize>,
    limit: usize,
}

/// A call's place among those in flight, given back when it is dropped.
#[derive(Debug)]
pub struct Admission(Arc<AtomicUsize>);

impl Quota {
    /// At most `limit` calls at once.
    pub fn new(limit: usize) -> Self {
        Self {
            in_flight: Arc::default(),
            limit,
        }
    }

    /// Takes a place.
    ///
    /// # Errors
    /// `ThrottlingException` where all are taken.
    pub fn admit(&self) -> Result<Admission> {
        let taken = self
            .in_flight
            .fetch_update(Ordering::AcqRel, Ordering::Acquire, |now| {
                (now < self.limit).then_some(now + 1)
            });
        match taken {
            Ok(_) => Ok(Admission(self.in_flight.clone())),
            Err(now) => Err(Error::new(
                ErrorKind::ThrottlingException,
                format!(
                    "Too many requests: {now} are in flight, the limit is {}",
                    self.limit
                ),
            )),
        }
    }

    /// Calls in flight now.
    pub fn in_flight(&self) -> usize {
        self.in_flight.load(Ordering::Acquire)
    }
}

impl Drop for Admission {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::AcqRel);
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn a_full_quota_throttles_and_a_place_comes_back() {
        let quota = Quota::new(1);
        let first = quota.admit().unwrap();
        let error = quota.admit().unwrap_err();
        assert_eq!(error.kind(), ErrorKind::ThrottlingException);
        drop(first);
        assert_eq!(quota.in_flight(), 0);
        assert!(quota.admit().is_ok());
    }
}
