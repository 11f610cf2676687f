//! Requests to a server of OpenAI's form, and its errors in AWS's names.

use std::io::Read;
use std::time::Duration;

use outcrop_api::{Error, ErrorKind, Result};
use serde_json::Value;
use ureq::http::Response;
use ureq::{Agent, Body};

use super::{Key, RemoteSpec};

/// Longest wait for a connection.
const CONNECT: Duration = Duration::from_secs(20);
/// Most bytes of an error's body that are read.
const MAX_ERROR: u64 = 64 << 10;
/// Most characters of a server's own words that a message repeats.
const MAX_WORDS: usize = 2000;

/// Where a server is, and what every request to it carries.
#[derive(Clone)]
pub(super) struct Connection {
    id: String,
    base_url: String,
    headers: Vec<(String, String)>,
    silence: Duration,
}

impl Connection {
    pub fn new(id: &str, spec: &RemoteSpec) -> Result<Self> {
        let key = match &spec.key {
            None => None,
            Some(Key::Text(key)) => Some(key.clone()),
            Some(Key::Variable(name)) => Some(std::env::var(name).map_err(|_| {
                Error::validation(format!(
                    "openai.api_key_env: model {id} takes its key from the environment's {name}, \
                     which is not set"
                ))
                .with_resource(id)
            })?),
        };
        let bearer = key.map(|key| ("authorization".to_string(), format!("Bearer {key}")));
        Ok(Self {
            id: id.into(),
            base_url: spec.base_url.clone(),
            headers: bearer.into_iter().chain(spec.headers.clone()).collect(),
            silence: spec.silence,
        })
    }

    /// What makes one request. `Agent::shutdown` ends it from any thread, whatever it waits for.
    pub fn agent(&self) -> Agent {
        Agent::config_builder()
            .http_status_as_error(false)
            .max_redirects(0)
            .max_redirects_will_error(false)
            .user_agent(concat!("outcrop/", env!("CARGO_PKG_VERSION")))
            .timeout_connect(Some(CONNECT.min(self.silence)))
            .timeout_recv_response(Some(self.silence))
            .timeout_per_read(Some(self.silence))
            .build()
            .new_agent()
    }

    /// Posts `body` to `path` and waits for the answer's head. It blocks.
    ///
    /// # Errors
    /// What the server or the way to it says, by AWS's names.
    pub fn post(&self, agent: &Agent, path: &str, body: &Value) -> Result<Response<Body>> {
        let url = format!("{}/{path}", self.base_url);
        let mut request = agent.post(&url);
        for (name, value) in &self.headers {
            request = request.header(name, value);
        }
        let response = request
            .send_json(body)
            .map_err(|error| self.unreachable(&url, error))?;
        match response.status().as_u16() {
            200..=299 => Ok(response),
            status => Err(self.refused(&url, status, response)),
        }
    }

    /// The error of a connection that could not be made, or broke.
    pub fn unreachable(&self, url: &str, error: ureq::Error) -> Error {
        let kind = match &error {
            ureq::Error::Timeout(_) => ErrorKind::ModelTimeoutException,
            _ => ErrorKind::ServiceUnavailableException,
        };
        let hint = match &error {
            ureq::Error::Io(io) if io.kind() == std::io::ErrorKind::ConnectionRefused => {
                "; no server listens there"
            }
            _ => "",
        };
        Error::new(kind, format!("model {}: {url}: {error}{hint}", self.id))
            .with_resource(&self.id)
            .with_source(error)
    }

    /// The error of a stream that broke after its head.
    pub fn broken(&self, error: &std::io::Error) -> Error {
        let kind = match error.kind() {
            std::io::ErrorKind::TimedOut | std::io::ErrorKind::WouldBlock => {
                ErrorKind::ModelTimeoutException
            }
            _ => ErrorKind::ModelStreamErrorException,
        };
        Error::new(
            kind,
            format!("model {}: {}: {error}", self.id, self.base_url),
        )
        .with_resource(&self.id)
    }

    /// The error of an answer that is not of OpenAI's form.
    pub fn unexpected(&self, what: impl std::fmt::Display) -> Error {
        let message = format!("model {}: {}: {what}", self.id, self.base_url);
        Error::model(message).with_resource(&self.id)
    }

    /// The error that the server reports in the middle of its stream.
    pub fn failed(&self, error: &Value) -> Error {
        let words = error_words(error);
        Error::new(
            ErrorKind::ModelStreamErrorException,
            format!("model {}: {}: {words}", self.id, self.base_url),
        )
        .with_member("originalMessage", words)
        .with_resource(&self.id)
    }

    fn refused(&self, url: &str, status: u16, mut response: Response<Body>) -> Error {
        let mut bytes = Vec::new();
        let body = response.body_mut().as_reader();
        // What cannot be read of an error leaves its status.
        let _ = body.take(MAX_ERROR).read_to_end(&mut bytes);
        let words = match serde_json::from_slice::<Value>(&bytes) {
            Ok(value) => error_words(&value),
            Err(_) => shortened(&String::from_utf8_lossy(&bytes)),
        };
        let kind = match status {
            400 | 413 | 422 => ErrorKind::ValidationException,
            408 | 504 => ErrorKind::ModelTimeoutException,
            429 => ErrorKind::ThrottlingException,
            503 => ErrorKind::ServiceUnavailableException,
            _ => ErrorKind::ModelErrorException,
        };
        let message = format!("model {}: {url} answered {status}: {words}", self.id);
        let error = Error::new(kind, message).with_resource(&self.id);
        match kind {
            ErrorKind::ModelErrorException => error.with_member("originalStatusCode", status),
            _ => error,
        }
    }
}

/// What the server says of an error: the message in OpenAI's form, or all of it.
fn error_words(value: &Value) -> String {
    let error = value.get("error").unwrap_or(value);
    let message = error.get("message").or(Some(error)).and_then(Value::as_str);
    shortened(&message.map_or_else(|| value.to_string(), str::to_string))
}

fn shortened(text: &str) -> String {
    match text.char_indices().nth(MAX_WORDS) {
        None => text.trim().into(),
        Some((end, _)) => format!("{}… ({} bytes)", text[..end].trim(), text.len()),
    }
}
