//! Embedding throughput as JSON lines: `embed_bench MODEL_DIR [THREADS] [SECONDS] [f32|int8] [TOKENS ...]`.
//! Batches of 32 texts of 32, 128 and 256 tokens, or of TOKENS, tokenisation included.

use std::path::Path;
use std::time::{Duration, Instant};

use outcrop_api::{EmbedOptions, Embedder, Error, Result};
use outcrop_inference::{EncoderModel, EncoderOptions, Precision};

const BATCH: usize = 32;
const WORDS: &str = "the lighthouse keeper wrote down weather every morning wind from north rain before \
noon committee reviewed proposal and decided to postpone decision until next meeting in september water \
boils at one hundred degrees sea level but lower temperature mountains she opened letter read it twice";

/// Texts of exactly `tokens` tokens each, all different.
fn texts(model: &EncoderModel, tokens: usize) -> Result<Vec<String>> {
    let words: Vec<&str> = WORDS.split_whitespace().collect();
    let mut state = tokens as u64;
    (0..BATCH)
        .map(|_| {
            let mut text = String::new();
            while model.count_tokens(&text)? < tokens {
                state = state
                    .wrapping_mul(6_364_136_223_846_793_005)
                    .wrapping_add(1);
                text.push_str(words[(state >> 33) as usize % words.len()]);
                text.push(' ');
            }
            Ok(text)
        })
        .collect()
}

/// Seconds of processor time that this process has used, its ended threads' included.
fn cpu_seconds() -> f64 {
    let stat = std::fs::read_to_string("/proc/self/stat").unwrap_or_default();
    let fields = stat.rsplit(") ").next().unwrap_or_default();
    let ticks = fields.split(' ').skip(11).take(2);
    ticks
        .filter_map(|text| text.parse::<f64>().ok())
        .sum::<f64>()
        / 100.0
}

fn main() -> Result<()> {
    let mut arguments = std::env::args().skip(1);
    let folder = arguments.next().ok_or_else(|| {
        Error::validation(
            "usage: embed_bench MODEL_DIR [THREADS] [SECONDS] [f32|int8] [TOKENS ...]",
        )
    })?;
    let threads = arguments
        .next()
        .and_then(|text| text.parse().ok())
        .unwrap_or(2);
    let seconds = arguments
        .next()
        .and_then(|text| text.parse().ok())
        .unwrap_or(3.0);
    let precision = match arguments.next().as_deref() {
        Some("int8") => Precision::Int8,
        _ => Precision::F32,
    };
    let started = Instant::now();
    let options = EncoderOptions {
        threads: Some(threads),
        precision,
    };
    let model = EncoderModel::load_with(Path::new(&folder), "bench", options)?;
    let load = started.elapsed().as_secs_f64();
    let runtime = tokio::runtime::Builder::new_current_thread()
        .build()
        .map_err(|error| Error::internal(error.to_string()))?;
    let mut lengths: Vec<usize> = arguments.filter_map(|text| text.parse().ok()).collect();
    if lengths.is_empty() {
        lengths = vec![32, 128, 256];
    }
    for tokens in lengths {
        let texts = texts(&model, tokens)?;
        let mut rates = Vec::new();
        let cpu = cpu_seconds();
        let end = Instant::now() + Duration::from_secs_f64(seconds);
        while Instant::now() < end || rates.len() < 4 {
            let started = Instant::now();
            runtime.block_on(model.embed(
                &texts,
                EmbedOptions {
                    truncate: true,
                    ..EmbedOptions::default()
                },
            ))?;
            rates.push(BATCH as f64 / started.elapsed().as_secs_f64());
        }
        let per_cpu_second = (BATCH * rates.len()) as f64 / (cpu_seconds() - cpu);
        rates.sort_by(f64::total_cmp);
        println!(
            "{{\"engine\":\"outcrop\",\"measure\":\"embed_{tokens}tok_batch{BATCH}\",\"unit\":\"texts/s\",\"threads\":{threads},\"best\":{:.1},\"median\":{:.1},\"reps\":{},\"per_cpu_second\":{per_cpu_second:.1},\"precision\":\"{precision:?}\",\"load_s\":{load:.2}}}",
            rates[rates.len() - 1],
            rates[rates.len() / 2],
            rates.len(),
        );
    }
    Ok(())
}
