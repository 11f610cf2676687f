//! Holds decoders on a GPU against the same on the CPU, and times both; one JSON line a model.
//!
//! `cargo run --release -p outcrop-inference --example gpu_check -- MODEL...`: folders or .gguf files.
//! Exit code 1 where a model's logits or greedy tokens are others, 2 where no GPU can be used.

use std::path::Path;
use std::process::ExitCode;
use std::time::Instant;

use outcrop_api::{GenerateRequest, InferenceConfig, Prompt, Result};
use outcrop_inference::{Device, DeviceChoice, Engine, EngineOptions};
use tokio::runtime::Runtime;

const PROMPT: usize = 200;
const TOKENS: usize = 64;
/// Largest difference of a logit, by the largest logit. Weights that the CPU multiplies as integers
/// are off by the rounding of its activations.
const TOLERANCE: f32 = 2e-2;

/// What a device made of the prompt.
struct Made {
    logits: Vec<f32>,
    ids: Vec<u32>,
    prefill: f64,
    decode: f64,
}

async fn run(path: &Path, device: Device) -> Result<Made> {
    let options = EngineOptions {
        device,
        context_length: Some(512),
        kv_tokens: Some(4096),
        ..EngineOptions::default()
    };
    let engine = Engine::load(path, "model", options)?;
    let words = engine.info().vocabulary.unwrap_or(2) as u32;
    let prompt: Vec<u32> = (0..PROMPT as u32).map(|i| (7 * i + 11) % words).collect();
    let logits = engine.logits(&prompt[..32]).await?;
    let mut seconds = [0.0; 2];
    let mut ids = Vec::new();
    for (count, seconds) in [1, TOKENS].into_iter().zip(&mut seconds) {
        let config = InferenceConfig {
            max_tokens: Some(count),
            ..InferenceConfig::default()
        };
        let request = GenerateRequest {
            inference_config: config,
            ..GenerateRequest::new(Prompt::Ids(prompt.clone()))
        };
        let started = Instant::now();
        ids = engine.generate(request).await?.ids;
        *seconds = started.elapsed().as_secs_f64();
    }
    Ok(Made {
        logits,
        prefill: PROMPT as f64 / seconds[0],
        // The second time the prompt's keys and values are known.
        decode: ids.len() as f64 / seconds[1],
        ids,
    })
}

fn compare(runtime: &Runtime, path: &str, device: Device) -> Result<bool> {
    let cpu = runtime.block_on(run(Path::new(path), Device::Cpu))?;
    let gpu = runtime.block_on(run(Path::new(path), device))?;
    let largest = cpu.logits.iter().fold(1.0f32, |most, l| most.max(l.abs()));
    let pairs = cpu.logits.iter().zip(&gpu.logits);
    let off = pairs.map(|(a, b)| (a - b).abs()).fold(0.0f32, f32::max) / largest;
    let same = cpu.ids.iter().zip(&gpu.ids).take_while(|(a, b)| a == b);
    let (same, all) = (same.count(), cpu.ids.len());
    let passes = off <= TOLERANCE;
    let line = serde_json::json!({
        "model": path,
        "device": device.to_string(),
        "passes": passes,
        "logits_off": off,
        "same_greedy_tokens": same,
        "of": all,
        "prefill_tokens_per_second": { "cpu": cpu.prefill, "gpu": gpu.prefill },
        "decode_tokens_per_second": { "cpu": cpu.decode, "gpu": gpu.decode },
    });
    println!("{line}");
    Ok(passes)
}

fn main() -> ExitCode {
    let models: Vec<String> = std::env::args().skip(1).collect();
    if models.is_empty() {
        eprintln!("usage: gpu_check MODEL...");
        return ExitCode::from(2);
    }
    let device = match DeviceChoice::parse("cuda") {
        Ok(choice) => choice.device,
        Err(error) => {
            eprintln!("{}", error.message());
            return ExitCode::from(2);
        }
    };
    let Ok(runtime) = Runtime::new() else {
        eprintln!("no threads for a runtime");
        return ExitCode::from(2);
    };
    let mut passes = true;
    for model in &models {
        match compare(&runtime, model, device) {
            Ok(own) => passes &= own,
            Err(error) => {
                eprintln!("{model}: {}", error.message());
                passes = false;
            }
        }
    }
    ExitCode::from(u8::from(!passes))
}
