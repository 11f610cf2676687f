//! From a GGUF file to what embeds or reranks.

use std::collections::BTreeMap;
use std::path::Path;

use outcrop_api::{ModelKind, Result};
use outcrop_tensor::Pool;

use super::{at, check_precision, embed, info, of_decoder, wrong_model};
use crate::backbone::Backbone;
use crate::decoder::Decoder;
use crate::decoder_config::DecoderConfig;
use crate::encoder::{ENCODER_ARCHITECTURES, Encoder, EncoderConfig, is_gguf_encoder};
use crate::encoder_model::{EncoderOptions, Inner, Purpose};
use crate::model_kind::{GgufPooling, gguf_pooling, kind_of_metadata};
use crate::pair_prompt::PairPrompt;
use crate::pooling::Pooling;
use crate::prompts::Prompts;
use crate::score_head::ScoreHead;
use crate::sentence_transformers::Modules;
use crate::tokenizer::Tokenizer;
use crate::weights::{Checkpoint, GgufValue};

/// Layers behind the pooling, which no architecture here has in a GGUF file.
const DENSE: &str = "dense_2.weight";

/// A GGUF file that is being loaded.
pub(super) struct GgufLoader<'a> {
    path: &'a Path,
    checkpoint: &'a Checkpoint,
    metadata: &'a BTreeMap<String, GgufValue>,
    kind: ModelKind,
    pooling: GgufPooling,
}

impl<'a> GgufLoader<'a> {
    pub fn new(
        path: &'a Path,
        checkpoint: &'a Checkpoint,
        metadata: &'a BTreeMap<String, GgufValue>,
    ) -> Result<Self> {
        Ok(Self {
            kind: kind_of_metadata(path, metadata)?,
            pooling: gguf_pooling(path, metadata)?,
            path,
            checkpoint,
            metadata,
        })
    }

    /// Loads the model as `id`.
    pub fn load(self, id: &str, options: EncoderOptions) -> Result<Inner> {
        if self.checkpoint.contains(DENSE) {
            let detail = format!("expected no layers behind the pooling, got {DENSE}");
            return Err(wrong_model(self.path, &detail));
        }
        if is_gguf_encoder(self.metadata) {
            return self.encoder(id, options);
        }
        if self.kind == ModelKind::Chat {
            // An architecture that is not known is what is wrong, then.
            self.described()?;
            let known = ENCODER_ARCHITECTURES.join(", ");
            return Err(wrong_model(
                self.path,
                &format!(
                    "expected an embedding or reranking model: an encoder (llama.cpp's names of \
                     {known}) or a pooling_type, got a language model"
                ),
            ));
        }
        self.decoder(id, options)
    }

    fn encoder(self, id: &str, options: EncoderOptions) -> Result<Inner> {
        let described = EncoderConfig::from_gguf(self.metadata, self.checkpoint)
            .map_err(|detail| wrong_model(self.path, &detail))?;
        let encoder = at(Encoder::load(self.checkpoint, described)?, id, &options)?;
        let tokenizer = Tokenizer::from_checkpoint(self.checkpoint)?;
        let purpose = match self.kind {
            ModelKind::Rerank => Purpose::Rerank {
                head: ScoreHead::of_gguf_encoder(self.checkpoint, &encoder)?,
                pair: None,
                padding: None,
            },
            _ => self.embed(),
        };
        let backbone = Backbone::Encoder(Box::new(encoder));
        Ok(self.finish(id, options, backbone, (tokenizer, purpose)))
    }

    fn decoder(self, id: &str, options: EncoderOptions) -> Result<Inner> {
        check_precision(id, &options)?;
        let decoder = Decoder::load(self.described()?, self.checkpoint)?;
        let tokenizer = Tokenizer::from_checkpoint(self.checkpoint)?;
        let purpose = match self.kind {
            ModelKind::Rerank => Purpose::Rerank {
                head: ScoreHead::of_gguf_decoder(self.checkpoint, &decoder)?,
                pair: Some(PairPrompt::of_gguf(self.metadata, &tokenizer)),
                padding: None,
            },
            _ => self.embed(),
        };
        let backbone = of_decoder(decoder, &purpose);
        Ok(self.finish(id, options, backbone, (tokenizer, purpose)))
    }

    fn described(&self) -> Result<DecoderConfig> {
        DecoderConfig::from_source(self.checkpoint.config())
            .map_err(|error| wrong_model(self.path, error.message()))
    }

    /// What embeds by the file's pooling, the mean where it states none, as in sentence-transformers.
    fn embed(&self) -> Purpose {
        let pooling = match self.pooling {
            GgufPooling::Mode(mode) => Some(Pooling::of(mode)),
            _ => None,
        };
        embed(Modules {
            pooling,
            ..Modules::default()
        })
    }

    fn finish(
        self,
        id: &str,
        options: EncoderOptions,
        backbone: Backbone,
        (tokenizer, purpose): (Tokenizer, Purpose),
    ) -> Inner {
        let max_tokens = backbone.context_length();
        let described = (id, self.kind, max_tokens);
        Inner {
            info: info(described, self.checkpoint, &backbone, &purpose, &options),
            backbone,
            tokenizer,
            prompts: Prompts::default(),
            purpose,
            max_tokens,
            lowers_case: false,
            pool: options.threads.map(Pool::new),
        }
    }
}
