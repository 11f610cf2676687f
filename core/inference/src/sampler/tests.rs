//! The sampler against what transformers keeps, and against full sorts.

#![allow(clippy::unwrap_used)]

use proptest::prelude::*;

use super::*;

fn sampler(config: InferenceConfig) -> Sampler {
    Sampler::new(&config).unwrap()
}

fn sample(config: InferenceConfig, logits: &[f32], tokens: &[u32]) -> u32 {
    sampler(config)
        .sample(logits, tokens, None, &mut SamplerScratch::default())
        .unwrap()
}

/// The ids that come up in many draws, by position.
fn support(config: InferenceConfig, logits: &[f32]) -> Vec<u32> {
    let sampler = sampler(config);
    let mut scratch = SamplerScratch::default();
    let mut ids: Vec<u32> = (0..2000)
        .map(|n| {
            sampler
                .sample(logits, &vec![0; n], None, &mut scratch)
                .unwrap()
        })
        .collect();
    ids.sort_unstable();
    ids.dedup();
    ids
}

fn warm() -> InferenceConfig {
    InferenceConfig {
        temperature: Some(1.0),
        ..InferenceConfig::default()
    }
}

#[test]
fn greedy_takes_the_lowest_id_among_equals() {
    assert_eq!(
        sample(InferenceConfig::default(), &[0.0, 3.0, 3.0, 1.0], &[]),
        1
    );
}

#[test]
fn filters_keep_what_transformers_keeps() {
    // Probabilities 0.5, 0.25, 0.125, 0.0625, 0.0625.
    let logits: Vec<f32> = [0.5f32, 0.25, 0.125, 0.0625, 0.0625]
        .iter()
        .map(|p| p.ln())
        .collect();
    assert_eq!(support(warm(), &logits), [0, 1, 2, 3, 4]);
    let top_k = InferenceConfig {
        top_k: Some(4),
        ..warm()
    };
    assert_eq!(support(top_k, &logits), [0, 1, 2, 3]);
    let top_p = InferenceConfig {
        top_p: Some(0.7),
        ..warm()
    };
    assert_eq!(support(top_p, &logits), [0, 1]);
    let min_p = InferenceConfig {
        min_p: Some(0.2),
        ..warm()
    };
    assert_eq!(support(min_p, &logits), [0, 1, 2]);
    // top_p counts among what top_k left: 0.5 / 0.75 is less than 0.7.
    let both = InferenceConfig {
        top_k: Some(2),
        top_p: Some(0.7),
        ..warm()
    };
    assert_eq!(support(both, &logits), [0, 1]);
    let tiny = InferenceConfig {
        top_p: Some(1e-6),
        ..warm()
    };
    assert_eq!(support(tiny, &logits), [0]);
}

#[test]
fn draws_follow_the_probabilities() {
    let logits: Vec<f32> = [0.6f32, 0.3, 0.1].iter().map(|p| p.ln()).collect();
    let sampler = sampler(InferenceConfig {
        seed: Some(9),
        ..warm()
    });
    let mut counts = [0usize; 3];
    let mut scratch = SamplerScratch::default();
    for n in 0..4000 {
        counts[sampler
            .sample(&logits, &vec![0; n % 4000], None, &mut scratch)
            .unwrap() as usize] += 1;
    }
    assert!(counts[0].abs_diff(2400) < 150, "{counts:?}");
    assert!(counts[1].abs_diff(1200) < 150, "{counts:?}");
}

#[test]
fn the_penalty_divides_positive_and_multiplies_negative_logits_once() {
    let config = InferenceConfig {
        repetition_penalty: Some(2.0),
        ..InferenceConfig::default()
    };
    assert_eq!(sample(config.clone(), &[4.0, 3.0, 1.5], &[0, 0]), 1);
    assert_eq!(sample(config, &[-1.0, -1.5, -9.0], &[0]), 1);
}

#[test]
fn wrong_fields_are_named() {
    let default = InferenceConfig::default;
    for (config, message) in [
        (
            InferenceConfig {
                temperature: Some(-1.7),
                ..default()
            },
            "temperature: expected 0 or more, got -1.7",
        ),
        (
            InferenceConfig {
                temperature: Some(f32::NAN),
                ..default()
            },
            "temperature: expected 0 or more, got NaN",
        ),
        (
            InferenceConfig {
                top_p: Some(0.0),
                ..default()
            },
            "top_p: expected above 0 and up to 1, got 0",
        ),
        (
            InferenceConfig {
                top_k: Some(0),
                ..default()
            },
            "top_k: expected at least 1, got 0",
        ),
        (
            InferenceConfig {
                min_p: Some(1.5),
                ..default()
            },
            "min_p: expected 0..=1, got 1.5",
        ),
        (
            InferenceConfig {
                max_tokens: Some(0),
                ..default()
            },
            "max_tokens: expected at least 1, got 0",
        ),
        (
            InferenceConfig {
                repetition_penalty: Some(0.0),
                ..default()
            },
            "repetition_penalty: expected above 0, got 0",
        ),
        (
            InferenceConfig {
                stop_sequences: vec!["x".into(); 17],
                ..default()
            },
            "stop_sequences: expected at most 16 of them, got 17",
        ),
    ] {
        assert_eq!(Sampler::new(&config).unwrap_err().message(), message);
    }
}

#[test]
fn logits_that_are_no_numbers_are_an_error() {
    let sampler = sampler(warm());
    for logits in [
        &[0.0, f32::NAN][..],
        &[f32::NEG_INFINITY],
        &[0.0, f32::INFINITY],
        &[],
    ] {
        assert!(
            sampler
                .sample(logits, &[], None, &mut SamplerScratch::default())
                .is_err()
        );
    }
}

proptest! {
    #[test]
    fn nucleus_by_parts_is_nucleus_by_a_full_sort(
        logits in prop::collection::vec(-6.0f32..6.0, 1..700), top_p in 0.01f32..0.999, position in 0usize..50,
    ) {
        let config = InferenceConfig { top_p: Some(top_p), ..warm() };
        let max = logits.iter().copied().fold(f32::MIN, f32::max);
        let mut all: Vec<Candidate> = logits.iter().enumerate()
            .map(|(id, l)| Candidate { id: id as u32, weight: (l - max).exp() }).collect();
        let total: f64 = all.iter().map(|c| f64::from(c.weight)).sum();
        all.sort_by(Candidate::order);
        let mut sum = 0.0;
        let kept = all.iter().take_while(|c| {
            let before = sum;
            sum += f64::from(c.weight);
            before < total * f64::from(top_p)
        }).count();
        let expected = draw(&all[..kept], uniform(0, position as u64)).unwrap();
        prop_assert_eq!(sample(config, &logits, &vec![0; position]), expected);
    }
}
