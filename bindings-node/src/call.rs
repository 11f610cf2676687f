//! Calls into the core: on its runtime, cancellable, with errors as JSON.

use std::future::Future;
use std::sync::Arc;

use napi::bindgen_prelude::{Env, PromiseRaw, ToNapiValue};
use napi_derive::napi;
use outcrop::{Error, Result};
use serde_json::json;
use tokio::sync::Notify;
use tokio::task::JoinHandle;

/// Gives up the one call that it was handed to.
#[napi]
#[derive(Default)]
pub struct Cancellation {
    cancelled: Arc<Notify>,
}

#[napi]
impl Cancellation {
    #[napi(constructor)]
    pub fn new() -> Self {
        Self::default()
    }

    /// Stops the call within one engine step. The permit is kept where the call has not begun.
    #[napi]
    pub fn cancel(&self) {
        self.cancelled.notify_one();
    }
}

/// Aborts a task when the call that waits for it is gone.
pub(crate) struct AbortOnDrop<T>(pub(crate) JoinHandle<T>);

impl<T> Drop for AbortOnDrop<T> {
    fn drop(&mut self) {
        self.0.abort();
    }
}

/// A promise of `work`, which runs on the core's runtime until it ends or is cancelled.
pub(crate) fn promise<'env, T>(
    env: &'env Env,
    cancellation: &Cancellation,
    work: impl Future<Output = Result<T>> + Send + 'static,
) -> napi::Result<PromiseRaw<'env, T>>
where
    T: ToNapiValue + Send + 'static,
{
    let cancelled = cancellation.cancelled.clone();
    let runtime = outcrop::runtime().map_err(to_napi)?;
    env.spawn_future(async move {
        let mut task = AbortOnDrop(runtime.spawn(work));
        let ended = tokio::select! {
            ended = &mut task.0 => ended,
            () = cancelled.notified() => return Err(to_napi(Error::cancelled())),
        };
        match ended {
            Ok(result) => result.map_err(to_napi),
            Err(panic) => Err(to_napi(Error::internal(format!(
                "the call failed: {panic}"
            )))),
        }
    })
}

/// The error as the JSON that `lib/errors.cjs` reads.
pub(crate) fn to_napi(error: Error) -> napi::Error {
    let value = json!({ "outcrop": {
        "name": error.kind().name(),
        "message": error.message(),
        "resource": error.resource(),
        "retryable": error.kind().is_retryable(),
    }});
    napi::Error::from_reason(value.to_string())
}
