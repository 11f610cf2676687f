//! From the vectors of a pair's tokens to its score.

use outcrop_tensor::Pool;
use serde_json::Value;

use crate::decoder::Decoder;
use crate::dense::{Dense, LayerNorm};
use crate::encoder::{Activation, Encoder, activation};
use crate::pooling::{Pooling, PoolingMode};
use crate::sentence_transformers::LogitScore;
use crate::weights::{Checkpoint, WeightsError};

/// The classifier of a cross-encoder, of one label.
pub(crate) struct ScoreHead {
    /// Which vector is read: the first token's, the mean, or the last token's.
    pooling: Pooling,
    /// A product with its activation and norm, before the classifier.
    dense: Option<(Dense, Activation, Option<LayerNorm>)>,
    classifier: Dense,
}

impl ScoreHead {
    /// The head of an encoder's `…ForSequenceClassification`.
    ///
    /// # Errors
    /// [`WeightsError`] for a tensor that is missing or of another shape, more than one label among
    /// them.
    pub fn of_encoder(
        checkpoint: &Checkpoint,
        encoder: &Encoder,
        config: &Value,
    ) -> Result<Self, WeightsError> {
        let described = encoder.config();
        let hidden = described.hidden;
        let square = (hidden, hidden);
        let mut pooling = PoolingMode::Cls;
        let (dense, classifier) = match described.architecture.as_str() {
            "modernbert" => {
                let flag = |name: &str| config[name].as_bool().unwrap_or(false);
                let field =
                    |name: &str, otherwise| config[name].as_str().unwrap_or(otherwise).to_owned();
                let unsupported =
                    |name: &str, expected: &str, got: &str| WeightsError::Unsupported {
                        file: checkpoint.path().join("config.json"),
                        detail: format!("{name}: expected {expected}, got {got}"),
                    };
                pooling = match field("classifier_pooling", "cls").as_str() {
                    "cls" => PoolingMode::Cls,
                    "mean" => PoolingMode::Mean,
                    other => return Err(unsupported("classifier_pooling", "cls or mean", other)),
                };
                let name = field("classifier_activation", "gelu");
                let activation = activation(&name).ok_or_else(|| {
                    unsupported("classifier_activation", "a known activation", &name)
                })?;
                let (eps, has_norm_bias) = (described.eps, flag("norm_bias"));
                let norm = LayerNorm::load(checkpoint, "head.norm", hidden, eps, has_norm_bias)?;
                let has_bias = flag("classifier_bias");
                let dense = Dense::load(checkpoint, "head.dense", square, has_bias)?;
                ((dense, activation, Some(norm)), "classifier")
            }
            "roberta" | "xlm-roberta" | "camembert" => {
                let dense = Dense::load(checkpoint, "classifier.dense", square, true)?;
                ((dense, Activation::Tanh, None), "classifier.out_proj")
            }
            _ => {
                let name = format!("{}pooler.dense", encoder.prefix());
                let dense = Dense::load(checkpoint, &name, square, true)?;
                ((dense, Activation::Tanh, None), "classifier")
            }
        };
        Ok(Self {
            pooling: Pooling::of(pooling),
            dense: Some(dense),
            classifier: Dense::load(checkpoint, classifier, (1, hidden), true)?,
        })
    }

    /// The head of an encoder in a GGUF file: `cls`, the activation and `cls.output`.
    ///
    /// # Errors
    /// As [`ScoreHead::of_encoder`]; without `cls` too, which llama.cpp's converter leaves out of
    /// BERT's files: what `cls.output` was trained on cannot be computed then.
    pub fn of_gguf_encoder(
        checkpoint: &Checkpoint,
        encoder: &Encoder,
    ) -> Result<Self, WeightsError> {
        let described = encoder.config();
        let hidden = described.hidden;
        let has_bias = |name: &str| checkpoint.contains(&format!("{name}.bias"));
        let load = |name: &str, rows| Dense::load(checkpoint, name, (rows, hidden), has_bias(name));
        let (pooling, function) = match described.architecture.as_str() {
            // As llama.cpp has them where the file does not say.
            "modernbert" => (PoolingMode::Mean, Activation::Gelu),
            _ => (PoolingMode::Cls, Activation::Tanh),
        };
        let norm = match checkpoint.contains("cls.norm.weight") {
            true => Some(LayerNorm::load(
                checkpoint,
                "cls.norm",
                hidden,
                described.eps,
                has_bias("cls.norm"),
            )?),
            false => None,
        };
        Ok(Self {
            pooling: Pooling::of(pooling),
            dense: Some((load("cls", hidden)?, function, norm)),
            classifier: load("cls.output", 1)?,
        })
    }

