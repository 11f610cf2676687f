//! Rotary position embedding: queries and keys turned by their positions (arXiv:2104.09864).
//!
//! Two scalings depend on how long a sequence is, so every position is turned for a *rope length*,
//! which is a fact of its sequence alone. For LongRoPE it is the number of tokens known when the
//! sequence's keys are computed: up to the original context the short factors hold, beyond it the
//! long ones; when generation crosses that border, all the sequence's keys and values are computed
//! anew, as in transformers. For dynamic NTK it is the prompt's length: the base that a prompt was
//! read with stays for what is generated after it.

use std::borrow::Cow;

use crate::decoder_config::{RopeConfig, RopeOrder, RopeScaling};

/// The frequencies of a model's rope.
#[derive(Clone, Debug)]
pub struct RotaryEmbedding {
    config: RopeConfig,
    /// Radians a position, one a pair of elements.
    frequencies: Vec<f32>,
    /// Those of sequences beyond the original context, where they are others.
    long: Option<Vec<f32>>,
}

impl RotaryEmbedding {
    /// The frequencies of `config`, each divided by its entry of `divisors` where there are any
    /// (`rope_freqs.weight` of a GGUF file, one a pair).
    pub fn new(config: &RopeConfig, divisors: Option<&[f32]>) -> Self {
        let long = match &config.scaling {
            RopeScaling::LongRope { long, .. } => Some(divided(base(config, config.theta), long)),
            _ => None,
        };
        let mut frequencies: Vec<f32> = scaled(config).iter().map(|f| *f as f32).collect();
        if let Some(divisors) = divisors {
            for (frequency, divisor) in frequencies.iter_mut().zip(divisors) {
                *frequency /= divisor;
            }
        }
        Self {
            config: config.clone(),
            frequencies,
            long: long.map(|long| long.iter().map(|f| *f as f32).collect()),
        }
    }

    /// A number that two sequences share only where a position is turned alike in both.
    pub fn class(&self, rope_length: usize) -> usize {
        match &self.config.scaling {
            RopeScaling::LongRope {
                original_context, ..
            } => usize::from(rope_length > *original_context),
            RopeScaling::Dynamic {
                original_context, ..
            } if rope_length > *original_context => rope_length,
            _ => 0,
        }
    }

    /// The rope length of a sequence that has grown to `tokens` tokens and has had `current`:
    /// another only where LongRoPE goes from the short factors to the long ones.
    pub fn length(&self, current: usize, tokens: usize) -> usize {
        match &self.config.scaling {
            RopeScaling::LongRope {
                original_context, ..
            } if current <= *original_context && tokens > *original_context => tokens,
            _ => current,
        }
    }

    /// Number of pairs of elements that are turned in a head.
    pub fn pairs(&self) -> usize {
        self.frequencies.len()
    }

    /// Which elements of a head form a pair.
    pub fn order(&self) -> RopeOrder {
        self.config.order
    }

    /// What the turned part is multiplied by.
    pub fn factor(&self) -> f32 {
        self.config.attention_factor
    }

