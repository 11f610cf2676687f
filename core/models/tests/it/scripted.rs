//! Models that are declared as data.

use std::time::{Duration, Instant};

use outcrop_api::{
    ContentBlock, ConverseRequest, EmbedOptions, Error, ErrorKind, Message, OutputFormat, Reply,
    Role, StopReason, StreamEvent, ToolChoice,
};
use outcrop_models::{Model, Shelf, ShelfOptions};
use outcrop_store::Home;
use serde_json::{Value, json};
use std::sync::Arc;

const ID: &str = "acme.scripted-v1";

pub(crate) fn shelf(home: &tempfile::TempDir) -> Shelf {
    let options = ShelfOptions {
        offline: true,
        ..ShelfOptions::default()
    };
    Shelf::new(Home::open(home.path()).unwrap(), options)
}

async fn model(spec: Value) -> (tempfile::TempDir, Arc<Model>) {
    let home = tempfile::tempdir().unwrap();
    let shelf = shelf(&home);
    shelf.register(ID, spec, false, None).await.unwrap();
    let model = shelf.resolve(ID, None).await.unwrap();
    (home, model)
}

async fn refused(spec: Value) -> Error {
    let home = tempfile::tempdir().unwrap();
    shelf(&home)
        .register(ID, spec, false, None)
        .await
        .unwrap_err()
}

fn says(text: &str) -> ConverseRequest {
    ConverseRequest {
        messages: vec![Message::text(Role::User, text)],
        ..ConverseRequest::default()
    }
}

fn request(value: Value) -> ConverseRequest {
    serde_json::from_value(value).unwrap()
}

async fn ask(model: &Model, request: ConverseRequest) -> Result<Reply, Error> {
    model.chat().unwrap().converse(request).await
}

fn text(reply: &Reply) -> &str {
    match &reply.content[..] {
        [ContentBlock::Text(text)] => text,
        other => panic!("expected one text, got {other:?}"),
    }
}

#[tokio::test]
async fn the_first_rule_that_matches_answers() {
    let (_home, model) = model(json!({"script": [
        {"match": {"text": "hello"}, "answer": "equal"},
        {"match": {"text": {"contains": "weather"}, "turn": 2}, "answer": "second turn"},
        {"match": {"text": {"regex": "^\\d+$"}}, "answer": "a number"},
        {"match": {"system": {"contains": "pirate"}}, "answer": "Arr"},
        {"match": {"tag": {"case": "a"}}, "answer": "tagged"},
        {"match": {"tool_result": {"name": "sky", "content": {"contains": "blue"}}}, "answer": "blue!"},
        {"match": {"tool_result": {"id": "t9", "status": "error"}}, "answer": "failed"},
        {"match": {"text": {"contains": "weather"}}, "answer": "first turn"}
    ]}))
    .await;
    let history = |last: Value| {
        request(json!({"messages": [
            {"role": "user", "content": [{"text": "q"}]},
            {"role": "assistant", "content": [{"toolUse": {"toolUseId": "t9", "name": "sky", "input": {}}}]},
            {"role": "user", "content": [last]}
        ]}))
    };
    let result = |body: Value| json!({"toolResult": body});
    for (asked, answer) in [
        (says("hello"), "equal"),
        (says("the weather?"), "first turn"),
        (history(json!({"text": "the weather?"})), "second turn"),
        (says("42"), "a number"),
        (
            request(
                json!({"messages": [{"role": "user", "content": [{"text": "x"}]}], "system": "a pirate"}),
            ),
            "Arr",
        ),
        (
            request(
                json!({"messages": [{"role": "user", "content": [{"text": "x"}]}], "requestMetadata": {"case": "a"}}),
            ),
            "tagged",
        ),
        (
            history(result(
                json!({"toolUseId": "t9", "content": [{"json": {"sky": "blue"}}]}),
            )),
            "blue!",
        ),
        (
            history(result(
                json!({"toolUseId": "t9", "content": [{"text": "x"}], "status": "error"}),
            )),
            "failed",
        ),
    ] {
        let shown = format!("{asked:?}");
        let reply = ask(&model, asked).await.unwrap();
        assert_eq!(text(&reply), answer, "{shown}");
    }
    let error = ask(&model, says("hello?")).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::ValidationException);
    for part in [
        "\"hello?\"",
        "turn 1",
        "script[0]: {\"text\":\"hello\"}",
        "script[7]",
    ] {
        assert!(error.message().contains(part), "{part}: {error}");
    }
}

