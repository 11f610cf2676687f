//! Output that must have a form: whatever a model of random weights says, it has it.

use outcrop_api::{
    Completion, ErrorKind, GenerateRequest, InferenceConfig, OutputFormat, Prompt, StopReason,
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
