//! Answers a question from retrieved passages.

use std::future::ready;
use std::sync::Arc;

use outcrop_api as api;

use crate::cite::{Draft, read_reply};
use crate::knowledge_base::KnowledgeBase;
use crate::retrieve::{Found, Query, Retrieved, reread};
use crate::sync::blocking;

/// What a model is asked to say where the passages do not answer.
pub const NO_ANSWER: &str = "The documents do not answer this question.";

/// How a model is asked to answer from numbered search results.
pub const INSTRUCTION: &str = "Answer the question from the numbered search results only. \
After each claim, name the search results that it rests on by their numbers in square brackets, \
such as [1] or [2][3]. Add nothing that they do not say. If they do not answer the question, reply \
with exactly this sentence: The documents do not answer this question.";

/// A question, as a model is asked it.
#[derive(Clone, Debug, Default)]
pub struct Question {
    /// Its text.
    pub text: String,
    /// Whether it is of those documents alone that pass a filter.
    pub filtered: bool,
    /// The turns of the conversation before it.
    pub before: Vec<api::Message>,
}

impl KnowledgeBase {
    /// Answers a question from the passages nearest to it: [`KnowledgeBase::search`], then
    /// [`KnowledgeBase::answer`].
    ///
    /// # Errors
    /// Those of both.
    pub async fn ask(
        &self,
        embedder: Arc<dyn api::Embedder>,
        chat: Arc<dyn api::ChatModel>,
        mut query: Query,
    ) -> api::Result<api::Answer> {
        query.field = "question";
        let question = Question {
            text: query.text.clone(),
            filtered: query.filter.is_some(),
            before: Vec::new(),
        };
        let retrieved = self.search(ready(Ok(embedder)), query).await?;
        self.answer(chat, retrieved, question).await
    }

    /// Answers a question from what was retrieved for it. The model gets the passages as numbered
    /// search results, best first; it sees all of them, or its own error says that they do not fit.
    ///
    /// Each citation is checked: its passage is read from the store again, a quote must stand there
    /// word for word, a number must be one of the passages'. One that does not check out is left out.
    ///
    /// # Errors
    /// `ValidationException` where nothing was retrieved; those of the model.
    pub async fn answer(
        &self,
        chat: Arc<dyn api::ChatModel>,
        retrieved: Retrieved,
        question: Question,
    ) -> api::Result<api::Answer> {
        if retrieved.found.is_empty() {
            return Err(self.nothing_found(&question));
        }
        let reply = chat.converse(request(&retrieved, question)).await?;
        let model = chat.id().to_owned();
        blocking(move || Ok(answer(&retrieved, &reply, model))).await
    }

    /// Why there is nothing to answer from.
    fn nothing_found(&self, question: &Question) -> api::Error {
        let held = self.readable().map(|snapshot| snapshot.chunk_count());
        match held {
            Err(error) => error,
            Ok(0) => api::Error::validation(format!(
                "knowledge base {:?} holds no documents: expected some to answer from; add a source \
                 and sync it",
                self.name()
            )),
            Ok(_) if question.filtered => api::Error::validation(
                "filter: expected one that some documents pass, to answer from; none does",
            ),
            Ok(_) => api::Error::validation(
                "question: expected words that stand in some document, for a search by keywords; \
                 none does",
            ),
        }
    }
}

impl Retrieved {
    /// The passages as material for a model's answer, best first.
    pub fn search_results(&self) -> Vec<api::ContentBlock> {
        let result = |found: &Found| {
            api::ContentBlock::SearchResult(api::SearchResult {
                source: found.passage.location.document.clone(),
                title: found.title.clone(),
                content: vec![api::TextContent {
                    text: found.passage.text.clone(),
                }],
                citations: Some(serde_json::json!({ "enabled": true })),
            })
        };
        self.found.iter().map(result).collect()
    }

    /// The text of a reply and those of its citations that check out: each passage is read back and
    /// compared, a quote must stand in it word for word. With each, the passages by their places in
    /// `found`.
    pub fn cite(&self, reply: &[api::ContentBlock]) -> (String, Vec<Cited>) {
        let stored: Vec<Option<String>> = self.found.iter().map(|f| reread(self, f)).collect();
        cite(reply, &stored)
    }
}

/// The text of a reply and those of its citations that check out against the texts of the passages
/// that it was given, in the order of their numbers from 1; none for one that cannot be cited.
pub fn cite(reply: &[api::ContentBlock], texts: &[Option<String>]) -> (String, Vec<Cited>) {
    let (text, drafts) = read_reply(reply, texts);
    let cited = |draft: Draft| Cited {
        span: draft.span,
        quotes: draft.quotes,
        passages: draft.passages,
    };
    (text, drafts.into_iter().map(cited).collect())
}

/// A part of an answer, and the passages that it rests on.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Cited {
    /// The part of the answer's text.
    pub span: api::Span,
    /// The cited words in the passage, where the model quoted; else empty.
    pub quotes: Vec<String>,
    /// The passages, by their places in what was retrieved.
    pub passages: Vec<usize>,
}

fn request(retrieved: &Retrieved, question: Question) -> api::ConverseRequest {
    let mut content = retrieved.search_results();
    content.push(api::ContentBlock::Text(question.text));
    let mut messages = question.before;
    messages.push(api::Message {
        role: api::Role::User,
        content,
    });
    api::ConverseRequest {
        messages,
        system: Some(INSTRUCTION.to_owned()),
        ..api::ConverseRequest::default()
    }
}

fn answer(retrieved: &Retrieved, reply: &api::Reply, model: String) -> api::Answer {
    let (text, cited) = retrieved.cite(&reply.content);
    let passages: Vec<api::Passage> = retrieved.found.iter().map(|f| f.passage.clone()).collect();
    let citations = cited
        .into_iter()
        .map(
            |Cited {
                 span,
                 quotes,
                 passages: at,
             }| api::Citation {
                span,
                quotes,
                passages: at
                    .iter()
                    .filter_map(|&at| passages.get(at).cloned())
                    .collect(),
            },
        )
        .collect();
    api::Answer {
        answered: !is_no_answer(&text),
        text,
        citations,
        passages,
        model,
        stop_reason: reply.stop_reason,
        usage: reply.usage,
    }
}

/// Whether a text says that the documents do not answer, whatever marks stand around it.
fn is_no_answer(text: &str) -> bool {
    let bare = |text: &str| -> String {
        text.chars()
            .filter(|c| c.is_alphanumeric())
            .flat_map(char::to_lowercase)
            .collect()
    };
    let said = bare(text);
    said.is_empty() || said == bare(NO_ANSWER)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_agreed_sentence_says_that_there_is_no_answer() {
        assert!(INSTRUCTION.ends_with(NO_ANSWER));
        assert!(is_no_answer(
            "  **The documents do not answer this question**\n"
        ));
        assert!(is_no_answer(""));
        assert!(!is_no_answer(
            "The documents do not answer this question, but [1] is near."
        ));
    }
}
