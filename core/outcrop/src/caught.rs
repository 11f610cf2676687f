//! Work whose panic is an error and not the end of the caller's process.

use std::any::Any;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::pin::Pin;
use std::task::{Context, Poll};

use outcrop_api::{Error, Result};

/// Work whose panic is an error, see [`caught`].
pub struct Caught<F>(F);

/// What `work`, such as a boxed future, gives.
///
/// # Errors
/// `InternalServerException` where it panicked: a fault of Outcrop, whose place stands on standard
/// error.
pub fn caught<F: Future + Unpin>(work: F) -> Caught<F> {
    Caught(work)
}

impl<F: Future + Unpin> Future for Caught<F> {
    type Output = Result<F::Output>;

    fn poll(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Self::Output> {
        // What the work shares is behind locks that outlive a panic.
        match catch_unwind(AssertUnwindSafe(|| Pin::new(&mut self.0).poll(context))) {
            Ok(polled) => polled.map(Ok),
            Err(payload) => Poll::Ready(Err(fault(payload.as_ref()))),
        }
    }
}

/// [`caught`] for work that waits for nothing.
///
/// # Errors
/// Those of `work`, and as [`caught`].
pub fn caught_call<T>(work: impl FnOnce() -> Result<T>) -> Result<T> {
    catch_unwind(AssertUnwindSafe(work)).unwrap_or_else(|payload| Err(fault(payload.as_ref())))
}

fn fault(payload: &(dyn Any + Send)) -> Error {
    let text = payload.downcast_ref::<&str>().copied();
    let text = text.or_else(|| payload.downcast_ref::<String>().map(String::as_str));
    Error::internal(format!(
        "a fault inside Outcrop, please report it (its place is on standard error): {}",
        text.unwrap_or("no message")
    ))
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::panic)]
    use outcrop_api::ErrorKind;

    use super::*;

    #[tokio::test]
    async fn a_panic_becomes_an_error() {
        assert_eq!(caught(Box::pin(async { 1 })).await.unwrap(), 1);
        let failed: Result<()> = caught(Box::pin(async {
            tokio::task::yield_now().await;
            panic!("the test's own");
        }))
        .await;
        let failed = failed.unwrap_err();
        assert_eq!(failed.kind(), ErrorKind::InternalServerException);
        assert!(failed.message().ends_with(": the test's own"));
        assert!(caught_call::<()>(|| panic!("another")).is_err());
    }
}
