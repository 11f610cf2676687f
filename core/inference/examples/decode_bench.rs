//! Speed of a decoder as JSON lines: load, prefill of 512 tokens, decoding of 1, 4 and 8 sequences.
//!
//! `cargo run --release -p outcrop-inference --example decode_bench -- MODEL [THREADS] [SECONDS]`
//!
//! `cpu_share` is the process's CPU time by wall time and threads: below about 0.95 something else
//! had the cores, and `cpu_tok_s` (tokens a second of the process's own CPU time) says more.

#![allow(missing_docs, reason = "an example has no callers")]

use std::path::Path;
use std::time::{Duration, Instant};

use outcrop_inference::{
    BlockPool, BlockTable, Checkpoint, Decoder, DecoderConfig, KvCache, Rows, Scratch, Wanted,
};
use outcrop_tensor::Pool;
use serde_json::json;

const PREFILL: usize = 512;
const CONTEXT: usize = 128;

type Failure = Box<dyn std::error::Error>;

struct Bench {
    model: String,
    threads: usize,
    /// Longest time for one measure.
    budget: Duration,
    decoder: Decoder,
    pool: Pool,
}

fn main() -> Result<(), Failure> {
    let mut arguments = std::env::args().skip(1);
    let path = arguments
        .next()
        .ok_or("usage: decode_bench MODEL [THREADS] [SECONDS]")?;
    let threads = arguments.next().map_or(Ok(1), |n| n.parse())?;
    let seconds = arguments.next().map_or(Ok(10), |n| n.parse())?;
    let started = Instant::now();
    let checkpoint = Checkpoint::open(Path::new(&path))?;
    let decoder = Decoder::load(
        DecoderConfig::from_source(checkpoint.config())?,
        &checkpoint,
    )?;
    let load = started.elapsed().as_secs_f64();
    let model = Path::new(&path)
        .file_name()
        .map_or(path.clone(), |n| n.to_string_lossy().into_owned());
    let bench = Bench {
        model,
        threads,
        budget: Duration::from_secs(seconds),
        decoder,
        pool: Pool::new(threads),
    };
    bench.print(
        "load",
        &json!({"unit": "s", "best": load, "bytes": checkpoint.bytes()}),
    );
    bench.prefill()?;
    for sequences in [1, 4, 8] {
        bench.decode(sequences)?;
    }
    Ok(())
}

impl Bench {
    fn print(&self, measure: &str, figures: &serde_json::Value) {
        let mut line = json!({
            "engine": "outcrop", "model": self.model, "threads": self.threads, "measure": measure,
        });
        if let (Some(line), Some(figures)) = (line.as_object_mut(), figures.as_object()) {
            line.extend(figures.clone());
        }
        println!("{line}");
    }

    /// Repeats `run`, of `tokens` tokens, and prints its speed.
    fn measure(&self, measure: &str, tokens: usize, least: usize, mut run: impl FnMut(usize)) {
        let began = Instant::now();
        let mut speeds = Vec::new();
        while speeds.len() < least || began.elapsed() < self.budget {
            let (wall, cpu) = (Instant::now(), cpu_seconds());
            run(speeds.len());
            let (wall, cpu) = (wall.elapsed().as_secs_f64(), cpu_seconds() - cpu);
            speeds.push((
                tokens as f64 / wall,
                tokens as f64 / cpu,
                cpu / (wall * self.threads as f64),
            ));
        }
        speeds.sort_by(|a, b| a.0.total_cmp(&b.0));
        let (best, median) = (speeds[speeds.len() - 1], speeds[speeds.len() / 2]);
        self.print(
            measure,
            &json!({
                "unit": "tok/s", "best": rounded(best.0), "median": rounded(median.0), "reps": speeds.len(),
                "cpu_tok_s": rounded(median.1), "cpu_share": rounded(median.2),
            }),
        );
    }

    fn prefill(&self) -> Result<(), Failure> {
        let mut room = Room::new(&self.decoder, 1, PREFILL)?;
        let prompt = self.tokens(PREFILL, 1);
        self.measure("prefill_512", PREFILL, 2, |_| {
            for (index, chunk) in prompt.chunks(256).enumerate() {
                self.step(&mut room, &[chunk], index * 256);
            }
        });
        Ok(())
    }

    fn decode(&self, sequences: usize) -> Result<(), Failure> {
        let mut room = Room::new(&self.decoder, sequences, 2 * CONTEXT)?;
        let prompts: Vec<Vec<u32>> = (0..sequences).map(|s| self.tokens(CONTEXT, s)).collect();
        let rows: Vec<&[u32]> = prompts.iter().map(Vec::as_slice).collect();
        self.step(&mut room, &rows, 0);
        self.measure(
            &format!("decode_{sequences}seq_ctx128"),
            sequences,
            8,
            |repetition| {
                let next = self.tokens(sequences, repetition);
                let rows: Vec<&[u32]> = next.chunks(1).collect();
                self.step(&mut room, &rows, CONTEXT + repetition % 32);
            },
        );
        Ok(())
    }

    /// One step of the sequences' next tokens, all at `position`.
    fn step(&self, room: &mut Room, tokens: &[&[u32]], position: usize) {
        let tables = room.tables.iter();
        let rows: Vec<Rows<'_>> = tokens
            .iter()
            .zip(tables)
            .map(|(tokens, table)| Rows {
                tokens,
                position,
                pages: table.pages(),
                rope_length: position + tokens.len(),
                wanted: Wanted::Last,
                adapter: None,
            })
            .collect();
        self.decoder.forward(
            &self.pool,
            &rows,
            &mut room.cache,
            &mut room.scratch,
            &|| true,
        );
    }

    /// Tokens that look random and are the same in each run.
    fn tokens(&self, count: usize, seed: usize) -> Vec<u32> {
        let vocab = self.decoder.config().vocab_size.min(100_000);
        (0..count)
            .map(|i| ((i * 7919 + seed * 104_729 + 13) % vocab) as u32)
            .collect()
    }
}

/// A cache with the pages of each sequence.
struct Room {
    cache: KvCache,
    tables: Vec<BlockTable>,
    scratch: Scratch,
}

impl Room {
    fn new(decoder: &Decoder, sequences: usize, tokens: usize) -> Result<Self, Failure> {
        let mut blocks =
            BlockPool::new(sequences * tokens.next_multiple_of(outcrop_inference::PAGE_TOKENS));
        let tables: Option<Vec<BlockTable>> =
            (0..sequences).map(|_| blocks.allocate(tokens)).collect();
        Ok(Self {
            cache: KvCache::new(decoder.config(), blocks.capacity()),
            tables: tables.ok_or("the pool has room for all")?,
            scratch: Scratch::default(),
        })
    }
}

fn rounded(value: f64) -> f64 {
    (value * 1000.0).round() / 1000.0
}

/// CPU time of this process so far, where the system tells it as Linux does; else not a number.
fn cpu_seconds() -> f64 {
    let stat = std::fs::read_to_string("/proc/self/schedstat").ok();
    let own = std::fs::read_dir("/proc/self/task").ok().map(|tasks| {
        tasks
            .filter_map(|task| std::fs::read_to_string(task.ok()?.path().join("schedstat")).ok())
            .filter_map(|line| line.split(' ').next()?.parse::<f64>().ok())
            .sum::<f64>()
    });
    stat.and(own)
        .map_or(f64::NAN, |nanoseconds| nanoseconds / 1e9)
}
