//! Streamable HTTP over the client that other endpoints are called by.

use std::collections::HashMap;
use std::io::{BufRead, BufReader, ErrorKind, Read};
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

use rmcp::model::{ClientJsonRpcMessage, ErrorData, RequestId, ServerJsonRpcMessage};
use rmcp::transport::streamable_http_client::{
    SseError, StreamableHttpClient, StreamableHttpClientTransportConfig, StreamableHttpError,
    StreamableHttpPostResponse,
};
use rmcp::transport::{StreamableHttpClientTransport, common::client_side_sse::ExponentialBackoff};
use sse_stream::Sse;
use tokio::sync::mpsc;
use tokio_stream::Stream;
use ureq::http::{HeaderMap, HeaderName, HeaderValue, Request, Response};
use ureq::{Agent, Body};

use super::MAX_MESSAGE;
use crate::agents::HostAccess;
use crate::agents::http::{Open, agent};

/// The header that holds the session's id.
const SESSION: &str = "mcp-session-id";
/// Most bytes of a failed answer's own words.
const MAX_WORDS: usize = 2000;
/// How often the stream of a server's own messages is opened anew.
const MAX_REOPENED: usize = 5;

/// The transport to the server at `url`.
pub(super) fn transport(
    url: &str,
    access: &HostAccess,
) -> StreamableHttpClientTransport<HttpClient> {
    let headers = access.headers.iter().filter_map(|(name, value)| {
        // They were checked when the host was allowed.
        Some((
            HeaderName::try_from(name).ok()?,
            HeaderValue::try_from(value).ok()?,
        ))
    });
    let mut again = ExponentialBackoff::default();
    again.max_times = Some(MAX_REOPENED);
    let mut config = StreamableHttpClientTransportConfig::with_uri(url);
    config.custom_headers = headers.collect();
    config.retry_config = Arc::new(again);
    let client = HttpClient {
        allows_private: access.private,
    };
    StreamableHttpClientTransport::with_client(client, config)
}

/// Makes the requests of a transport.
#[derive(Clone)]
pub(super) struct HttpClient {
    allows_private: bool,
}

/// Why a request came to nothing.
#[derive(Debug)]
pub(super) struct HttpFault {
    message: String,
    /// Whether the server may have done what was asked.
    pub is_lost: bool,
}

impl std::fmt::Display for HttpFault {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(&self.message)
    }
}

impl std::error::Error for HttpFault {}

type Fault = StreamableHttpError<HttpFault>;
type Headers = HashMap<HeaderName, HeaderValue>;
type Events = Pin<Box<dyn Stream<Item = Result<Sse, SseError>> + Send>>;

/// The head of an answer, with its body where that is a stream.
enum Answer {
    Whole(Whole),
    Events(Response<Body>),
}

struct Whole {
    status: u16,
    session: Option<String>,
    body: Vec<u8>,
}

impl StreamableHttpClient for HttpClient {
    type Error = HttpFault;

    async fn post_message(
        &self,
        uri: Arc<str>,
        message: ClientJsonRpcMessage,
        session_id: Option<Arc<str>>,
        _auth_header: Option<String>,
        headers: Headers,
    ) -> Result<StreamableHttpPostResponse, Fault> {
        let body = serde_json::to_vec(&message)?;
        let asked = match &message {
            ClientJsonRpcMessage::Request(request) => Some(request.id.clone()),
            _ => None,
        };
        let request = built("POST", &uri, session_id.as_deref(), headers)
            .header("accept", "application/json, text/event-stream")
            .header("content-type", "application/json")
            .body(body);
        let (answer, open) = self.sent(request).await?;
        let whole = match answer {
            Answer::Events(response) => {
                let session = session_of(response.headers());
                let events = events(response, open, asked.clone());
                return Ok(StreamableHttpPostResponse::Sse(events, session));
            }
            Answer::Whole(whole) => whole,
        };
        if whole.status == 404 && session_id.is_some() {
            return Err(StreamableHttpError::SessionExpired);
        }
        let is_success = (200..300).contains(&whole.status);
        match serde_json::from_slice::<ServerJsonRpcMessage>(&whole.body) {
            Ok(message @ ServerJsonRpcMessage::Error(_)) => {
                Ok(StreamableHttpPostResponse::Json(message, whole.session))
            }
            Ok(message) if is_success => {
                Ok(StreamableHttpPostResponse::Json(message, whole.session))
            }
            _ if is_success && (asked.is_none() || whole.status == 202) => {
                Ok(StreamableHttpPostResponse::Accepted)
            }
            _ => Err(unexpected("POST", &uri, &whole)),
        }
    }

