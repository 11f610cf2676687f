//! The AWS wire: HTTP request in, HTTP response or event stream out.

pub mod cli;
mod http;
mod refusal;
mod signature;

pub use http::{Body, Chunks, HttpRequest, HttpResponse};
