//! Times the kernels on this machine's GPU against its limits, as JSON lines and a table.
//!
//! `gpu_bench [--small] [--out FILE] [NAME...]`: cases whose names contain one of these; all without.
//! `--small` takes shapes that the stand-in of the tests computes in a moment, to see that it runs to its
//! end: with `OUTCROP_CUDA=stand-in` it runs there, and its times say nothing.
//!
//! Shares are of the copy's bandwidth measured first, and of the rate of matrix products in
//! `OUTCROP_TFLOPS`, by default 790 (an H200's, in BF16, measured with cuBLAS).

mod attention;
mod linear;
mod measure;
mod sampling;
mod search;

use std::process::ExitCode;

use outcrop_kernels::{CudaError, Device};

use measure::Bench;

/// The cases of an operation.
type Group = fn(&mut Bench) -> Result<(), CudaError>;

fn main() -> ExitCode {
    let (mut small, mut out, mut names) = (false, None, Vec::new());
    let mut arguments = std::env::args().skip(1);
    while let Some(argument) = arguments.next() {
        match argument.as_str() {
            "--small" => small = true,
            "--out" => out = arguments.next(),
            _ => names.push(argument),
        }
    }
    if std::env::var("OUTCROP_CUDA").is_ok_and(|value| value == "stand-in") {
        if !outcrop_kernels_cpu::install_or_skip("the benches") {
            return ExitCode::from(2);
        }
        outcrop_kernels::use_images(outcrop_kernels_cpu::image);
    }
    let device = match Device::open(0) {
        Ok(device) => device,
        Err(error) => {
            eprintln!("{error}");
            return ExitCode::from(2);
        }
    };
    let mut bench = Bench::new(device, small, names);
    let groups: [(&str, Group); 5] = [
        ("copy", measure::copy),
        ("attention", attention::all),
        ("linear", linear::all),
        ("sampling", sampling::all),
        ("search", search::all),
    ];
    let mut failed = false;
    for (name, group) in groups {
        // One that fails does not keep the others from being timed.
        if let Err(error) = group(&mut bench) {
            eprintln!("{name}: {error}");
            failed = true;
        }
    }
    bench.print_table();
    if let Some(path) = out
        && let Err(error) = std::fs::write(&path, bench.lines())
    {
        eprintln!("{path}: {error}");
        failed = true;
    }
    ExitCode::from(u8::from(failed))
}
