//! What the files of sentence-transformers say of a model: its modules, in their order.

use std::path::{Component, Path, PathBuf};

use outcrop_tensor::Pool;
use serde_json::Value;

use crate::dense::Dense;
use crate::encoder::Activation;
use crate::pooling::{Pooling, normalize};
use crate::weights::{Checkpoint, WeightsError, read_json};

/// Names that the transformer module's settings have gone by.
const TRANSFORMER_FILES: [&str; 7] = [
    "sentence_bert_config.json",
    "sentence_roberta_config.json",
    "sentence_distilbert_config.json",
    "sentence_camembert_config.json",
    "sentence_albert_config.json",
    "sentence_xlm-roberta_config.json",
    "sentence_xlnet_config.json",
];

/// The modules of a model.
#[derive(Debug, Default)]
pub(crate) struct Modules {
    /// How tokens' vectors become a text's; `None` where no module says it.
    pub pooling: Option<Pooling>,
    /// What is done with a text's vector.
    pub steps: Vec<Step>,
    /// How a language model's logits become a score.
    pub logit_score: Option<LogitScore>,
    /// The transformer module's own settings; null where there are none.
    pub transformer: Value,
}

/// A step from a text's vector to the one that is given.
#[derive(Debug)]
pub(crate) enum Step {
    /// A product, with its activation.
    Dense {
        product: Dense,
        activation: Option<Activation>,
        /// What came in is added to what goes out.
        has_residual: bool,
    },
    /// Scaled to length 1.
    Normalize,
}

/// The tokens of a language model whose logits make a score.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct LogitScore {
    /// The token of a text that answers the query.
    pub yes: u32,
    /// The token of one that does not; its logit is subtracted.
    pub no: Option<u32>,
}

impl Modules {
    /// The modules of a folder; none where it has no `modules.json`. `hidden` is the width of the
    /// tokens' vectors.
    ///
    /// # Errors
    /// [`WeightsError::Unsupported`] for a module that is not known, and
    /// [`WeightsError::Corrupt`] for files that are not what they should be.
    pub fn from_folder(folder: &Path, hidden: usize) -> Result<Self, WeightsError> {
        let mut modules = Self::default();
        let mut transformer = folder.to_owned();
        let mut width = hidden;
        for (kind, path) in listed(folder)? {
            let name = kind.rsplit('.').next().unwrap_or_default();
            match name {
                "Transformer" => transformer = path,
                "Pooling" => {
                    let pooling = Pooling::from_file(&path.join("config.json"))?;
                    width = pooling.width(hidden);
                    modules.pooling = Some(pooling);
                }
                "Normalize" => modules.steps.push(Step::Normalize),
                "Dense" => {
                    let step = read_dense(&path, width)?;
                    if let Step::Dense { product, .. } = &step {
                        width = product.rows();
                    }
                    modules.steps.push(step);
                }
                "LogitScore" => modules.logit_score = Some(read_logit_score(&path)?),
                _ => {
                    return Err(WeightsError::Unsupported {
                        file: folder.join("modules.json"),
                        detail: format!(
                            "module of type {kind:?}: expected Transformer, Pooling, Dense, \
                             Normalize or LogitScore"
                        ),
                    });
                }
            }
        }
        for name in TRANSFORMER_FILES {
            let file = transformer.join(name);
            if file.exists() {
                modules.transformer = read_json(&file, "the transformer module's settings")?;
                break;
            }
        }
        Ok(modules)
    }

    /// Length of the vector that [`Modules::finish`] leaves, for pooled vectors of `width`.
    pub fn dimensions(&self, width: usize) -> usize {
        let products = self.steps.iter().rev().filter_map(|step| match step {
            Step::Dense { product, .. } => Some(product.rows()),
            Step::Normalize => None,
        });
        products.into_iter().next().unwrap_or(width)
    }

