//! The AWS wire: a request that an AWS SDK made, answered in this process.

use napi::bindgen_prelude::{Buffer, Env, PromiseRaw};
use napi_derive::napi;
use outcrop::governance::Caller;
use outcrop_protocol::{Body, ChunkReader, HttpRequest, HttpResponse, handle};

use crate::call::{Cancellation, promise_at_once};

/// A response: its status, then the names in lower case and the values of its headers, a line each;
/// and its body, which is text, bytes, or chunks that are made as they are read.
#[napi(object, object_from_js = false)]
pub struct Response {
    pub head: String,
    pub text: Option<String>,
    pub bytes: Option<Buffer>,
    pub chunks: Option<ChunkQueue>,
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
        promise_at_once(
            env,
            None,
            0,
            async move { Ok(next.await.map(Buffer::from)) },
        )
    }

    /// Stops the work behind the body; whoever waits for a chunk is given its end.
    #[napi]
    pub fn close(&self) {
        self.0.close();
    }
}

/// A promise of the answer to a request of the owner of the home. Its `head` is method, path, query,
/// then the names and values of its headers, a line each: one text crosses in the time of many.
pub(crate) fn answer<'env>(
    env: &'env Env,
    session: outcrop::Session,
    head: &str,
    body: &[u8],
    cancellation: Option<&Cancellation>,
) -> napi::Result<PromiseRaw<'env, Response>> {
    let mut lines = head.split('\n').map(str::to_string);
    let mut line = || lines.next().unwrap_or_default();
    let mut request = HttpRequest {
        method: line(),
        path: line(),
        query: line(),
        headers: Vec::new(),
        body: body.to_vec(),
    };
    while let (Some(name), Some(value)) = (lines.next(), lines.next()) {
        request.headers.push((name, value));
    }
    let mut caller = Caller::in_process();
    if let Some(agent) = request.header("user-agent") {
        caller.user_agent = agent.to_string();
    }
    promise_at_once(env, cancellation, body.len(), async move {
        Ok(handle(&session, caller, request).await.into())
    })
}

impl From<HttpResponse> for Response {
    fn from(response: HttpResponse) -> Self {
        let mut head = response.status.to_string();
        for (name, value) in &response.headers {
            for part in [name.to_ascii_lowercase().as_str(), value] {
                head.push('\n');
                head.push_str(part);
            }
        }
        let (mut text, mut bytes, mut chunks) = (None, None, None);
        match response.body {
            Body::Chunks(made) => chunks = Some(ChunkQueue(ChunkReader::new(made))),
            // Most bodies are JSON. A text is copied; bytes of ours are an object to be tracked.
            Body::Whole(whole) => match String::from_utf8(whole) {
                Ok(whole) => text = Some(whole),
                Err(whole) => bytes = Some(whole.into_bytes().into()),
            },
        }
        Self {
            head,
            text,
            bytes,
            chunks,
        }
    }
}
