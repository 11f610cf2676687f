//! Opening, models, closing.

use outcrop::api::{
    ConverseRequest, EmbedOptions, GenerateRequest, InferenceConfig, Message, Prompt, Role,
    StreamEvent,
};
use outcrop::{ErrorKind, KnowledgeBaseRequest, RetrieveOptions, Session, SessionOptions, runtime};

use crate::{fixture, session};

fn hello(max_tokens: usize) -> ConverseRequest {
    ConverseRequest {
        messages: vec![Message::text(Role::User, "Hello")],
        inference_config: InferenceConfig {
            max_tokens: Some(max_tokens),
            ..InferenceConfig::default()
        },
        ..ConverseRequest::default()
    }
}

#[test]
fn a_wrong_device_or_home_does_not_open() {
    let home = tempfile::tempdir().unwrap();
    for (device, part) in [
        // No machine has as many GPUs; most have no driver either.
        ("cuda:999", "\"cuda:999\" cannot be used: no"),
        ("tpu", "\"tpu\""),
    ] {
        let error = Session::open(SessionOptions {
            home: Some(home.path().into()),
            device: device.into(),
            ..SessionOptions::default()
        })
        .unwrap_err();
        assert_eq!(error.kind(), ErrorKind::ValidationException);
        assert!(error.message().contains(part), "{error}");
    }
    let file = home.path().join("file");
    std::fs::write(&file, "x").unwrap();
    let error = Session::open(SessionOptions {
        home: Some(file),
        ..SessionOptions::default()
    })
    .unwrap_err();
    assert_eq!(error.kind(), ErrorKind::ValidationException);
}

#[test]
fn a_decoder_converses_streams_generates_and_tokenizes() {
    let home = tempfile::tempdir().unwrap();
    let session = session(&home);
    runtime().unwrap().block_on(async {
        let model = session
            .model(&fixture("llama3").display().to_string())
            .await
            .unwrap();
        let reply = model.converse(hello(8)).await.unwrap();
        let mut stream = model.stream(hello(8)).await.unwrap();
        let mut text = String::new();
        while let Some(event) = stream.next().await {
            if let StreamEvent::TextDelta(delta) = event.unwrap() {
                text.push_str(&delta);
            }
        }
        assert_eq!(reply.content, [outcrop::api::ContentBlock::Text(text)]);
        let ids = model.tokenize("Hello world", false).unwrap();
        assert_eq!(model.detokenize(&ids, true).unwrap(), "Hello world");
        let logits = model.logits(ids.clone(), None).await.unwrap();
        assert_eq!(logits.len(), ids.len() * model.info().vocabulary.unwrap());
        let completion = model
            .generate(GenerateRequest {
                inference_config: hello(4).inference_config,
                ..GenerateRequest::new(Prompt::Ids(ids))
            })
            .await
            .unwrap();
        assert!(!completion.ids.is_empty() && completion.ids.len() <= 4);
        assert!(
            model
                .chat_prompt(&hello(1), true)
                .unwrap()
                .contains("Hello")
        );
        let error = model
            .embed(vec!["x".into()], EmbedOptions::default())
            .await
            .unwrap_err();
        assert!(error.message().contains("it cannot embed"), "{error}");
    });
}

#[test]
fn an_embedder_gives_the_same_bytes_alone_and_in_a_batch() {
    let home = tempfile::tempdir().unwrap();
    let session = session(&home);
    runtime().unwrap().block_on(async {
        let model = session.model("outcrop.minilm-embed-v1").await.unwrap();
        let texts: Vec<String> = (0..9).map(|n| "loan ".repeat(n + 1)).collect();
        let all = model
            .embed(texts.clone(), EmbedOptions::default())
            .await
            .unwrap();
        for (text, row) in texts.into_iter().zip(all.rows()) {
            let one = model
                .embed(vec![text], EmbedOptions::default())
                .await
                .unwrap();
            assert_eq!(one.values, row);
        }
    });
}

#[test]
fn a_closed_session_gives_its_models_back_and_refuses() {
    let home = tempfile::tempdir().unwrap();
    let session = session(&home);
    runtime().unwrap().block_on(async {
        let model = session.model("outcrop.minilm-embed-v1").await.unwrap();
        let request = KnowledgeBaseRequest {
            name: "policies".into(),
            ..KnowledgeBaseRequest::default()
        };
        let base = session.create_knowledge_base(request).await.unwrap();
        session.close();
        session.close();
        assert!(session.is_closed());
        let errors = [
            session.models().unwrap_err(),
            session.model("outcrop.quote-v1").await.unwrap_err(),
            model
                .embed(vec!["x".into()], EmbedOptions::default())
                .await
                .unwrap_err(),
            session.knowledge_bases().await.unwrap_err(),
            base.info().await.unwrap_err(),
            base.retrieve("q".into(), RetrieveOptions::default())
                .await
                .unwrap_err(),
        ];
        for error in errors {
            assert_eq!(error.message(), "session is closed");
        }
    });
    assert!(
        crate::session(&home).models().is_ok(),
        "the home opens again"
    );
}

#[test]
fn an_import_is_a_model_of_the_catalogue() {
    let home = tempfile::tempdir().unwrap();
    let session = session(&home);
    runtime().unwrap().block_on(async {
        let gguf = fixture("llama3")
            .join("model-Q8_0.gguf")
            .display()
            .to_string();
        session
            .import_model(&gguf, "acme.chat", None)
            .await
            .unwrap();
        let model = session
            .model("arn:aws:bedrock:local:000000000000:imported-model/acme.chat")
            .await
            .unwrap();
        assert_eq!(model.id(), "acme.chat");
        let ids: Vec<String> = session
            .models()
            .unwrap()
            .into_iter()
            .map(|m| m.id)
            .collect();
        assert_eq!(
            ids,
            [
                "outcrop.minilm-embed-v1",
                "outcrop.quote-v1",
                "outcrop.tiny-v1",
                "acme.chat"
            ]
        );
    });
}
