//! The room's tests against golden steps, differences and files.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, missing_docs)]

mod dataset;
mod encoder;
mod export;
mod golden;
mod gradients;
mod kill;
mod tokenizer;
mod training;