    /// Radians a position of a sequence of `rope_length` tokens, one a pair.
    pub fn frequencies(&self, rope_length: usize) -> Cow<'_, [f32]> {
        match &self.config.scaling {
            RopeScaling::LongRope {
                original_context, ..
            } if rope_length > *original_context => {
                Cow::Borrowed(self.long.as_deref().unwrap_or_default())
            }
            RopeScaling::Dynamic {
                factor,
                original_context,
            } if rope_length > *original_context => Cow::Owned(raised_base(
                &self.config,
                *factor,
                rope_length,
                *original_context,
            )),
            _ => Cow::Borrowed(&self.frequencies),
        }
    }

    /// Fills the cosines and sines of the positions from `position` on in a sequence of
    /// `rope_length` tokens, `(positions, pairs)` each.
    pub fn angles(
        &self,
        rope_length: usize,
        position: usize,
        cosines: &mut [f32],
        sines: &mut [f32],
    ) {
        let frequencies = self.frequencies(rope_length);
        let factor = self.config.attention_factor;
        let rows = cosines
            .chunks_exact_mut(frequencies.len())
            .zip(sines.chunks_exact_mut(frequencies.len()));
        for ((cosines, sines), position) in rows.zip(position..) {
            for ((frequency, cosine), sine) in frequencies.iter().zip(cosines).zip(sines) {
                let (s, c) = (position as f32 * frequency).sin_cos();
                (*sine, *cosine) = (s * factor, c * factor);
            }
        }
    }

    /// Turns each head of `row`, `(heads, head_dim)`, by the given cosines and sines.
    pub fn turn(&self, row: &mut [f32], head_dim: usize, cosines: &[f32], sines: &[f32]) {
        let pairs = self.pairs();
        for head in row.chunks_exact_mut(head_dim) {
            match self.config.order {
                RopeOrder::Halves => {
                    let (first, rest) = head.split_at_mut(pairs);
                    for (((a, b), cosine), sine) in
                        first.iter_mut().zip(rest).zip(cosines).zip(sines)
                    {
                        (*a, *b) = (*a * cosine - *b * sine, *b * cosine + *a * sine);
                    }
                }
                RopeOrder::Interleaved => {
                    for ((pair, cosine), sine) in head.chunks_exact_mut(2).zip(cosines).zip(sines) {
                        let (a, b) = (pair[0], pair[1]);
                        pair[0] = a * cosine - b * sine;
                        pair[1] = b * cosine + a * sine;
                    }
                }
            }
        }
    }
}

/// The frequencies before any scaling.
fn base(config: &RopeConfig, theta: f64) -> Vec<f64> {
    (0..config.dimensions / 2)
        .map(|pair| 1.0 / theta.powf((2 * pair) as f64 / config.dimensions as f64))
        .collect()
}

/// Each frequency divided by its factor.
fn divided(frequencies: Vec<f64>, factors: &[f64]) -> Vec<f64> {
    frequencies
        .iter()
        .zip(factors)
        .map(|(f, d)| f / d)
        .collect()
}

/// The frequencies of dynamic NTK for a sequence of `length` tokens, beyond the original context.
fn raised_base(config: &RopeConfig, factor: f64, length: usize, original: usize) -> Vec<f32> {
    let dimensions = config.dimensions as f64;
    let growth = factor * length as f64 / original as f64 - (factor - 1.0);
    let theta = config.theta * growth.powf(dimensions / (dimensions - 2.0));
    base(config, theta).iter().map(|f| *f as f32).collect()
}

/// The frequencies, changed for a longer context; those that depend on a sequence's length as they
/// are for a short one.
fn scaled(config: &RopeConfig) -> Vec<f64> {
    let mut frequencies = base(config, config.theta);
    match &config.scaling {
        RopeScaling::None | RopeScaling::Dynamic { .. } => {}
        RopeScaling::Linear { factor } => frequencies.iter_mut().for_each(|f| *f /= factor),
        RopeScaling::Llama3 {
            factor,
            low_freq_factor,
            high_freq_factor,
            original_context,
        } => {
            for frequency in &mut frequencies {
                let wavelength = std::f64::consts::TAU / *frequency;
                let smooth = (original_context / wavelength - low_freq_factor)
                    / (high_freq_factor - low_freq_factor);
                *frequency = if wavelength < original_context / high_freq_factor {
                    *frequency
                } else if wavelength > original_context / low_freq_factor {
                    *frequency / factor
                } else {
                    (1.0 - smooth) * *frequency / factor + smooth * *frequency
                };
            }
        }
        RopeScaling::Yarn { factor, .. } => {
            let (low, high) = yarn_ramp(config);
            for (pair, frequency) in frequencies.iter_mut().enumerate() {
                let divided = ((pair as f64 - low) / (high - low)).clamp(0.0, 1.0);
                *frequency = *frequency / factor * divided + *frequency * (1.0 - divided);
            }
        }
        RopeScaling::LongRope { short, .. } => frequencies = divided(frequencies, short),
    }
    frequencies
}

