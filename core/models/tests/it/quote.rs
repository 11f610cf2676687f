//! The quoting reader over an embedder whose vectors count words, so that what is near is plain.

use std::sync::Arc;

use outcrop_api::{
    BoxFuture, ChatModel, CitationLocation, ContentBlock, ConverseRequest, DocumentBlock,
    DocumentSource, EmbedOptions, Embedder, Embeddings, Error, ErrorKind, GeneratedText, Message,
    OutputFormat, Result, Role, SearchResult, StopReason, TextContent, Tool,
};
use outcrop_models::{NO_ANSWER, QuoteModel};

const DIMENSIONS: usize = 512;
const MAX_TOKENS: usize = 64;

/// Bags of words: the cosine is the share of common words.
struct WordCounts;

fn words(text: &str) -> Vec<String> {
    text.split(|c: char| !c.is_alphanumeric())
        .filter(|word| !word.is_empty())
        .map(str::to_lowercase)
        .collect()
}

impl Embedder for WordCounts {
    fn id(&self) -> &str {
        "word-counts"
    }
    fn dimensions(&self) -> usize {
        DIMENSIONS
    }
    fn max_tokens(&self) -> usize {
        MAX_TOKENS
    }
    fn count_tokens(&self, text: &str) -> Result<usize> {
        Ok(words(text).len() + 2)
    }
    fn embed<'a>(
        &'a self,
        texts: &'a [String],
        _options: EmbedOptions,
    ) -> BoxFuture<'a, Result<Embeddings>> {
        let mut values = Vec::new();
        let mut input_tokens = 0;
        for text in texts {
            let words = words(text);
            input_tokens += words.len() + 2;
            if words.len() + 2 > MAX_TOKENS {
                let error = Error::validation(format!("texts: {} tokens", words.len() + 2));
                return Box::pin(std::future::ready(Err(error)));
            }
            let mut row = vec![0.0_f32; DIMENSIONS];
            for word in words {
                let slot = word
                    .bytes()
                    .fold(7_usize, |hash, b| (hash * 31 + usize::from(b)) % 509);
                row[slot] += 1.0;
            }
            let length = row.iter().map(|x| x * x).sum::<f32>().sqrt().max(1e-9);
            values.extend(row.iter().map(|x| x / length));
        }
        Box::pin(std::future::ready(Ok(Embeddings {
            values,
            dimensions: DIMENSIONS,
            input_tokens,
        })))
    }
}

fn reader() -> QuoteModel {
    QuoteModel::new("outcrop.quote-v1", Arc::new(WordCounts))
}

fn result(text: &str) -> ContentBlock {
    ContentBlock::SearchResult(SearchResult {
        source: "fees.md".into(),
        title: "Fees".into(),
        content: vec![TextContent { text: text.into() }],
        citations: None,
    })
}

fn request(mut blocks: Vec<ContentBlock>, question: &str) -> ConverseRequest {
    blocks.push(ContentBlock::Text(question.into()));
    ConverseRequest {
        messages: vec![Message {
            role: Role::User,
            content: blocks,
        }],
        ..ConverseRequest::default()
    }
}

fn quotes(content: &[ContentBlock]) -> Vec<String> {
    content
        .iter()
        .map(|block| match block {
            ContentBlock::CitationsContent(cited) => {
                let GeneratedText::Text(text) = &cited.content[0];
                assert_eq!(cited.citations[0].source_content[0].text, *text);
                text.clone()
            }
            other => panic!("expected a quote, got {other:?}"),
        })
        .collect()
}

#[tokio::test]
async fn the_answering_sentence_is_quoted_with_its_characters() {
    let text = "Größe: Karten. The card fee is twelve euros a year. Branches open at nine.";
    let reply = reader()
        .converse(request(
            vec![result("Bananas ripen slowly."), result(text)],
            "What is the card fee a year?",
        ))
        .await
        .unwrap();
    assert_eq!(
        quotes(&reply.content),
        ["The card fee is twelve euros a year."]
    );
    let ContentBlock::CitationsContent(cited) = &reply.content[0] else {
        unreachable!()
    };
    let citation = &cited.citations[0];
    assert_eq!(citation.source.as_deref(), Some("fees.md"));
    let CitationLocation::SearchResultLocation {
        search_result_index,
        start,
        end,
    } = citation.location
    else {
        panic!("{citation:?}")
    };
    assert_eq!(search_result_index, 1);
    let cut: String = text.chars().skip(start).take(end - start).collect();
    assert_eq!(cut, "The card fee is twelve euros a year.");
    assert_eq!(reply.stop_reason, StopReason::EndTurn);
    assert_eq!(reply.usage.output_tokens, 8);
    assert!(reply.usage.input_tokens > 0);
}

