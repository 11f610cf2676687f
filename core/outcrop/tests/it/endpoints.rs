//! Action groups that the runtime calls: OpenAPI operations by HTTP, and Lambda functions.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::TcpListener;
use std::sync::{Arc, Mutex};

use outcrop::agent_turn::{ActionGroup, Endpoint, Execution, Function, Outcome};
use outcrop::{AgentRequest, ApiSchema, HostAccess, InvokeRequest, Session};
use serde_json::{Value, json};

use crate::agents::{block, run};
use crate::session;

/// What a server was asked: the request's line, its headers, its body.
type Seen = Arc<Mutex<Vec<(String, Vec<String>, String)>>>;

/// A server on this machine that answers every request with `status` and `body`.
fn server(status: &'static str, body: String) -> (String, Seen) {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let host = listener.local_addr().unwrap().to_string();
    let seen = Seen::default();
    let told = seen.clone();
    std::thread::spawn(move || {
        for stream in listener.incoming() {
            let mut reader = BufReader::new(stream.unwrap());
            let mut lines = Vec::new();
            loop {
                let mut line = String::new();
                if reader.read_line(&mut line).unwrap_or(0) == 0 || line.trim().is_empty() {
                    break;
                }
                lines.push(line.trim().to_string());
            }
            let length = lines.iter().find_map(|line| {
                let (name, value) = line.split_once(':')?;
                name.eq_ignore_ascii_case("content-length")
                    .then(|| value.trim().parse::<usize>().unwrap())
            });
            let mut sent = vec![0; length.unwrap_or(0)];
            reader.read_exact(&mut sent).unwrap();
            if !lines.is_empty() {
                let first = lines.remove(0);
                told.lock()
                    .unwrap()
                    .push((first, lines, String::from_utf8(sent).unwrap()));
            }
            let head = format!(
                "HTTP/1.1 {status}\r\ncontent-type: application/json\r\ncontent-length: {}\r\nconnection: close\r\n\r\n",
                body.len()
            );
            let stream = reader.get_mut();
            let _ = stream.write_all(format!("{head}{body}").as_bytes());
        }
    });
    (host, seen)
}

const SCHEMA: &str = r#"{"openapi": "3.0.0", "info": {"title": "t", "version": "1"}, "paths": {
  "/limits/{user}": {"put": {"operationId": "setLimit",
    "parameters": [
      {"name": "user", "in": "path", "required": true, "schema": {"type": "string"}},
      {"name": "tag", "in": "query", "schema": {"type": "array", "items": {"type": "string"}}},
      {"name": "x-note", "in": "header", "schema": {"type": "string"}}],
    "requestBody": {"required": true, "content": {"application/json": {"schema":
      {"type": "object", "properties": {"amount": {"type": "number"}}, "required": ["amount"]}}}}}}}}"#;

fn call() -> Value {
    json!({"name": "setLimit", "input": {
        "user": "a/../b", "tag": ["x y", "z"], "x-note": "n", "amount": 5}})
}

/// An agent with one group at `endpoint`, whose functions are those of the schema or `functions`.
fn ask(session: &Session, endpoint: Endpoint, script: Value, functions: Vec<Function>) -> Value {
    block(session.register_model("acme.agent-v1", json!({"script": script}), true, None)).unwrap();
    let mut request = AgentRequest {
        name: "caller".into(),
        model: "acme.agent-v1".into(),
        replace: true,
        action_groups: vec![ActionGroup {
            name: "bank".into(),
            functions,
            execution: Execution::Runtime,
            endpoint: Some(endpoint),
            ..ActionGroup::default()
        }],
        ..AgentRequest::default()
    };
    if request.action_groups[0].functions.is_empty() {
        let schema = ApiSchema {
            schema: SCHEMA.into(),
            confirm: Vec::new(),
        };
        request.api_schemas = [("bank".to_string(), schema)].into();
    }
    let agent = block(session.create_agent(request)).unwrap();
    let request = InvokeRequest {
        input: "Set it.".into(),
        ..InvokeRequest::default()
    };
    let begun = block(agent.invoke(request)).unwrap();
    run(begun, &mut |_| panic!("it is not the caller's"))
        .unwrap()
        .0
}

fn script() -> Value {
    json!([
        {"match": {"tool_result": {"status": "error"}}, "answer": "It failed."},
        {"match": {"tool_result": {"status": "success"}}, "answer": "Done."},
        {"answer": {"tool_uses": [call()]}},
    ])
}

fn observed(result: &Value) -> Value {
    let trace = result["trace"].as_array().unwrap().iter();
    let mut told = trace.filter_map(|event| event["event"].get("observation"));
    told.next().unwrap()["outcome"].clone()
}

fn http(host: &str) -> Endpoint {
    Endpoint::Http {
        url: format!("http://{host}/v1/"),
    }
}

