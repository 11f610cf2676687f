//! From a model's folder to what embeds or reranks.

mod gguf;

use std::path::Path;

use outcrop_api::{Error, ModelInfo, ModelKind, Result};
use outcrop_tensor::{DType, Pool};
use serde_json::Value;

use self::gguf::GgufLoader;
use crate::backbone::{Backbone, DecoderBackbone};
use crate::decoder::Decoder;
use crate::decoder_config::{ARCHITECTURES, DecoderConfig};
use crate::dense::Precision;
use crate::encoder::{ENCODER_ARCHITECTURES, Encoder, EncoderConfig};
use crate::encoder_model::{EncoderOptions, Inner, Purpose};
use crate::model_kind::model_kind;
use crate::pair_prompt::PairPrompt;
use crate::prompts::Prompts;
use crate::score_head::ScoreHead;
use crate::sentence_transformers::{LogitScore, Modules};
use crate::tokenizer::Tokenizer;
use crate::weights::{Checkpoint, ModelSource, WeightsError, read_json};

/// A folder that is being loaded.
struct Loader<'a> {
    checkpoint: Checkpoint,
    folder: &'a Path,
    config: Value,
    kind: ModelKind,
}

/// Loads the model at `path` as `id`.
pub(crate) fn load(path: &Path, id: &str, options: EncoderOptions) -> Result<Inner> {
    let checkpoint = Checkpoint::open(path)?;
    let config = match checkpoint.config() {
        ModelSource::HuggingFace { config, .. } => config.clone(),
        ModelSource::Gguf { metadata } => {
            return GgufLoader::new(path, &checkpoint, metadata)?.load(id, options);
        }
    };
    let loader = Loader {
        kind: model_kind(path, &config)?,
        folder: path,
        checkpoint,
        config,
    };
    let model_type = loader.config["model_type"].as_str().unwrap_or_default();
    let is_decoder = ARCHITECTURES.contains(&model_type);
    if is_decoder && loader.kind == ModelKind::Chat {
        return Err(loader.wrong_config(&format!(
            "model_type {model_type}: a language model whose files do not say that it embeds or \
             reranks (modules.json with a pooling, or …ForSequenceClassification)"
        )));
    }
    if !is_decoder && !ENCODER_ARCHITECTURES.contains(&model_type) {
        return Err(loader.wrong_config(&format!(
            "model_type: expected one of {}, {}, got {}",
            ENCODER_ARCHITECTURES.join(", "),
            ARCHITECTURES.join(", "),
            loader.config["model_type"]
        )));
    }
    match is_decoder {
        true => loader.decoder(id, options),
        false => loader.encoder(id, options),
    }
}

impl Loader<'_> {
    fn encoder(self, id: &str, options: EncoderOptions) -> Result<Inner> {
        let described =
            EncoderConfig::from_json(&self.config).map_err(|detail| self.wrong_config(&detail))?;
        let modules = Modules::from_folder(self.folder, described.hidden)?;
        let encoder = at(Encoder::load(&self.checkpoint, described)?, id, &options)?;
        let tokenizer = Tokenizer::from_checkpoint(&self.checkpoint)?;
        let settings = modules.transformer.clone();
        let purpose = match self.kind {
            ModelKind::Rerank => {
                self.check_labels()?;
                Purpose::Rerank {
                    head: ScoreHead::of_encoder(&self.checkpoint, &encoder, &self.config)?,
                    pair: None,
                    padding: None,
                }
            }
            _ => embed(modules),
        };
        self.finish(
            id,
            options,
            Backbone::Encoder(Box::new(encoder)),
            tokenizer,
            purpose,
            &settings,
        )
    }

    fn decoder(mut self, id: &str, options: EncoderOptions) -> Result<Inner> {
        check_precision(id, &options)?;
        if self.checkpoint.contains("embed_tokens.weight") {
            self.checkpoint = self.checkpoint.with_prefix("model.");
        }
        let named = |error: Error| {
            let file = self.folder.join("config.json").display().to_string();
            Error::new(error.kind(), format!("{file}: {}", error.message())).with_resource(file)
        };
        let mut described = DecoderConfig::from_source(self.checkpoint.config()).map_err(named)?;
        // Only the tokens' vectors are read, so the output projection need not be there.
        described.tied_embeddings |= !self.checkpoint.contains("lm_head.weight");
        let modules = Modules::from_folder(self.folder, described.hidden_size)?;
        let decoder = Decoder::load(described, &self.checkpoint)?;
        let tokenizer = Tokenizer::from_checkpoint(&self.checkpoint)?;
        let settings = modules.transformer.clone();
        let purpose = match self.kind {
            ModelKind::Rerank => self.rerank(&decoder, &tokenizer, &modules)?,
            _ => embed(modules),
        };
        let backbone = of_decoder(decoder, &purpose);
        self.finish(id, options, backbone, tokenizer, purpose, &settings)
    }

    /// The head of a reranking decoder: its classifier, or two tokens' logits.
    fn rerank(
        &self,
        decoder: &Decoder,
        tokenizer: &Tokenizer,
        modules: &Modules,
    ) -> Result<Purpose> {
        let pair = PairPrompt::of_folder(self.folder, &modules.transformer, tokenizer)?;
        if self.checkpoint.contains("score.weight")
            || self.checkpoint.contains("model.score.weight")
        {
            self.check_labels()?;
            let padding = self.config["pad_token_id"].as_u64();
            return Ok(Purpose::Rerank {
                head: ScoreHead::of_decoder(&self.checkpoint, decoder)?,
                pair: Some(pair),
                padding: padding.and_then(|id| u32::try_from(id).ok()),
            });
        }
        let score = match modules.logit_score {
            Some(score) => score,
            None => {
                let token = |text: &str| {
                    let missing = "expected a reranker's tokens yes and no";
                    let file = self.folder.join("tokenizer.json");
                    tokenizer
                        .token_to_id(text)
                        .ok_or_else(|| wrong_model(&file, missing))
                };
                LogitScore {
                    yes: token("yes")?,
                    no: Some(token("no")?),
                }
            }
        };
        Ok(Purpose::Rerank {
            head: ScoreHead::of_logits(&self.checkpoint, decoder, score)?,
            pair: Some(pair),
            padding: None,
        })
    }

    /// Checks that a classifier has one label, a relevance.
    fn check_labels(&self) -> Result<()> {
        let labels = self.config["id2label"]
            .as_object()
            .map_or(1, |labels| labels.len());
        match labels {
            1 => Ok(()),
            _ => Err(self.wrong_config(&format!(
                "id2label: expected one label, a relevance, got {labels}"
            ))),
        }
    }

    fn finish(
        self,
        id: &str,
        options: EncoderOptions,
        backbone: Backbone,
        tokenizer: Tokenizer,
        purpose: Purpose,
        settings: &Value,
    ) -> Result<Inner> {
        let max_tokens = self.max_tokens(settings, backbone.context_length())?;
        let described = (id, self.kind, max_tokens);
        Ok(Inner {
            info: info(described, &self.checkpoint, &backbone, &purpose, &options),
            backbone,
            tokenizer,
            prompts: Prompts::from_folder(self.folder)?,
            purpose,
            max_tokens,
            lowers_case: settings["do_lower_case"].as_bool().unwrap_or(false),
            pool: options.threads.map(Pool::new),
        })
    }

    /// Most tokens of a text: what sentence-transformers' settings say, or the tokenizer's, within
    /// what the transformer reads.
    fn max_tokens(&self, settings: &Value, longest: usize) -> Result<usize> {
        let file = self.folder.join("tokenizer_config.json");
        let tokenizer = match file.exists() {
            true => read_json(&file, "the tokenizer's configuration")?,
            false => Value::Null,
        };
        match (&settings["max_seq_length"], &tokenizer["model_max_length"]) {
            (Value::Null, limit) => Ok(match limit.as_u64() {
                Some(limit @ 1..) => longest.min(usize::try_from(limit).unwrap_or(longest)),
                // Absent, or the enormous number that transformers writes for no limit.
                _ => longest,
            }),
            (value, _) => match value.as_u64() {
                Some(limit @ 1..) => Ok(longest.min(usize::try_from(limit).unwrap_or(longest))),
                _ => {
                    let detail = format!("max_seq_length: expected at least 1, got {value}");
                    Err(WeightsError::corrupt(&self.folder.join("modules.json"), detail).into())
                }
            },
        }
    }

    fn wrong_config(&self, detail: &str) -> Error {
        wrong_model(&self.folder.join("config.json"), detail)
    }
}

