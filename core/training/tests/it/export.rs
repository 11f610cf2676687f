//! What training writes is loaded by the engine, and computes what the trainer computed.

use std::path::Path;

use outcrop_inference::{Engine, EngineOptions};
use outcrop_tensor::Pool;
use outcrop_training::{Batch, Decoder, Room};

use crate::golden::model;
use crate::training::{low_rank, trainer};

fn write(folder: &Path, files: &[(&str, Vec<u8>)]) {
    std::fs::create_dir_all(folder).unwrap();
    for (name, bytes) in files {
        std::fs::write(folder.join(name), bytes).unwrap();
    }
}

fn trained() -> Decoder {
    let (mut trainer, pool) = (trainer(low_rank()), Pool::new(2));
    while !trainer.is_done() {
        trainer.advance(&pool).unwrap();
    }
    trainer.into_model()
}

#[tokio::test]
async fn the_engine_computes_what_the_trainer_did_from_the_adapter_and_merged() {
    let (decoder, base, pool) = (trained(), model("llama3"), Pool::new(2));
    let ids: Vec<u32> = (0..50).map(|i| (i * 37 % 500) as u32).collect();
    let mut batch = Batch::default();
    batch.push(&ids, |_| true);
    let logits = decoder.logits(&pool, &batch, &mut Room::default()).unwrap();
    let expected = &logits[..];
    let folder = tempfile::tempdir().unwrap();
    let (whole, adapter) = (folder.path().join("model"), folder.path().join("adapter"));
    write(&whole, &decoder.model_files(&pool, &base));
    std::fs::copy(
        base.path().join("tokenizer.json"),
        whole.join("tokenizer.json"),
    )
    .unwrap();
    write(&adapter, &decoder.adapter_files("base").unwrap());
    let options = EngineOptions::default;
    let engine = Engine::load(base.path(), "base", options()).unwrap();
    engine.load_adapter("tuned", &adapter).unwrap();
    let merged = Engine::load(&whole, "merged", options()).unwrap();
    let got = [
        engine.logits_with(&ids, Some("tuned")).await.unwrap(),
        merged.logits_with(&ids, None).await.unwrap(),
    ];
    let plain = engine.logits_with(&ids, None).await.unwrap();
    let distance = |got: &[f32]| {
        let pairs = got.iter().zip(expected);
        pairs.map(|(a, b)| (a - b).abs()).fold(0.0, f32::max)
    };
    assert!(distance(&plain) > 0.1, "the adapter changes nothing");
    // For a check against PEFT itself.
    if let Some(out) = std::env::var_os("OUTCROP_TEST_ADAPTER") {
        write(Path::new(&out), &decoder.adapter_files("base").unwrap());
        let about = serde_json::json!({"ids": ids, "logits": expected});
        std::fs::write(Path::new(&out).join("expected.json"), about.to_string()).unwrap();
    }
    for logits in got {
        assert!(distance(&logits) < 1e-3, "{}", distance(&logits));
    }
}
