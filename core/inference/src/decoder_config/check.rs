//! Checks that a description's numbers fit together and are of a size to calculate with.

use super::{DecoderConfig, GatedActivation, MAX_DIMENSION, RopeConfig, RopeScaling};

type Check = Result<(), String>;

impl DecoderConfig {
    /// Checks the whole description.
    pub(super) fn check(&self) -> Check {
        self.check_dimensions()?;
        self.check_factors()?;
        self.check_experts()?;
        if self.layer_ropes.len() != self.layers() {
            return Err(format!(
                "num_hidden_layers: expected {} layers' rotary embeddings, got {}",
                self.layers(),
                self.layer_ropes.len()
            ));
        }
        self.ropes
            .iter()
            .try_for_each(|rope| check_rope(rope, self.head_dim))
    }

    fn check_dimensions(&self) -> Check {
        let dimensions = [
            ("hidden_size", self.hidden_size),
            ("intermediate_size", self.intermediate_size),
            ("num_attention_heads", self.heads),
            ("num_key_value_heads", self.kv_heads),
            ("head_dim", self.head_dim),
            ("vocab_size", self.vocab_size),
            ("num_hidden_layers", self.layers()),
            ("max_position_embeddings", self.context_length),
        ];
        for (name, value) in dimensions {
            if value == 0 || value > MAX_DIMENSION {
                return Err(format!("{name}: expected 1..={MAX_DIMENSION}, got {value}"));
            }
        }
        if !self.heads.is_multiple_of(self.kv_heads) {
            return Err(format!(
                "num_attention_heads: expected a multiple of num_key_value_heads, {}, got {}",
                self.kv_heads, self.heads
            ));
        }
        if self.query_size() > MAX_DIMENSION {
            return Err(format!(
                "head_dim: expected num_attention_heads * head_dim up to {MAX_DIMENSION}, got {} * {}",
                self.heads, self.head_dim
            ));
        }
        if self.sliding_windows.contains(&Some(0)) {
            return Err("sliding_window: expected at least 1, got 0".to_owned());
        }
        Ok(())
    }

    fn check_factors(&self) -> Check {
        if !(self.norm_eps >= 0.0 && self.norm_eps.is_finite()) {
            return Err(format!(
                "rms_norm_eps: expected 0 or more, got {}",
                self.norm_eps
            ));
        }
        let mut factors = vec![
            ("embedding_multiplier", self.embedding_multiplier),
            ("residual_multiplier", self.residual_multiplier),
            ("logits_scaling", self.logits_multiplier),
            ("the attention's scale", self.attention_scale),
        ];
        factors.extend(
            self.logits_soft_cap
                .map(|cap| ("final_logit_softcapping", cap)),
        );
        factors.extend(
            self.attention_soft_cap
                .map(|cap| ("attn_logit_softcapping", cap)),
        );
        if let GatedActivation::ClampedSwiglu { alpha, limit } = self.activation {
            factors.extend([("swiglu_alpha", alpha), ("swiglu_limit", limit)]);
        }
        match factors.iter().find(|(_, f)| !(*f > 0.0 && f.is_finite())) {
            Some((name, factor)) => Err(format!("{name}: expected above 0, got {factor}")),
            None => Ok(()),
        }
    }

    fn check_experts(&self) -> Check {
        let Some(experts) = &self.experts else {
            return Ok(());
        };
        for (name, value) in [
            ("number of experts", experts.count),
            ("expert's intermediate size", experts.intermediate_size),
        ] {
            if value == 0 || value > MAX_DIMENSION {
                return Err(format!("{name}: expected 1..={MAX_DIMENSION}, got {value}"));
            }
        }
        if experts.per_token == 0 || experts.per_token > experts.count {
            return Err(format!(
                "num_experts_per_tok: expected 1..={}, got {}",
                experts.count, experts.per_token
            ));
        }
        Ok(())
    }
}

fn check_rope(rope: &RopeConfig, head_dim: usize) -> Check {
    let pairs = rope.dimensions / 2;
    if pairs == 0 || !rope.dimensions.is_multiple_of(2) || rope.dimensions > head_dim {
        return Err(format!(
            "rope dimensions: expected an even number in 2..={head_dim}, got {}",
            rope.dimensions
        ));
    }
    if !(rope.theta > 0.0 && rope.theta.is_finite()) {
        return Err(format!("rope_theta: expected above 0, got {}", rope.theta));
    }
    let numbers: Vec<(&str, f64)> = match &rope.scaling {
        RopeScaling::None => Vec::new(),
        RopeScaling::Linear { factor } => vec![("factor", *factor)],
        RopeScaling::Llama3 {
            factor,
            low_freq_factor,
            high_freq_factor,
            original_context,
        } => vec![
            ("factor", *factor),
            ("low_freq_factor", *low_freq_factor),
            ("high_freq_factor", *high_freq_factor),
            ("original_max_position_embeddings", *original_context),
        ],
        RopeScaling::Dynamic { factor, .. } if pairs < 2 || *factor < 1.0 => {
            return Err(format!(
                "rope_scaling.factor: expected at least 1 and two pairs or more, got {factor} and {pairs}"
            ));
        }
        RopeScaling::Dynamic { factor, .. } => vec![("factor", *factor)],
        RopeScaling::Yarn {
            factor,
            beta_fast,
            beta_slow,
            original_context,
            ..
        } => vec![
            ("factor", *factor),
            ("beta_fast", *beta_fast),
            ("beta_slow", *beta_slow),
            ("original_max_position_embeddings", *original_context),
            ("rope_theta less 1", rope.theta - 1.0),
        ],
        RopeScaling::LongRope { short, long, .. } => {
            for (name, factors) in [("short_factor", short), ("long_factor", long)] {
                if factors.len() != pairs {
                    return Err(format!(
                        "rope_scaling.{name}: expected {pairs} numbers, one a pair, got {}",
                        factors.len()
                    ));
                }
            }
            let factors = short.iter().chain(long);
            factors.map(|f| ("factors", *f)).collect()
        }
    };
    let attention_factor = ("attention_factor", f64::from(rope.attention_factor));
    let numbers: Vec<(&str, f64)> = numbers.into_iter().chain([attention_factor]).collect();
    match numbers.iter().find(|(_, n)| !(*n > 0.0 && n.is_finite())) {
        Some((name, n)) => Err(format!("rope_scaling.{name}: expected above 0, got {n}")),
        None => Ok(()),
    }
}