#[tokio::test]
async fn a_sequence_answers_the_nth_match_with_the_nth() {
    let (_home, model) = model(json!({"script": [
        {"match": {"text": "a"}, "answers": ["1", "2"]},
        {"match": {"text": "b"}, "answers": ["1", "2"], "then": "repeat_last"},
        {"match": {"text": "c"}, "answers": ["1", "2"], "then": "start_over"}
    ]}))
    .await;
    for (asked, expected) in [("a", "12!"), ("b", "122"), ("c", "121")] {
        let mut got = String::new();
        for _ in 0..3 {
            match ask(&model, says(asked)).await {
                Ok(reply) => got.push_str(text(&reply)),
                Err(error) => {
                    assert!(
                        error.message().contains("script[0] has 2 answers"),
                        "{error}"
                    );
                    got.push('!');
                }
            }
        }
        assert_eq!(got, expected);
    }
}

#[tokio::test]
async fn every_stop_reason_is_reachable() {
    for reason in [
        "end_turn",
        "tool_use",
        "max_tokens",
        "stop_sequence",
        "guardrail_intervened",
        "content_filtered",
        "malformed_model_output",
        "malformed_tool_use",
        "model_context_window_exceeded",
    ] {
        let (_home, model) =
            model(json!({"script": [{"answer": {"text": "x", "stop_reason": reason}}]})).await;
        let reply = ask(&model, says("x")).await.unwrap();
        assert_eq!(
            serde_json::to_value(reply.stop_reason).unwrap(),
            json!(reason)
        );
    }
}

#[tokio::test]
async fn tool_uses_have_ids_of_their_conversation_and_malformed_ones_say_so() {
    let (_home, model) = model(json!({"script": [
        {"match": {"text": "two"}, "answer": {"text": "Wait.", "tool_uses": [
            {"name": "sky", "input": {"city": "Oslo"}}, {"name": "sea", "id": "mine"}]}},
        {"answer": {"tool_uses": [{"name": "sky", "input_text": "{\"city\": "}]}}
    ]}))
    .await;
    let first = ask(&model, says("two")).await.unwrap();
    assert_eq!(first.stop_reason, StopReason::ToolUse);
    let uses: Vec<_> = first
        .content
        .iter()
        .filter_map(|block| match block {
            ContentBlock::ToolUse(call) => Some(call.clone()),
            _ => None,
        })
        .collect();
    assert_eq!(uses[0].input, json!({"city": "Oslo"}));
    assert!(uses[0].tool_use_id.starts_with("tooluse_") && uses[0].tool_use_id.len() == 30);
    assert_eq!(
        (uses[1].tool_use_id.as_str(), &uses[1].input),
        ("mine", &json!({}))
    );
    let again = ask(&model, says("two")).await.unwrap();
    assert_eq!(
        again.content, first.content,
        "the same request, the same bytes"
    );
    let malformed = ask(&model, says("x")).await.unwrap();
    assert_eq!(malformed.stop_reason, StopReason::MalformedToolUse);
    let ContentBlock::ToolUse(call) = &malformed.content[0] else {
        panic!()
    };
    assert_eq!(call.input, json!("{\"city\": "));
}