#[tokio::test]
async fn what_the_documents_do_not_say_is_not_answered() {
    let reply = reader()
        .converse(request(
            vec![result("Bananas ripen slowly. Pears fall.")],
            "Who repairs bicycles here?",
        ))
        .await
        .unwrap();
    assert_eq!(reply.content, [ContentBlock::Text(NO_ANSWER.into())]);
    assert_eq!(reply.usage.output_tokens, 0);
}

#[tokio::test]
async fn the_same_request_gives_the_same_answer_and_overlap_counts_once() {
    let sentence = "The card fee is twelve euros a year.";
    let passages = || vec![result(sentence), result(&format!("{sentence} Pears fall."))];
    let first = reader()
        .converse(request(passages(), "the card fee a year"))
        .await
        .unwrap();
    let second = reader()
        .converse(request(passages(), "the card fee a year"))
        .await
        .unwrap();
    assert_eq!(first.content, second.content);
    assert_eq!(quotes(&first.content), [sentence]);
}

#[tokio::test]
async fn a_document_block_longer_than_the_embedder_reads_is_read_to_its_end() {
    let text = format!(
        "{}\n\nThe card fee is twelve euros a year.",
        "Pears fall in autumn. ".repeat(100)
    );
    let block = ContentBlock::Document(DocumentBlock {
        name: "fees".into(),
        format: Some("txt".into()),
        source: DocumentSource::Text(text.clone()),
    });
    let reply = reader()
        .converse(request(vec![block], "What is the card fee a year?"))
        .await
        .unwrap();
    assert_eq!(
        quotes(&reply.content),
        ["The card fee is twelve euros a year."]
    );
    let ContentBlock::CitationsContent(cited) = &reply.content[0] else {
        unreachable!()
    };
    let CitationLocation::DocumentChar { start, .. } = cited.citations[0].location else {
        panic!("{cited:?}")
    };
    assert_eq!(start, text.find("The card").unwrap());
}

#[tokio::test]
async fn a_sentence_longer_than_the_embedder_reads_is_quoted_in_parts() {
    let text = format!(
        "{} the card fee is twelve euros a year",
        "pears fall ".repeat(60)
    );
    let reply = reader()
        .converse(request(vec![result(&text)], "Do pears fall?"))
        .await
        .unwrap();
    for quote in quotes(&reply.content) {
        assert!(text.contains(&quote) && words(&quote).len() <= MAX_TOKENS);
    }
}

#[tokio::test]
async fn max_tokens_holds_whole_quotes_only() {
    let mut small = request(
        vec![result("The card fee is twelve euros a year.")],
        "the card fee a year",
    );
    small.inference_config.max_tokens = Some(3);
    small.inference_config.temperature = Some(0.7);
    let reply = reader().converse(small).await.unwrap();
    assert!(reply.content.is_empty());
    assert_eq!(reply.stop_reason, StopReason::MaxTokens);
}

#[tokio::test]
async fn what_it_cannot_do_is_refused_by_name() {
    let passage = || vec![result("The fee is twelve euros.")];
    let mut tools = request(passage(), "fee?");
    tools.tools.push(Tool {
        name: "t".into(),
        description: String::new(),
        input_schema: serde_json::json!({}),
    });
    let mut schema = request(passage(), "fee?");
    schema.output_format = Some(OutputFormat::JsonSchema(
        serde_json::json!({"type": "object"}),
    ));
    let mut adapter = request(passage(), "fee?");
    adapter.adapter = Some("formal".into());
    let mut logprobs = request(passage(), "fee?");
    logprobs.inference_config.logprobs = Some(2);
    let mut deadline = request(passage(), "fee?");
    deadline.scheduling.deadline_ms = Some(1);
    let mut question = request(passage(), "fee?");
    question.messages[0].content.pop();
    for (request, field) in [
        (tools, "tools"),
        (schema, "response_schema"),
        (adapter, "adapter"),
        (logprobs, "logprobs"),
        (deadline, "deadline_ms"),
        (request(vec![], "fee?"), "searchResult"),
        (question, "the last text block"),
        (ConverseRequest::default(), "messages"),
    ] {
        let error = reader().converse(request).await.unwrap_err();
        assert_eq!(error.kind(), ErrorKind::ValidationException);
        assert!(error.message().contains(field), "{error}");
    }
}