    /// The head of a decoder in a GGUF file, `cls.output`: one row that gives the score, or two, of
    /// yes and of no, the score being how much the first gives above the second.
    ///
    /// # Errors
    /// As [`ScoreHead::of_encoder`].
    pub fn of_gguf_decoder(
        checkpoint: &Checkpoint,
        decoder: &Decoder,
    ) -> Result<Self, WeightsError> {
        const NAME: &str = "cls.output.weight";
        let hidden = decoder.config().hidden_size;
        let rows = match checkpoint.shape(NAME) {
            Some([2, _]) => 2,
            _ => 1,
        };
        let mut values = checkpoint.numbers(NAME, &[rows, hidden])?;
        let no = values.split_off(hidden);
        for (value, no) in values.iter_mut().zip(no) {
            *value -= no;
        }
        let classifier = Dense::from_rows(checkpoint, values, hidden, None)?;
        Ok(Self::of_last(classifier))
    }

    /// The head of a decoder's `…ForSequenceClassification`.
    ///
    /// # Errors
    /// As [`ScoreHead::of_encoder`].
    pub fn of_decoder(checkpoint: &Checkpoint, decoder: &Decoder) -> Result<Self, WeightsError> {
        let hidden = decoder.config().hidden_size;
        Ok(Self::of_last(Dense::load(
            checkpoint,
            "score",
            (1, hidden),
            false,
        )?))
    }

    /// The score that a language model's logits of two tokens make: their difference.
    ///
    /// # Errors
    /// [`WeightsError`] for a token that the model does not have.
    pub fn of_logits(
        checkpoint: &Checkpoint,
        decoder: &Decoder,
        score: LogitScore,
    ) -> Result<Self, WeightsError> {
        let (hidden, vocabulary) = (decoder.config().hidden_size, decoder.config().vocab_size);
        let row = |id: u32| {
            if id as usize >= vocabulary {
                let detail = format!("score token: expected below {vocabulary}, got {id}");
                return Err(WeightsError::corrupt(checkpoint.path(), detail));
            }
            let mut row = vec![0.0; hidden];
            decoder.output_row(id, &mut row);
            Ok(row)
        };
        let mut values = row(score.yes)?;
        if let Some(no) = score.no {
            for (value, no) in values.iter_mut().zip(row(no)?) {
                *value -= no;
            }
        }
        let classifier = Dense::from_rows(checkpoint, values, hidden, None)?;
        Ok(Self::of_last(classifier))
    }

    fn of_last(classifier: Dense) -> Self {
        Self {
            pooling: Pooling::of(PoolingMode::LastToken),
            dense: None,
            classifier,
        }
    }

    /// The raw score of a pair whose tokens' vectors are `tokens`, `(tokens, width)`.
    pub fn score(&self, pool: &Pool, tokens: &[f32], width: usize) -> f32 {
        let mut pooled = vec![0.0; width];
        self.pooling.pool(tokens, width, 0, &mut pooled);
        if let Some((dense, activation, norm)) = &self.dense {
            let mut out = vec![0.0; width];
            dense.apply(pool, &pooled, &mut out);
            activation.apply(&mut out);
            if let Some(norm) = norm {
                norm.apply(&mut out);
            }
            pooled = out;
        }
        let mut score = [0.0];
        self.classifier.apply(pool, &pooled, &mut score);
        score[0]
    }
}