#[tokio::test]
async fn usage_is_stated_or_counted_and_limits_of_the_request_hold() {
    let (_home, model) = model(json!({"script": [
        {"match": {"text": "stated"}, "answer": {"text": "one two three", "usage":
            {"input_tokens": 100, "output_tokens": 50, "cache_read_input_tokens": 7}}},
        {"answer": {"text": ["one two", " three", " four"], "tool_uses": [{"name": "x"}]}}
    ]}))
    .await;
    let usage = ask(&model, says("stated")).await.unwrap().usage;
    assert_eq!(
        (usage.input_tokens, usage.output_tokens, usage.total_tokens),
        (100, 50, 150)
    );
    assert_eq!(usage.cache_read_input_tokens, 7);
    let whole = ask(&model, says("Why, then?")).await.unwrap();
    // "Why" "," "then" "?" in; four words, "x", "{" and "}" out.
    assert_eq!(
        (whole.usage.input_tokens, whole.usage.output_tokens),
        (4, 7)
    );
    let limited = |max_tokens: Option<usize>, stop: &[&str]| {
        let mut asked = says("Why, then?");
        asked.inference_config.max_tokens = max_tokens;
        asked.inference_config.stop_sequences = stop.iter().map(ToString::to_string).collect();
        asked
    };
    let cut = ask(&model, limited(Some(3), &[])).await.unwrap();
    assert_eq!(
        (text(&cut), cut.stop_reason),
        ("one two three", StopReason::MaxTokens)
    );
    assert_eq!(cut.usage.output_tokens, 3);
    let cut = ask(&model, limited(Some(5), &[])).await.unwrap();
    assert_eq!(
        (text(&cut), cut.stop_reason),
        ("one two three four", StopReason::MaxTokens)
    );
    let stopped = ask(&model, limited(Some(9), &["two three"])).await.unwrap();
    assert_eq!(
        (text(&stopped), stopped.stop_reason),
        ("one ", StopReason::StopSequence)
    );
    let mut stated = says("stated");
    stated.inference_config.max_tokens = Some(2);
    assert_eq!(ask(&model, stated).await.unwrap().usage.output_tokens, 2);
    assert_eq!(model.count_tokens(&says("Why, then?")).unwrap(), 4);
}

#[tokio::test]
async fn faults_arise_before_and_within_the_stream() {
    let (_home, model) = model(json!({"script": [
        {"match": {"text": "early"}, "answer": {"fault": {"error": "ModelErrorException",
            "message": "no", "original_status_code": 500, "resource_name": "r"}}},
        {"match": {"text": "late"}, "answer": {"text": ["a", "b", "c"], "fault":
            {"error": "ModelStreamErrorException", "after_deltas": 2, "original_message": "oops"}}},
        {"match": {"text": "stall"}, "answer": {"text": ["a", "b"], "fault": {"stall": true, "after_deltas": 1}}}
    ]}))
    .await;
    let chat = model.chat().unwrap();
    let error = chat.converse_stream(says("early")).await.err().unwrap();
    assert_eq!(
        (error.kind(), error.message()),
        (ErrorKind::ModelErrorException, "no")
    );
    assert_eq!(error.members()["originalStatusCode"], 500);
    assert_eq!(error.members()["resourceName"], "r");
    let mut stream = chat.converse_stream(says("late")).await.unwrap();
    let delta = |text: &str| StreamEvent::TextDelta(text.into());
    assert_eq!(stream.next().await.unwrap().unwrap(), delta("a"));
    assert_eq!(stream.next().await.unwrap().unwrap(), delta("b"));
    let error = stream.next().await.unwrap().unwrap_err();
    assert_eq!(error.kind(), ErrorKind::ModelStreamErrorException);
    assert_eq!(error.members()["originalMessage"], "oops");
    assert!(stream.next().await.is_none());
    let mut asked = says("stall");
    asked.scheduling.deadline_ms = Some(30);
    let mut stream = chat.converse_stream(asked).await.unwrap();
    assert_eq!(stream.next().await.unwrap().unwrap(), delta("a"));
    let error = stream.next().await.unwrap().unwrap_err();
    assert_eq!(error.kind(), ErrorKind::ModelTimeoutException);
    // Without a deadline it stalls until it is dropped.
    let mut stream = chat.converse_stream(says("stall")).await.unwrap();
    stream.next().await.unwrap().unwrap();
    let waited = tokio::time::timeout(Duration::from_millis(30), stream.next()).await;
    assert!(waited.is_err());
}

