//! The Node door: native values in, native values out.
//!
//! Structured values cross as JSON, bulk data as typed arrays without a copy. The classes that a
//! caller sees, with their types, are the JavaScript beside this crate.

// The macros of napi generate items without documentation.
#![allow(missing_docs)]

mod agent;
mod call;
mod http;
mod knowledge_base;
mod model;
mod prefix;
mod session;
mod stream;

/// A call makes hundreds of small values: they are a good part of what it costs.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;
