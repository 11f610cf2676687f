//! What differs between a model's layers, from a `config.json`: windows and rotary embeddings.

use serde_json::Value;

use super::RopeConfig;
use super::family::Windows;
use super::fields::{Fields, Read, present, shown};
use super::rope_fields::{RopeFields, section};

impl Fields<'_> {
    /// Each layer's window: by `layer_types` where it is given, else by the family's rule.
    pub fn windows(&self, has_rope: &[bool]) -> Read<Vec<Option<usize>>> {
        let layers = has_rope.len();
        let is_used = match self.family.windows {
            Windows::None => false,
            Windows::All | Windows::AllBut(_) => true,
            Windows::AllIfUsed | Windows::LateIfUsed | Windows::WithoutRope => {
                self.flag("use_sliding_window", false)?
            }
        };
        let window = match self.number("sliding_window")? {
            Some(_) if is_used => Some(self.size("sliding_window")?),
            _ => None,
        };
        let first = super::fields::count(self.config, "max_window_layers", Some(28))?;
        let period = |every: usize| self.size_or("sliding_window_pattern", every);
        match present(self.config, "layer_types") {
            None => {
                let slides: Vec<bool> = match self.family.windows {
                    Windows::LateIfUsed => (0..layers).map(|layer| layer >= first).collect(),
                    Windows::WithoutRope => has_rope.iter().map(|has| !has).collect(),
                    Windows::AllBut(every) => {
                        let period = period(every)?;
                        (1..=layers).map(|n| !n.is_multiple_of(period)).collect()
                    }
                    _ => vec![true; layers],
                };
                Ok(slides.iter().map(|slides| window.filter(|_| *slides)).collect())
            }
            Some(Value::Array(types)) if types.len() == layers => types
                .iter()
                .map(|kind| match kind.as_str() {
                    Some("full_attention") => Ok(None),
                    Some("sliding_attention") if window.is_some() => Ok(window),
                    _ => Err(format!(
                        "layer_types: expected full_attention, or sliding_attention with a sliding_window in use, got {kind}"
                    )),
                })
                .collect(),
            other => Err(format!(
                "layer_types: expected {layers} names, one a layer, got {}",
                shown(other)
            )),
        }
    }

    /// The rotary embeddings, and which of them each layer has: one for all, or Gemma 3's two,
    /// where layers with a window have one of their own.
    pub fn ropes(
        &self,
        head_dim: usize,
        layer_ropes: Vec<Option<usize>>,
        windows: &[Option<usize>],
    ) -> Read<(Vec<RopeConfig>, Vec<Option<usize>>)> {
        let absent = Value::Null;
        let rope = |section: &Value, theta| {
            RopeFields {
                fields: self,
                section,
                head_dim,
                theta,
            }
            .read()
        };
        let whole = section(self.config);
        let is_split = present(whole, "full_attention").or(present(whole, "sliding_attention"));
        if self.family.name != "gemma3_text" {
            if is_split.is_some() {
                return Err(
                    "rope_parameters: expected one for all layers, got one a layer type".to_owned(),
                );
            }
            return Ok((vec![rope(whole, "rope_theta")?], layer_ropes));
        }
        let part = |name| match is_split {
            Some(_) => whole.get(name).unwrap_or(&absent),
            None if name == "full_attention" => whole,
            None => &absent,
        };
        let ropes = vec![
            rope(part("full_attention"), "rope_theta")?,
            rope(part("sliding_attention"), "rope_local_base_freq")?,
        ];
        let local = windows
            .iter()
            .map(|window| Some(usize::from(window.is_some())));
        Ok((ropes, local.collect()))
    }
}
