//! From the vectors of a text's tokens to the vector of the text.

use std::path::Path;

use serde_json::Value;

use crate::weights::{WeightsError, read_json};

/// One way in which the tokens' vectors become one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum PoolingMode {
    /// The first token's.
    Cls,
    /// The largest of each element.
    Max,
    /// Their mean.
    Mean,
    /// Their sum divided by the root of their number.
    MeanSqrtLen,
    /// Their mean, each weighing as much as its position, counted from 1.
    WeightedMean,
    /// The last token's.
    LastToken,
}

/// How the tokens' vectors become one: `1_Pooling/config.json` of sentence-transformers.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Pooling {
    /// The ways, their results one behind the other. At least one.
    pub modes: Vec<PoolingMode>,
    /// Whether the tokens of a prompt count.
    pub includes_prompt: bool,
}

/// Sentence-transformers' names of the modes: in new files, and as flags of older ones, in the
/// order in which their results follow each other.
const NAMES: [(&str, &str, PoolingMode); 6] = [
    ("cls", "pooling_mode_cls_token", PoolingMode::Cls),
    ("max", "pooling_mode_max_tokens", PoolingMode::Max),
    ("mean", "pooling_mode_mean_tokens", PoolingMode::Mean),
    (
        "mean_sqrt_len_tokens",
        "pooling_mode_mean_sqrt_len_tokens",
        PoolingMode::MeanSqrtLen,
    ),
    (
        "weightedmean",
        "pooling_mode_weightedmean_tokens",
        PoolingMode::WeightedMean,
    ),
    (
        "lasttoken",
        "pooling_mode_lasttoken",
        PoolingMode::LastToken,
    ),
];

impl Default for Pooling {
    fn default() -> Self {
        Self::of(PoolingMode::Mean)
    }
}

impl Pooling {
    /// Pooling by one mode.
    pub fn of(mode: PoolingMode) -> Self {
        Self {
            modes: vec![mode],
            includes_prompt: true,
        }
    }

    /// Reads the pooling module's `config.json`.
    ///
    /// # Errors
    /// [`WeightsError::Unsupported`] for a mode that is not known; [`WeightsError::Corrupt`] where
    /// the file is not what it should be.
    pub fn from_file(file: &Path) -> Result<Self, WeightsError> {
        let config = read_json(file, "the pooling of sentence-transformers")?;
        let Some(fields) = config.as_object() else {
            return Err(WeightsError::corrupt(file, "expected an object"));
        };
        let unknown = |name: &Value| WeightsError::Unsupported {
            file: file.to_owned(),
            detail: format!(
                "pooling_mode: expected of {}, got {name}",
                NAMES.map(|(name, _, _)| name).join(", ")
            ),
        };
        let named = |name: &Value| {
            let known = NAMES.iter().find(|(known, _, _)| name == known);
            known.map(|(_, _, mode)| *mode).ok_or_else(|| unknown(name))
        };
        let mut modes = match &config["pooling_mode"] {
            Value::Null => flags(file, fields)?,
            Value::Array(names) => names.iter().map(named).collect::<Result<_, _>>()?,
            name => vec![named(name)?],
        };
        if modes.is_empty() {
            modes.push(PoolingMode::Mean);
        }
        Ok(Self {
            modes,
            includes_prompt: config["include_prompt"].as_bool().unwrap_or(true),
        })
    }

    /// Length of what [`Pooling::pool`] writes for vectors of `width`.
    pub fn width(&self, width: usize) -> usize {
        self.modes.len() * width
    }

    /// Whether the last token's vector is all that is read.
    pub(crate) fn reads_last_only(&self) -> bool {
        self.modes == [PoolingMode::LastToken]
    }

    /// Writes the vector of a text whose tokens' vectors are `tokens`, `(tokens, width)`, at least
    /// one, `prompt` of them a prompt's. A text that is nothing but prompt is pooled whole.
    pub fn pool(&self, tokens: &[f32], width: usize, prompt: usize, out: &mut [f32]) {
        let skipped = match self.includes_prompt || prompt * width >= tokens.len() {
            true => 0,
            false => prompt,
        };
        for (mode, out) in self.modes.iter().zip(out.chunks_exact_mut(width)) {
            mode.pool(&tokens[skipped * width..], skipped, out);
        }
    }
}

