//! Rotary embeddings from the `rope_parameters`, or `rope_theta` and `rope_scaling`, of a
//! `config.json`.

use serde_json::Value;

use super::fields::{Fields, Read, flag, number, numbers, optional_number, present, shown, size};
use super::{RopeConfig, RopeOrder, RopeScaling};

/// The types of scaling that are read.
const KINDS: &str = "default, linear, dynamic, llama3, yarn, longrope";

/// What a rotary embedding is read from.
pub(super) struct RopeFields<'a> {
    /// The model's fields.
    pub fields: &'a Fields<'a>,
    /// The object with the scaling, or null.
    pub section: &'a Value,
    /// Width of a head.
    pub head_dim: usize,
    /// The model's field of the base, where `section` has none.
    pub theta: &'static str,
}

/// The one object of `config` that describes its rotary embedding, or null.
pub(super) fn section(config: &Value) -> &Value {
    const ABSENT: &Value = &Value::Null;
    ["rope_parameters", "rope_scaling"]
        .iter()
        .filter_map(|name| config.get(name))
        .find(|value| value.is_object())
        .unwrap_or(ABSENT)
}

impl RopeFields<'_> {
    /// The rotary embedding.
    pub fn read(&self) -> Read<RopeConfig> {
        let theta = match optional_number(self.section, "rope_theta")? {
            Some(theta) => theta,
            None => self.fields.number(self.theta)?.unwrap_or(10_000.0),
        };
        let partial = match optional_number(self.section, "partial_rotary_factor")? {
            Some(partial) => partial,
            None => {
                let partial = self.fields.number("partial_rotary_factor")?;
                partial.unwrap_or(1.0)
            }
        };
        let (scaling, attention_factor) = self.scaling()?;
        Ok(RopeConfig {
            theta,
            dimensions: (self.head_dim as f64 * partial) as usize,
            order: RopeOrder::Halves,
            scaling,
            attention_factor: attention_factor as f32,
        })
    }

    /// The scaling with the attention factor.
    fn scaling(&self) -> Read<(RopeScaling, f64)> {
        let section = self.section;
        let kind = present(section, "rope_type").or_else(|| present(section, "type"));
        let named = kind.and_then(Value::as_str);
        let plain = match named {
            None if kind.is_none() => RopeScaling::None,
            Some("default") => RopeScaling::None,
            Some("linear") => RopeScaling::Linear {
                factor: number(section, "factor", None)?,
            },
            Some("dynamic") => RopeScaling::Dynamic {
                factor: number(section, "factor", None)?,
                original_context: self.context()?,
            },
            Some("llama3") => RopeScaling::Llama3 {
                factor: number(section, "factor", None)?,
                low_freq_factor: number(section, "low_freq_factor", None)?,
                high_freq_factor: number(section, "high_freq_factor", None)?,
                original_context: number(section, "original_max_position_embeddings", None)?,
            },
            // Phi-3's first files say "su" or "yarn".
            Some("yarn") if self.fields.family.name != "phi3" => return self.yarn(),
            Some("longrope" | "su" | "yarn") => return self.longrope(),
            _ => {
                return Err(format!(
                    "rope_scaling.rope_type: expected one of {KINDS}, got {}",
                    shown(kind)
                ));
            }
        };
        Ok((plain, 1.0))
    }

    fn context(&self) -> Read<usize> {
        self.fields.size("max_position_embeddings")
    }

    /// The context before scaling: as the model has it, else its scaling, else the whole context.
    fn original_context(&self) -> Read<usize> {
        let name = "original_max_position_embeddings";
        match self.fields.number(name)? {
            Some(_) => self.fields.size(name),
            None => size(self.section, name, Some(self.context()?)),
        }
    }

    fn yarn(&self) -> Read<(RopeScaling, f64)> {
        let section = self.section;
        let original = self.original_context()? as f64;
        let factor = number(section, "factor", Some(self.context()? as f64 / original))?;
        let magnitude = |scale: f64, by: f64| match scale > 1.0 {
            true => 0.1 * by * scale.ln() + 1.0,
            false => 1.0,
        };
        let by = |name: &str| -> Read<Option<f64>> {
            Ok(optional_number(section, name)?.filter(|by| *by != 0.0))
        };
        let inferred = match (by("mscale")?, by("mscale_all_dim")?) {
            (Some(one), Some(all)) => magnitude(factor, one) / magnitude(factor, all),
            _ => magnitude(factor, 1.0),
        };
        let scaling = RopeScaling::Yarn {
            factor,
            beta_fast: number(section, "beta_fast", Some(32.0))?,
            beta_slow: number(section, "beta_slow", Some(1.0))?,
            original_context: original,
            truncate: flag(section, "truncate", true)?,
        };
        Ok((
            scaling,
            number(section, "attention_factor", Some(inferred))?,
        ))
    }

    fn longrope(&self) -> Read<(RopeScaling, f64)> {
        let section = self.section;
        let original = self.original_context()?;
        let grown = self.context()? as f64 / original as f64;
        let factor = number(section, "factor", Some(grown))?;
        let inferred = match factor > 1.0 {
            true => (1.0 + factor.ln() / (original as f64).ln()).sqrt(),
            false => 1.0,
        };
        let scaling = RopeScaling::LongRope {
            short: numbers(section, "short_factor")?,
            long: numbers(section, "long_factor")?,
            original_context: original,
        };
        Ok((
            scaling,
            number(section, "attention_factor", Some(inferred))?,
        ))
    }
}