#[tokio::test]
async fn every_error_of_aws_can_be_raised() {
    for kind in ErrorKind::ALL {
        let spec = json!({"script": [{"answer": {"fault": {"error": kind.name()}}}]});
        let home = tempfile::tempdir().unwrap();
        let shelf = shelf(&home);
        let registered = shelf.register(ID, spec, false, None).await;
        if registered.is_err() {
            // Those that no operation of the runtime declares.
            assert!(
                matches!(
                    kind,
                    ErrorKind::DependencyFailedException
                        | ErrorKind::BadGatewayException
                        | ErrorKind::ResourceInUseException
                        | ErrorKind::TooManyTagsException
                        | ErrorKind::NotImplementedException
                        | ErrorKind::CancelledException
                ),
                "{kind:?}"
            );
            continue;
        }
        let model = shelf.resolve(ID, None).await.unwrap();
        assert_eq!(ask(&model, says("x")).await.unwrap_err().kind(), *kind);
    }
}

#[tokio::test]
async fn pauses_are_kept() {
    let (_home, model) = model(json!({"script": [
        {"answer": {"text": ["a", "b", "c"], "delay_ms": 30, "delta_delay_ms": 20}}
    ]}))
    .await;
    let started = Instant::now();
    let reply = ask(&model, says("x")).await.unwrap();
    assert!(started.elapsed() >= Duration::from_millis(70) && reply.latency_ms >= 70);
    assert_eq!(text(&reply), "abc");
}

#[tokio::test]
async fn what_a_request_asks_for_is_followed_or_refused() {
    let (_home, model) = model(json!({"script": [
        {"match": {"text": "json"}, "answer": "{\"a\":1}"},
        {"match": {"text": "tool"}, "answer": {"tool_uses": [{"name": "sky"}]}},
        {"answer": "words"}
    ], "context_length": 5}))
    .await;
    let form = |text: &str, format: OutputFormat| ConverseRequest {
        output_format: Some(format),
        ..says(text)
    };
    let schema = || {
        OutputFormat::JsonSchema(json!({"type": "object",
        "properties": {"a": {"type": "integer"}}, "required": ["a"]}))
    };
    ask(&model, form("json", schema())).await.unwrap();
    let error = ask(&model, form("x", schema())).await.unwrap_err();
    assert!(
        error
            .message()
            .starts_with("response_schema: script[2].answer.text"),
        "{error}"
    );
    ask(&model, form("x", OutputFormat::Regex("w.*".into())))
        .await
        .unwrap();
    let choose = |text: &str, name: &str| ConverseRequest {
        tool_choice: Some(ToolChoice::Tool { name: name.into() }),
        ..says(text)
    };
    ask(&model, choose("tool", "sky")).await.unwrap();
    for (asked, part) in [
        (
            choose("tool", "sea"),
            "tool_choice: the request asks for a use of the tool \"sea\"",
        ),
        (
            ConverseRequest {
                adapter: Some("x".into()),
                ..says("x")
            },
            "adapter: model",
        ),
        (
            says("one two three four five"),
            "messages: expected at most 4 tokens",
        ),
    ] {
        let error = ask(&model, asked).await.unwrap_err();
        assert!(error.message().starts_with(part), "{error}");
    }
}

