//! Output that must have a form: whatever a model of random weights says, it has it.

use outcrop_api::{
    ChatModel, Completion, ContentBlock, ConverseRequest, ErrorKind, GenerateRequest,
    InferenceConfig, Message, OutputFormat, Prompt, Role, StopReason, Tool, ToolChoice,
};
use outcrop_inference::{Engine, EngineOptions};
use serde_json::{Value, json};

use crate::golden::{engine, on_threads};

/// A request for output of `format`, drawn with `seed`.
pub fn structured(format: OutputFormat, seed: u64, max_tokens: usize) -> GenerateRequest {
    GenerateRequest {
        inference_config: InferenceConfig {
            max_tokens: Some(max_tokens),
            temperature: Some(1.0),
            seed: Some(seed),
            ..InferenceConfig::default()
        },
        output_format: Some(format),
        ..GenerateRequest::new(Prompt::Ids((0..9).map(|i| (i * 31 + 5) % 500).collect()))
    }
}

async fn run(engine: &Engine, format: &OutputFormat, seed: u64) -> Completion {
    let request = structured(format.clone(), seed, 400);
    engine.generate(request).await.unwrap()
}

fn person() -> OutputFormat {
    OutputFormat::JsonSchema(json!({
        "type": "object",
        "properties": {
            "name": {"type": "string", "maxLength": 12},
            "age": {"type": "integer", "minimum": 0, "maximum": 120},
            "mood": {"enum": ["glad", "sad", null]},
        },
        "required": ["name", "age", "mood"],
        "additionalProperties": false,
    }))
}

#[tokio::test]
async fn json_of_a_schema_is_whole_and_ends_by_itself() {
    for model in ["llama3", "qwen3"] {
        let engine = engine(model, EngineOptions::default());
        for seed in 0..20 {
            let completion = run(&engine, &person(), seed).await;
            assert_eq!(completion.stop_reason, StopReason::EndTurn);
            let document: Value = serde_json::from_str(&completion.text).unwrap();
            assert!(document["name"].as_str().unwrap().chars().count() <= 12);
            assert!((0..=120).contains(&document["age"].as_i64().unwrap()));
            assert!([json!("glad"), json!("sad"), json!(null)].contains(&document["mood"]));
            assert_eq!(document.as_object().unwrap().len(), 3);
            assert_eq!(completion.usage.output_tokens, completion.ids.len());
        }
    }
}

#[tokio::test]
async fn what_the_form_leaves_no_choice_about_is_the_tokenizers_own_spelling() {
    let engine = engine("qwen3", on_threads(1));
    let format = OutputFormat::Regex("The answer is (yes|no), of course\\.".to_owned());
    for seed in 0..8 {
        let completion = run(&engine, &format, seed).await;
        let known = [
            "The answer is yes, of course.",
            "The answer is no, of course.",
        ];
        assert!(
            known.contains(&completion.text.as_str()),
            "{:?}",
            completion.text
        );
        assert_eq!(completion.stop_reason, StopReason::EndTurn);
        let own = engine.tokenizer().encode(&completion.text, false).unwrap();
        assert_eq!(completion.ids[..3], own[..3]);
    }
}

#[tokio::test]
async fn log_probabilities_stand_beside_forced_tokens_too_and_change_none() {
    let engine = engine("llama3", EngineOptions::default());
    let request = structured(person(), 3, 400);
    let expected = engine.generate(request.clone()).await.unwrap();
    let mut asked = request;
    asked.inference_config.logprobs = Some(2);
    let told = engine.generate(asked).await.unwrap();
    assert_eq!(told.ids, expected.ids);
    assert_eq!(told.text, expected.text);
    let logged: Vec<u32> = told.logprobs.iter().map(|entry| entry.id).collect();
    assert_eq!(logged, told.ids);
}

#[tokio::test]
async fn what_is_cut_off_says_so() {
    let engine = engine("llama3", EngineOptions::default());
    for max_tokens in 1..6 {
        let cut = engine
            .generate(structured(person(), 1, max_tokens))
            .await
            .unwrap();
        assert_eq!(cut.stop_reason, StopReason::MaxTokens);
        assert_eq!(cut.ids.len(), max_tokens);
    }
}

#[tokio::test]
async fn grammars_that_are_not_sound_are_refused() {
    let engine = engine("llama3", EngineOptions::default());
    for format in [
        OutputFormat::Regex("(".to_owned()),
        OutputFormat::Lark("start: nothing".to_owned()),
        OutputFormat::JsonSchema(json!({"type": "array", "uniqueItems": true})),
        OutputFormat::JsonSchema(json!(3)),
    ] {
        let error = engine.generate(structured(format, 0, 9)).await.unwrap_err();
        assert_eq!(error.kind(), ErrorKind::ValidationException);
        assert!(error.message().starts_with("output_format"), "{error}");
    }
}

fn asks(request: ConverseRequest, seed: u64) -> ConverseRequest {
    ConverseRequest {
        messages: vec![Message::text(Role::User, "What is the weather in Bern?")],
        inference_config: InferenceConfig {
            max_tokens: Some(300),
            temperature: Some(1.0),
            seed: Some(seed),
            ..InferenceConfig::default()
        },
        ..request
    }
}

fn weather() -> Tool {
    Tool {
        name: "get_weather".to_owned(),
        description: "The weather of a city.".to_owned(),
        input_schema: json!({
            "type": "object",
            "properties": {
                "city": {"type": "string", "maxLength": 8},
                "unit": {"enum": ["celsius", "fahrenheit"]},
            },
            "required": ["city", "unit"],
        }),
    }
}

