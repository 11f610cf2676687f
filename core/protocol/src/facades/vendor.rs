//! Whose API a request speaks, and how that API tells errors.

use outcrop::{Error, ErrorKind};
use serde_json::{Value, json};

use crate::http::{Body, HttpResponse};
use crate::refusal::Refusal;

/// Whose API a request speaks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Vendor {
    OpenAi,
    Anthropic,
}

/// Names and values that a response tells of the call behind it.
pub(super) type Headers = Vec<(String, String)>;

/// A call that failed, and what to tell of it where it came to the desk.
pub(super) struct Failure {
    pub error: Error,
    pub headers: Headers,
}

/// What a façade's call gives.
pub(super) type Answered<T> = Result<T, Failure>;

impl From<Error> for Failure {
    fn from(error: Error) -> Self {
        Self {
            error,
            headers: Vec::new(),
        }
    }
}

impl Vendor {
    /// The vendor of a path; both have `/v1/models`, where Anthropic's clients tell their version.
    pub fn of(path: &str, headers: &[(String, String)]) -> Option<Self> {
        let is_anthropic = || {
            let mut names = headers.iter().map(|(name, _)| name);
            names.any(|name| name.eq_ignore_ascii_case("anthropic-version"))
        };
        match path.strip_prefix("/v1/")? {
            rest if rest == "messages" || rest.starts_with("messages/") => Some(Self::Anthropic),
            rest if rest == "models" || rest.starts_with("models/") => Some(if is_anthropic() {
                Self::Anthropic
            } else {
                Self::OpenAi
            }),
            _ => Some(Self::OpenAi),
        }
    }

    /// The response that tells of a failed call.
    pub fn failed(self, failure: Failure) -> HttpResponse {
        let kind = failure.error.kind();
        let status = status(kind);
        let value = self.error(kind_of(kind), failure.error.message());
        let mut response = json_response(status, &value);
        response.headers.extend(failure.headers);
        response
    }

    /// The response that tells of a request that was turned away.
    pub fn refused(self, refusal: &Refusal) -> HttpResponse {
        let (status, kind) = match refusal.status {
            // Who asks is not known: these APIs say so by 401.
            403 if refusal.is_about_identity() => (401, Kind::Authentication),
            403 => (403, Kind::Permission),
            413 => (413, Kind::TooLarge),
            408 => (408, Kind::Timeout),
            429 => (429, Kind::RateLimit),
            500.. => (500, Kind::Server),
            status => (status, Kind::Invalid),
        };
        json_response(status, &self.error(kind, &refusal.message))
    }

    /// An error as the vendor's JSON tells it.
    pub fn error_of(self, error: &Error) -> Value {
        self.error(kind_of(error.kind()), error.message())
    }

    fn error(self, kind: Kind, message: &str) -> Value {
        match self {
            Self::Anthropic => json!({
                "type": "error",
                "error": {"type": kind.for_anthropic(), "message": message},
            }),
            Self::OpenAi => {
                let (kind, code) = kind.for_openai();
                json!({"error": {"message": message, "type": kind, "param": null, "code": code}})
            }
        }
    }
}

/// A response of JSON.
pub(super) fn json_response(status: u16, value: &Value) -> HttpResponse {
    HttpResponse {
        status,
        headers: vec![("Content-Type".into(), "application/json".into())],
        body: Body::Whole(value.to_string().into_bytes()),
    }
}

/// What both vendors' errors are about.
#[derive(Clone, Copy)]
enum Kind {
    Invalid,
    Authentication,
    Permission,
    NotFound,
    TooLarge,
    Timeout,
    RateLimit,
    Overloaded,
    Server,
}

impl Kind {
    fn for_anthropic(self) -> &'static str {
        match self {
            Self::Invalid => "invalid_request_error",
            Self::Authentication => "authentication_error",
            Self::Permission => "permission_error",
            Self::NotFound => "not_found_error",
            Self::TooLarge => "request_too_large",
            Self::Timeout => "timeout_error",
            Self::RateLimit => "rate_limit_error",
            Self::Overloaded => "overloaded_error",
            Self::Server => "api_error",
        }
    }

    fn for_openai(self) -> (&'static str, Option<&'static str>) {
        match self {
            Self::Invalid | Self::TooLarge => ("invalid_request_error", None),
            Self::Authentication => ("invalid_request_error", Some("invalid_api_key")),
            Self::Permission => ("invalid_request_error", Some("permission_denied")),
            Self::NotFound => ("invalid_request_error", Some("model_not_found")),
            Self::RateLimit => ("requests", Some("rate_limit_exceeded")),
            Self::Timeout | Self::Overloaded | Self::Server => ("server_error", None),
        }
    }
}

fn status(kind: ErrorKind) -> u16 {
    match kind {
        ErrorKind::ServiceQuotaExceededException => 429,
        kind => kind.http_status(),
    }
}

fn kind_of(kind: ErrorKind) -> Kind {
    match kind.http_status() {
        _ if kind == ErrorKind::ServiceQuotaExceededException => Kind::RateLimit,
        403 => Kind::Permission,
        404 => Kind::NotFound,
        408 => Kind::Timeout,
        429 => Kind::RateLimit,
        503 => Kind::Overloaded,
        424 | 500.. => Kind::Server,
        _ => Kind::Invalid,
    }
}
