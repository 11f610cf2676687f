//! `outcrop.quote-v1`: a reader that answers in the documents' own words, or says that they do not
//! answer.
//!
//! It is an extractive reader over an embedding model, with no text of its own to invent. Passages
//! are cut into sentences, list items and table rows ([`sentences`]); each is scored against the
//! question together with its heading, the sentence before it and its passage ([`score`]); those
//! that stand out are quoted word for word, with the characters where they stand.

mod passages;
mod score;
mod sentences;

use std::collections::VecDeque;
use std::sync::Arc;

use outcrop_api::{
    BoxFuture, ChatModel, CitationsContent, ContentBlock, ConverseRequest, Embedder, EventStream,
    GeneratedText, ModelInfo, ModelKind, Result, StopReason, StreamEvent, Usage,
};

use passages::Passage;
use score::Pick;

/// What the reader answers where no sentence stands out.
pub const NO_ANSWER: &str = "The documents do not answer this question.";

/// Most tokens of an answer where the request does not say.
const DEFAULT_MAX_TOKENS: usize = 512;

/// The quoting reader.
#[derive(Clone)]
pub struct QuoteModel {
    id: String,
    embedder: Arc<dyn Embedder>,
}

impl QuoteModel {
    /// A reader named `id` that judges by `embedder`.
    pub fn new(id: impl Into<String>, embedder: Arc<dyn Embedder>) -> Self {
        Self {
            id: id.into(),
            embedder,
        }
    }

    /// What is known of it, with the size and the device of the embedding model below it.
    pub fn info(&self, embedder: &ModelInfo) -> ModelInfo {
        ModelInfo {
            id: self.id.clone(),
            kind: ModelKind::Chat,
            architecture: "quote".into(),
            dimensions: None,
            vocabulary: None,
            ..embedder.clone()
        }
    }

    async fn answer(&self, request: ConverseRequest) -> Result<VecDeque<StreamEvent>> {
        // Passages may be long: whoever polls, maybe an event loop, goes on first.
        tokio::task::yield_now().await;
        let (passages, question) = passages::read(&request, &self.id)?;
        let (picks, read) = score::pick(self.embedder.as_ref(), &passages, &question).await?;
        let limit = request
            .inference_config
            .max_tokens
            .unwrap_or(DEFAULT_MAX_TOKENS);
        self.write(&passages, picks, read, limit)
    }

    /// The events of an answer from `picks`, best first: whole quotes only, as many as `limit`
    /// tokens hold, in the order of the passages.
    fn write(
        &self,
        passages: &[Passage],
        picks: Vec<Pick>,
        read: usize,
        limit: usize,
    ) -> Result<VecDeque<StreamEvent>> {
        if picks.is_empty() {
            return Ok(VecDeque::from([
                StreamEvent::TextDelta(NO_ANSWER.into()),
                StreamEvent::Done {
                    stop_reason: StopReason::EndTurn,
                    usage: Usage::new(read, 0),
                },
            ]));
        }
        let special = self.embedder.count_tokens("")?;
        let (mut written, mut stop_reason) = (0, StopReason::EndTurn);
        let mut quotes: Vec<Pick> = Vec::new();
        for pick in picks {
            let quote = &passages[pick.passage].text[pick.range.clone()];
            let tokens = self.embedder.count_tokens(quote)?.saturating_sub(special);
            if written + tokens > limit {
                stop_reason = StopReason::MaxTokens;
                break;
            }
            written += tokens;
            quotes.push(pick);
        }
        quotes.sort_by_key(|pick| (pick.passage, pick.range.start));
        let mut events: VecDeque<StreamEvent> = quotes
            .into_iter()
            .map(|pick| {
                let passage = &passages[pick.passage];
                let quote = passage.text[pick.range.clone()].to_string();
                StreamEvent::Block(ContentBlock::CitationsContent(CitationsContent {
                    content: vec![GeneratedText::Text(quote)],
                    citations: vec![passage.cite(pick.range)],
                }))
            })
            .collect();
        events.push_back(StreamEvent::Done {
            stop_reason,
            usage: Usage::new(read, written),
        });
        Ok(events)
    }
}

impl ChatModel for QuoteModel {
    fn id(&self) -> &str {
        &self.id
    }

    fn converse_stream(
        &self,
        request: ConverseRequest,
    ) -> BoxFuture<'_, Result<Box<dyn EventStream>>> {
        Box::pin(async move {
            let events = self.answer(request).await?;
            Ok(Box::new(Quotes(events)) as Box<dyn EventStream>)
        })
    }
}

/// The events of an answer that is already whole.
struct Quotes(VecDeque<StreamEvent>);

impl EventStream for Quotes {
    fn next(&mut self) -> BoxFuture<'_, Option<Result<StreamEvent>>> {
        let event = self.0.pop_front().map(Ok);
        Box::pin(std::future::ready(event))
    }
}
