//! OpenAI's chat completions, to and from the members of `Converse`.
//!
//! `InvokeModel` of OpenAI's and Mistral's ids and OpenAI's own API have it in common.

mod answer;
mod messages;
mod request;

pub use answer::{Completion, CompletionChunks};
pub use request::converse_input;
