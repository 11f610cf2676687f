//! The AWS wire: a request that an AWS SDK made, answered in this process.

use std::sync::Mutex;

use napi::bindgen_prelude::{Buffer, Env, PromiseRaw, Uint8Array};
use napi_derive::napi;
use outcrop::governance::Caller;
use outcrop_protocol::{Body, ChunkReader, HttpRequest, handle};

use crate::call::{Cancellation, promise};

/// A request. Its headers are names and values by turns.
#[napi(object)]
pub struct Request {
    pub method: String,
    pub path: String,
    pub query: String,
    pub headers: Vec<String>,
}

/// A response: its body is bytes, or chunks that are made as they are read.
#[napi]
pub struct Response {
    status: u16,
    headers: Vec<String>,
    body: Mutex<Option<Body>>,
}

#[napi]
impl Response {
    #[napi(getter)]
    pub fn status(&self) -> u16 {
        self.status
    }

    /// Names and values by turns.
    #[napi(getter)]
    pub fn headers(&self) -> Vec<String> {
        self.headers.clone()
    }

    /// The whole body, taken out; null where it is made as it is read.
    #[napi]
    pub fn whole(&self) -> Option<Buffer> {
        match self.take(|body| matches!(body, Body::Whole(_))) {
            Some(Body::Whole(bytes)) => Some(bytes.into()),
            _ => None,
        }
    }

    /// The body that is made as it is read, taken out; null where it is whole.
    #[napi]
    pub fn chunks(&self) -> Option<ChunkQueue> {
        match self.take(|body| matches!(body, Body::Chunks(_))) {
            Some(Body::Chunks(chunks)) => Some(ChunkQueue(ChunkReader::new(chunks))),
            _ => None,
        }
    }

    fn take(&self, wanted: impl Fn(&Body) -> bool) -> Option<Body> {
        let mut body = self.body.lock().ok()?;
        match body.as_ref().is_some_and(wanted) {
            true => body.take(),
            false => None,
        }
    }
}

/// A body that is made as it is read.
#[napi]
pub struct ChunkQueue(ChunkReader);

#[napi]
impl ChunkQueue {
    /// The next bytes; null after the last.
    #[napi(ts_return_type = "Promise<Buffer | null>")]
    pub fn next<'env>(&self, env: &'env Env) -> napi::Result<PromiseRaw<'env, Option<Buffer>>> {
        let next = self.0.next();
        promise(env, &Cancellation::default(), async move {
            Ok(next.await.map(Buffer::from))
        })
    }

    /// Stops the work behind the body; whoever waits for a chunk is given its end.
    #[napi]
    pub fn close(&self) {
        self.0.close();
    }
}

/// A promise of the answer to `request`, of the owner of the home.
pub(crate) fn answer<'env>(
    env: &'env Env,
    session: outcrop::Session,
    request: Request,
    body: &Uint8Array,
    cancellation: &Cancellation,
) -> napi::Result<PromiseRaw<'env, Response>> {
    let mut names = request.headers.into_iter();
    let mut headers = Vec::new();
    while let (Some(name), Some(value)) = (names.next(), names.next()) {
        headers.push((name, value));
    }
    let request = HttpRequest {
        method: request.method,
        path: request.path,
        query: request.query,
        headers,
        body: body.to_vec(),
    };
    let mut caller = Caller::in_process();
    if let Some(agent) = request.header("user-agent") {
        caller.user_agent = agent.to_string();
    }
    promise(env, cancellation, async move {
        let response = handle(&session, caller, request).await;
        let headers = response.headers.into_iter();
        Ok(Response {
            status: response.status,
            headers: headers.flat_map(|(name, value)| [name, value]).collect(),
            body: Mutex::new(Some(response.body)),
        })
    })
}
