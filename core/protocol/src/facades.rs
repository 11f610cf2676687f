//! Façades: the APIs of other vendors, on the same desk.
//!
//! Each translates its requests to operations of Bedrock and their answers back, so that identity,
//! policy, audit and metering are those of every call. A field that has no meaning here is refused
//! by its name.

mod anthropic;
mod desk;
mod embeddings;
mod openai;
mod sse;
mod vendor;

use outcrop::Session;
use outcrop::governance::Caller;

use crate::http::{HttpRequest, HttpResponse};
use crate::refusal::Refusal;
use vendor::Vendor;

/// The answer of a façade, where the path is one of theirs.
pub(crate) async fn handle(
    session: &Session,
    caller: &Caller,
    request: &HttpRequest,
) -> Option<HttpResponse> {
    let vendor = Vendor::of(&request.path, &request.headers)?;
    // Lists of models and texts to embed are long: whoever polls, maybe an event loop, goes on first.
    tokio::task::yield_now().await;
    let answer = match vendor {
        Vendor::OpenAi => openai::answer(session, caller, request).await,
        Vendor::Anthropic => anthropic::answer(session, caller, request).await,
    };
    Some(answer.unwrap_or_else(|failure| vendor.failed(failure)))
}

/// The answer to a request that was turned away before the desk, in the form of its API.
pub(crate) fn refuse(path: &str, headers: &[(String, String)], refusal: &Refusal) -> HttpResponse {
    match Vendor::of(path, headers) {
        Some(vendor) => vendor.refused(refusal),
        None => crate::handle::refused(refusal),
    }
}
