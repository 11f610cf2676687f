//! Times work on a device, and holds it against a limit.

use std::fmt::Write as _;
use std::time::{Duration, Instant};

use outcrop_kernels::{Buffer, CudaError, Device, Graph};

/// Bytes over which inputs rotate, so that none comes from a cache: four times an H200's.
pub const BEYOND_CACHES: usize = 240 << 20;
/// Time for which a case is repeated.
const TIME: Duration = Duration::from_millis(300);
/// Time that one replay of a graph takes at least, so that its start does not count.
const REPLAY: Duration = Duration::from_micros(400);

/// What bounds a case.
#[derive(Clone, Copy)]
pub enum Limit {
    /// Bytes that are read and written.
    Bytes(usize),
    /// Operations of a matrix product, a multiplication and an addition counting two.
    Flops(usize),
}

/// What a case is to reach.
#[derive(Clone, Copy)]
pub enum Target {
    /// A share of its limit.
    Share(f64),
    /// At most so many microseconds.
    Micros(f64),
}

/// One shape of one operation.
pub struct Case {
    pub name: &'static str,
    pub shape: String,
    pub limit: Limit,
    pub target: Target,
}

struct Outcome {
    case: Case,
    micros: f64,
    share: f64,
    reached: bool,
}

/// The device, and what was measured on it.
pub struct Bench {
    pub device: Device,
    /// Whether shapes are small: times then say nothing.
    pub small: bool,
    names: Vec<String>,
    /// Bytes a second.
    bandwidth: f64,
    /// Operations a second.
    rate: f64,
    outcomes: Vec<Outcome>,
}

impl Bench {
    pub fn new(device: Device, small: bool, names: Vec<String>) -> Self {
        let tera = std::env::var("OUTCROP_TFLOPS").ok();
        let tera = tera.and_then(|text| text.parse().ok()).unwrap_or(790.0);
        Self {
            device,
            small,
            names,
            bandwidth: 1.0,
            rate: tera * 1e12,
            outcomes: Vec::new(),
        }
    }

    /// `large`, or `small` where shapes are.
    pub fn size(&self, large: usize, small: usize) -> usize {
        if self.small { small } else { large }
    }

    /// Copies of an input of `bytes`, so that they are not in a cache when their turn comes again.
    pub fn copies(&self, bytes: usize) -> usize {
        match self.small {
            true => 2,
            false => BEYOND_CACHES.div_ceil(bytes).clamp(1, 64),
        }
    }

    /// Whether a case of this name is asked for.
    pub fn wants(&self, name: &str) -> bool {
        self.names.is_empty() || self.names.iter().any(|own| name.contains(own.as_str()))
    }

    /// Times `work`, which is given numbers in turn and allocates nothing.
    pub fn run(
        &mut self,
        case: Case,
        mut work: impl FnMut(usize) -> Result<(), CudaError>,
    ) -> Result<(), CudaError> {
        let micros = self.time(&mut work)?;
        let floor = 1e6
            * match case.limit {
                Limit::Bytes(bytes) => bytes as f64 / self.bandwidth,
                Limit::Flops(flops) => flops as f64 / self.rate,
            };
        let share = floor / micros;
        let reached = match case.target {
            Target::Share(least) => share >= least,
            Target::Micros(most) => micros <= most,
        };
        let outcome = Outcome {
            case,
            micros,
            share,
            reached,
        };
        println!("{}", line(&outcome));
        self.outcomes.push(outcome);
        Ok(())
    }