#[test]
fn an_operation_is_called_at_an_allowed_host_with_the_sessions_headers() {
    let home = tempfile::tempdir().unwrap();
    let session = session(&home);
    let (host, seen) = server("200 OK", json!({"limit": 5}).to_string());
    let refused = ask(&session, http(&host), script(), vec![]);
    assert_eq!(refused["text"], "It failed.");
    assert!(observed(&refused).to_string().contains("is not allowed"));
    assert!(seen.lock().unwrap().is_empty());

    let access = HostAccess {
        headers: [("Authorization".to_string(), "Bearer s3cret".to_string())].into(),
        private: false,
    };
    session.allow_host(&host, Some(access)).unwrap();
    let result = ask(&session, http(&host), script(), vec![]);
    assert_eq!(result["text"], "Done.");
    assert_eq!(observed(&result), json!({"returned": {"limit": 5}}));
    let (line, headers, body) = seen.lock().unwrap()[0].clone();
    assert_eq!(line, "PUT /v1/limits/a%2F..%2Fb?tag=x%20y&tag=z HTTP/1.1");
    assert!(
        headers
            .iter()
            .any(|line| line.eq_ignore_ascii_case("x-note: n"))
    );
    assert!(
        headers
            .iter()
            .any(|line| line.eq_ignore_ascii_case("authorization: Bearer s3cret"))
    );
    assert_eq!(
        serde_json::from_str::<Value>(&body).unwrap(),
        json!({"amount": 5})
    );
    // The secret stands in nothing that is told or kept.
    assert!(!result.to_string().contains("s3cret"));
    for entry in std::fs::read_dir(home.path().join("logs")).unwrap() {
        let path = entry.unwrap().path();
        for file in walk(&path) {
            assert!(!String::from_utf8_lossy(&std::fs::read(&file).unwrap()).contains("s3cret"));
        }
    }
    session.allow_host(&host, None).unwrap();
    let refused = ask(&session, http(&host), script(), vec![]);
    assert!(observed(&refused).to_string().contains("is not allowed"));
}

fn walk(path: &std::path::Path) -> Vec<std::path::PathBuf> {
    match std::fs::read_dir(path) {
        Ok(entries) => entries
            .flat_map(|entry| walk(&entry.unwrap().path()))
            .collect(),
        Err(_) => vec![path.to_path_buf()],
    }
}

#[test]
fn redirects_failures_long_answers_and_private_names_are_told_as_what_they_are() {
    let home = tempfile::tempdir().unwrap();
    let session = session(&home);
    let (moved, _) = server("302 Found", "{}".into());
    let (long, _) = server("200 OK", json!("x".repeat(40_000)).to_string());
    for host in [&moved, &long] {
        session
            .allow_host(host, Some(HostAccess::default()))
            .unwrap();
    }
    let outcome = observed(&ask(&session, http(&moved), script(), vec![]));
    assert!(
        outcome
            .to_string()
            .contains("answered 302 (redirects are not followed)")
    );
    let outcome = observed(&ask(&session, http(&long), script(), vec![]));
    assert_eq!(outcome["cut"]["chars"], 40_000);
    // A name that leads to this machine is not meant by its name alone.
    let port = moved.rsplit(':').next().unwrap();
    let named = format!("ip6-localhost:{port}");
    session
        .allow_host(&named, Some(HostAccess::default()))
        .unwrap();
    let outcome = observed(&ask(&session, http(&named), script(), vec![]));
    assert!(outcome["failed"]["error"].is_string(), "{outcome}");
    for host in ["", "http://x", "a b", "user@host"] {
        assert!(
            session
                .allow_host(host, Some(HostAccess::default()))
                .is_err(),
            "{host}"
        );
    }
}

#[test]
fn a_lambda_function_is_sent_bedrocks_event_and_answers_as_it_does() {
    let home = tempfile::tempdir().unwrap();
    let session = session(&home);
    let arn = "arn:aws:lambda:us-east-1:123456789012:function:limits";
    let lambda = || Endpoint::Lambda { arn: arn.into() };
    let function = || Function {
        name: "getLimit".into(),
        input_schema: json!({"type": "object", "properties": {"user": {"type": "string"}}}),
        ..Function::default()
    };
    let script = || {
        json!([
            {"match": {"tool_result": {"status": "error"}}, "answer": "It failed."},
            {"match": {"tool_result": {"content": {"contains": "5000"}}}, "answer": "5000."},
            {"answer": {"tool_uses": [{"name": "getLimit", "input": {"user": "12345"}}]}},
        ])
    };
    let result = ask(&session, lambda(), script(), vec![function()]);
    assert!(observed(&result).to_string().contains(arn));

    let answer = json!({"messageVersion": "1.0", "response": {"actionGroup": "bank", "function": "getLimit",
        "functionResponse": {"responseBody": {"TEXT": {"body": "{\"limit\": 5000}"}}}},
        "sessionAttributes": {"tier": "gold"}});
    let (host, seen) = server("200 OK", answer.to_string());
    session
        .map_lambda(arn, Some(&format!("http://{host}/f")), false)
        .unwrap();
    let result = ask(&session, lambda(), script(), vec![function()]);
    assert_eq!(result["text"], "5000.");
    assert_eq!(observed(&result), json!({"returned": {"limit": 5000}}));
    let event: Value = serde_json::from_str(&seen.lock().unwrap()[0].2).unwrap();
    assert_eq!(event["messageVersion"], "1.0");
    assert_eq!(event["inputText"], "Set it.");
    assert_eq!(event["actionGroup"], "bank");
    assert_eq!(event["function"], "getLimit");
    assert_eq!(
        event["parameters"],
        json!([{"name": "user", "type": "string", "value": "12345"}])
    );
    assert_eq!(event["agent"]["name"], "caller");

    let answer = json!({"response": {"functionResponse": {"responseState": "REPROMPT",
        "responseBody": {"TEXT": {"body": "no such user"}}}}});
    let (host, _) = server("200 OK", answer.to_string());
    session
        .map_lambda(arn, Some(&format!("http://{host}/f")), true)
        .unwrap();
    let result = ask(&session, lambda(), script(), vec![function()]);
    assert_eq!(
        observed(&result),
        json!({"failed": {"error": "no such user"}})
    );
    session.map_lambda(arn, None, false).unwrap();
    assert!(session.map_lambda(arn, None, false).is_err());
    assert!(
        session
            .map_lambda("arn:aws:s3:::x", Some("http://x"), false)
            .is_err()
    );
    let _: Outcome = serde_json::from_value(observed(&result)).unwrap();
}
