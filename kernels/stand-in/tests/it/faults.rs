//! One kernel a fault: see `tests/faults/faults.cu`.

use std::sync::{Arc, Mutex, MutexGuard};

use cudarc::driver::{CudaContext, CudaStream, LaunchConfig, PushKernelArg};
use cudarc::nvrtc::Ptx;

/// Settings and failures belong to the process: one test at a time.
pub static ALONE: Mutex<()> = Mutex::new(());

const SOURCE: &str = include_str!("../faults/faults.cu");

pub fn alone() -> MutexGuard<'static, ()> {
    ALONE
        .lock()
        .unwrap_or_else(|poisoned| poisoned.into_inner())
}

struct Bench {
    stream: Arc<CudaStream>,
    context: Arc<CudaContext>,
}

/// What a kernel is launched with.
#[derive(Clone, Copy)]
enum Arguments {
    /// 64 floats in, 64 out.
    InOut,
    /// 64 floats or words out, zeroed.
    Out,
    /// The same, never filled.
    RawOut,
    /// Partial sums, a ticket and a result.
    Ticket,
}

impl Bench {
    fn new() -> Self {
        outcrop_kernels_cpu::set_checks(true);
        let context = CudaContext::new(0).unwrap();
        // SAFETY: one stream, in order.
        unsafe { context.disable_event_tracking() };
        Self {
            stream: context.new_stream().unwrap(),
            context,
        }
    }

    /// Launches a kernel; the report of its fault, or nothing.
    fn report(
        &self,
        kernel: &str,
        arguments: Arguments,
        blocks: u32,
        threads: u32,
    ) -> Option<String> {
        let image = Ptx::from_binary(outcrop_kernels_cpu::image("faults"));
        let function = self
            .context
            .load_module(image)
            .unwrap()
            .load_function(kernel)
            .unwrap();
        let numbers: Vec<f32> = (0..64).map(|i| i as f32).collect();
        let input = self.stream.clone_htod(&numbers).unwrap();
        // SAFETY: bytes of floats need no initial value; that is what one of the tests is about.
        let raw = unsafe { self.stream.alloc::<f32>(64).unwrap() };
        let zeroed = self.stream.alloc_zeros::<f32>(64).unwrap();
        let ticket = self.stream.alloc_zeros::<u32>(1).unwrap();
        let mut launch = self.stream.launch_builder(&function);
        match arguments {
            Arguments::InOut => launch.arg(&input).arg(&zeroed),
            Arguments::Out => launch.arg(&zeroed),
            Arguments::RawOut => launch.arg(&raw),
            Arguments::Ticket => launch.arg(&raw).arg(&ticket).arg(&zeroed),
        };
        let config = LaunchConfig {
            grid_dim: (blocks, 1, 1),
            block_dim: (threads, 1, 1),
            shared_mem_bytes: 256,
        };
        // SAFETY: the arguments are those that the kernels of faults.cu take.
        let launched = unsafe { launch.launch(config) };
        let report = outcrop_kernels_cpu::take_report();
        assert_eq!(
            launched.is_err(),
            report.is_some(),
            "{kernel}: {launched:?}"
        );
        report
    }
}

/// The lines of a kernel (or of the template that it calls) that are marked as its fault.
fn fault_line(within: &str) -> usize {
    let at = SOURCE
        .find(within)
        .unwrap_or_else(|| panic!("no {within} in faults.cu"));
    let before = SOURCE[..at].lines().count();
    let offset = SOURCE[at..]
        .lines()
        .position(|line| line.contains("// FAULT"))
        .unwrap();
    before + offset + usize::from(!SOURCE[..at].ends_with('\n') && before == 0)
}

fn expect(kernel: &str, within: &str, arguments: Arguments, shape: (u32, u32), words: &[&str]) {
    let _alone = alone();
    if !outcrop_kernels_cpu::install_or_skip(kernel) {
        return;
    }
    let bench = Bench::new();
    let line = fault_line(within);
    for schedule in 0..4 {
        outcrop_kernels_cpu::set_schedule(schedule);
        let report = bench
            .report(kernel, arguments, shape.0, shape.1)
            .unwrap_or_else(|| panic!("{kernel}: nothing was reported in schedule {schedule}"));
        let place = format!(" kernels/stand-in/tests/faults/faults.cu:{line}");
        assert!(report.contains(&format!("kernel {kernel},")), "{report}");
        assert!(report.contains(&place), "expected {place} in: {report}");
        for word in words {
            assert!(report.contains(word), "expected `{word}` in: {report}");
        }
    }
    outcrop_kernels_cpu::set_schedule(0);
    outcrop_kernels_cpu::set_checks(false);
}

