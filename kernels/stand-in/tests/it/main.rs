//! Planted faults must be reported, by kernel and line, in every schedule; their sound twins must not.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, missing_docs)]

mod driver;
mod faults;
