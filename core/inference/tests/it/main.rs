//! The room's tests against golden models and files.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, missing_docs)]

mod chat_template;
mod cuda;
mod cuda_sampling;
mod decoder;
mod detokenizer;
mod encoder;
mod encoder_families;
mod engine;
mod families;
mod gguf_encoders;
mod gguf_writer;
mod golden;
mod lora;
mod memory;
mod prefix;
mod reference;
mod scoring;
mod serving;
mod structured;
mod tokenizer;
mod weights;
