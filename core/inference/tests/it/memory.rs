//! What is told of a model's memory before it is loaded, against what loading takes.

use outcrop_api::ErrorKind;
use outcrop_inference::{EngineOptions, Precision, estimate};

use crate::golden::{engine, fixture, greedy};

#[test]
fn an_estimate_is_made_of_the_headers() {
    let options = EngineOptions {
        kv_tokens: Some(1024),
        ..EngineOptions::default()
    };
    for name in [
        "llama3",
        "qwen3",
        "llama3/model-Q8_0.gguf",
        "llama3_h256/model-Q4_K_M.gguf",
    ] {
        let found = estimate(&fixture(name), &options, Precision::F32).unwrap();
        assert_eq!(found.weights, engine(name, options.clone()).info().bytes);
        assert_eq!(
            (found.kv_tokens, found.kv_bytes),
            (1024, 1024 * found.kv_bytes_per_token)
        );
        assert!(found.kv_bytes_per_token > 0 && found.working > 0);
        assert_eq!(found.total, found.weights + found.kv_bytes + found.working);
        assert_eq!(
            found.fits,
            found.available.map(|bytes| found.total <= bytes)
        );
    }
    let encoder = estimate(&fixture("bert_minilm"), &options, Precision::F32).unwrap();
    assert_eq!((encoder.kv_bytes, encoder.kv_tokens), (0, 0));
    assert!(encoder.weights > 600_000, "{encoder:?}");
    let int8 = estimate(&fixture("bert_minilm"), &options, Precision::Int8).unwrap();
    // 3 layers of 4 * 64 * 64 and 2 * 64 * 128 numbers, in 34 bytes for 32 instead of 128.
    let products = 3 * (4 * 64 * 64 + 2 * 64 * 128);
    let saved = encoder.weights - int8.weights;
    assert_eq!(
        saved % (products * 94 / 32),
        saved - products * 94 / 32,
        "{saved}"
    );
    let reader = estimate(&fixture("qwen3_embedding"), &options, Precision::F32).unwrap();
    assert_eq!((reader.kv_bytes, reader.kv_tokens), (0, 0));
    let huge = EngineOptions {
        kv_tokens: Some(1 << 40),
        ..EngineOptions::default()
    };
    let found = estimate(&fixture("llama3"), &huge, Precision::F32).unwrap();
    assert_ne!(found.fits, Some(true));
}

#[test]
fn a_draft_model_is_part_of_the_estimate() {
    let options = EngineOptions {
        kv_tokens: Some(1024),
        ..EngineOptions::default()
    };
    let path = fixture("llama3/model-Q8_0.gguf");
    let alone = estimate(&fixture("llama3"), &options, Precision::F32).unwrap();
    let draft = estimate(&path, &options, Precision::F32).unwrap();
    let with_draft = EngineOptions {
        draft: Some(path),
        ..options.clone()
    };
    let both = estimate(&fixture("llama3"), &with_draft, Precision::F32).unwrap();
    assert_eq!(both.weights, alone.weights + draft.weights);
    assert_eq!(both.kv_bytes, alone.kv_bytes + draft.kv_bytes);
    assert!(both.working > alone.working);
    let by_bytes = EngineOptions {
        kv_tokens: None,
        kv_bytes: Some(1 << 20),
        ..with_draft
    };
    let bounded = estimate(&fixture("llama3"), &by_bytes, Precision::F32).unwrap();
    assert!(bounded.kv_bytes <= 1 << 20 && bounded.kv_tokens > 0);
}

#[test]
fn what_cannot_be_opened_cannot_be_estimated() {
    let missing = estimate(
        &fixture("nothing"),
        &EngineOptions::default(),
        Precision::F32,
    )
    .unwrap_err();
    assert_eq!(missing.kind(), ErrorKind::ResourceNotFoundException);
    let wrong = EngineOptions {
        context_length: Some(1),
        ..EngineOptions::default()
    };
    let error = estimate(&fixture("llama3"), &wrong, Precision::F32).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::ValidationException);
}

/// A line of `/proc/self/status`, in bytes.
#[cfg(target_os = "linux")]
fn status(name: &str) -> u64 {
    let text = std::fs::read_to_string("/proc/self/status").unwrap();
    let line = text.lines().find(|line| line.starts_with(name)).unwrap();
    line.split_whitespace()
        .nth(1)
        .unwrap()
        .parse::<u64>()
        .unwrap()
        << 10
}

#[cfg(target_os = "linux")]
#[tokio::test]
async fn loading_and_running_take_no_more_than_was_told() {
    let options = EngineOptions {
        kv_tokens: Some(1024),
        ..EngineOptions::default()
    };
    let told = estimate(
        &fixture("llama3_h256/model-Q4_K_M.gguf"),
        &options,
        Precision::F32,
    )
    .unwrap();
    let before = status("VmRSS");
    let engine = engine("llama3_h256/model-Q4_K_M.gguf", options);
    engine.generate(greedy(vec![5; 900], 100)).await.unwrap();
    let taken = status("VmHWM") - before;
    assert!(taken <= told.total, "{taken} bytes, told {told:?}");
}
