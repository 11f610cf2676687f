//! What comes back over the wire, whatever is asked.

use std::sync::LazyLock;

use outcrop::governance::Caller;
use outcrop::{Session, SessionOptions};
use outcrop_protocol::{Body, HttpRequest, HttpResponse, handle};
use proptest::prelude::*;
use serde_json::{Value, json};

/// A session in a home of its own, which lives as long as the folder.
fn session() -> (Session, tempfile::TempDir) {
    let home = tempfile::tempdir().unwrap();
    let options = SessionOptions {
        home: Some(home.path().to_path_buf()),
        ..SessionOptions::default()
    };
    (Session::open(options).unwrap(), home)
}

fn ask(session: &Session, method: &str, path: &str, body: &[u8]) -> (HttpResponse, Value) {
    let request = HttpRequest {
        method: method.to_string(),
        path: path.to_string(),
        body: body.to_vec(),
        ..HttpRequest::default()
    };
    let response =
        outcrop::runtime()
            .unwrap()
            .block_on(handle(session, Caller::in_process(), request));
    let body = match &response.body {
        Body::Whole(bytes) => serde_json::from_slice(bytes.as_slice()).unwrap_or(Value::Null),
        Body::Chunks(_) => Value::Null,
    };
    (response, body)
}

fn header<'a>(response: &'a HttpResponse, name: &str) -> Option<&'a str> {
    let found = response.headers.iter().find(|(it, _)| it == name);
    found.map(|(_, value)| value.as_str())
}

#[test]
fn an_error_is_told_as_the_service_tells_it() {
    let (session, _home) = session();
    let (response, body) = ask(&session, "POST", "/model/%FF/converse", b"{}");
    assert_eq!(response.status, 400);
    assert_eq!(
        header(&response, "x-amzn-ErrorType"),
        Some("ValidationException:http://internal.amazon.com/coral/com.amazon.bedrock/")
    );
    assert_eq!(
        body,
        json!({"message": "The value of 'modelId' in the path is not UTF-8"})
    );
    assert_eq!(
        header(&response, "x-amzn-RequestId").map(str::len),
        Some(36)
    );
    let date = header(&response, "Date").unwrap();
    assert!(chrono::DateTime::parse_from_rfc2822(date).is_ok(), "{date}");
}

#[test]
fn what_is_not_here_says_so_by_name_whatever_it_was_asked() {
    let (session, _home) = session();
    let (response, body) = ask(&session, "POST", "/guardrails", b"not json");
    assert_eq!(response.status, 501);
    assert!(
        header(&response, "x-amzn-ErrorType")
            .unwrap()
            .starts_with("NotImplementedException:")
    );
    assert!(
        body["message"]
            .as_str()
            .unwrap()
            .starts_with("CreateGuardrail of bedrock"),
        "{body}"
    );
}

#[test]
fn a_path_that_leads_nowhere_is_an_unknown_operation() {
    let (session, _home) = session();
    let (response, body) = ask(&session, "GET", "/nowhere", b"");
    assert_eq!(response.status, 404);
    assert_eq!(
        body,
        json!({"Output": {"__type": "com.amazon.coral.service#UnknownOperationException"}, "Version": "1.0"})
    );
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]
    #[test]
    fn whatever_is_asked_is_answered(
        method in "GET|POST|PUT|DELETE|PATCH|[A-Z]{0,5}",
        path in "(/(model|agents|tags|prompts|[a-z%0-9/é]{0,6})){0,5}/?(converse|invoke)?",
        query in "[a-zA-Z=&%+0-9]{0,30}",
        name in "(content-type|accept|host|[a-zA-Z-]{0,10})",
        value in ".{0,20}",
        body in prop::collection::vec(any::<u8>(), 0..60),
    ) {
        let (session, _home) = session();
        let headers = vec![(name, value)];
        let request = HttpRequest { method, path, query, headers, body };
        let response = outcrop::runtime().unwrap().block_on(handle(&session, Caller::in_process(), request));
        prop_assert!((200..=501).contains(&response.status));
    }

    #[test]
    fn whatever_json_is_sent_is_answered(body in "[\\[\\]{}\":,0-9a-z\\\\ ]{0,80}") {
        let (session, _home) = session();
        for path in ["/model/a.b/converse", "/model/a.b/converse-stream", "/knowledgebases/ABCDEFGHIJ/retrieve"] {
            let (response, _) = ask(&session, "POST", path, body.as_bytes());
            prop_assert!(response.status >= 400, "{}", response.status);
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(300))]
    /// Whatever a façade is sent, its answer is JSON of its vendor's form, and nothing panics.
    #[test]
    fn facades_answer_nonsense_with_an_error(
        path in prop::sample::select(vec![
            "/v1/chat/completions", "/v1/embeddings", "/v1/messages", "/v1/messages/count_tokens",
            "/v1/models", "/v1/models/x", "/v1/x",
        ]),
        member in prop::sample::select(vec![
            "messages", "tools", "tool_choice", "stop", "system", "input", "stream_options",
            "response_format", "metadata", "max_tokens", "thinking",
        ]),
        value in "[\\[{]{0,2}\"(role|type|content|text|name|user|tool)\":? ?\"?[a-z0-9]{0,6}\"?[\\]}]{0,2}|[0-9a-z\"{}\\[\\],:]{0,30}",
    ) {
        static SHARED: LazyLock<(Session, tempfile::TempDir)> = LazyLock::new(session);
        let value: Value = serde_json::from_str(&value).unwrap_or_else(|_| json!([{ "role": value }]));
        let mut body = json!({"model": "m", "max_tokens": 1, "input": "x",
            "messages": [{"role": "user", "content": "Hi"}]});
        body[member] = value;
        let (response, told) = ask(&SHARED.0, "POST", path, body.to_string().as_bytes());
        prop_assert!(response.status >= 400, "{told}");
        prop_assert!(told["error"]["message"].is_string(), "{told}");
    }
}
