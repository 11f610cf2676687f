use outcrop_api::{
    CitationLocation, CitationsContent, ContentBlock, ErrorKind, GeneratedText, SourceCitation,
    TextContent,
};

use outcrop_knowledge::Query;

use crate::doubles::{Fixture, ScriptedChat, embedder, fixture};

async fn with_documents() -> Fixture {
    let f = fixture();
    f.write(
        "zebras.md",
        "# Zebras\n\nZebras graze in Kenya. | They \"run\" [fast].",
    );
    f.write("bees.txt", "Bees make honey in summer.");
    f.base.sync(embedder(), |_| {}).await.unwrap();
    f
}

fn quote(text: &str, index: usize) -> ContentBlock {
    ContentBlock::CitationsContent(CitationsContent {
        content: vec![GeneratedText::Text(text.into())],
        citations: vec![SourceCitation {
            title: "Zebras".into(),
            source: None,
            source_content: vec![TextContent { text: text.into() }],
            location: CitationLocation::SearchResultLocation {
                search_result_index: index,
                start: 0,
                end: text.chars().count(),
            },
        }],
    })
}

#[tokio::test(flavor = "multi_thread")]
async fn the_model_gets_numbered_passages_and_the_question() {
    let f = with_documents().await;
    let chat = ScriptedChat::new(vec![ContentBlock::Text(
        "Zébras graze [1]. Bees hum [2][9].".into(),
    )]);
    let answer = f
        .base
        .ask(
            embedder(),
            chat.clone(),
            Query::new("Where do zebras graze?", 2),
        )
        .await
        .unwrap();
    let asked = chat.asked.lock().unwrap();
    let content = &asked[0].messages[0].content;
    assert_eq!((asked[0].messages.len(), content.len()), (1, 3));
    let ContentBlock::SearchResult(first) = &content[0] else {
        panic!("{content:?}")
    };
    assert_eq!(
        (first.source.as_str(), first.title.as_str()),
        ("zebras.md", "Zebras")
    );
    assert_eq!(first.content[0].text, answer.passages[0].text);
    assert_eq!(
        content[2],
        ContentBlock::Text("Where do zebras graze?".into())
    );
    assert!(asked[0].system.as_deref().unwrap().contains("[1]"));

    assert!(answer.answered);
    assert_eq!(answer.model, "test.scripted-v1");
    assert_eq!(
        (answer.usage.input_tokens, answer.usage.output_tokens),
        (7, 3)
    );
    assert_eq!(answer.citations.len(), 2);
    let span = answer.citations[0].span;
    let cited: String = answer
        .text
        .chars()
        .skip(span.start)
        .take(span.end - span.start)
        .collect();
    assert_eq!(cited, "Zébras graze [1].");
    assert_eq!(answer.citations[0].passages, answer.passages[..1]);
    assert_eq!(answer.citations[1].passages, answer.passages[1..]);
}

#[tokio::test(flavor = "multi_thread")]
async fn only_verbatim_quotes_are_cited() {
    let f = with_documents().await;
    let chat = ScriptedChat::new(vec![
        quote("Zebras graze in Kenya. | They \"run\" [fast].", 0),
        quote("Zebras graze in Ghana.", 0),
        quote("Zebras graze in Kenya.", 1),
    ]);
    let answer = f
        .base
        .ask(embedder(), chat, Query::new("zebras graze", 2))
        .await
        .unwrap();
    assert_eq!(answer.citations.len(), 1);
    let citation = &answer.citations[0];
    assert!(citation.passages[0].text.contains(&citation.quotes[0]));
    assert_eq!(citation.passages[0].location.document, "zebras.md");
}

#[tokio::test(flavor = "multi_thread")]
async fn no_answer_is_said_and_no_documents_is_an_error() {
    let f = with_documents().await;
    let chat = ScriptedChat::new(vec![ContentBlock::Text(
        "The documents do not answer this question.".into(),
    )]);
    let answer = f
        .base
        .ask(embedder(), chat.clone(), Query::new("Who is king?", 5))
        .await
        .unwrap();
    assert!(!answer.answered && answer.citations.is_empty());
    let error = fixture()
        .base
        .ask(embedder(), chat.clone(), Query::new("Who is king?", 5))
        .await
        .unwrap_err();
    assert_eq!(error.kind(), ErrorKind::ValidationException);
    assert!(error.message().contains("holds no documents"));
    let error = f
        .base
        .ask(embedder(), chat, Query::new("", 5))
        .await
        .unwrap_err();
    assert!(
        error.message().starts_with("question: expected a text"),
        "{error}"
    );
}
