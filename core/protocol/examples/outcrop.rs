//! The command line without a door: `cargo run --release -p outcrop-protocol --example outcrop -- serve`.

use std::process::ExitCode;

use outcrop::{SessionOptions, runtime};

fn main() -> ExitCode {
    let arguments = std::env::args().skip(1).collect();
    let run = outcrop_protocol::cli::run(arguments, SessionOptions::default());
    let code = runtime().map_or(1, |runtime| runtime.block_on(run));
    ExitCode::from(u8::try_from(code).unwrap_or(1))
}
