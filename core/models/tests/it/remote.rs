//! Models behind a server of OpenAI's form.

use std::sync::Arc;
use std::time::{Duration, Instant};

use outcrop_api::{
    ContentBlock, ConverseRequest, EmbedOptions, Error, ErrorKind, Message, ModelKind, Role,
    StopReason, StreamEvent,
};
use outcrop_models::Model;
use serde_json::{Value, json};

use crate::openai_server::{OpenAiServer, Reply};
use crate::scripted::shelf;

const ID: &str = "acme.remote-v1";

async fn open(spec: Value) -> (tempfile::TempDir, Arc<Model>) {
    let home = tempfile::tempdir().unwrap();
    let shelf = shelf(&home);
    let entry = shelf.register(ID, spec, false, None).await.unwrap();
    assert!(
        entry.source.starts_with("openai:http://127.0.0.1:"),
        "{entry:?}"
    );
    (home, shelf.resolve(ID, None).await.unwrap())
}

async fn chat(server: &OpenAiServer) -> (tempfile::TempDir, Arc<Model>) {
    open(json!({"openai": {"base_url": server.base_url, "model": "m", "timeout_ms": 300}})).await
}

fn says(text: &str) -> ConverseRequest {
    ConverseRequest {
        messages: vec![Message::text(Role::User, text)],
        ..ConverseRequest::default()
    }
}

fn text(text: &str) -> String {
    json!({"choices": [{"delta": {"content": text}}]}).to_string()
}

fn end(reason: &str) -> Vec<String> {
    let usage = json!({"prompt_tokens": 5, "completion_tokens": 2});
    vec![
        json!({"choices": [{"delta": {}, "finish_reason": reason}]}).to_string(),
        json!({"choices": [], "usage": usage}).to_string(),
        "[DONE]".into(),
    ]
}

fn whole(deltas: &[&str]) -> Vec<String> {
    deltas
        .iter()
        .map(|delta| text(delta))
        .chain(end("stop"))
        .collect()
}

fn events(events: Vec<String>, pause_ms: u64) -> OpenAiServer {
    OpenAiServer::start(Reply::Events(events, Duration::from_millis(pause_ms), true))
}

