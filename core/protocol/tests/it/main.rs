//! Tests of the wire over a real session.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

mod cases;
mod coverage;
mod handle;
mod server;
