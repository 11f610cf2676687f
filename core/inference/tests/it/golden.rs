//! The golden decoders: their files and what they must answer.

use std::path::PathBuf;

use outcrop_api::{GenerateRequest, InferenceConfig, Prompt};
use outcrop_inference::{Engine, EngineOptions};
use serde_json::Value;

/// The golden decoders' folders.
pub const DECODERS: [&str; 3] = ["llama3", "llama3_h256", "qwen3"];

/// A file or folder of the fixtures: those of the sources, or of the folder `OUTCROP_FIXTURES`.
pub fn fixture(name: &str) -> PathBuf {
    let own = || PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures");
    let folder = std::env::var_os("OUTCROP_FIXTURES").map_or_else(own, PathBuf::from);
    folder.join(name)
}

/// A JSON file of the fixtures.
pub fn json(name: &str) -> Value {
    let text = std::fs::read_to_string(fixture(name)).unwrap();
    serde_json::from_str(&text).unwrap()
}

/// The golden decoder `name` on `threads` threads of its own.
pub fn engine(name: &str, options: EngineOptions) -> Engine {
    Engine::load(&fixture(name), name, options).unwrap()
}

/// The default options, on `threads` threads.
pub fn on_threads(threads: usize) -> EngineOptions {
    EngineOptions {
        threads: Some(threads),
        ..EngineOptions::default()
    }
}

/// Ids of a JSON array.
pub fn ids(value: &Value) -> Vec<u32> {
    value
        .as_array()
        .unwrap()
        .iter()
        .map(|id| id.as_u64().unwrap() as u32)
        .collect()
}

/// Numbers of a JSON array.
pub fn numbers(value: &Value) -> Vec<f32> {
    value
        .as_array()
        .unwrap()
        .iter()
        .map(|n| n.as_f64().unwrap() as f32)
        .collect()
}

/// A request for `max_tokens` greedy tokens after `prompt`.
pub fn greedy(prompt: Vec<u32>, max_tokens: usize) -> GenerateRequest {
    GenerateRequest {
        inference_config: InferenceConfig {
            max_tokens: Some(max_tokens),
            ..InferenceConfig::default()
        },
        ..GenerateRequest::new(Prompt::Ids(prompt))
    }
}

/// Largest absolute difference of two rows.
pub fn distance(a: &[f32], b: &[f32]) -> f32 {
    assert_eq!(a.len(), b.len());
    a.iter()
        .zip(b)
        .map(|(a, b)| (a - b).abs())
        .fold(0.0, f32::max)
}
