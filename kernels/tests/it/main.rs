//! The kernels, run by the stand-in driver, against the operations of `core/tensor`.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, missing_docs)]

mod attention;
mod attention_encoder;
mod manifest;
mod stand_in;