/// The pairs between which YaRN goes from kept to divided frequencies.
fn yarn_ramp(config: &RopeConfig) -> (f64, f64) {
    let RopeScaling::Yarn {
        beta_fast,
        beta_slow,
        original_context,
        truncate,
        ..
    } = config.scaling
    else {
        return (0.0, 1.0);
    };
    let dimensions = config.dimensions as f64;
    // The pair that turns `turns` times within the original context.
    let pair = |turns: f64| {
        dimensions * (original_context / (turns * std::f64::consts::TAU)).ln()
            / (2.0 * config.theta.ln())
    };
    let (mut low, mut high) = (pair(beta_fast), pair(beta_slow));
    if truncate {
        (low, high) = (low.floor(), high.ceil());
    }
    (low, high) = (low.max(0.0), high.min(dimensions - 1.0));
    if low == high {
        high += 0.001;
    }
    (low, high)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn config(order: RopeOrder, scaling: RopeScaling) -> RopeConfig {
        RopeConfig {
            theta: 10_000.0,
            dimensions: 8,
            order,
            scaling,
            attention_factor: 1.0,
        }
    }

    fn turned(rope: &RotaryEmbedding, position: usize, row: &[f32], head_dim: usize) -> Vec<f32> {
        let (mut cosines, mut sines) = (vec![0.0; rope.pairs()], vec![0.0; rope.pairs()]);
        rope.angles(1, position, &mut cosines, &mut sines);
        let mut row = row.to_vec();
        rope.turn(&mut row, head_dim, &cosines, &sines);
        row
    }

    #[test]
    fn position_zero_changes_nothing_and_lengths_are_kept() {
        let rope = RotaryEmbedding::new(&config(RopeOrder::Halves, RopeScaling::None), None);
        let row: Vec<f32> = (0..16).map(|i| i as f32 - 7.5).collect();
        assert_eq!(turned(&rope, 0, &row, 8), row);
        let far = turned(&rope, 1234, &row, 8);
        let square = |v: &[f32]| v.iter().map(|x| x * x).sum::<f32>();
        assert!((square(&far) - square(&row)).abs() < 1e-3);
        assert_ne!(far, row);
    }

    #[test]
    fn the_two_orders_are_one_turn_of_permuted_rows() {
        let halves = RotaryEmbedding::new(&config(RopeOrder::Halves, RopeScaling::None), None);
        let interleaved =
            RotaryEmbedding::new(&config(RopeOrder::Interleaved, RopeScaling::None), None);
        let row: Vec<f32> = (0..8).map(|i| (i as f32).sin()).collect();
        let permute = |v: &[f32]| (0..8).map(|i| v[i / 2 + (i % 2) * 4]).collect::<Vec<_>>();
        let expected = permute(&turned(&halves, 77, &row, 8));
        assert_eq!(turned(&interleaved, 77, &permute(&row), 8), expected);
    }

    #[test]
    fn only_the_first_dimensions_of_a_head_are_turned() {
        let rope = RotaryEmbedding::new(&config(RopeOrder::Halves, RopeScaling::None), None);
        let row: Vec<f32> = (0..24).map(|i| i as f32).collect();
        let far = turned(&rope, 5, &row, 12);
        assert_eq!(far[8..12], row[8..12]);
        assert_eq!(far[20..], row[20..]);
        assert_ne!(far[12..20], row[12..20]);
    }

    #[test]
    fn llama3_scaling_keeps_high_and_divides_low_frequencies() {
        let scaling = RopeScaling::Llama3 {
            factor: 8.0,
            low_freq_factor: 1.0,
            high_freq_factor: 4.0,
            original_context: 128.0,
        };
        let rope = RotaryEmbedding::new(&config(RopeOrder::Halves, scaling), None);
        assert_eq!(rope.frequencies[0], 1.0);
        // Wavelength 62.8, between 128 / 4 and 128 / 1: smooth = (128 / 62.83 - 1) / 3.
        let smooth = (128.0 / (std::f64::consts::TAU / 0.1) - 1.0) / 3.0;
        let expected = (1.0 - smooth) * 0.1 / 8.0 + smooth * 0.1;
        assert!((f64::from(rope.frequencies[1]) - expected).abs() < 1e-8);
        assert!((rope.frequencies[3] - 0.001 / 8.0).abs() < 1e-9);
        let divided = RotaryEmbedding::new(
            &config(RopeOrder::Halves, RopeScaling::None),
            Some(&[1.0, 2.0, 4.0, 8.0]),
        );
        assert!((divided.frequencies[3] - 0.001 / 8.0).abs() < 1e-9);
    }
}