#[tokio::test]
async fn a_forced_tool_is_called_with_arguments_of_its_schema() {
    for model in ["llama3", "qwen3"] {
        let engine = engine(model, EngineOptions::default());
        for (seed, choice) in [
            (1, ToolChoice::Any {}),
            (
                2,
                ToolChoice::Tool {
                    name: "get_weather".to_owned(),
                },
            ),
            (3, ToolChoice::Any {}),
        ] {
            let request = asks(
                ConverseRequest {
                    tools: vec![weather()],
                    tool_choice: Some(choice),
                    ..ConverseRequest::default()
                },
                seed,
            );
            let reply = engine.converse(request).await.unwrap();
            if reply.stop_reason == StopReason::MaxTokens {
                continue;
            }
            assert_eq!(reply.stop_reason, StopReason::ToolUse, "{model}");
            for block in &reply.content {
                let ContentBlock::ToolUse(call) = block else {
                    panic!("{model}: {block:?}");
                };
                assert_eq!(call.name, "get_weather");
                assert!(call.input["city"].as_str().unwrap().chars().count() <= 8);
                assert!([json!("celsius"), json!("fahrenheit")].contains(&call.input["unit"]));
            }
        }
    }
}

#[tokio::test]
async fn a_reply_has_the_output_format_with_tools_and_without() {
    for model in ["llama3", "qwen3"] {
        let engine = engine(model, EngineOptions::default());
        for tools in [vec![], vec![weather()]] {
            for seed in 0..4 {
                let request = ConverseRequest {
                    tools: tools.clone(),
                    output_format: Some(person()),
                    ..ConverseRequest::default()
                };
                let reply = engine.converse(asks(request, seed)).await.unwrap();
                match (&reply.content[..], reply.stop_reason) {
                    (_, StopReason::MaxTokens) => {}
                    ([ContentBlock::Text(text)], StopReason::EndTurn) => {
                        let document: Value = serde_json::from_str(text).unwrap();
                        assert!(document["age"].is_i64());
                    }
                    (_, StopReason::ToolUse) if !tools.is_empty() => {}
                    other => panic!("{model}: {other:?}"),
                }
            }
        }
    }
}

#[tokio::test]
async fn contradictions_are_refused() {
    let engine = engine("llama3", EngineOptions::default());
    let quote = Some(OutputFormat::Quote(vec!["a text".to_owned()]));
    let unknown = ToolChoice::Tool {
        name: "other".to_owned(),
    };
    for (request, field) in [
        (
            ConverseRequest {
                tool_choice: Some(ToolChoice::Any {}),
                ..ConverseRequest::default()
            },
            "tool_choice",
        ),
        (
            ConverseRequest {
                tool_choice: Some(unknown),
                tools: vec![weather()],
                ..ConverseRequest::default()
            },
            "tool_choice",
        ),
        (
            ConverseRequest {
                output_format: quote,
                tools: vec![weather()],
                ..ConverseRequest::default()
            },
            "output_format.quote",
        ),
    ] {
        let error = engine.converse(asks(request, 0)).await.unwrap_err();
        assert_eq!(error.kind(), ErrorKind::ValidationException);
        assert!(error.message().starts_with(field), "{error}");
    }
}

#[tokio::test]
async fn a_quotation_stands_in_one_of_the_texts() {
    let engine = engine("qwen3", EngineOptions::default());
    let texts = [
        "Bern is the capital of Switzerland.",
        "Zürich is its largest city.",
    ];
    let format = OutputFormat::Quote(texts.map(str::to_owned).to_vec());
    for seed in 0..12 {
        let completion = run(&engine, &format, seed).await;
        assert_eq!(completion.stop_reason, StopReason::EndTurn);
        assert!(!completion.text.is_empty());
        assert!(
            texts.iter().any(|text| text.contains(&completion.text)),
            "{}",
            completion.text
        );
    }
}

/// A few documents of each schema of the fixtures; an independent validator reads thousands.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn every_schema_of_the_fixtures_gives_json_however_requests_run() {
    let schemas = crate::golden::json("schemas.json");
    let alone = engine("llama3", on_threads(1));
    let together = engine("llama3", on_threads(2));
    let requests: Vec<(String, GenerateRequest)> = schemas
        .as_array()
        .unwrap()
        .iter()
        .flat_map(|entry| (0..2).map(move |seed| (entry, seed)))
        .map(|(entry, seed)| {
            let format = OutputFormat::JsonSchema(entry["schema"].clone());
            (entry["name"].to_string(), structured(format, seed, 300))
        })
        .collect();
    let tasks: Vec<_> = requests
        .iter()
        .map(|(_, request)| {
            let (engine, request) = (together.clone(), request.clone());
            tokio::spawn(async move { engine.generate(request).await.unwrap() })
        })
        .collect();
    for ((name, request), task) in requests.into_iter().zip(tasks) {
        let completion = task.await.unwrap();
        let expected = alone.generate(request).await.unwrap();
        assert_eq!(
            (&completion.ids, &completion.text),
            (&expected.ids, &expected.text),
            "{name}"
        );
        if completion.stop_reason == StopReason::EndTurn {
            let document: Result<Value, _> = serde_json::from_str(&completion.text);
            assert!(document.is_ok(), "{name}: {}", completion.text);
        } else {
            assert_eq!(completion.stop_reason, StopReason::MaxTokens, "{name}");
        }
    }
}
