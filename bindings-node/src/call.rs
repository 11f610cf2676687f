//! Calls into the core: on its runtime, cancellable, with errors as JSON.

use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, Waker};

use napi::JsError;
use napi::bindgen_prelude::{Env, PromiseRaw, ToNapiValue};
use napi_derive::napi;
use outcrop::api::BoxFuture;
use outcrop::{Caught, Error, Result, caught};
use serde_json::json;
use tokio::runtime::Handle;
use tokio::sync::Notify;

/// Most bytes of a request that is begun on the event loop's thread.
const SMALL: usize = 64 << 10;

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

/// A promise of `work`, which runs on the core's runtime until it ends or is cancelled. Where
/// nobody can cancel it there is no `Cancellation`: a native object costs more than a short call.
pub(crate) fn promise<'env, T>(
    env: &'env Env,
    cancellation: Option<&Cancellation>,
    work: impl Future<Output = Result<T>> + Send + 'static,
) -> napi::Result<PromiseRaw<'env, T>>
where
    T: ToNapiValue + Send + 'static,
{
    spawn(env, cancellation, OnRuntime::new(work)?)
}

/// [`promise`], kept at once where `work` waits for nothing: no thread is woken then. It begins on
/// the event loop's own thread where `bytes`, the size of what it is asked with, is small. The core
/// holds that thread up for no longer than it takes to read the request and to log its decision:
/// what computes, or reads more of the disk, leaves it first.
pub(crate) fn promise_at_once<'env, T>(
    env: &'env Env,
    cancellation: Option<&Cancellation>,
    bytes: usize,
    work: impl Future<Output = Result<T>> + Send + 'static,
) -> napi::Result<PromiseRaw<'env, T>>
where
    T: ToNapiValue + Send + 'static,
{
    let mut work = OnRuntime::new(work)?;
    if bytes <= SMALL {
        // Nobody is to be woken: where it waits, the runtime asks it again at once.
        match Pin::new(&mut work).poll(&mut Context::from_waker(Waker::noop())) {
            Poll::Ready(Ok(value)) => return PromiseRaw::resolve(env, value),
            Poll::Ready(Err(error)) => {
                return PromiseRaw::reject(env, JsError::from(to_napi(error)));
            }
            Poll::Pending => {}
        }
    }
    spawn(env, cancellation, work)
}

fn spawn<'env, T: ToNapiValue + Send + 'static>(
    env: &'env Env,
    cancellation: Option<&Cancellation>,
    work: OnRuntime<T>,
) -> napi::Result<PromiseRaw<'env, T>> {
    let cancelled = cancellation.map(|it| it.cancelled.clone());
    env.spawn_future(async move {
        let cancelled = async {
            match cancelled {
                Some(cancelled) => cancelled.notified().await,
                None => std::future::pending().await,
            }
        };
        tokio::select! {
            result = work => result.map_err(to_napi),
            () = cancelled => Err(to_napi(Error::cancelled())),
        }
    })
}

/// Work that finds the core's runtime around it on whatever thread it is polled: it is not handed
/// to another thread first. Its panic is an error.
struct OnRuntime<T> {
    runtime: &'static Handle,
    /// Gone once it is given up.
    work: Option<Caught<BoxFuture<'static, Result<T>>>>,
}

impl<T: Send + 'static> OnRuntime<T> {
    fn new(work: impl Future<Output = Result<T>> + Send + 'static) -> napi::Result<Self> {
        Ok(Self {
            runtime: outcrop::runtime().map_err(to_napi)?.handle(),
            work: Some(caught(Box::pin(work))),
        })
    }
}

impl<T> Future for OnRuntime<T> {
    type Output = Result<T>;

    fn poll(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Result<T>> {
        let _inside = self.runtime.enter();
        let Some(work) = self.work.as_mut() else {
            return Poll::Ready(Err(Error::cancelled()));
        };
        let polled = Pin::new(work).poll(context);
        polled.map(|outcome| outcome.and_then(|outcome| outcome))
    }
}

impl<T> Drop for OnRuntime<T> {
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
