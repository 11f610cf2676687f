//! The shelf from outside: loading, importing, downloading, quoting.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, missing_docs)]

mod download;
mod embedded;
mod hub_server;
mod names;
mod openai_server;
mod quote;
mod remote;
mod scripted;
mod shelf;

use std::path::PathBuf;

/// A golden model of the inference room.
pub(crate) fn fixture(name: &str) -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR"))
        .join("../inference/tests/fixtures")
        .join(name)
        .canonicalize()
        .expect("the golden models are part of the project")
}