    /// Microseconds of one piece of work: the median of replays of a graph of many.
    fn time(&self, work: &mut dyn FnMut(usize) -> Result<(), CudaError>) -> Result<f64, CudaError> {
        // Loads the kernels, which a capture cannot.
        work(0)?;
        self.device.synchronize()?;
        let started = Instant::now();
        work(1)?;
        self.device.synchronize()?;
        let once = started.elapsed().max(Duration::from_nanos(500));
        let most = if self.small { 2.0 } else { 500.0 };
        let count = (REPLAY.as_secs_f64() / once.as_secs_f64())
            .ceil()
            .clamp(1.0, most) as usize;
        let device = self.device.clone();
        let mut graph = Graph::record(&device, || (0..count).try_for_each(&mut *work))?;
        graph.launch()?;
        device.synchronize()?;
        let (mut times, begun) = (Vec::new(), Instant::now());
        let least = if self.small { 1 } else { 5 };
        while times.len() < least || (!self.small && begun.elapsed() < TIME) {
            let started = Instant::now();
            graph.launch()?;
            device.synchronize()?;
            times.push(started.elapsed().as_secs_f64() * 1e6 / count as f64);
        }
        times.sort_by(f64::total_cmp);
        Ok(times[times.len() / 2])
    }

    /// A JSON line a case.
    pub fn lines(&self) -> String {
        self.outcomes.iter().fold(String::new(), |mut all, one| {
            let _ = writeln!(all, "{}", line(one));
            all
        })
    }

    pub fn print_table(&self) {
        let info = self.device.info();
        println!(
            "\n{}, copies {:.0} GB/s, matrix products taken as {:.0} TFLOP/s{}",
            info.name,
            self.bandwidth / 1e9,
            self.rate / 1e12,
            if self.small {
                "; small shapes: times say nothing"
            } else {
                ""
            }
        );
        println!(
            "{:<28} {:<34} {:>10} {:>7} {:>9}",
            "case", "shape", "µs", "share", "target"
        );
        for Outcome {
            case,
            micros,
            share,
            reached,
        } in &self.outcomes
        {
            let target = match case.target {
                Target::Share(share) => format!("{share:.2}"),
                Target::Micros(most) => format!("{most} µs"),
            };
            let mark = if *reached { "" } else { " -" };
            println!(
                "{:<28} {:<34} {micros:>10.1} {share:>7.2} {target:>9}{mark}",
                case.name, case.shape
            );
        }
    }
}

fn line(outcome: &Outcome) -> serde_json::Value {
    let Outcome {
        case,
        micros,
        share,
        reached,
    } = outcome;
    let (limit, amount) = match case.limit {
        Limit::Bytes(bytes) => ("bytes", bytes),
        Limit::Flops(flops) => ("flops", flops),
    };
    let (kind, target) = match case.target {
        Target::Share(share) => ("share", share),
        Target::Micros(most) => ("micros", most),
    };
    serde_json::json!({
        "case": case.name, "shape": case.shape, "micros": micros, "share": share,
        "limit": limit, "amount": amount, "target": { kind: target }, "reached": reached,
    })
}

/// Numbers of both signs, the same each time.
pub fn noise(count: usize) -> Vec<f32> {
    let mut state = 12345u32;
    let mut next = || {
        state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
        (state >> 8) as f32 / (1 << 23) as f32 - 1.0
    };
    (0..count).map(|_| next()).collect()
}

/// Halves of such numbers as bytes.
pub fn half_noise(count: usize) -> Vec<u8> {
    let halves = noise(count).into_iter().map(half::f16::from_f32);
    halves.flat_map(half::f16::to_le_bytes).collect()
}

/// A buffer of `len` bytes that repeats `block`.
pub fn filled(device: &Device, len: usize, block: &[u8]) -> Result<Buffer<u8>, CudaError> {
    let mut buffer = Buffer::zeroed(device, len)?;
    let mut at = 0;
    while at < len {
        let part = block.len().min(len - at);
        buffer.write(at, &block[..part])?;
        at += part;
    }
    Ok(buffer)
}

/// The copy that bandwidths are held against.
pub fn copy(bench: &mut Bench) -> Result<(), CudaError> {
    let bytes = bench.size(1 << 30, 1 << 20);
    let mut buffer = Buffer::<u8>::zeroed(&bench.device, 2 * bytes)?;
    let micros = bench.time(&mut |_| buffer.copy_within(0, bytes, bytes))?;
    bench.bandwidth = 2.0 * bytes as f64 / (micros / 1e6);
    Ok(())
}
