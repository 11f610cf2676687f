//! A request's turn: who asks, how urgent it is, and until when an answer is of use.

use std::cmp::Reverse;
use std::time::{Duration, Instant};

use outcrop_api::{Error, ErrorKind, Scheduling};

/// When whose request came, and what it asks of the queue.
#[derive(Clone, Debug)]
pub(crate) struct Turn {
    /// Who asks. Callers share what there is evenly.
    pub caller: Option<String>,
    /// Higher runs first.
    pub priority: i32,
    /// Its number in the order of submission.
    pub arrival: u64,
    submitted: Instant,
    deadline_ms: Option<u64>,
}

impl Turn {
    /// The turn of a request that is submitted now.
    pub fn new(scheduling: Scheduling) -> Self {
        Self {
            caller: scheduling.caller,
            priority: scheduling.priority,
            arrival: 0,
            submitted: Instant::now(),
            deadline_ms: scheduling.deadline_ms,
        }
    }

    /// Whether it comes before `other`: by priority, then by arrival.
    pub fn is_before(&self, other: &Turn) -> bool {
        (Reverse(self.priority), self.arrival) < (Reverse(other.priority), other.arrival)
    }

    /// The error of a request whose deadline has passed.
    pub fn timeout(&self) -> Option<Error> {
        let limit = self.deadline_ms?;
        let passed = self.submitted.elapsed();
        (passed >= Duration::from_millis(limit)).then(|| {
            let message = format!(
                "deadline_ms: expected the answer within {limit} ms of submission, {} ms have passed",
                passed.as_millis()
            );
            Error::new(ErrorKind::ModelTimeoutException, message)
        })
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use super::*;

    #[test]
    fn priority_comes_before_arrival() {
        let turn = |priority, arrival| Turn {
            arrival,
            ..Turn::new(Scheduling {
                priority,
                ..Scheduling::default()
            })
        };
        assert!(turn(1, 5).is_before(&turn(0, 2)));
        assert!(turn(0, 2).is_before(&turn(0, 5)));
        assert!(!turn(0, 2).is_before(&turn(0, 2)));
        assert!(!turn(0, 1).is_before(&turn(3, 2)));
    }

    #[test]
    fn a_timeout_has_both_numbers() {
        let turn = Turn::new(Scheduling {
            deadline_ms: Some(0),
            ..Scheduling::default()
        });
        let error = turn.timeout().unwrap();
        assert_eq!(error.kind(), ErrorKind::ModelTimeoutException);
        assert!(error.message().contains("within 0 ms"), "{error}");
        assert!(Turn::new(Scheduling::default()).timeout().is_none());
    }
}
