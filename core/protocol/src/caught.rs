//! Work whose panic is an error of the service and not the end of the caller's process.

use std::future::poll_fn;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::pin::pin;
use std::task::Poll;

use outcrop::{Error, Result};

/// What `work` gives.
///
/// # Errors
/// `InternalServerException` where it panicked: a fault of Outcrop, whose place stands on standard
/// error.
pub async fn caught<T>(work: impl Future<Output = T>) -> Result<T> {
    let mut work = pin!(work);
    // What the work shares is behind locks that outlive a panic.
    poll_fn(|context| {
        let polled = catch_unwind(AssertUnwindSafe(|| work.as_mut().poll(context)));
        match polled {
            Ok(Poll::Pending) => Poll::Pending,
            Ok(Poll::Ready(done)) => Poll::Ready(Ok(done)),
            Err(_) => Poll::Ready(Err(Error::internal(
                "the call ended in a fault of Outcrop: its place is on standard error",
            ))),
        }
    })
    .await
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::panic)]
    use outcrop::ErrorKind;

    use super::caught;

    #[tokio::test]
    async fn a_panic_becomes_an_error() {
        assert_eq!(caught(async { 1 }).await.unwrap(), 1);
        let failed = caught(async {
            tokio::task::yield_now().await;
            panic!("the test's own");
        });
        let failed: outcrop::Result<()> = failed.await;
        assert_eq!(
            failed.unwrap_err().kind(),
            ErrorKind::InternalServerException
        );
    }
}
