//! Calls into the core: on its runtime, cancellable, with errors as JSON.

use std::future::Future;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

use napi::bindgen_prelude::{Env, PromiseRaw, ToNapiValue};
use napi_derive::napi;
use outcrop::{Error, Result};
use serde_json::json;
use tokio::runtime::Handle;
use tokio::sync::Notify;

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
    let work = OnRuntime {
        runtime: runtime.handle(),
        work: Some(Box::pin(work)),
    };
    env.spawn_future(async move {
        tokio::select! {
            result = work => result.map_err(to_napi),
            () = cancelled.notified() => Err(to_napi(Error::cancelled())),
        }
    })
}

/// Work that finds the core's runtime around it on whatever thread it is polled: it is not handed
/// to another thread first. Its panic is an error.
struct OnRuntime<F> {
    runtime: &'static Handle,
    /// Gone once it is given up.
    work: Option<Pin<Box<F>>>,
}

impl<T, F: Future<Output = Result<T>>> Future for OnRuntime<F> {
    type Output = Result<T>;

    fn poll(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Result<T>> {
        let _inside = self.runtime.enter();
        let Some(work) = self.work.as_mut() else {
            return Poll::Ready(Err(Error::cancelled()));
        };
        catch_unwind(AssertUnwindSafe(|| work.as_mut().poll(context))).unwrap_or_else(|_| {
            let fault = "a fault inside Outcrop, please report it: see standard error";
            Poll::Ready(Err(Error::internal(fault)))
        })
    }
}

impl<F> Drop for OnRuntime<F> {
    fn drop(&mut self) {
        // What it leaves behind may need the runtime.
        let _inside = self.runtime.enter();
        self.work = None;
    }
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
