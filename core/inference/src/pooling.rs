//! From the vectors of a text's tokens to the vector of the text.

use std::path::Path;

use serde_json::Value;

use crate::weights::{WeightsError, read_json};

/// How the tokens' vectors become one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Pooling {
    /// Their mean.
    Mean,
    /// The first token's.
    Cls,
}

impl Pooling {
    /// What the files of sentence-transformers say (`modules.json` and the pooling module's
    /// `config.json`); the mean where there are none, as sentence-transformers takes it.
    ///
    /// # Errors
    /// [`WeightsError::Unsupported`] for another pooling, or a module beyond transformer, pooling
    /// and normalisation; [`WeightsError::Corrupt`] for files that are not what they should be.
    pub fn from_folder(folder: &Path) -> Result<Self, WeightsError> {
        let file = folder.join("modules.json");
        if !file.exists() {
            return Ok(Pooling::Mean);
        }
        let modules = read_json(&file, "the modules of sentence-transformers")?;
        let Some(modules) = modules.as_array() else {
            return Err(WeightsError::corrupt(&file, "expected a list of modules"));
        };
        let mut pooling = None;
        for module in modules {
            let kind = module["type"].as_str().unwrap_or_default();
            match kind.rsplit('.').next().unwrap_or_default() {
                "Transformer" | "Normalize" => {}
                "Pooling" => {
                    let path = module["path"].as_str().unwrap_or_default();
                    pooling = Some(read_pooling(&folder.join(path).join("config.json"))?);
                }
                _ => {
                    let detail = format!(
                        "module of type {kind:?}: expected Transformer, Pooling or Normalize"
                    );
                    return Err(WeightsError::Unsupported { file, detail });
                }
            }
        }
        Ok(pooling.unwrap_or(Pooling::Mean))
    }

    /// Writes the vector of a text whose tokens' vectors are `tokens` `(tokens, out.len())`, at
    /// least one.
    pub fn pool(self, tokens: &[f32], out: &mut [f32]) {
        let width = out.len();
        match self {
            Pooling::Cls => out.copy_from_slice(&tokens[..width]),
            Pooling::Mean => {
                out.fill(0.0);
                for token in tokens.chunks_exact(width) {
                    for (sum, value) in out.iter_mut().zip(token) {
                        *sum += value;
                    }
                }
                let count = (tokens.len() / width) as f32;
                out.iter_mut().for_each(|sum| *sum /= count);
            }
        }
    }
}

fn read_pooling(file: &Path) -> Result<Pooling, WeightsError> {
    let config = read_json(file, "the pooling of sentence-transformers")?;
    let Some(fields) = config.as_object() else {
        return Err(WeightsError::corrupt(file, "expected an object"));
    };
    let chosen: Vec<&str> = fields
        .iter()
        .filter(|(name, value)| name.starts_with("pooling_mode_") && **value == Value::Bool(true))
        .map(|(name, _)| name.as_str())
        .collect();
    match chosen[..] {
        ["pooling_mode_mean_tokens"] => Ok(Pooling::Mean),
        ["pooling_mode_cls_token"] => Ok(Pooling::Cls),
        _ => Err(WeightsError::Unsupported {
            file: file.to_owned(),
            detail: format!("expected pooling by mean or by the first token, got {chosen:?}"),
        }),
    }
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

    #[test]
    fn mean_and_first() {
        let tokens = [1.0, 2.0, 3.0, 6.0];
        let mut out = [0.0; 2];
        Pooling::Mean.pool(&tokens, &mut out);
        assert_eq!(out, [2.0, 4.0]);
        Pooling::Cls.pool(&tokens, &mut out);
        assert_eq!(out, [1.0, 2.0]);
        normalize(&mut out);
        assert!((out[0] - 0.447_213_6).abs() < 1e-6);
        let mut zeros = [0.0; 2];
        normalize(&mut zeros);
        assert_eq!(zeros, [0.0; 2]);
    }
}