/// The modes whose flags are set in an older file.
fn flags(
    file: &Path,
    fields: &serde_json::Map<String, Value>,
) -> Result<Vec<PoolingMode>, WeightsError> {
    let is_unknown = |name: &&String| {
        name.starts_with("pooling_mode_")
            && fields[*name] == Value::Bool(true)
            && !NAMES.iter().any(|(_, flag, _)| flag == name)
    };
    if let Some(name) = fields.keys().find(is_unknown) {
        return Err(WeightsError::Unsupported {
            file: file.to_owned(),
            detail: format!("{name}: expected a known pooling mode"),
        });
    }
    Ok(NAMES
        .into_iter()
        .filter(|(_, flag, _)| fields.get(*flag) == Some(&Value::Bool(true)))
        .map(|(_, _, mode)| mode)
        .collect())
}

impl PoolingMode {
    /// Writes the vector of the tokens, the first of which stands at position `first` of its text.
    fn pool(self, tokens: &[f32], first: usize, out: &mut [f32]) {
        let width = out.len();
        let count = tokens.len() / width;
        match self {
            PoolingMode::Cls => out.copy_from_slice(&tokens[..width]),
            PoolingMode::LastToken => out.copy_from_slice(&tokens[(count - 1) * width..]),
            PoolingMode::Max => {
                out.copy_from_slice(&tokens[..width]);
                for token in tokens.chunks_exact(width) {
                    for (most, value) in out.iter_mut().zip(token) {
                        *most = most.max(*value);
                    }
                }
            }
            PoolingMode::Mean => weigh(tokens, out, |_| 1.0, count as f32),
            PoolingMode::MeanSqrtLen => weigh(tokens, out, |_| 1.0, (count as f32).sqrt()),
            PoolingMode::WeightedMean => {
                let weight = |token: usize| (first + token + 1) as f32;
                let sum = (0..count).map(weight).sum();
                weigh(tokens, out, weight, sum);
            }
        }
    }
}

/// Writes the sum of the tokens by their weights, divided by `divisor`.
fn weigh(tokens: &[f32], out: &mut [f32], weight: impl Fn(usize) -> f32, divisor: f32) {
    out.fill(0.0);
    for (index, token) in tokens.chunks_exact(out.len()).enumerate() {
        let weight = weight(index);
        for (sum, value) in out.iter_mut().zip(token) {
            *sum += weight * value;
        }
    }
    out.iter_mut().for_each(|sum| *sum /= divisor);
}

/// Scales a vector to length 1; a vector of zeros stays as it is.
pub fn normalize(vector: &mut [f32]) {
    let length = outcrop_tensor::ops::dot(vector, vector).sqrt();
    if length > 0.0 {
        vector.iter_mut().for_each(|value| *value /= length);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn pooled(mode: PoolingMode, prompt: usize) -> [f32; 2] {
        let tokens = [1.0, 2.0, 3.0, 6.0, -1.0, 10.0, 5.0, 2.0];
        let mut out = [0.0; 2];
        let pooling = Pooling {
            includes_prompt: prompt == 0,
            ..Pooling::of(mode)
        };
        pooling.pool(&tokens, 2, prompt, &mut out);
        out
    }

    #[test]
    fn each_mode_is_its_formula() {
        assert_eq!(pooled(PoolingMode::Cls, 0), [1.0, 2.0]);
        assert_eq!(pooled(PoolingMode::LastToken, 0), [5.0, 2.0]);
        assert_eq!(pooled(PoolingMode::Max, 0), [5.0, 10.0]);
        assert_eq!(pooled(PoolingMode::Mean, 0), [2.0, 5.0]);
        assert_eq!(pooled(PoolingMode::MeanSqrtLen, 0), [4.0, 10.0]);
        assert_eq!(pooled(PoolingMode::WeightedMean, 0), [2.4, 5.2]);
    }

    #[test]
    fn a_prompt_can_be_left_out() {
        assert_eq!(pooled(PoolingMode::Cls, 1), [3.0, 6.0]);
        assert_eq!(pooled(PoolingMode::Mean, 2), [2.0, 6.0]);
        assert_eq!(
            pooled(PoolingMode::WeightedMean, 2),
            [17.0 / 7.0, 38.0 / 7.0]
        );
        assert_eq!(pooled(PoolingMode::Mean, 4), [2.0, 5.0]);
    }

    #[test]
    fn several_modes_follow_each_other_and_vectors_become_units() {
        let pooling = Pooling {
            modes: vec![PoolingMode::Cls, PoolingMode::Mean],
            includes_prompt: true,
        };
        let mut out = [0.0; 4];
        pooling.pool(&[1.0, 2.0, 3.0, 6.0], 2, 0, &mut out);
        assert_eq!(out, [1.0, 2.0, 2.0, 4.0]);
        let mut unit = [3.0, 4.0];
        normalize(&mut unit);
        assert_eq!(unit, [0.6, 0.8]);
        let mut zeros = [0.0; 2];
        normalize(&mut zeros);
        assert_eq!(zeros, [0.0; 2]);
    }
}