    /// Takes a text's pooled vector through the steps. The last one's normalisation is left to
    /// `is_normalized`, which asks for it where there is no such step too.
    pub fn finish(&self, pool: &Pool, mut vector: Vec<f32>, is_normalized: bool) -> Vec<f32> {
        let last = self.steps.len().saturating_sub(1);
        for (index, step) in self.steps.iter().enumerate() {
            match step {
                Step::Normalize if index == last => {}
                Step::Normalize => normalize(&mut vector),
                Step::Dense {
                    product,
                    activation,
                    has_residual,
                } => {
                    let mut out = vec![0.0; product.rows()];
                    product.apply(pool, &vector, &mut out);
                    if let Some(activation) = activation {
                        activation.apply(&mut out);
                    }
                    if *has_residual {
                        outcrop_tensor::ops::add_in_place(&mut out, &vector);
                    }
                    vector = out;
                }
            }
        }
        if is_normalized {
            normalize(&mut vector);
        }
        vector
    }
}

/// Type and folder of each module of `modules.json`; none where there is no such file.
pub(crate) fn listed(folder: &Path) -> Result<Vec<(String, PathBuf)>, WeightsError> {
    let file = folder.join("modules.json");
    if !file.exists() {
        return Ok(Vec::new());
    }
    let modules = read_json(&file, "the modules of sentence-transformers")?;
    let Some(modules) = modules.as_array() else {
        return Err(WeightsError::corrupt(&file, "expected a list of modules"));
    };
    modules
        .iter()
        .map(|module| {
            let kind = module["type"].as_str().unwrap_or_default();
            let path = Path::new(module["path"].as_str().unwrap_or_default());
            // A model's files stay in its folder.
            match path
                .components()
                .all(|part| matches!(part, Component::Normal(_)))
            {
                true => Ok((kind.to_owned(), folder.join(path))),
                false => {
                    let detail = format!(
                        "module path: expected a folder of the model, got {:?}",
                        module["path"]
                    );
                    Err(WeightsError::corrupt(&file, detail))
                }
            }
        })
        .collect()
}

fn read_dense(folder: &Path, width: usize) -> Result<Step, WeightsError> {
    let checkpoint = Checkpoint::open(folder)?;
    let file = folder.join("config.json");
    let config = read_json(&file, "the dense module's settings")?;
    let size = |name: &str| match config[name].as_u64() {
        Some(size @ 1..=16_777_216) => Ok(size as usize),
        _ => {
            let detail = format!("{name}: expected 1..=16777216, got {}", config[name]);
            Err(WeightsError::corrupt(&file, detail))
        }
    };
    let (cols, rows) = (size("in_features")?, size("out_features")?);
    let has_residual = config["use_residual"].as_bool().unwrap_or(false);
    if cols != width || (has_residual && rows != cols) {
        let expected = if cols == width { rows } else { width };
        let detail = format!("in_features: expected {expected}, got {cols}");
        return Err(WeightsError::corrupt(&file, detail));
    }
    let name = config["activation_function"].as_str().unwrap_or("Tanh");
    let activation = match name.rsplit('.').next().unwrap_or_default() {
        "Identity" => None,
        "Tanh" => Some(Activation::Tanh),
        "ReLU" => Some(Activation::Relu),
        "GELU" => Some(Activation::Gelu),
        "SiLU" => Some(Activation::Silu),
        _ => {
            let detail = format!(
                "activation_function: expected Identity, Tanh, ReLU, GELU or SiLU, got {name}"
            );
            return Err(WeightsError::Unsupported { file, detail });
        }
    };
    let has_bias = config["bias"].as_bool().unwrap_or(true);
    Ok(Step::Dense {
        product: Dense::load(&checkpoint, "linear", (rows, cols), has_bias)?,
        activation,
        has_residual,
    })
}

fn read_logit_score(folder: &Path) -> Result<LogitScore, WeightsError> {
    let file = folder.join("config.json");
    let config = read_json(&file, "the score module's settings")?;
    let token = |name: &str| {
        let id = config[name].as_u64().and_then(|id| u32::try_from(id).ok());
        id.ok_or_else(|| {
            let detail = format!("{name}: expected a token id, got {}", config[name]);
            WeightsError::corrupt(&file, detail)
        })
    };
    Ok(LogitScore {
        yes: token("true_token_id")?,
        no: match config["false_token_id"].is_null() {
            true => None,
            false => Some(token("false_token_id")?),
        },
    })
}
