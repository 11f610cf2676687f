//! Requests and responses of HTTP, as every face hands them over.

use outcrop::api::BoxFuture;

/// A request, as it came.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct HttpRequest {
    /// `GET`, `POST`, `PUT`, `DELETE`, `PATCH`.
    pub method: String,
    /// The path as it was sent: percent-encoded, a slash at its end kept.
    pub path: String,
    /// What stands behind the `?`, as it was sent; empty where nothing does.
    pub query: String,
    /// Names and values, in order; names in any case.
    pub headers: Vec<(String, String)>,
    /// The whole body.
    pub body: Vec<u8>,
}

impl HttpRequest {
    /// The value of the header `name`, whatever its case.
    pub fn header(&self, name: &str) -> Option<&str> {
        let is_it = |header: &&(String, String)| header.0.eq_ignore_ascii_case(name);
        self.headers
            .iter()
            .find(is_it)
            .map(|(_, value)| value.as_str())
    }
}

/// A response.
pub struct HttpResponse {
    /// The status.
    pub status: u16,
    /// Names and values, in order; names as AWS spells them.
    pub headers: Vec<(String, String)>,
    /// The body.
    pub body: Body,
}

/// A response's body.
pub enum Body {
    /// Known whole.
    Whole(Vec<u8>),
    /// Made as it is read.
    Chunks(Box<dyn Chunks>),
}

/// A body that is made as it is read: a chunk is asked for when its reader is ready for it.
/// Dropping it stops the work behind it within one engine step.
pub trait Chunks: Send {
    /// The next chunk, never empty; `None` at the end.
    fn next(&mut self) -> BoxFuture<'_, Option<Vec<u8>>>;
}
