//! Whole turns, driven by a script of chance.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, missing_docs)]

mod random_runs;
