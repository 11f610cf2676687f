//! The engine's promises to its callers: one batch for all, limits with numbers, cancellation.

use std::time::Instant;

use outcrop_api::{
    ChatModel, ContentBlock, ConverseRequest, ErrorKind, GenerateRequest, InferenceConfig, Message,
    Prompt, Role, StopReason, StreamEvent, Tool, ToolChoice, Usage,
};
use outcrop_inference::{Engine, EngineOptions};
use serde_json::Value;

use crate::golden::{engine, greedy, ids, on_threads};

fn sampled(length: usize, max_tokens: usize, seed: u64) -> GenerateRequest {
    let ids = (0..length)
        .map(|i| (i * 37 + seed as usize * 11) as u32 % 500)
        .collect();
    GenerateRequest {
        inference_config: InferenceConfig {
            max_tokens: Some(max_tokens),
            temperature: Some(0.9),
            top_p: Some(0.95),
            repetition_penalty: Some(1.1),
            seed: Some(seed),
            ..InferenceConfig::default()
        },
        ..GenerateRequest::new(Prompt::Ids(ids))
    }
}

fn requests() -> Vec<GenerateRequest> {
    [
        (1, 30),
        (300, 12),
        (17, 40),
        (64, 25),
        (5, 33),
        (129, 8),
        (40, 40),
        (33, 1),
    ]
    .into_iter()
    .enumerate()
    .map(|(seed, (length, max_tokens))| sampled(length, max_tokens, seed as u64))
    .collect()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn eight_concurrent_calls_equal_the_eight_alone_on_one_thread_and_two() {
    let alone_on = engine("qwen3", on_threads(1));
    let mut alone = Vec::new();
    for request in requests() {
        let completion = alone_on.generate(request).await.unwrap();
        alone.push((
            completion.ids,
            completion.text,
            completion.stop_reason,
            completion.usage,
        ));
    }
    for threads in [1, 2] {
        let engine = engine("qwen3", on_threads(threads));
        let tasks: Vec<_> = requests()
            .into_iter()
            .map(|request| {
                let engine = engine.clone();
                tokio::spawn(async move { engine.generate(request).await.unwrap() })
            })
            .collect();
        for (task, alone) in tasks.into_iter().zip(&alone) {
            let completion = task.await.unwrap();
            assert_eq!(
                &(
                    completion.ids,
                    completion.text,
                    completion.stop_reason,
                    completion.usage
                ),
                alone
            );
        }
    }
}

#[tokio::test]
async fn the_seed_decides_what_is_sampled() {
    let engine = engine("llama3", EngineOptions::default());
    let first = engine.generate(sampled(9, 30, 1)).await.unwrap();
    assert_eq!(
        engine.generate(sampled(9, 30, 1)).await.unwrap().ids,
        first.ids
    );
    let mut other = sampled(9, 30, 1);
    other.inference_config.seed = Some(2);
    assert_ne!(engine.generate(other).await.unwrap().ids, first.ids);
}

#[tokio::test]
async fn a_stream_gives_the_ids_and_the_text_of_the_whole() {
    let engine = engine("llama3", EngineOptions::default());
    let whole = engine.generate(sampled(9, 60, 5)).await.unwrap();
    let mut stream = engine.generate_stream(sampled(9, 60, 5)).await.unwrap();
    let (mut ids, mut text) = (Vec::new(), String::new());
    let mut done = None;
    while let Some(event) = stream.next().await {
        assert!(done.is_none(), "an event after the end");
        match event.unwrap() {
            StreamEvent::Ids(more) => ids.extend(more),
            StreamEvent::Logprobs(_) => {}
            StreamEvent::TextDelta(delta) => {
                assert!(!delta.is_empty());
                text.push_str(&delta);
            }
            StreamEvent::Done { stop_reason, usage } => done = Some((stop_reason, usage)),
            StreamEvent::Block(block) => panic!("{block:?}"),
        }
    }
    assert_eq!(text, engine.tokenizer().decode(&ids, true).unwrap());
    assert_eq!((ids, text), (whole.ids, whole.text));
    // Asked again, all but the last token of the prompt was known.
    assert_eq!(whole.usage.cache_write_input_tokens, 9);
    let usage = Usage {
        cache_read_input_tokens: 8,
        cache_write_input_tokens: 0,
        ..whole.usage
    };
    assert_eq!(done, Some((whole.stop_reason, usage)));
}

#[tokio::test]
async fn a_stop_sequence_ends_the_text_before_it() {
    let engine = engine("llama3", EngineOptions::default());
    let free = engine.generate(sampled(9, 60, 5)).await.unwrap();
    let characters: Vec<char> = free.text.chars().collect();
    // Three characters from the middle: with these models they come from several tokens.
    let stop: String = characters[characters.len() / 2..][..3].iter().collect();
    let mut request = sampled(9, 60, 5);
    request.inference_config.stop_sequences = vec!["never there".to_owned(), stop.clone()];
    let stopped = engine.generate(request).await.unwrap();
    assert_eq!(stopped.stop_reason, StopReason::StopSequence);
    assert_eq!(stopped.text, free.text[..free.text.find(&stop).unwrap()]);
    assert!(stopped.usage.output_tokens < free.usage.output_tokens);
}

#[tokio::test]
async fn dropping_a_stream_ends_its_work_at_once() {
    let options = EngineOptions {
        max_batch: 1,
        ..EngineOptions::default()
    };
    let engine = engine("llama3_h256", options);
    let mut stream = engine
        .generate_stream(greedy(vec![5; 4], 2000))
        .await
        .unwrap();
    stream.next().await.unwrap().unwrap();
    drop(stream);
    // The only place is free again: two thousand tokens would take longer by far.
    let started = Instant::now();
    engine.generate(greedy(vec![5; 4], 1)).await.unwrap();
    let first = started.elapsed();
    let started = Instant::now();
    engine.generate(greedy(vec![5; 4], 1000)).await.unwrap();
    assert!(first < started.elapsed() / 4, "{first:?}");
}

#[tokio::test]
async fn overload_is_throttling_and_a_long_prompt_a_validation_error_with_both_numbers() {
    let options = EngineOptions {
        max_batch: 1,
        queue: 1,
        context_length: Some(100),
        ..EngineOptions::default()
    };
    let engine = engine("llama3_h256", options);
    let first = engine
        .generate_stream(greedy(vec![5; 4], 90))
        .await
        .unwrap();
    let second = engine
        .generate_stream(greedy(vec![5; 4], 90))
        .await
        .unwrap();
    let third = engine.generate_stream(greedy(vec![5; 4], 90)).await;
    match third {
        Err(error) => assert_eq!(error.kind(), ErrorKind::ThrottlingException),
        // The first two may be done already on a quick machine; then there was no overload.
        Ok(_) => println!("the queue was never full"),
    }
    drop((first, second));
    for (request, expected) in [
        (
            greedy(vec![5; 100], 1),
            "prompt: expected fewer tokens than the context of 100, got 100",
        ),
        (
            greedy(vec![5; 90], 11),
            "max_tokens: expected at most 10 after a prompt of 90 tokens in a context of 100, got 11",
        ),
        (
            greedy(vec![], 1),
            "prompt: expected at least 1 token, got 0",
        ),
        (
            greedy(vec![5, 544], 1),
            "prompt[1]: expected a token id below 544, got 544",
        ),
    ] {
        let error = engine.generate(request).await.unwrap_err();
        assert_eq!(
            (error.kind(), error.message()),
            (ErrorKind::ValidationException, expected)
        );
    }
    let mut open = greedy(vec![5; 90], 1);
    open.inference_config.max_tokens = None;
    assert!(engine.generate(open).await.unwrap().usage.output_tokens <= 10);
    assert_eq!(engine.logits(&[5; 100]).await.unwrap().len(), 100 * 544);
    assert!(engine.logits(&[5; 101]).await.is_err());
}

#[tokio::test]
async fn more_than_the_cache_holds_waits_for_its_turn() {
    let options = EngineOptions {
        kv_tokens: Some(128),
        ..EngineOptions::default()
    };
    let engine = engine("llama3", options);
    assert_eq!(engine.info().context_length, 128);
    let tasks: Vec<_> = (0..6)
        .map(|seed| {
            let engine = engine.clone();
            tokio::spawn(async move { engine.generate(sampled(60, 60, seed)).await.unwrap().ids })
        })
        .collect();
    let wide = self::engine("llama3", EngineOptions::default());
    for (seed, task) in tasks.into_iter().enumerate() {
        assert_eq!(
            task.await.unwrap(),
            wide.generate(sampled(60, 60, seed as u64))
                .await
                .unwrap()
                .ids
        );
    }
}

fn conversation(text: &str) -> ConverseRequest {
    ConverseRequest {
        messages: vec![Message::text(Role::User, text)],
        inference_config: InferenceConfig {
            max_tokens: Some(20),
            ..InferenceConfig::default()
        },
        ..ConverseRequest::default()
    }
}

async fn reply_text(engine: &Engine, request: ConverseRequest) -> String {
    let reply = engine.converse(request).await.unwrap();
    match &reply.content[..] {
        [ContentBlock::Text(text)] => text.clone(),
        other => panic!("{other:?}"),
    }
}

#[tokio::test]
async fn converse_is_the_rendered_chat_continued() {
    for name in ["llama3", "qwen3"] {
        let engine = engine(name, EngineOptions::default());
        let request = conversation("What is the capital of France?");
        let prompt = engine.chat_prompt(&request, true).unwrap();
        let prompt = engine.tokenizer().encode(&prompt, false).unwrap();
        let expected = engine.generate(greedy(prompt, 20)).await.unwrap();
        assert_eq!(reply_text(&engine, request).await, expected.text);
    }
}

#[tokio::test]
async fn what_this_version_does_not_do_is_refused() {
    let engine = engine("llama3", EngineOptions::default());
    let forced = ConverseRequest {
        tool_choice: Some(ToolChoice::Any {}),
        ..conversation("Hi")
    };
    let empty = ConverseRequest {
        messages: Vec::new(),
        ..conversation("Hi")
    };
    for (request, field) in [(forced, "tool_choice"), (empty, "messages")] {
        let error = engine.converse(request).await.unwrap_err();
        assert_eq!(error.kind(), ErrorKind::ValidationException);
        assert!(error.message().starts_with(field), "{error}");
    }
}

/// A chat of the golden files, in Hugging Face's form, as a request.
fn golden_request(chat: &Value) -> Option<ConverseRequest> {
    let mut request = ConverseRequest::default();
    // The golden chats were rendered on this day.
    request
        .template_variables
        .insert("date_string".to_owned(), "15 Jan 2026".into());
    if let Some(thinking) = chat.get("enable_thinking") {
        request
            .template_variables
            .insert("enable_thinking".to_owned(), thinking.clone());
    }
    for message in chat["messages"].as_array()? {
        let text = message["content"].as_str()?;
        match message["role"].as_str()? {
            "system" => request.system = Some(text.to_owned()),
            "user" => request.messages.push(Message::text(Role::User, text)),
            "assistant" if message.get("tool_calls").is_none() => {
                request.messages.push(Message::text(Role::Assistant, text));
            }
            _ => return None,
        }
    }
    for tool in chat
        .get("tools")
        .and_then(Value::as_array)
        .into_iter()
        .flatten()
    {
        let function = &tool["function"];
        request.tools.push(Tool {
            name: function["name"].as_str()?.to_owned(),
            description: function["description"].as_str()?.to_owned(),
            input_schema: function["parameters"].clone(),
        });
    }
    Some(request)
}

#[test]
fn golden_chats_become_the_golden_ids() {
    let Some(oracles) = std::env::var_os("OUTCROP_ORACLES") else {
        println!("skipped: OUTCROP_ORACLES does not name the folder of the full chat templates");
        return;
    };
    let mut compared = 0;
    for name in ["llama3", "llama3_h256", "qwen3"] {
        let folder = std::path::Path::new(&oracles).join(name);
        let golden: Value =
            serde_json::from_slice(&std::fs::read(folder.join("golden.json")).unwrap()).unwrap();
        let engine = Engine::load(&folder, name, EngineOptions::default()).unwrap();
        for chat in golden["chat"].as_array().unwrap() {
            let Some(request) = golden_request(chat).filter(|_| chat.get("error").is_none()) else {
                continue;
            };
            let continues = chat["add_generation_prompt"].as_bool().unwrap();
            let text = engine.chat_prompt(&request, continues).unwrap();
            assert_eq!(
                text,
                chat["text"].as_str().unwrap(),
                "{name} {}",
                chat["name"]
            );
            assert_eq!(
                engine.tokenizer().encode(&text, false).unwrap(),
                ids(&chat["ids"])
            );
            compared += 1;
        }
    }
    assert!(compared >= 15, "only {compared} chats were compared");
}

#[test]
fn a_wrong_configuration_is_an_error_that_names_the_file_and_the_value() {
    let fixture = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures/llama3");
    let config = std::fs::read_to_string(fixture.join("config.json")).unwrap();
    for (right, wrong, named) in [
        (
            "\"model_type\": \"llama\"",
            "\"model_type\": \"mamba\"",
            "mamba",
        ),
        (
            "\"hidden_size\": 64",
            "\"hidden_size\": \"wide\"",
            "hidden_size",
        ),
    ] {
        let folder = tempfile::tempdir().unwrap();
        for file in [
            "model.safetensors",
            "tokenizer.json",
            "tokenizer_config.json",
        ] {
            std::fs::copy(fixture.join(file), folder.path().join(file)).unwrap();
        }
        assert!(config.contains(right), "{right}");
        let damaged = config.replace(right, wrong);
        std::fs::write(folder.path().join("config.json"), damaged).unwrap();
        let error = Engine::load(folder.path(), "damaged", EngineOptions::default())
            .err()
            .unwrap();
        assert_eq!(error.kind(), ErrorKind::ModelErrorException);
        assert!(error.message().contains("config.json"), "{error}");
        assert!(error.message().contains(named), "{error}");
    }
}