/// `encoder` at the precision that is asked for.
pub(super) fn at(encoder: Encoder, id: &str, options: &EncoderOptions) -> Result<Encoder> {
    encoder.at(options.precision).map_err(|detail| {
        Error::validation(format!("precision: model {id} cannot be int8: {detail}"))
            .with_resource(id)
    })
}

/// Refuses another precision than the stored one, which a decoder multiplies at.
pub(super) fn check_precision(id: &str, options: &EncoderOptions) -> Result<()> {
    if options.precision == Precision::F32 {
        return Ok(());
    }
    let message = format!(
        "precision: model {id} is a decoder, which multiplies as its weights are stored; \
         expected none, got int8"
    );
    Err(Error::validation(message).with_resource(id))
}

/// A decoder as what embeds or reranks: of the last token alone, where no other is read.
pub(super) fn of_decoder(decoder: Decoder, purpose: &Purpose) -> Backbone {
    let last_only = match purpose {
        Purpose::Embed { pooling, .. } => pooling.reads_last_only(),
        Purpose::Rerank { .. } => true,
    };
    Backbone::Decoder(Box::new(DecoderBackbone::new(decoder, last_only)))
}

/// What is told of a model: its id, what it is for and the tokens it reads, and of its parts.
pub(super) fn info(
    (id, kind, max_tokens): (&str, ModelKind, usize),
    checkpoint: &Checkpoint,
    backbone: &Backbone,
    purpose: &Purpose,
    options: &EncoderOptions,
) -> ModelInfo {
    let hidden = backbone.hidden();
    ModelInfo {
        id: id.to_owned(),
        kind,
        architecture: backbone.architecture().to_owned(),
        parameters: checkpoint.parameters(),
        quantization: match options.precision {
            Precision::F32 => checkpoint.quantization(),
            Precision::Int8 => DType::Q8_0.name().to_owned(),
        },
        context_length: max_tokens,
        dimensions: match purpose {
            Purpose::Embed { pooling, modules } => Some(modules.dimensions(pooling.width(hidden))),
            Purpose::Rerank { .. } => None,
        },
        vocabulary: None,
        device: "cpu".to_owned(),
        device_reason: None,
        bytes: checkpoint.bytes(),
    }
}

pub(super) fn embed(mut modules: Modules) -> Purpose {
    Purpose::Embed {
        // Sentence-transformers takes the mean where no module says otherwise.
        pooling: modules.pooling.take().unwrap_or_default(),
        modules,
    }
}

pub(super) fn wrong_model(path: &Path, detail: &str) -> Error {
    let path = path.display().to_string();
    Error::model(format!("{path}: {detail}")).with_resource(path)
}
