//! Loads the draft model that guesses ahead for another model.

use std::path::Path;
use std::sync::Arc;

use outcrop_api::{Error, Result};

use crate::decoder::Decoder;
use crate::decoder_config::DecoderConfig;
use crate::device::Device;
use crate::engine::load_decoder;
use crate::tokenizer::Tokenizer;
use crate::weights::Checkpoint;

/// The decoder at `path`, for a model with `tokenizer` and `vocab_size` logits a row.
///
/// # Errors
/// As [`crate::Engine::load`]; `ValidationException` where its vocabulary is another one.
pub(crate) fn load_draft(
    path: &Path,
    tokenizer: &Tokenizer,
    vocab_size: usize,
    device: Device,
) -> Result<Arc<Decoder>> {
    let checkpoint = Checkpoint::open(path)?;
    let config = DecoderConfig::from_source(checkpoint.config())?;
    let own = Tokenizer::from_checkpoint(&checkpoint)?;
    let refuse = |what: String| {
        let path = path.display();
        Err(Error::validation(format!(
            "draft: expected a model of the same vocabulary, got {path}: {what}"
        )))
    };
    if config.vocab_size != vocab_size {
        let drafts = config.vocab_size;
        return refuse(format!("{drafts} tokens instead of {vocab_size}"));
    }
    let differs = |id: &u32| own.id_to_token(*id) != tokenizer.id_to_token(*id);
    if let Some(id) = (0..vocab_size as u32).find(differs) {
        let token = |of: &Tokenizer| of.id_to_token(id).unwrap_or_default();
        let (drafts, models) = (token(&own), token(tokenizer));
        return refuse(format!("token {id} is {drafts:?} instead of {models:?}"));
    }
    Ok(Arc::new(load_decoder(config, &checkpoint, device)?))
}
