//! Encoders that embed: their vectors, their gradients, and that training brings together what belongs
//! together, to the same bits however often.

use outcrop_inference::{Checkpoint, EncoderModel, PoolingMode};
use outcrop_tensor::Pool;
use outcrop_training::{
    EncoderRoom, Pair, Random, SentenceEncoder, Trainable, Trainer, TrainingOptions,
};

use crate::golden::model;

const FAMILIES: &[(&str, PoolingMode)] = &[
    ("bert_minilm", PoolingMode::Mean),
    ("bert_minilm", PoolingMode::Cls),
    ("xlm_roberta", PoolingMode::Mean),
];

fn encoder(name: &str, pooling: PoolingMode) -> (Checkpoint, SentenceEncoder) {
    let checkpoint = model(name);
    let encoder = SentenceEncoder::load(&checkpoint, pooling).unwrap();
    (checkpoint, encoder)
}

fn text(random: &mut Random, length: usize) -> Vec<u32> {
    (0..length).map(|_| 5 + random.below(120) as u32).collect()
}

fn pairs(count: usize, seed: u64) -> Vec<Pair> {
    let mut random = Random::new(seed);
    let pair = |index| Pair {
        anchor: text(&mut random, 3 + index % 4),
        positive: text(&mut random, 5),
        negatives: (0..index % 2).map(|_| text(&mut random, 4)).collect(),
    };
    (0..count).map(pair).collect()
}

#[test]
fn its_vectors_are_those_of_the_engine() {
    let (checkpoint, encoder) = encoder("bert_minilm", PoolingMode::Mean);
    let engine = EncoderModel::load(checkpoint.path(), "minilm").unwrap();
    let texts = ["What is the overdraft fee?", "The fee is 12 euros.", "a"];
    let ids: Vec<Vec<u32>> = texts
        .iter()
        .map(|text| engine.tokenizer().encode(text, true).unwrap())
        .collect();
    let ids: Vec<&[u32]> = ids.iter().map(|ids| &ids[..]).collect();
    let got = encoder
        .embed(&Pool::new(2), &ids, &mut EncoderRoom::default())
        .unwrap();
    let width = encoder.config().hidden;
    for (text, got) in texts.iter().zip(got.chunks_exact(width)) {
        let tokens = engine.token_vectors(text).unwrap();
        let count = tokens.len() / width;
        let mut mean = vec![0.0; width];
        for row in tokens.chunks_exact(width) {
            mean.iter_mut()
                .zip(row)
                .for_each(|(sum, value)| *sum += value / count as f32);
        }
        let length = mean.iter().map(|value| value * value).sum::<f32>().sqrt();
        for (mean, got) in mean.iter().zip(got) {
            assert!(
                (mean / length - got).abs() < 1e-5,
                "{text}: {} {got}",
                mean / length
            );
        }
    }
}

/// Goes along the gradient, and along random directions: the loss must change as it says.
#[test]
fn gradients_are_those_of_differences() {
    let pool = Pool::new(2);
    for (name, pooling) in FAMILIES {
        let (_, mut encoder) = encoder(name, *pooling);
        let mut all = pairs(5, 7);
        // The same text twice: it is no negative of its own anchor.
        all[3].positive = all[1].positive.clone();
        let pairs: Vec<&Pair> = all.iter().collect();
        let mut room = EncoderRoom::default();
        let start = encoder.parameters().values.clone();
        let mut gradients = vec![0.0; start.len()];
        let back = Some((1.0, &mut gradients[..]));
        encoder.loss(&pool, (&pairs, 0.1), back, &mut room).unwrap();
        let mut random = Random::new(3);
        for direction in 0..4 {
            let along: Vec<f32> = match direction {
                0 => gradients.clone(),
                // Where the weights are not looked up by a token, all are reached.
                _ => gradients
                    .iter()
                    .map(|g| g.abs() * random.normal())
                    .collect(),
            };
            let norm = along
                .iter()
                .map(|v| f64::from(*v).powi(2))
                .sum::<f64>()
                .sqrt() as f32;
            let step = 2e-3;
            let mut at = |sign: f32| {
                let values = encoder.trained_values();
                for ((value, start), along) in values.iter_mut().zip(&start).zip(&along) {
                    *value = start + sign * step * along / norm;
                }
                encoder.loss(&pool, (&pairs, 0.1), None, &mut room).unwrap()
            };
            let slope = (at(1.0) - at(-1.0)) / f64::from(2.0 * step);
            let products = gradients.iter().zip(&along).map(|(g, a)| f64::from(g * a));
            let expected = products.sum::<f64>() / f64::from(norm);
            let size = gradients
                .iter()
                .map(|g| f64::from(*g).powi(2))
                .sum::<f64>()
                .sqrt();
            assert!(
                (slope - expected).abs() < 5e-3 * size,
                "{name} {pooling:?} {direction}: {slope} {expected} of {size}"
            );
        }
    }
}

