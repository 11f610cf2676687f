//! Memory and time of loading a decoder, and of LoRA adapters beside it, as JSON lines.
//!
//! `cargo run --release -p outcrop-inference --example load_bench -- MODEL [ADAPTER ...]`
//!
//! Run it in a fresh process: `peak` is the process's high-water mark. Each ADAPTER is a PEFT
//! folder; with some, as many sequences as there are adapters decode with and without them.

#![allow(missing_docs, reason = "an example has no callers")]

use std::path::Path;
use std::time::Instant;

use outcrop_api::{GenerateRequest, InferenceConfig, Prompt};
use outcrop_inference::{Engine, EngineOptions};
use serde_json::json;

type Failure = Box<dyn std::error::Error>;

const TOKENS: usize = 8;
const ROUNDS: usize = 3;

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<(), Failure> {
    let mut arguments = std::env::args().skip(1);
    let path = arguments
        .next()
        .ok_or("usage: load_bench MODEL [ADAPTER ...]")?;
    let folders: Vec<String> = arguments.collect();
    let before = status("VmHWM")?;
    let options = EngineOptions {
        kv_tokens: Some(2048),
        context_length: Some(2048),
        ..EngineOptions::default()
    };
    let started = Instant::now();
    let engine = Engine::load(Path::new(&path), "model", options)?;
    let load = started.elapsed().as_secs_f64();
    let file = std::fs::metadata(&path)?.len() >> 20;
    println!(
        "{}",
        json!({"measure": "load", "model": path, "s": load, "file_mb": file, "before_mb": before,
            "rss_mb": status("VmRSS")?, "peak_mb": status("VmHWM")?})
    );
    round(&engine, &[None]).await?;
    println!(
        "{}",
        json!({"measure": "generate", "rss_mb": status("VmRSS")?, "peak_mb": status("VmHWM")?})
    );
    if !folders.is_empty() {
        adapters(&engine, &folders).await?;
    }
    Ok(())
}

async fn adapters(engine: &Engine, folders: &[String]) -> Result<(), Failure> {
    for (index, folder) in folders.iter().enumerate() {
        let started = Instant::now();
        let info = engine.load_adapter(&index.to_string(), Path::new(folder))?;
        let ms = started.elapsed().as_secs_f64() * 1e3;
        println!(
            "{}",
            json!({"measure": "load_adapter", "ms": ms, "bytes": info.bytes, "ranks": info.ranks})
        );
    }
    let names: Vec<Option<String>> = (0..folders.len()).map(|i| Some(i.to_string())).collect();
    let none = vec![None; folders.len()];
    let (mut with, mut without) = (Vec::new(), Vec::new());
    for _ in 0..ROUNDS {
        without.push(round(engine, &none).await?);
        with.push(round(engine, &names).await?);
    }
    with.sort_by(f64::total_cmp);
    without.sort_by(f64::total_cmp);
    let (with, without) = (with[ROUNDS / 2], without[ROUNDS / 2]);
    println!(
        "{}",
        json!({"measure": "decode_with_adapters", "sequences": folders.len(), "cpu_s": with,
            "without_cpu_s": without, "ratio": with / without})
    );
    Ok(())
}

/// CPU seconds for as many sequences as there are `adapters`.
async fn round(engine: &Engine, adapters: &[Option<String>]) -> Result<f64, Failure> {
    let started = cpu_seconds()?;
    let tasks: Vec<_> = adapters
        .iter()
        .enumerate()
        .map(|(index, adapter)| {
            let engine = engine.clone();
            let prompt = (0..64)
                .map(|at| (at * 7 + index as u32 * 13) % 500)
                .collect();
            let request = GenerateRequest {
                adapter: adapter.clone(),
                inference_config: InferenceConfig {
                    max_tokens: Some(TOKENS),
                    ..InferenceConfig::default()
                },
                ..GenerateRequest::new(Prompt::Ids(prompt))
            };
            tokio::spawn(async move { engine.generate(request).await })
        })
        .collect();
    for task in tasks {
        task.await??;
    }
    Ok(cpu_seconds()? - started)
}

/// A line of `/proc/self/status`, in MB.
fn status(name: &str) -> Result<u64, Failure> {
    let text = std::fs::read_to_string("/proc/self/status")?;
    let line = text.lines().find(|line| line.starts_with(name));
    let number = line.and_then(|line| line.split_whitespace().nth(1));
    Ok(number.ok_or("no such line")?.parse::<u64>()? >> 10)
}

/// CPU time of this process so far.
fn cpu_seconds() -> Result<f64, Failure> {
    let text = std::fs::read_to_string("/proc/self/stat")?;
    let (_, fields) = text.rsplit_once(')').ok_or("no name in /proc/self/stat")?;
    let fields: Vec<&str> = fields.split_whitespace().collect();
    Ok((fields[11].parse::<f64>()? + fields[12].parse::<f64>()?) / 100.0)
}
