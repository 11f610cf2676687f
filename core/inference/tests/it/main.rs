//! The room's tests against golden models and files.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, missing_docs)]

mod decoder;
mod engine;
mod golden;
mod reference;
