//! The learning rate's way over the steps.

use serde::{Deserialize, Serialize};

/// How the learning rate falls behind the warm-up.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Decay {
    /// Not at all.
    Constant,
    /// Along a line to 0.
    Linear,
    /// Along half a cosine to 0 (arXiv:1608.03983).
    #[default]
    Cosine,
}

/// The learning rate of each step.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Schedule {
    /// The highest rate, behind the warm-up.
    pub learning_rate: f32,
    /// Steps along a line from 0 to it.
    pub warmup_steps: usize,
    /// All steps.
    pub steps: usize,
    /// How it falls.
    pub decay: Decay,
}

impl Schedule {
    /// The rate of `step`, from 0. The first is above 0, and the last too.
    pub fn at(&self, step: usize) -> f32 {
        if step < self.warmup_steps {
            return self.learning_rate * (step + 1) as f32 / (self.warmup_steps + 1) as f32;
        }
        let (done, all) = (
            step - self.warmup_steps,
            self.steps.max(1) - self.warmup_steps.min(self.steps.max(1) - 1),
        );
        let part = done as f64 / all as f64;
        let factor = match self.decay {
            Decay::Constant => 1.0,
            Decay::Linear => 1.0 - part,
            Decay::Cosine => 0.5 * (1.0 + (std::f64::consts::PI * part).cos()),
        };
        (f64::from(self.learning_rate) * factor) as f32
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_rises_then_falls() {
        let rates = |decay| {
            let schedule = Schedule {
                learning_rate: 1.0,
                warmup_steps: 3,
                steps: 13,
                decay,
            };
            (0..13).map(|step| schedule.at(step)).collect::<Vec<_>>()
        };
        let linear = rates(Decay::Linear);
        assert_eq!(linear[..4], [0.25, 0.5, 0.75, 1.0]);
        assert!((linear[12] - 0.1).abs() < 1e-6);
        let cosine = rates(Decay::Cosine);
        assert!((cosine[8] - 0.5).abs() < 1e-6 && cosine[12] > 0.0);
        assert_eq!(rates(Decay::Constant)[3..], [1.0; 10]);
    }
}
