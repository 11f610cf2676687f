//! Anthropic's message format, to and from the members of `Converse`.
//!
//! `InvokeModel` of a Claude id and Anthropic's own API have it in common.

mod blocks;
mod events;
mod request;
mod response;

pub use events::MessageEvents;
pub use request::converse_input;
pub use response::{message, message_id, usage};
