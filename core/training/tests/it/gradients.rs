//! The gradients of every family that is trained, against differences of its loss.

use outcrop_tensor::Pool;
use outcrop_training::{Batch, Decoder, DropoutKey, LowRankOptions, Random, Room};

use crate::golden::model;

/// Families whose layers all have a way back.
const FAMILIES: &[&str] = &[
    "llama3",
    "qwen3",
    "families/qwen2",
    "families/mistral",
    "families/gemma2",
    "families/gemma3",
    "families/phi3",
    "families/smollm3",
    "families/granite",
    "families/olmo2",
    "families/llama_yarn",
    "families/llama_dynamic",
];

fn batch() -> Batch {
    let (mut batch, mut random) = (Batch::default(), Random::new(5));
    for length in [21, 1, 9] {
        let ids: Vec<u32> = (0..length).map(|_| random.below(250) as u32).collect();
        batch.push(&ids, |next| next > length / 3);
    }
    batch
}

/// Goes along the gradient, and along random directions: the loss must change as it says. Single
/// precision leaves about a thousandth.
fn check(name: &str, decoder: &Decoder, key: Option<DropoutKey>) {
    let (pool, batch, mut room) = (Pool::new(2), batch(), Room::default());
    let count = decoder.trained_parameters().values.len();
    let mut gradients = vec![0.0; count];
    let loss = |decoder: &Decoder, room: &mut Room, gradients: &mut [f32]| {
        decoder
            .loss_and_gradients(&pool, &batch, (1.0, key), gradients, room)
            .unwrap()
    };
    loss(decoder, &mut room, &mut gradients);
    for tensor in &decoder.trained_parameters().tensors {
        let own = &gradients[tensor.range.clone()];
        let norm = own
            .iter()
            .map(|g| f64::from(*g).powi(2))
            .sum::<f64>()
            .sqrt();
        if norm < 1e-6 {
            continue;
        }
        let values = &decoder.trained_parameters().values[tensor.range.clone()];
        let size = values
            .iter()
            .map(|v| f64::from(*v).powi(2))
            .sum::<f64>()
            .sqrt();
        let step = 2e-2 / norm * size.clamp(0.05, 1.0);
        let mut at = |by: f64| {
            let mut moved = decoder.clone();
            let values = &mut moved.trained_values()[tensor.range.clone()];
            for (value, gradient) in values.iter_mut().zip(own) {
                *value += (by * f64::from(*gradient) / norm) as f32;
            }
            loss(&moved, &mut room, &mut vec![0.0; count])
        };
        let expected = (at(step) - at(-step)) / (2.0 * step);
        let error = (norm - expected).abs() / norm;
        assert!(error < 2e-2, "{name} {}: {norm} {expected}", tensor.name);
    }
}

#[test]
fn each_tensor_of_each_family_has_the_slope_of_the_loss() {
    for name in FAMILIES {
        check(name, &Decoder::load(&model(name)).unwrap(), None);
    }
}

#[test]
fn adapters_have_the_slope_of_the_loss_with_dropout() {
    for name in ["qwen3", "families/phi3", "families/gemma2"] {
        let mut decoder = Decoder::load(&model(name)).unwrap();
        let targets: &[&str] = match name {
            "families/phi3" => &["qkv_proj", "o_proj", "gate_up_proj", "down_proj"],
            _ => &[
                "q_proj",
                "v_proj",
                "o_proj",
                "gate_proj",
                "up_proj",
                "down_proj",
            ],
        };
        let options = LowRankOptions {
            rank: 3,
            dropout: 0.25,
            target_modules: targets.iter().map(|t| (*t).to_owned()).collect(),
            ..LowRankOptions::default()
        };
        decoder.add_low_rank(options, 3).unwrap();
        let mut random = Random::new(4);
        for value in decoder.trained_values() {
            *value += 0.05 * random.normal();
        }
        let key = DropoutKey {
            seed: 1,
            step: 2,
            part: 3,
        };
        check(name, &decoder, Some(key));
    }
}

#[test]
fn a_sequence_loses_the_same_beside_others() {
    let decoder = Decoder::load(&model("qwen3")).unwrap();
    let (pool, mut room, whole) = (Pool::new(1), Room::default(), batch());
    let mut sum = 0.0;
    let mut start = 0;
    for length in &whole.lengths {
        let own = start..start + length;
        let alone = Batch {
            ids: whole.ids[own.clone()].to_vec(),
            targets: whole.targets[own].to_vec(),
            lengths: vec![*length],
        };
        start += length;
        sum += decoder.loss(&pool, &alone, &mut room).unwrap();
    }
    let together = decoder.loss(&pool, &whole, &mut room).unwrap();
    assert!((sum - together).abs() < 1e-9 * sum);
}

#[test]
fn what_has_no_way_back_is_refused_by_name() {
    for name in ["families/mixtral", "families/gpt_oss", "families/qwen3_moe"] {
        let error = Decoder::load(&model(name)).unwrap_err();
        assert!(error.message().contains("cannot be trained yet"), "{error}");
    }
}