    async fn delete_session(
        &self,
        uri: Arc<str>,
        session_id: Arc<str>,
        _auth_header: Option<String>,
        headers: Headers,
    ) -> Result<(), Fault> {
        let request = built("DELETE", &uri, Some(&session_id), headers).body(Vec::new());
        match self.sent(request).await? {
            (Answer::Whole(whole), _) if whole.status == 405 => {
                Err(StreamableHttpError::ServerDoesNotSupportDeleteSession)
            }
            _ => Ok(()),
        }
    }

    async fn get_stream(
        &self,
        uri: Arc<str>,
        session_id: Option<Arc<str>>,
        last_event_id: Option<String>,
        _auth_header: Option<String>,
        headers: Headers,
    ) -> Result<Events, Fault> {
        let mut request = built("GET", &uri, session_id.as_deref(), headers)
            .header("accept", "text/event-stream");
        if let Some(id) = last_event_id {
            request = request.header("last-event-id", id);
        }
        match self.sent(request.body(Vec::new())).await? {
            (Answer::Events(response), open) => Ok(events(response, open, None)),
            (Answer::Whole(whole), _) if whole.status == 405 => {
                Err(StreamableHttpError::ServerDoesNotSupportSse)
            }
            (Answer::Whole(whole), _) => Err(unexpected("GET", &uri, &whole)),
        }
    }
}

impl HttpClient {
    /// Sends a request and reads its answer, or the head of it where its body is a stream. Dropping
    /// this, or what it gives, closes the connection.
    async fn sent(
        &self,
        request: Result<Request<Vec<u8>>, ureq::http::Error>,
    ) -> Result<(Answer, Open), Fault> {
        let request = request.map_err(|error| refused(error.to_string()))?;
        let agent = agent(None, self.allows_private);
        let open = Open(agent.clone());
        let answered = tokio::task::spawn_blocking(move || answered(&agent, request));
        let answer = answered
            .await
            .map_err(StreamableHttpError::TokioJoinError)?;
        Ok((answer.map_err(StreamableHttpError::Client)?, open))
    }
}

fn built(
    method: &str,
    uri: &str,
    session_id: Option<&str>,
    headers: Headers,
) -> ureq::http::request::Builder {
    let mut request = Request::builder().method(method).uri(uri);
    for (name, value) in headers {
        request = request.header(name, value);
    }
    match session_id {
        Some(id) => request.header(SESSION, id),
        None => request,
    }
}

fn answered(agent: &Agent, request: Request<Vec<u8>>) -> Result<Answer, HttpFault> {
    let named = format!("{} {}", request.method(), request.uri());
    let fault = |message: String, is_lost| HttpFault {
        message: format!("{named}: {message}"),
        is_lost,
    };
    let has_body = !request.body().is_empty();
    let response = match has_body {
        true => agent.run(request),
        false => agent.run(request.map(|_| ())),
    };
    let mut response = response.map_err(|error| fault(error.to_string(), !was_refused(&error)))?;
    let kind = response.headers().get("content-type");
    let kind = kind.and_then(|kind| kind.to_str().ok()).unwrap_or_default();
    let kind = kind.split(';').next().unwrap_or_default().trim();
    let is_success = response.status().is_success();
    if is_success && kind.eq_ignore_ascii_case("text/event-stream") {
        return Ok(Answer::Events(response));
    }
    let mut body = Vec::new();
    let reader = response.body_mut().as_reader();
    let read = reader.take(MAX_MESSAGE as u64 + 1).read_to_end(&mut body);
    read.map_err(|error| fault(error.to_string(), true))?;
    if body.len() > MAX_MESSAGE {
        return Err(fault(too_long(), false));
    }
    Ok(Answer::Whole(Whole {
        status: response.status().as_u16(),
        session: session_of(response.headers()),
        body,
    }))
}

/// Whether a request never came to the server.
fn was_refused(error: &ureq::Error) -> bool {
    match error {
        ureq::Error::HostNotFound
        | ureq::Error::ConnectionFailed
        | ureq::Error::Timeout(ureq::Timeout::Connect | ureq::Timeout::Resolve) => true,
        ureq::Error::Io(error) => matches!(
            error.kind(),
            ErrorKind::ConnectionRefused | ErrorKind::PermissionDenied
        ),
        _ => false,
    }
}