#[tokio::test(flavor = "multi_thread")]
async fn an_answer_streams_from_the_server() {
    let server = events(whole(&["Blue ", "sky."]), 40);
    let spec = json!({"openai": {"base_url": format!("{}/", server.base_url), "model": "m",
        "api_key": "k1", "headers": {"X-Team": "sky"}}});
    let (_home, model) = open(spec).await;
    assert_eq!(
        (model.info().kind, model.info().device.as_str()),
        (ModelKind::Chat, "remote")
    );
    let mut stream = model
        .chat()
        .unwrap()
        .converse_stream(says("Sky?"))
        .await
        .unwrap();
    let first = stream.next().await.unwrap().unwrap();
    let at = Instant::now();
    assert_eq!(first, StreamEvent::TextDelta("Blue ".into()));
    assert_eq!(
        stream.next().await.unwrap().unwrap(),
        StreamEvent::TextDelta("sky.".into())
    );
    assert!(
        at.elapsed() >= Duration::from_millis(20),
        "deltas come as they are made"
    );
    let StreamEvent::Done { stop_reason, usage } = stream.next().await.unwrap().unwrap() else {
        panic!("expected the end")
    };
    assert_eq!(
        (stop_reason, usage.input_tokens, usage.output_tokens),
        (StopReason::EndTurn, 5, 2)
    );
    assert!(stream.next().await.is_none());
    let asked = &server.asked()[0];
    assert_eq!(asked.path, "/v1/chat/completions");
    assert_eq!(
        asked.body["messages"],
        json!([{"role": "user", "content": "Sky?"}])
    );
    let header = |name: &str| {
        let found = asked.headers.iter().find(|(header, _)| header == name);
        found.map(|(_, value)| value.as_str())
    };
    assert_eq!(
        (header("authorization"), header("x-team")),
        (Some("Bearer k1"), Some("sky"))
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn tools_are_asked_for_and_their_calls_come_back() {
    let call = json!({"choices": [{"delta": {"tool_calls": [
        {"index": 0, "id": "c1", "function": {"name": "sky", "arguments": "{\"at\": 1}"}}]}}]});
    let server = events([vec![call.to_string()], end("tool_calls")].concat(), 0);
    let (_home, model) = chat(&server).await;
    let reply = model.chat().unwrap().converse(says("Sky?")).await.unwrap();
    assert_eq!(reply.stop_reason, StopReason::ToolUse);
    let [ContentBlock::ToolUse(call)] = &reply.content[..] else {
        panic!("{:?}", reply.content)
    };
    assert_eq!(
        (call.tool_use_id.as_str(), &call.input),
        ("c1", &json!({"at": 1}))
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn dropping_the_stream_closes_the_connection() {
    // In the middle of an answer, and while the server says nothing.
    let server = events(vec![text("x"); 10_000], 5);
    let (_home, model) = chat(&server).await;
    let mut stream = model
        .chat()
        .unwrap()
        .converse_stream(says("Sky?"))
        .await
        .unwrap();
    stream.next().await.unwrap().unwrap();
    let dropped = Instant::now();
    drop(stream);
    let closed = tokio::task::spawn_blocking(move || server.closed())
        .await
        .unwrap();
    assert!(closed.unwrap() - dropped < Duration::from_millis(200));

    let server = OpenAiServer::start(Reply::Silence);
    let spec = json!({"openai": {"base_url": server.base_url, "model": "m"}});
    let (_home, model) = open(spec).await;
    let chat = model.chat().unwrap();
    let waited = tokio::time::timeout(Duration::from_millis(50), chat.converse(says("Sky?"))).await;
    assert!(waited.is_err());
    let dropped = Instant::now();
    let closed = tokio::task::spawn_blocking(move || server.closed())
        .await
        .unwrap();
    assert!(closed.unwrap().saturating_duration_since(dropped) < Duration::from_millis(200));
}

async fn fails(model: &Model, request: ConverseRequest) -> Error {
    model.chat().unwrap().converse(request).await.unwrap_err()
}

#[tokio::test(flavor = "multi_thread")]
async fn errors_have_the_names_of_aws() {
    let words = json!({"error": {"message": "too long", "type": "x"}}).to_string();
    for (status, kind) in [
        (400, ErrorKind::ValidationException),
        (401, ErrorKind::ModelErrorException),
        (404, ErrorKind::ModelErrorException),
        (429, ErrorKind::ThrottlingException),
        (500, ErrorKind::ModelErrorException),
        (503, ErrorKind::ServiceUnavailableException),
    ] {
        let server = OpenAiServer::start(Reply::Whole(status, words.clone()));
        let (_home, model) = chat(&server).await;
        let error = fails(&model, says("x")).await;
        assert_eq!(error.kind(), kind, "{status}: {error}");
        let told = format!("answered {status}: too long");
        assert!(error.message().contains(&told), "{error}");
        let original = error.members().get("originalStatusCode");
        let is_model_error = kind == ErrorKind::ModelErrorException;
        assert_eq!(original, is_model_error.then(|| json!(status)).as_ref());
    }
    let free = std::net::TcpListener::bind("127.0.0.1:0")
        .unwrap()
        .local_addr()
        .unwrap();
    let (_home, model) =
        open(json!({"openai": {"base_url": format!("http://{free}"), "model": "m"}})).await;
    let error = fails(&model, says("x")).await;
    assert_eq!(error.kind(), ErrorKind::ServiceUnavailableException);
    assert!(
        error.message().contains("no server listens there"),
        "{error}"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn a_silent_or_broken_server_is_an_error() {
    let silent = OpenAiServer::start(Reply::Silence);
    let (_home, model) = chat(&silent).await;
    let error = fails(&model, says("x")).await;
    assert_eq!(error.kind(), ErrorKind::ModelTimeoutException, "{error}");
    let mut hurried = says("x");
    hurried.scheduling.deadline_ms = Some(30);
    let error = fails(&model, hurried).await;
    assert!(error.message().starts_with("deadline_ms: "), "{error}");

    let inner = json!({"error": {"message": "out of memory"}}).to_string();
    for (sent, is_whole, part) in [
        (vec![text("a"), inner], true, "out of memory"),
        (vec![text("a")], true, "broke off before its finish_reason"),
        (vec![text("a")], false, ""),
        (end("stop")[..1].to_vec(), true, "no usage"),
        (vec!["{".into()], true, "expected a chunk of an answer"),
    ] {
        let server = OpenAiServer::start(Reply::Events(sent, Duration::ZERO, is_whole));
        let (_home, model) = chat(&server).await;
        let error = fails(&model, says("x")).await;
        assert_eq!(
            error.kind(),
            ErrorKind::ModelStreamErrorException,
            "{error}"
        );
        assert!(error.message().contains(part), "{error}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn embeddings_come_from_the_server_too() {
    let answer = json!({"data": [{"index": 1, "embedding": [0, 2]}, {"index": 0, "embedding": [3, 4]}],
        "usage": {"prompt_tokens": 6, "total_tokens": 6}});
    let server = OpenAiServer::start(Reply::Whole(200, answer.to_string()));
    let spec = |dimensions: usize| {
        json!({"openai": {"base_url": server.base_url, "model": "e", "kind": "embedding",
            "dimensions": dimensions}})
    };
    let (_home, model) = open(spec(2)).await;
    let embedder = model.embedder().unwrap();
    let texts = ["a".to_string(), "b".to_string()];
    let vectors = embedder
        .embed(&texts, EmbedOptions::default())
        .await
        .unwrap();
    assert_eq!(
        (vectors.values, vectors.input_tokens),
        (vec![0.6, 0.8, 0.0, 1.0], 6)
    );
    assert_eq!(server.asked()[0].path, "/v1/embeddings");
    assert_eq!(server.asked()[0].body["input"], json!(["a", "b"]));
    let cut = EmbedOptions {
        truncate: true,
        ..EmbedOptions::default()
    };
    let error = embedder.embed(&texts, cut).await.unwrap_err();
    assert!(error.message().starts_with("truncate: "), "{error}");
    let (_home, wrong) = open(spec(3)).await;
    let error = wrong
        .embedder()
        .unwrap()
        .embed(&texts, EmbedOptions::default())
        .await
        .unwrap_err();
    assert!(
        error
            .message()
            .contains("openai.dimensions: expected vectors of 3, got 2"),
        "{error}"
    );
}

#[tokio::test]
async fn a_wrong_declaration_is_refused() {
    let home = tempfile::tempdir().unwrap();
    let shelf = shelf(&home);
    for (members, start) in [
        (
            json!({"base_url": "localhost:80", "model": "m"}),
            "openai.base_url: expected http://",
        ),
        (
            json!({"base_url": "http://h/v1"}),
            "openai: expected a member \"model\"",
        ),
        (
            json!({"base_url": "http://h", "model": "m", "kind": "embedding"}),
            "openai: expected \"dimensions\" with",
        ),
        (
            json!({"base_url": "http://h", "model": "m", "api_key": "a", "api_key_env": "b"}),
            "openai: expected one of api_key and api_key_env",
        ),
        (
            json!({"base_url": "http://h", "model": "m", "headers": {"a b": "c"}}),
            "openai.headers[\"a b\"]: expected a header's name",
        ),
    ] {
        let spec = json!({"openai": members});
        let error = shelf.register(ID, spec, false, None).await.unwrap_err();
        assert!(error.message().starts_with(start), "{error}");
    }
    let keyed = json!({"openai": {"base_url": "http://h", "model": "m",
        "api_key_env": "OUTCROP_TEST_NO_SUCH_KEY"}});
    shelf.register(ID, keyed, false, None).await.unwrap();
    let error = shelf.resolve(ID, None).await.err().unwrap();
    assert!(
        error
            .message()
            .contains("OUTCROP_TEST_NO_SUCH_KEY, which is not set"),
        "{error}"
    );
}
