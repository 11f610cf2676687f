//! Rotary position embedding: queries and keys turned by their positions (arXiv:2104.09864).

use crate::decoder_config::{RopeConfig, RopeOrder, RopeScaling};

/// The frequencies of a model's rope.
#[derive(Clone, Debug)]
pub struct RotaryEmbedding {
    /// Radians a position, one a pair of elements.
    frequencies: Vec<f32>,
    order: RopeOrder,
}

impl RotaryEmbedding {
    /// The frequencies of `config`, each divided by its entry of `divisors` where there are any
    /// (`rope_freqs.weight` of a GGUF file, one a pair).
    pub fn new(config: &RopeConfig, divisors: Option<&[f32]>) -> Self {
        let pairs = config.dimensions / 2;
        let frequencies = (0..pairs)
            .map(|pair| {
                let exponent = (2 * pair) as f64 / config.dimensions as f64;
                let frequency = scaled(1.0 / config.theta.powf(exponent), config.scaling) as f32;
                match divisors {
                    Some(divisors) => frequency / divisors[pair],
                    None => frequency,
                }
            })
            .collect();
        Self {
            frequencies,
            order: config.order,
        }
    }

    /// Number of pairs of elements that are turned in a head.
    pub fn pairs(&self) -> usize {
        self.frequencies.len()
    }

    /// Fills the cosines and sines of `position`, one a pair.
    pub fn angles(&self, position: usize, cosines: &mut [f32], sines: &mut [f32]) {
        for ((frequency, cosine), sine) in self.frequencies.iter().zip(cosines).zip(sines) {
            (*sine, *cosine) = (position as f32 * frequency).sin_cos();
        }
    }

    /// Turns each head of `row`, `(heads, head_dim)`, by the given cosines and sines.
    pub fn turn(&self, row: &mut [f32], head_dim: usize, cosines: &[f32], sines: &[f32]) {
        let pairs = self.pairs();
        for head in row.chunks_exact_mut(head_dim) {
            match self.order {
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

/// One frequency, changed for a longer context.
fn scaled(frequency: f64, scaling: RopeScaling) -> f64 {
    match scaling {
        RopeScaling::None => frequency,
        RopeScaling::Linear { factor } => frequency / factor,
        RopeScaling::Llama3 {
            factor,
            low_freq_factor,
            high_freq_factor,
            original_context,
        } => {
            let wavelength = std::f64::consts::TAU / frequency;
            if wavelength < original_context / high_freq_factor {
                frequency
            } else if wavelength > original_context / low_freq_factor {
                frequency / factor
            } else {
                let smooth = (original_context / wavelength - low_freq_factor)
                    / (high_freq_factor - low_freq_factor);
                (1.0 - smooth) * frequency / factor + smooth * frequency
            }
        }
    }
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
        }
    }

    fn turned(rope: &RotaryEmbedding, position: usize, row: &[f32], head_dim: usize) -> Vec<f32> {
        let (mut cosines, mut sines) = (vec![0.0; rope.pairs()], vec![0.0; rope.pairs()]);
        rope.angles(position, &mut cosines, &mut sines);
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
