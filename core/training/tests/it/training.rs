//! A whole training: what it learns, when it stops, and that it is the same each time.

use outcrop_tensor::Pool;
use outcrop_training::{
    Decoder, EarlyStopping, Example, LowRankOptions, MemoryPlan, Precision, Random, Trainer,
    TrainingOptions,
};
use serde_json::json;

use crate::golden::model;

/// Sequences whose second half is their first one again, which is learned.
pub fn copies(count: usize, seed: u64) -> Vec<Example> {
    let mut random = Random::new(seed);
    (0..count)
        .map(|_| {
            let half = 3 + random.below(4);
            let first: Vec<u32> = (0..half).map(|_| random.below(40) as u32).collect();
            let ids: Vec<u32> = first.iter().chain(&[40]).chain(&first).copied().collect();
            Example {
                learned: std::iter::once(half + 1..ids.len()).collect(),
                ids,
            }
        })
        .collect()
}

/// A job of an adapter with dropout, over several passes a step, stopping early.
pub fn low_rank() -> TrainingOptions {
    TrainingOptions {
        low_rank: Some(LowRankOptions {
            rank: 4,
            dropout: 0.1,
            ..LowRankOptions::default()
        }),
        epochs: 2,
        batch_size: 6,
        learning_rate: 5e-3,
        warmup_steps: 2,
        pass_tokens: 32,
        evaluate_every: Some(3),
        early_stopping: Some(EarlyStopping {
            threshold: 0.0,
            patience: 50,
        }),
        ..TrainingOptions::default()
    }
}

pub fn trainer(options: TrainingOptions) -> Trainer {
    let decoder = Decoder::load(&model("llama3")).unwrap();
    Trainer::new(decoder, options, (copies(40, 1), copies(8, 2)), None).unwrap()
}

pub fn bits(decoder: &Decoder) -> Vec<u32> {
    let values = &decoder.trained_parameters().values;
    values.iter().map(|value| value.to_bits()).collect()
}

fn run(mut trainer: Trainer, threads: usize) -> (Vec<u64>, Vec<u32>) {
    let (pool, mut losses) = (Pool::new(threads), Vec::new());
    while !trainer.is_done() {
        losses.push(trainer.advance(&pool).unwrap().loss.to_bits());
    }
    (losses, bits(&trainer.into_model()))
}

#[test]
fn two_runs_and_any_interruption_end_with_the_same_bits() {
    let full = TrainingOptions {
        low_rank: None,
        recompute: Some(true),
        learning_rate: 1e-3,
        ..low_rank()
    };
    let bfloat16 = |options: &TrainingOptions| TrainingOptions {
        precision: Precision::Bfloat16,
        ..options.clone()
    };
    let rounded = [bfloat16(&low_rank()), bfloat16(&full)];
    for options in [low_rank(), full].into_iter().chain(rounded) {
        let expected = run(trainer(options.clone()), 1);
        assert_eq!(run(trainer(options.clone()), 3), expected);
        let (pool, mut random) = (Pool::new(2), Random::new(9));
        let mut current = trainer(options.clone());
        let mut losses = Vec::new();
        while !current.is_done() {
            losses.push(current.advance(&pool).unwrap().loss.to_bits());
            if random.below(2) == 0 {
                let bytes = current.checkpoint();
                // What was done behind the checkpoint is lost, and done again.
                let _ = current.advance(&pool);
                current = trainer(options.clone());
                current.resume(&bytes).unwrap();
            }
        }
        assert_eq!(losses, expected.0);
        assert_eq!(bits(&current.into_model()), expected.1);
    }
}

#[test]
fn a_checkpoint_of_another_job_is_refused() {
    let bytes = trainer(low_rank()).checkpoint();
    let other = TrainingOptions {
        seed: 7,
        ..low_rank()
    };
    let error = trainer(other).resume(&bytes).unwrap_err();
    assert!(
        error.message().contains("expected one of the job"),
        "{error}"
    );
    let error = trainer(low_rank()).resume(&bytes[..bytes.len() - 1]);
    assert!(error.unwrap_err().message().contains("bytes, got"));
}

#[test]
fn a_random_model_learns_to_copy() {
    let config = json!({
        "model_type": "llama", "hidden_size": 64, "intermediate_size": 128,
        "num_hidden_layers": 2, "num_attention_heads": 4, "num_key_value_heads": 2,
        "max_position_embeddings": 64, "rms_norm_eps": 1e-5, "vocab_size": 48,
        "tie_word_embeddings": true, "rope_theta": 10_000.0,
    });
    for precision in [Precision::Float32, Precision::Bfloat16] {
        let decoder = Decoder::random(&config, 3).unwrap();
        let options = TrainingOptions {
            epochs: 12,
            batch_size: 32,
            learning_rate: 5e-3,
            warmup_steps: 20,
            precision,
            ..TrainingOptions::default()
        };
        let mut trainer =
            Trainer::new(decoder, options, (copies(1200, 1), copies(50, 2)), None).unwrap();
        let pool = Pool::new(2);
        let before = trainer.evaluate(&pool).unwrap();
        while !trainer.is_done() {
            trainer.advance(&pool).unwrap();
        }
        let after = trainer.evaluate(&pool).unwrap();
        assert!(
            before > 3.5 && after < 1.0,
            "{precision:?} {before} {after}"
        );
    }
}

#[test]
fn training_stops_when_validation_no_longer_gets_better_and_keeps_the_best() {
    let options = TrainingOptions {
        low_rank: None,
        epochs: 100,
        learning_rate: 1e-2,
        evaluate_every: Some(1),
        early_stopping: Some(EarlyStopping {
            threshold: 0.0,
            patience: 3,
        }),
        ..low_rank()
    };
    let (pool, mut trainer) = (Pool::new(2), trainer(options));
    let mut losses = Vec::new();
    while !trainer.is_done() {
        losses.push(trainer.advance(&pool).unwrap().validation_loss.unwrap());
    }
    assert!(trainer.step() < trainer.steps());
    let best = losses.iter().copied().fold(f64::INFINITY, f64::min);
    assert_eq!(losses[losses.len() - 4], best);
    let decoder = trainer.into_model();
    let options = TrainingOptions {
        batch_size: 40,
        pass_tokens: 32,
        ..TrainingOptions::default()
    };
    let mut kept = Trainer::new(decoder, options, (copies(40, 1), copies(8, 2)), None).unwrap();
    assert_eq!(kept.evaluate(&pool).unwrap(), best);
}

#[test]
fn what_does_not_fit_is_refused_before_the_start() {
    let decoder = Decoder::load(&model("llama3")).unwrap();
    let options = TrainingOptions::default();
    let usual = MemoryPlan::new(&decoder, &options, 10, None).unwrap();
    assert!(!usual.recompute);
    let least = MemoryPlan::new(&decoder, &options, 10, Some(usual.bytes - 1)).unwrap();
    assert!(least.recompute && least.bytes < usual.bytes);
    let error = Trainer::new(
        decoder.clone(),
        options,
        (copies(3, 1), vec![]),
        Some(1 << 20),
    );
    let message = error.unwrap_err().message().to_owned();
    assert!(message.contains("1 MB are available"), "{message}");
    let long = vec![Example::of_text(vec![1; 2049])];
    let error = Trainer::new(decoder, TrainingOptions::default(), (long, vec![]), None);
    let message = error.unwrap_err().message().to_owned();
    assert!(
        message.contains("at most 2048 tokens, got one of 2049"),
        "{message}"
    );
}
