//! The AWS wire: HTTP request in, HTTP response or event stream out.

mod http;

pub use http::{Body, Chunks, HttpRequest, HttpResponse};
