//! The AWS wire: HTTP request in, HTTP response or event stream out.

mod bind;
pub mod cli;
mod constraint;
mod coverage;
mod error_response;
mod facades;
mod frame;
mod handle;
mod http;
mod member_path;
mod reader;
mod refusal;
mod route;
pub mod server;
pub mod service_model;
mod signature;
mod unbind;
mod validate;

pub use coverage::coverage_page;
pub use frame::{EVENT_STREAM, Frame, read as read_frame};
pub use handle::{MODEL_HEADER, handle};
pub use http::{Body, Chunks, HttpRequest, HttpResponse};
pub use reader::ChunkReader;
pub use validate::validate;
