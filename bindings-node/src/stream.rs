//! Streams of events: pulled in chunks, stopped by `cancel`.

use napi::bindgen_prelude::{Env, PromiseRaw};
use napi_derive::napi;
use outcrop::Feed;

use crate::call::promise_at_once;

/// Events of a running answer or sync.
#[napi]
pub struct EventQueue(pub(crate) Feed);

#[napi]
impl EventQueue {
    /// The events that are there, at least one, as a JSON array; null at the end.
    #[napi(ts_return_type = "Promise<string | null>")]
    pub fn next<'env>(&self, env: &'env Env) -> napi::Result<PromiseRaw<'env, Option<String>>> {
        promise_at_once(env, None, 0, self.0.next())
    }

    /// Stops the work behind the events.
    #[napi]
    pub fn cancel(&self) {
        self.0.cancel();
    }
}

/// How far a download is.
#[napi]
#[derive(Default)]
pub struct Meter(pub(crate) outcrop::Meter);

#[napi]
impl Meter {
    #[napi(constructor)]
    pub fn new() -> Self {
        Self::default()
    }

    /// The latest progress as JSON; null where nothing was told yet.
    #[napi]
    pub fn latest(&self) -> Option<String> {
        self.0.latest()
    }
}
