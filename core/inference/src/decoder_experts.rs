//! A mixture of experts: each token goes through the few experts that a router scores best.
//!
//! The rows of a step are grouped by expert, so that each expert's weights are read once. A row's
//! result sums its experts' weighted outputs in the order of the experts, whatever other rows are
//! in the step.

use outcrop_tensor::{Pool, ops};

use crate::decoder_config::{ExpertsConfig, GatedActivation, Routing};
use crate::decoder_weights::{GatedMlp, Linear, Site};
use crate::lora::{self, Adapter, Span};
use crate::step::Rows;

/// One layer's experts.
#[derive(Debug)]
pub(crate) struct Experts {
    pub(crate) router: Linear,
    pub(crate) experts: Vec<GatedMlp>,
}

/// What a pass through the experts of a layer goes by.
#[derive(Clone, Copy)]
pub(crate) struct Mixture<'a> {
    pub pool: &'a Pool,
    pub config: &'a ExpertsConfig,
    pub activation: GatedActivation,
    /// The layer's number.
    pub layer: usize,
    /// The sequences that the rows are of, in their order.
    pub rows: &'a [Rows<'a>],
}

/// Room that a forward pass through experts fills anew.
#[derive(Debug, Default)]
pub(crate) struct ExpertScratch {
    scores: Vec<f32>,
    /// For each expert the rows that go through it, with their weights, in order.
    assigned: Vec<Vec<(usize, f32)>>,
    gathered: Vec<f32>,
    gate: Vec<f32>,
    up: Vec<f32>,
    down: Vec<f32>,
}

impl Experts {
    /// Writes the experts' output for the rows of `x`, `(rows, hidden_size)`, to `out`, of the same
    /// shape.
    pub fn apply(
        &self,
        mixture: Mixture<'_>,
        x: &[f32],
        scratch: &mut ExpertScratch,
        out: &mut [f32],
    ) {
        let hidden = self.router.weight.cols();
        self.route(mixture, x, scratch);
        let adapters = mixture.adapters();
        out.fill(0.0);
        let ExpertScratch {
            assigned,
            gathered,
            gate,
            up,
            down,
            ..
        } = scratch;
        for (number, (expert, rows)) in self.experts.iter().zip(&*assigned).enumerate() {
            if rows.is_empty() {
                continue;
            }
            gathered.clear();
            for (row, _) in rows {
                gathered.extend_from_slice(&x[row * hidden..(row + 1) * hidden]);
            }
            let width = mixture.config.intermediate_size;
            gate.resize(rows.len() * width, 0.0);
            up.resize(rows.len() * width, 0.0);
            down.resize(rows.len() * hidden, 0.0);
            let change = |site, x: &[f32], out: &mut [f32]| {
                let of_rows = rows
                    .iter()
                    .map(|(row, _)| adapters.get(*row).copied().flatten());
                let spans = of_rows.map(|adapter| Span { adapter, rows: 1 });
                lora::apply(mixture.pool, (mixture.layer, site), spans, x, out);
            };
            let mut projections = [expert.gate.projection(gate), expert.up.projection(up)];
            ops::linear_many(mixture.pool, gathered, &mut projections);
            change(Site::ExpertGate(number), gathered, gate);
            change(Site::ExpertUp(number), gathered, up);
            mixture.activation.apply(gate, up);
            expert.down.apply(mixture.pool, gate, down);
            change(Site::ExpertDown(number), gate, down);
            for ((row, weight), part) in rows.iter().zip(down.chunks_exact(hidden)) {
                ops::axpy(*weight, part, &mut out[row * hidden..(row + 1) * hidden]);
            }
        }
    }

    /// Fills `scratch.assigned`.
    fn route(&self, mixture: Mixture<'_>, x: &[f32], scratch: &mut ExpertScratch) {
        let Mixture { pool, config, .. } = mixture;
        let rows = x.len() / self.router.weight.cols();
        let scores = &mut scratch.scores;
        scores.resize(rows * config.count, 0.0);
        self.router.apply(pool, x, scores);
        let place = (mixture.layer, Site::Router);
        lora::apply(pool, place, lora::spans(mixture.rows), x, scores);
        scratch.assigned.resize_with(config.count, Vec::new);
        scratch.assigned.iter_mut().for_each(Vec::clear);
        for (row, scores) in scores.chunks_exact_mut(config.count).enumerate() {
            for (expert, weight) in chosen(config, scores) {
                scratch.assigned[expert].push((row, weight));
            }
        }
    }
}

impl<'a> Mixture<'a> {
    /// Each row's adapter; nothing where no row has one.
    fn adapters(&self) -> Vec<Option<&'a Adapter>> {
        if self.rows.iter().all(|r| r.adapter.is_none()) {
            return Vec::new();
        }
        let of_rows = |r: &Rows<'a>| std::iter::repeat_n(r.adapter, r.tokens.len());
        self.rows.iter().flat_map(of_rows).collect()
    }
}

/// The experts that a row of `scores` chooses, the best first, with their weights.
fn chosen(config: &ExpertsConfig, scores: &mut [f32]) -> Vec<(usize, f32)> {
    let mut order: Vec<usize> = (0..scores.len()).collect();
    // A stable sort: of equal scores the lower expert goes first.
    order.sort_by(|&a, &b| scores[b].total_cmp(&scores[a]));
    order.truncate(config.per_token);
    let weights: Vec<f32> = match config.routing {
        Routing::Softmax => {
            ops::softmax_in_place(scores);
            order.iter().map(|&expert| scores[expert]).collect()
        }
        Routing::SoftmaxOfChosen => {
            let mut weights: Vec<f32> = order.iter().map(|&expert| scores[expert]).collect();
            ops::softmax_in_place(&mut weights);
            weights
        }
    };
    order.into_iter().zip(weights).collect()
}

impl GatedActivation {
    /// Replaces `gate` by the activation of `gate` and `up`.
    pub(crate) fn apply(self, gate: &mut [f32], up: &[f32]) {
        match self {
            Self::Silu => ops::silu_mul(gate, up),
            Self::Gelu => ops::gelu_mul(gate, up),
            Self::GeluTanh => ops::gelu_tanh_mul(gate, up),
            Self::ClampedSwiglu { alpha, limit } => ops::clamped_swiglu(gate, up, alpha, limit),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn config(routing: Routing) -> ExpertsConfig {
        ExpertsConfig {
            count: 4,
            per_token: 2,
            intermediate_size: 8,
            routing,
            router_bias: false,
            layers: vec![true],
        }
    }

    #[test]
    fn of_equal_scores_the_lower_experts_are_chosen() {
        for routing in [Routing::Softmax, Routing::SoftmaxOfChosen] {
            let got = chosen(&config(routing), &mut [1.0, 2.0, 2.0, 2.0]);
            assert_eq!([got[0].0, got[1].0], [1, 2]);
            assert_eq!(got[0].1, got[1].1);
        }
    }

    #[test]
    fn routing_says_whether_the_chosen_weights_sum_to_one() {
        let scores = [0.0, 1.0, -1.0, 3.0];
        let sum: f32 = scores.iter().map(|s: &f32| s.exp()).sum();
        let all = chosen(&config(Routing::Softmax), &mut scores.clone());
        assert!((all[0].1 - 3f32.exp() / sum).abs() < 1e-6 && all[0].0 == 3);
        let only = chosen(&config(Routing::SoftmaxOfChosen), &mut scores.clone());
        assert!((only[0].1 + only[1].1 - 1.0).abs() < 1e-6);
        assert!((only[1].1 / only[0].1 - (-2f32).exp()).abs() < 1e-6);
    }
}