fn expect_sound(kernel: &str, arguments: Arguments, shape: (u32, u32)) {
    let _alone = alone();
    if !outcrop_kernels_cpu::install_or_skip(kernel) {
        return;
    }
    let bench = Bench::new();
    for schedule in 0..6 {
        outcrop_kernels_cpu::set_schedule(schedule);
        let report = bench.report(kernel, arguments, shape.0, shape.1);
        assert_eq!(report, None, "schedule {schedule}");
    }
    outcrop_kernels_cpu::set_schedule(0);
    outcrop_kernels_cpu::set_checks(false);
}

use Arguments::{InOut, Out, RawOut, Ticket};

#[test]
fn a_missing_barrier() {
    // Whether the reader or the writer comes first is the schedule's choice.
    expect(
        "missing_barrier",
        "void missing_barrier(",
        InOut,
        (1, 64),
        &["shared memory"],
    );
    expect_sound("with_barrier", InOut, (1, 64));
}

#[test]
fn a_missing_barrier_between_rounds() {
    let within = "void missing_barrier_of_rounds(";
    expect(
        "missing_barrier_of_rounds",
        within,
        InOut,
        (1, 64),
        &["race on shared"],
    );
}

#[test]
fn a_missing_warp_barrier() {
    expect(
        "missing_warp_barrier",
        "void missing_warp_barrier(",
        Out,
        (1, 32),
        &["race on shared"],
    );
    expect_sound("with_warp_barrier", Out, (1, 32));
}

#[test]
fn a_race_between_blocks() {
    expect(
        "race_between_blocks",
        "void race_between_blocks(",
        Out,
        (4, 32),
        &["race on device", "another block"],
    );
    expect_sound("atomic_between_blocks", Out, (4, 32));
}

#[test]
fn a_ticket_without_its_fence() {
    expect(
        "ticket_without_fence",
        "void last_block(",
        Ticket,
        (4, 32),
        &["race on device"],
    );
    expect_sound("ticket_with_fence", Ticket, (4, 32));
}

#[test]
fn a_divergent_collective() {
    expect(
        "divergent_collective",
        "void divergent_collective(",
        Out,
        (1, 32),
        &["divergent collective"],
    );
}

#[test]
fn a_deadlock() {
    let words = [
        "32 threads wait in __syncthreads",
        "32 threads wait in bar.sync",
    ];
    expect("deadlock", "void deadlock(", Out, (1, 64), &words);
}

#[test]
fn accesses_out_of_bounds() {
    let words = ["out of bounds", "at 256 of an allocation of 256 bytes"];
    expect(
        "out_of_bounds",
        "void out_of_bounds(",
        InOut,
        (1, 64),
        &words,
    );
    let words = ["out of bounds", "dynamic shared memory"];
    expect(
        "out_of_shared_bounds",
        "void out_of_shared_bounds(",
        Out,
        (1, 64),
        &words,
    );
}

#[test]
fn undefined_arithmetic() {
    expect(
        "out_of_local_bounds",
        "void out_of_local_bounds(",
        InOut,
        (1, 32),
        &["beyond its array"],
    );
    expect(
        "overflow",
        "void overflow(",
        InOut,
        (1, 32),
        &["sum that overflows"],
    );
}

#[test]
fn a_misaligned_access() {
    expect(
        "misaligned",
        "void misaligned(",
        InOut,
        (1, 32),
        &["misaligned"],
    );
}

#[test]
fn reads_of_what_nobody_wrote() {
    let words = ["uninitialised read", "thread (7,0,0)", "shared memory"];
    expect(
        "uninitialised_shared",
        "void uninitialised_shared(",
        Out,
        (1, 64),
        &words,
    );
    let words = ["uninitialised read", "device memory"];
    expect(
        "uninitialised_device",
        "void uninitialised_device(",
        RawOut,
        (1, 64),
        &words,
    );
}

#[test]
fn a_copy_that_nobody_waited_for() {
    let words = ["asynchronous copy"];
    expect("missing_copy_wait", "void copy(", InOut, (1, 64), &words);
    expect_sound("with_copy_wait", InOut, (1, 64));
}