fn refused(message: String) -> Fault {
    StreamableHttpError::Client(HttpFault {
        message,
        is_lost: false,
    })
}

fn unexpected(method: &str, uri: &str, whole: &Whole) -> Fault {
    let shown = whole.body.len().min(MAX_WORDS);
    let words = String::from_utf8_lossy(&whole.body[..shown]);
    let cut = match whole.body.len() {
        all if all > MAX_WORDS => format!(" [cut here: {MAX_WORDS} of {all} bytes]"),
        _ => String::new(),
    };
    refused(format!(
        "{method} {uri} answered {}: {words}{cut}",
        whole.status
    ))
}

fn too_long() -> String {
    format!("the answer is longer than {MAX_MESSAGE} bytes, the most that is read")
}

fn session_of(headers: &HeaderMap) -> Option<String> {
    let id = headers.get(SESSION)?.to_str().ok()?;
    Some(id.to_string())
}

/// The events of an answer to the request `asked`, read on a thread of their own.
fn events(response: Response<Body>, open: Open, asked: Option<RequestId>) -> Events {
    let (sender, receiver) = mpsc::channel(16);
    tokio::task::spawn_blocking(move || {
        let mut reader = BufReader::new(response.into_body().into_reader());
        loop {
            let (event, is_last) = match (event(&mut reader), &asked) {
                (Ok(Some(event)), _) => (Ok(event), false),
                (Ok(None), _) => return,
                (Err(error), Some(id)) if error.kind() == ErrorKind::FileTooLarge => {
                    (Ok(failure(id, &error)), true)
                }
                (Err(error), _) => (Err(SseError::Body(Box::new(error))), true),
            };
            if sender.blocking_send(event).is_err() || is_last {
                return;
            }
        }
    });
    Box::pin(Reading {
        receiver,
        _open: open,
    })
}

/// The event that a request came to an answer which cannot be read.
fn failure(id: &RequestId, error: &std::io::Error) -> Sse {
    let error = ErrorData::internal_error(error.to_string(), None);
    let message = ServerJsonRpcMessage::error(error, Some(id.clone()));
    Sse::default().data(serde_json::to_string(&message).unwrap_or_default())
}

/// Events that are being read; dropping it closes their connection.
struct Reading {
    receiver: mpsc::Receiver<Result<Sse, SseError>>,
    _open: Open,
}

impl Stream for Reading {
    type Item = Result<Sse, SseError>;

    fn poll_next(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        self.receiver.poll_recv(cx)
    }
}

/// The next event; none at the end.
fn event(reader: &mut impl BufRead) -> std::io::Result<Option<Sse>> {
    let mut event = Sse::default();
    let mut left = MAX_MESSAGE;
    loop {
        let mut line = String::new();
        let read = reader.take(left as u64 + 1).read_line(&mut line)?;
        if read == 0 {
            return Ok(None);
        }
        left = left
            .checked_sub(read)
            .ok_or_else(|| std::io::Error::new(ErrorKind::FileTooLarge, too_long()))?;
        let line = line.trim_end_matches(['\n', '\r']);
        if line.is_empty() {
            if event != Sse::default() {
                return Ok(Some(event));
            }
            left = MAX_MESSAGE;
            continue;
        }
        let (field, value) = line.split_once(':').unwrap_or((line, ""));
        let value = value.strip_prefix(' ').unwrap_or(value).to_string();
        match field {
            "data" => match &mut event.data {
                Some(data) => {
                    data.push('\n');
                    data.push_str(&value);
                }
                none => *none = Some(value),
            },
            "event" => event.event = Some(value),
            "id" => event.id = Some(value),
            "retry" => event.retry = value.parse().ok(),
            _ => {}
        }
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn events_are_read_in_bounds() {
        let text = ": ping\n\nid: 1\r\ndata: {\"a\":\r\ndata:1}\r\n\r\nevent: x\ndata: y\n\nlast";
        let mut reader = text.as_bytes();
        let first = event(&mut reader).unwrap().unwrap();
        assert_eq!(first.data.as_deref(), Some("{\"a\":\n1}"));
        assert_eq!(first.id.as_deref(), Some("1"));
        let second = event(&mut reader).unwrap().unwrap();
        assert_eq!(second.event.as_deref(), Some("x"));
        assert_eq!(event(&mut reader).unwrap(), None);
        let long = format!("data: {}", "x".repeat(MAX_MESSAGE));
        let error = event(&mut long.as_bytes()).unwrap_err();
        assert!(error.to_string().contains("8388608 bytes"), "{error}");
    }
}
