//! Training steps on demand: `train_bench CONFIG.json SEQUENCES TOKENS THREADS [bfloat16]`. Makes a model of random
//! weights, says `ready`, and for each line of its input makes one AdamW step of all weights and
//! answers with the step's seconds, its loss and the largest memory so far in MB.

use std::io::{BufRead, Write};
use std::time::Instant;

use outcrop_api::{Error, Result};
use outcrop_tensor::Pool;
use outcrop_training::{Decoder, Example, Precision, Random, Trainer, TrainingOptions};

fn peak_memory() -> u64 {
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let peak = status.lines().find_map(|line| line.strip_prefix("VmHWM:"));
    let kilobytes = peak.and_then(|text| text.trim().strip_suffix(" kB")?.parse::<u64>().ok());
    kilobytes.unwrap_or_default() >> 10
}

fn number(argument: Option<String>) -> Result<usize> {
    let parsed = argument.and_then(|text| text.parse().ok());
    parsed.ok_or_else(|| Error::validation("usage: CONFIG.json SEQUENCES TOKENS THREADS"))
}

fn main() -> Result<()> {
    let failed = |error: &dyn std::fmt::Display| Error::internal(error.to_string());
    let mut arguments = std::env::args().skip(1);
    let config = arguments.next().unwrap_or_default();
    let config = std::fs::read_to_string(&config).map_err(|error| failed(&error))?;
    let config = serde_json::from_str(&config).map_err(|error| failed(&error))?;
    let (sequences, tokens) = (number(arguments.next())?, number(arguments.next())?);
    let pool = Pool::new(number(arguments.next())?);
    let precision = match arguments.next().as_deref() {
        Some("bfloat16") => Precision::Bfloat16,
        _ => Precision::Float32,
    };
    let decoder = Decoder::random(&config, 1)?;
    let (words, mut random) = (decoder.config().vocab_size, Random::new(2));
    let mut example = |_| {
        let ids = (0..tokens).map(|_| random.below(words) as u32);
        Example::of_text(ids.collect())
    };
    let examples = (0..sequences).map(&mut example).collect();
    let options = TrainingOptions {
        epochs: 100_000,
        batch_size: sequences,
        pass_tokens: sequences * tokens,
        precision,
        ..TrainingOptions::default()
    };
    let mut trainer = Trainer::new(decoder, options, (examples, Vec::new()), None)?;
    let mut out = std::io::stdout();
    let mut say = |text: String| {
        writeln!(out, "{text}")
            .and_then(|()| out.flush())
            .map_err(|error| failed(&error))
    };
    say("ready".to_owned())?;
    for _ in std::io::stdin().lock().lines() {
        let started = Instant::now();
        let loss = trainer.advance(&pool)?.loss;
        say(format!(
            "{} {loss} {}",
            started.elapsed().as_secs_f64(),
            peak_memory()
        ))?;
    }
    Ok(())
}
