//! Twenty steps of AdamW that PyTorch made, full and low-rank.

use std::path::PathBuf;

use outcrop_inference::Checkpoint;
use outcrop_tensor::Pool;
use outcrop_training::{AdamW, AdamWOptions, Batch, Decoder, LowRankOptions, Precision, Room};
use serde_json::Value;

/// A file or folder of this room's fixtures.
pub fn own(name: &str) -> PathBuf {
    let fixtures = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures");
    fixtures.join(name)
}

/// A folder of the golden models.
pub fn model(name: &str) -> Checkpoint {
    let fixtures = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../inference/tests/fixtures");
    Checkpoint::open(&fixtures.join(name)).unwrap()
}

fn golden() -> Value {
    let text = std::fs::read_to_string(own("llama3_train/golden_train.json")).unwrap();
    serde_json::from_str(&text).unwrap()
}

fn batch(golden: &Value) -> Batch {
    let mut batch = Batch::default();
    for row in golden["batch_ids"].as_array().unwrap() {
        let row = row.as_array().unwrap();
        let ids: Vec<u32> = row.iter().map(|id| id.as_u64().unwrap() as u32).collect();
        batch.push(&ids, |_| true);
    }
    batch
}

fn near(got: f64, expected: &Value, tolerance: f64, what: &str) {
    let expected = expected.as_f64().unwrap();
    let error = (got - expected).abs() / expected.abs().max(1e-3);
    assert!(error < tolerance, "{what}: {got} {expected}");
}

/// Trains and compares; gives the bits of what came out.
fn check(mut decoder: Decoder, part: &str, (threads, recompute): (usize, bool)) -> Vec<u32> {
    let golden = golden();
    let (batch, golden) = (batch(&golden), &golden[part]);
    let (pool, mut room) = (Pool::new(threads), Room::new(recompute, Precision::Float32));
    let count = decoder.trained_parameters().values.len();
    let mut optimizer = AdamW::new(AdamWOptions::default(), count);
    let scale = 1.0 / batch.learned() as f32;
    for step in 0..20 {
        let mut gradients = vec![0.0; count];
        let loss = decoder
            .loss_and_gradients(&pool, &batch, (scale, None), &mut gradients, &mut room)
            .unwrap();
        let loss = loss / batch.learned() as f64;
        near(loss, &golden["losses"][step], 1e-4, &format!("loss {step}"));
        if let Some(norms) = golden[format!("grad_norms_step{step}")].as_object() {
            assert_eq!(norms.len(), decoder.trained_parameters().tensors.len());
            for (name, norm) in norms {
                let name = name.replace(".default", "");
                let (tensor, _) = decoder.trained_parameters().tensor(&name).unwrap();
                let own = &gradients[tensor.range.clone()];
                let got = own
                    .iter()
                    .map(|g| f64::from(*g).powi(2))
                    .sum::<f64>()
                    .sqrt();
                near(got, norm, 2e-4, &name);
            }
        }
        optimizer.step(&pool, decoder.trained_values(), &gradients, 1e-3);
    }
    let loss = decoder.loss(&pool, &batch, &mut room).unwrap() / batch.learned() as f64;
    near(loss, &golden["losses"][20], 1e-4, "the last loss");
    let logits = decoder.logits(&pool, &batch, &mut room).unwrap();
    let last = &logits[47 * 544..48 * 544];
    for (got, expected) in last
        .iter()
        .zip(golden["last_logits_row0_after"].as_array().unwrap())
    {
        assert!((f64::from(*got) - expected.as_f64().unwrap()).abs() < 5e-3);
    }
    let values = &decoder.trained_parameters().values;
    values.iter().map(|value| value.to_bits()).collect()
}

#[test]
fn full_steps_are_pytorchs_whatever_threads_and_memory() {
    let decoder = Decoder::load(&model("llama3")).unwrap();
    let first = check(decoder.clone(), "full", (1, false));
    assert_eq!(check(decoder, "full", (3, true)), first);
}

#[test]
fn low_rank_steps_are_pytorchs_whatever_threads_and_memory() {
    let mut decoder = Decoder::load(&model("llama3")).unwrap();
    let targets = ["q_proj", "k_proj", "v_proj", "o_proj"];
    let options = LowRankOptions {
        target_modules: targets.map(str::to_owned).to_vec(),
        ..LowRankOptions::default()
    };
    decoder.add_low_rank(options, 0).unwrap();
    let start = Checkpoint::open_adapter(&own("llama3_train/lora_init")).unwrap();
    decoder.read_low_rank(&start).unwrap();
    let first = check(decoder.clone(), "lora", (1, false));
    assert_eq!(check(decoder, "lora", (3, true)), first);
}
