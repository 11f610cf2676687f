//! Vectors for many texts in one call, for façades whose requests hold lists.

use outcrop_api::{EmbedOptions, Embeddings, Result, Usage};
use outcrop_governance::Caller;

use super::Action;
use crate::session::Session;

/// Vectors, and the call that made them.
pub struct Embedded {
    /// The vectors.
    pub embeddings: Embeddings,
    /// The model that ran: what an alias stands for, not the alias.
    pub model: String,
    /// The id that the call is recorded under.
    pub request_id: String,
}

impl Session {
    /// The vectors of `texts` by the model that `id` names, asked for by `caller`: one call, decided
    /// and recorded as `InvokeModel`.
    ///
    /// # Errors
    /// `ValidationException` for a name that is no model, a model that does not embed, or a text
    /// longer than it reads; what the desk refuses.
    pub async fn embed(
        &self,
        caller: Caller,
        id: &str,
        texts: &[String],
        options: EmbedOptions,
    ) -> Result<Embedded> {
        let principal = caller.principal.clone();
        let invoke = Action::named("InvokeModel")?;
        let record = self.open_record_of(caller, invoke, "modelId", id)?;
        let request_id = record.request_id();
        let noted = record.clone();
        record
            .run(async move {
                let (resolution, model) = self.runtime_model(id, &principal).await?;
                noted.model(&resolution.model);
                let embedder = model.embedder()?;
                let embeddings = embedder.embed(texts, options).await?;
                noted.usage(&Usage::new(embeddings.input_tokens, 0));
                Ok(Embedded {
                    embeddings,
                    model: resolution.model,
                    request_id,
                })
            })
            .await
    }
}
