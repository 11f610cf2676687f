//! The beginning of prompts that a model's cache holds.

use std::path::PathBuf;
use std::sync::{Arc, Weak};

use outcrop_api::{Error, Prompt, Result};
use outcrop_models::Model as Loaded;
use outcrop_store::{read_sealed, write_sealed};

use crate::model::Model;
use crate::session::blocking;

/// The beginning of prompts, its keys and values held in the model's KV cache: prompts of the base
/// model that begin with its tokens start behind them. Handles are cheap; the last one that goes, or
/// [`Prefix::release`], gives its pages back, and so does closing the session.
#[derive(Clone)]
pub struct Prefix {
    held: Arc<Held>,
}

struct Held {
    loaded: Weak<Loaded>,
    prefix: Weak<outcrop_inference::Prefix>,
    ids: Vec<u32>,
}

impl Drop for Held {
    fn drop(&mut self) {
        if let Some(loaded) = self.loaded.upgrade() {
            loaded.let_go(&self.prefix);
        }
    }
}

impl Model {
    /// Computes the keys and values of `prompt` and holds them. A text gets the special tokens that
    /// the tokenizer's post-processor adds.
    ///
    /// # Errors
    /// `ValidationException` for a prompt that is empty, holds an id outside the vocabulary or does
    /// not fit the context, or a model that is no decoder; `ServiceQuotaExceededException` where the
    /// KV budget has no room for it beside what is held and running.
    pub async fn prefix(&self, prompt: Prompt) -> Result<Prefix> {
        let loaded = self.loaded()?;
        let engine = loaded.engine()?;
        let ids = match prompt {
            Prompt::Text(text) => engine.tokenizer().encode(&text, true)?,
            Prompt::Ids(ids) => ids,
        };
        let prefix = engine.prefix(&ids).await?;
        Ok(Prefix::new(&loaded, prefix))
    }

    /// Brings the prefix that [`Prefix::save`] wrote to `file` back, without computing it, and holds
    /// it.
    ///
    /// # Errors
    /// `ResourceNotFoundException` where there is no such file; `InternalServerException` where it is
    /// damaged; `ConflictException` where it is of another model or KV dtype, naming both;
    /// `ServiceQuotaExceededException` as [`Model::prefix`].
    pub async fn load_prefix(&self, file: PathBuf) -> Result<Prefix> {
        let loaded = self.loaded()?;
        let engine = loaded.engine()?;
        let bytes = blocking(move || Ok(read_sealed(&file)?)).await?;
        let prefix = engine.restore(&bytes).await?;
        Ok(Prefix::new(&loaded, prefix))
    }
}

impl Prefix {
    fn new(loaded: &Arc<Loaded>, prefix: outcrop_inference::Prefix) -> Self {
        let ids = prefix.ids().to_vec();
        let held = Held {
            prefix: loaded.hold(prefix),
            loaded: Arc::downgrade(loaded),
            ids,
        };
        Self {
            held: Arc::new(held),
        }
    }

    /// Its tokens.
    pub fn ids(&self) -> &[u32] {
        &self.held.ids
    }

    /// A prefix that goes on from this one by `more`; a text is tokenised by itself, without special
    /// tokens. What both have is shared in the cache; a page in which they part is copied.
    ///
    /// # Errors
    /// As [`Model::prefix`], and `ValidationException` where this one is not held any more.
    pub async fn fork(&self, more: Prompt) -> Result<Prefix> {
        let (loaded, prefix) = self.held()?;
        let more = match more {
            Prompt::Text(text) => loaded.tokenizer()?.encode(&text, false)?,
            Prompt::Ids(ids) => ids,
        };
        Ok(Prefix::new(&loaded, prefix.fork(&more).await?))
    }

    /// Writes its tokens, keys and values to `file` with a checksum, for [`Model::load_prefix`]: bound
    /// to the model's weights and KV dtype. A file that is there is replaced, whole or not at all.
    ///
    /// # Errors
    /// `InternalServerException` where the file cannot be written; `ValidationException` where it is
    /// not held any more.
    pub async fn save(&self, file: PathBuf) -> Result<()> {
        let (_loaded, prefix) = self.held()?;
        let bytes = prefix.save().await?;
        blocking(move || Ok(write_sealed(&file, &bytes)?)).await
    }

    /// Gives its pages back, whatever handles are left.
    pub fn release(&self) {
        if let Some(loaded) = self.held.loaded.upgrade() {
            loaded.let_go(&self.held.prefix);
        }
    }

    fn held(&self) -> Result<(Arc<Loaded>, Arc<outcrop_inference::Prefix>)> {
        let held = self.held.loaded.upgrade().zip(self.held.prefix.upgrade());
        held.ok_or_else(|| {
            Error::validation(
                "prefix: expected one that is held, got one that was released, or whose session is closed",
            )
        })
    }
}