#[tokio::test]
async fn vectors_and_scores_are_declared_too() {
    let (_home, embedder) = model(json!({"embeddings": {"dimensions": 2, "vectors": [
        {"text": "north", "vector": [0, 2]}, {"text": {"contains": "ast"}, "vector": [1, 0]}]}}))
    .await;
    let embedder = embedder.embedder().unwrap();
    let texts = ["north".to_string(), "the east".to_string()];
    let vectors = embedder
        .embed(&texts, EmbedOptions::default())
        .await
        .unwrap();
    assert_eq!(
        (vectors.values, vectors.input_tokens),
        (vec![0.0, 1.0, 1.0, 0.0], 3)
    );
    let error = embedder
        .embed(&["up".to_string()], EmbedOptions::default())
        .await
        .unwrap_err();
    assert!(
        error.message().contains("\"up\"") && error.message().contains("\"north\""),
        "{error}"
    );

    let (_home, hashed) =
        model(json!({"embeddings": {"dimensions": 64, "others": "hashed"}})).await;
    let hashed = hashed.embedder().unwrap();
    let texts = [
        "the blue sky".to_string(),
        "a sky so BLUE".into(),
        "tax law".into(),
    ];
    let vectors = hashed.embed(&texts, EmbedOptions::default()).await.unwrap();
    let rows: Vec<&[f32]> = vectors.rows().collect();
    let dot = |a: &[f32], b: &[f32]| a.iter().zip(b).map(|(a, b)| a * b).sum::<f32>();
    assert!(dot(rows[0], rows[1]) > dot(rows[0], rows[2]) + 0.3);

    let (_home, reranker) = model(json!({"rerank": [
        {"query": "sky", "text": {"contains": "blue"}, "score": 0.9}, {"text": {"regex": ""}, "score": -1}]}))
    .await;
    let texts = ["blue".to_string(), "red".to_string()];
    let reranker = reranker.reranker().unwrap();
    assert_eq!(reranker.rerank("sky", &texts).await.unwrap(), [0.9, -1.0]);
    assert_eq!(reranker.rerank("sea", &texts).await.unwrap(), [-1.0, -1.0]);
}

#[tokio::test]
async fn a_wrong_declaration_is_refused_with_its_place() {
    for (spec, start) in [
        (json!([]), "spec: expected an object with one of script"),
        (json!({}), "spec: expected exactly one of script"),
        (
            json!({"script": [], "path": "x"}),
            "spec: expected exactly one of",
        ),
        (
            json!({"script": []}),
            "script: expected a list of at least one, got []",
        ),
        (
            json!({"script": [{"answer": "x"}], "x": 1}),
            "spec: unknown member \"x\"",
        ),
        (
            json!({"script": [{}]}),
            "script[0]: expected exactly one of answer, answers",
        ),
        (
            json!({"script": [{"answer": {"delay_ms": 1}}]}),
            "script[0].answer: expected at least one of text",
        ),
        (
            json!({"script": [{"answer": "x"}, {"answer": {"text": "x", "delay_ms": -1}}]}),
            "script[1].answer.delay_ms: expected a whole number of 0 to 86400000, got -1",
        ),
        (
            json!({"script": [{"match": {"text": {"regex": "("}}, "answer": "x"}]}),
            "script[0].match.text.regex: expected a regular expression (",
        ),
        (
            json!({"script": [{"match": {"contains": "x"}, "answer": "x"}]}),
            "script[0].match: unknown member \"contains\"; expected text, system",
        ),
        (
            json!({"script": [{"answer": {"fault": {"error": "Oops"}}}]}),
            "script[0].answer.fault.error: expected one of AccessDeniedException",
        ),
        (
            json!({"script": [{"answer": {"text": ["a"], "fault": {"stall": true, "after_deltas": 2}}}]}),
            "script[0].answer.fault.after_deltas: expected a whole number of 0 to 1, got 2",
        ),
        (
            json!({"script": [{"answer": {"fault": {"error": "ThrottlingException", "original_status_code": 500}}}]}),
            "script[0].answer.fault.original_status_code: expected none for ThrottlingException",
        ),
        (
            json!({"script": [{"answers": [{"tool_uses": [{"name": "x", "input": "y"}]}]}]}),
            "script[0].answers[0].tool_uses[0].input: expected an object, got \"y\"",
        ),
        (
            json!({"embeddings": {"dimensions": 2, "vectors": [{"text": "x", "vector": [1]}]}}),
            "embeddings.vectors[0].vector: expected 2 numbers, as dimensions says, got [1]",
        ),
        (
            json!({"rerank": [{"text": "x"}]}),
            "rerank[0]: expected a member \"score\"",
        ),
    ] {
        let error = refused(spec).await;
        assert_eq!(error.kind(), ErrorKind::ValidationException);
        assert!(error.message().starts_with(start), "{error}");
    }
}
