//! The seams between rooms: what chats, embeds and reranks.

use std::future::Future;
use std::pin::Pin;

use crate::converse::{ConverseRequest, Reply, StreamEvent};
use crate::embedding::{EmbedOptions, Embeddings};
use crate::error::{Error, Result};
use crate::gathered::Gathered;

/// A boxed future that may move between threads.
pub type BoxFuture<'a, T> = Pin<Box<dyn Future<Output = T> + Send + 'a>>;

/// The events of one running answer. Dropping it cancels the work within one engine step.
pub trait EventStream: Send {
    /// The next event; `None` after [`StreamEvent::Done`] or an error.
    fn next(&mut self) -> BoxFuture<'_, Option<Result<StreamEvent>>>;
}

/// A model that answers conversations.
pub trait ChatModel: Send + Sync {
    /// The id that answers and records name it by.
    fn id(&self) -> &str;

    /// Starts an answer. A request that cannot be served fails here, before the first event.
    fn converse_stream(
        &self,
        request: ConverseRequest,
    ) -> BoxFuture<'_, Result<Box<dyn EventStream>>>;

    /// The stream, collected.
    fn converse(&self, request: ConverseRequest) -> BoxFuture<'_, Result<Reply>> {
        Box::pin(async move {
            let started = std::time::Instant::now();
            let mut stream = self.converse_stream(request).await?;
            let mut gathered = Gathered::default();
            while let Some(event) = stream.next().await {
                if let Some(end) = gathered.push(event?) {
                    return Ok(gathered.into_reply(end, started.elapsed().as_millis() as u64));
                }
            }
            Err(Error::internal(format!(
                "model {}: the stream ended without an end event",
                self.id()
            )))
        })
    }
}

/// A model that turns texts into vectors.
pub trait Embedder: Send + Sync {
    /// The id that records name it by.
    fn id(&self) -> &str;

    /// Length of a vector.
    fn dimensions(&self) -> usize;

    /// Most tokens of one text, special tokens included.
    fn max_tokens(&self) -> usize;

    /// Tokens of `text`, special tokens included.
    ///
    /// # Errors
    /// `ModelErrorException` where the tokenizer fails.
    fn count_tokens(&self, text: &str) -> Result<usize>;

    /// Vectors of `texts`, one row each, in order; the same bytes whatever the batch.
    ///
    /// # Errors
    /// `ValidationException` for a text longer than [`Embedder::max_tokens`], unless
    /// [`EmbedOptions::truncate`] is set.
    fn embed<'a>(
        &'a self,
        texts: &'a [String],
        options: EmbedOptions,
    ) -> BoxFuture<'a, Result<Embeddings>>;
}

/// A model that scores texts against a query.
pub trait Reranker: Send + Sync {
    /// The id that records name it by.
    fn id(&self) -> &str;

    /// One score a text, in order: the model's raw output, higher is more relevant.
    ///
    /// # Errors
    /// `ValidationException` where query and text together are longer than the model reads.
    fn rerank<'a>(&'a self, query: &'a str, texts: &'a [String])
    -> BoxFuture<'a, Result<Vec<f32>>>;
}