fn options() -> TrainingOptions {
    TrainingOptions {
        epochs: 12,
        batch_size: 8,
        learning_rate: 1e-3,
        ..TrainingOptions::default()
    }
}

fn trainer() -> Trainer<SentenceEncoder> {
    let (_, encoder) = encoder("bert_minilm", PoolingMode::Mean);
    Trainer::new(encoder, options(), (pairs(24, 1), pairs(8, 2)), None).unwrap()
}

fn run(mut trainer: Trainer<SentenceEncoder>, threads: usize) -> (Vec<f64>, Vec<f32>) {
    let (pool, mut losses) = (Pool::new(threads), Vec::new());
    while !trainer.is_done() {
        losses.push(trainer.advance(&pool).unwrap().loss);
    }
    (losses, trainer.into_model().parameters().values.clone())
}

#[test]
fn training_brings_pairs_together_and_a_kill_changes_no_bit() {
    let (losses, weights) = run(trainer(), 1);
    let (first, last) = (losses[0], losses[losses.len() - 1]);
    assert!(last < 0.2 * first, "{first} {last}");
    assert!(run(trainer(), 3).1 == weights, "threads change bits");
    let (pool, mut first) = (Pool::new(2), trainer());
    for _ in 0..5 {
        first.advance(&pool).unwrap();
    }
    let mut second = trainer();
    second.resume(&first.checkpoint()).unwrap();
    assert!(run(second, 2).1 == weights, "a checkpoint changes bits");
}

#[test]
fn what_has_no_way_back_is_refused() {
    let wrong = [
        (
            "modernbert",
            PoolingMode::Mean,
            "its layers cannot be trained yet",
        ),
        (
            "bert_minilm",
            PoolingMode::Max,
            "pooling by Max cannot be trained yet",
        ),
    ];
    for (name, pooling, expected) in wrong {
        let error = SentenceEncoder::load(&model(name), pooling).unwrap_err();
        assert!(error.message().contains(expected), "{error}");
    }
    let new = |options: TrainingOptions, pairs: Vec<Pair>, available| {
        let (_, encoder) = encoder("bert_minilm", PoolingMode::Mean);
        Trainer::new(encoder, options, (pairs, vec![]), available).unwrap_err()
    };
    let mut lora = options();
    lora.low_rank = Some(Default::default());
    assert!(
        new(lora, pairs(4, 1), None)
            .message()
            .contains("expected full")
    );
    let mut alone = options();
    alone.batch_size = 1;
    let without: Vec<Pair> = pairs(4, 1).into_iter().step_by(2).collect();
    assert!(
        new(alone, without, None)
            .message()
            .contains("expected at least 2")
    );
    assert!(
        new(options(), pairs(4, 1), Some(1 << 20))
            .message()
            .contains("MiB are free")
    );
    let mut cold = options();
    cold.temperature = 0.0;
    assert!(
        new(cold, pairs(4, 1), None)
            .message()
            .contains("temperature: expected above 0")
    );
    let strange = vec![Pair {
        anchor: vec![1 << 20],
        ..pairs(1, 1)[0].clone()
    }];
    assert!(new(options(), strange, None).message().contains("words"));
}
