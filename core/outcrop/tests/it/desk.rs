//! Every call is decided and recorded, whichever door it comes by.

use outcrop::governance::{Caller, Principal};
use outcrop::operations::{Operation, Service};
use outcrop::{Called, ErrorKind, Session, api};
use serde_json::{Value, json};

use crate::{fixture, session};

async fn call(session: &Session, name: &str, input: Value) -> Called {
    let operation = Operation::find(Service::BedrockRuntime, name).unwrap();
    session
        .call(Caller::in_process(), operation, input, Vec::new())
        .await
}

async fn with_model(home: &tempfile::TempDir) -> Session {
    let session = session(home);
    let spec = json!({"path": fixture("qwen3")});
    session
        .register_model("acme.tiny-v1", spec, false, None)
        .await
        .unwrap();
    session
}

/// The records of calls of `name`.
fn calls(session: &Session, name: &str) -> Vec<Value> {
    let calls = session.desk().trail().calls().unwrap();
    calls
        .into_iter()
        .filter(|line| line["eventName"] == name)
        .collect()
}

fn question(text: &str) -> Value {
    json!({"modelId": "acme.tiny-v1", "messages": [{"role": "user", "content": [{"text": text}]}],
           "inferenceConfig": {"maxTokens": 8}})
}

#[tokio::test]
async fn a_call_leaves_its_decision_and_one_audit_line() {
    let home = tempfile::tempdir().unwrap();
    let session = with_model(&home).await;
    let called = call(&session, "Converse", question("hello")).await;
    let output = called.answer.unwrap().output;
    assert_eq!(output["output"]["message"]["role"], "assistant");
    assert_eq!(output["usage"]["outputTokens"], 8);
    assert_eq!(output["stopReason"], "max_tokens");

    let decisions = session.desk().trail().decisions().unwrap();
    let decision = decisions.last().unwrap();
    assert_eq!(decision["action"], "bedrock:InvokeModel");
    assert_eq!(decision["requestID"], called.request_id);
    let lines = calls(&session, "Converse");
    assert_eq!(lines.len(), 1);
    let (line, more) = (&lines[0], &lines[0]["additionalEventData"]);
    assert_eq!(line["eventName"], "Converse");
    assert_eq!(line["requestID"], called.request_id);
    assert_eq!(more["outcome"], "Success");
    assert_eq!(more["modelId"], called.model.unwrap());
    assert_eq!(more["inputTokenCount"], output["usage"]["inputTokens"]);
    assert_eq!(more["outputTokenCount"], 8);
    // What was said is nobody's business.
    assert!(!line.to_string().contains("hello"));
}

#[tokio::test]
async fn bodies_are_kept_where_logging_is_switched_on() {
    let home = tempfile::tempdir().unwrap();
    let session = with_model(&home).await;
    let config = json!({"textDataDeliveryEnabled": true});
    outcrop_store::Home::open(home.path())
        .unwrap()
        .put_record("settings", "model-invocation-logging", &config)
        .unwrap();
    let called = call(&session, "Converse", question("hello")).await;
    let output = called.answer.unwrap().output;
    let line = &calls(&session, "Converse")[0];
    assert_eq!(
        line["requestParameters"]["messages"][0]["content"][0]["text"],
        "hello"
    );
    assert_eq!(line["responseElements"], Value::Object(output));

    let streamed = call(&session, "ConverseStream", question("again")).await;
    let mut events = streamed.answer.unwrap().events.unwrap();
    while events.next().await.is_some() {}
    let line = &calls(&session, "ConverseStream")[0];
    assert_eq!(
        line["responseElements"][0]["messageStart"]["role"],
        "assistant"
    );

    let operation = Operation::find(Service::BedrockRuntime, "InvokeModel").unwrap();
    let body = json!({"prompt": "hi", "max_gen_len": 2});
    let input = json!({"modelId": "acme.tiny-v1"});
    let payload = body.to_string().into_bytes();
    let caller = Caller::in_process();
    let called = session.call(caller, operation, input, payload).await;
    let payload = called.answer.unwrap().payload.unwrap();
    let line = &calls(&session, "InvokeModel")[0];
    assert_eq!(line["requestParameters"]["body"], body);
    assert_eq!(
        line["responseElements"],
        serde_json::from_slice::<Value>(&payload).unwrap()
    );

    let model = session.model("acme.tiny-v1").await.unwrap();
    let prompt = api::Prompt::Text("hello".into());
    let request = api::GenerateRequest::new(prompt);
    let completion = model.generate(request).await.unwrap();
    let line = &calls(&session, "InvokeModel")[1];
    assert_eq!(line["requestParameters"]["prompt"], "hello");
    assert_eq!(line["responseElements"]["text"], completion.text);
}

#[tokio::test]
async fn bodies_are_delivered_to_a_mapped_bucket() {
    let home = tempfile::tempdir().unwrap();
    let session = with_model(&home).await;
    let folder = home.path().join("logs-bucket");
    session.map_bucket("acme-logs", Some(&folder)).unwrap();
    let decisions = session.desk().trail().decisions().unwrap();
    assert_eq!(decisions.last().unwrap()["action"], "outcrop:MapBucket");
    session
        .alias("meta.llama3-8b-instruct-v1:0", Some("acme.tiny-v1"))
        .await
        .unwrap();

    let operation = Operation::find(Service::Bedrock, "PutModelInvocationLoggingConfiguration");
    let config = json!({"s3Config": {"bucketName": "acme-logs", "keyPrefix": "all"}});
    let input = json!({ "loggingConfig": config });
    let put = session.call(Caller::in_process(), operation.unwrap(), input, Vec::new());
    put.await.answer.unwrap();
    let mut asked = question("hello");
    asked["modelId"] = json!("meta.llama3-8b-instruct-v1:0");
    let called = call(&session, "Converse", asked).await;
    let output = called.answer.unwrap().output;

    let mut files = Vec::new();
    let mut folders =
        vec![folder.join("all/AWSLogs/000000000000/BedrockModelInvocationLogs/local")];
    while let Some(folder) = folders.pop() {
        for entry in std::fs::read_dir(folder).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() {
                folders.push(path)
            } else {
                files.push(path)
            }
        }
    }
    assert_eq!(files.len(), 1);
    let gzip = flate2::read::GzDecoder::new(std::fs::File::open(&files[0]).unwrap());
    let record: Value = serde_json::from_reader(gzip).unwrap();
    assert_eq!(record["requestId"], called.request_id);
    assert_eq!(record["modelId"], "meta.llama3-8b-instruct-v1:0");
    assert_eq!(record["invokedModelId"], called.model.unwrap());
    let input = &record["input"];
    assert_eq!(
        input["inputBodyJson"]["messages"][0]["content"][0]["text"],
        "hello"
    );
    assert_eq!(input["inputTokenCount"], output["usage"]["inputTokens"]);
    assert_eq!(record["output"]["outputBodyJson"], Value::Object(output));
    assert_eq!(record["output"]["outputTokenCount"], 8);

    // A body that was to be kept is kept, or the call is not made.
    session.map_bucket("acme-logs", None).unwrap();
    let refused = call(&session, "Converse", question("again")).await.answer;
    assert!(
        refused
            .err()
            .unwrap()
            .message()
            .contains("acme-logs is mapped to no folder")
    );
}

#[tokio::test]
async fn a_stream_is_recorded_at_its_end_or_when_it_is_dropped() {
    let home = tempfile::tempdir().unwrap();
    let session = with_model(&home).await;
    let called = call(&session, "ConverseStream", question("hello")).await;
    let mut events = called.answer.unwrap().events.unwrap();
    let mut names = Vec::new();
    while let Some(event) = events.next().await {
        names.push(event.unwrap().0);
    }
    assert_eq!(names.first(), Some(&"messageStart"));
    assert_eq!(
        names[names.len() - 3..],
        ["contentBlockStop", "messageStop", "metadata"]
    );
    assert_eq!(
        calls(&session, "ConverseStream")[0]["additionalEventData"]["outcome"],
        "Success"
    );

    let called = call(&session, "ConverseStream", question("again")).await;
    let mut events = called.answer.unwrap().events.unwrap();
    events.next().await;
    drop(events);
    let calls = calls(&session, "ConverseStream");
    assert_eq!(calls.len(), 2);
    assert_eq!(calls[1]["additionalEventData"]["outcome"], "Cancelled");
}

#[tokio::test]
async fn native_calls_pass_the_desk_too() {
    let home = tempfile::tempdir().unwrap();
    let session = session(&home);
    let model = session.model("outcrop.minilm-embed-v1").await.unwrap();
    let texts = vec!["a b".to_string()];
    model.embed(texts, Default::default()).await.unwrap();
    let lines = session.desk().trail().calls().unwrap();
    assert_eq!(lines.len(), 1);
    assert_eq!(lines[0]["eventName"], "InvokeModel");
    let total = session.desk().meter().totals()[model.id()];
    assert_eq!(total.calls, 1);
    assert_eq!(
        lines[0]["additionalEventData"]["inputTokenCount"],
        total.input_tokens
    );
}

#[tokio::test]
async fn what_is_refused_is_recorded_and_does_not_run() {
    let home = tempfile::tempdir().unwrap();
    let session = with_model(&home).await;
    let stranger = Caller {
        principal: Principal {
            arn: "arn:aws:iam::1:user/x".into(),
            access_key_id: None,
        },
        ..Caller::in_process()
    };
    let operation = Operation::find(Service::BedrockRuntime, "Converse").unwrap();
    let called = session
        .call(stranger, operation, question("hello"), Vec::new())
        .await;
    let error = called.answer.err().unwrap();
    assert_eq!(error.kind(), ErrorKind::AccessDeniedException);
    let line = &calls(&session, "Converse")[0];
    assert_eq!(line["errorCode"], "AccessDeniedException");
    assert_eq!(line["requestID"], called.request_id);
    assert!(line["additionalEventData"].get("modelId").is_none());
}

#[tokio::test]
async fn what_is_not_here_says_so() {
    let home = tempfile::tempdir().unwrap();
    let session = session(&home);
    let called = call(&session, "ApplyGuardrail", json!({})).await;
    let error = called.answer.err().unwrap();
    assert_eq!(error.kind(), ErrorKind::NotImplementedException);
    assert!(error.message().starts_with("ApplyGuardrail"));

    let called = call(
        &session,
        "Converse",
        json!({"modelId": "anthropic.claude-v9"}),
    )
    .await;
    let error = called.answer.err().unwrap();
    assert_eq!(error.message(), "The provided model identifier is invalid.");
}

#[tokio::test]
async fn tokens_are_counted_by_the_models_own_tokenizer() {
    let home = tempfile::tempdir().unwrap();
    let session = with_model(&home).await;
    let output = call(&session, "Converse", question("hello")).await.answer;
    let read = output.unwrap().output["usage"]["inputTokens"].clone();
    let asked = json!({"modelId": "acme.tiny-v1",
                       "input": {"converse": {"messages": question("hello")["messages"]}}});
    let counted = call(&session, "CountTokens", asked).await.answer.unwrap();
    assert_eq!(counted.output["inputTokens"], read);
}

#[tokio::test]
async fn a_prompt_that_was_templated_is_continued_as_it_is() {
    let home = tempfile::tempdir().unwrap();
    let session = with_model(&home).await;
    let operation = Operation::find(Service::BedrockRuntime, "InvokeModel").unwrap();
    let body = json!({"prompt": "<|im_start|>user\nhi<|im_end|>\n", "max_gen_len": 4});
    let called = session
        .call(
            Caller::in_process(),
            operation,
            json!({"modelId": "acme.tiny-v1"}),
            body.to_string().into_bytes(),
        )
        .await;
    let answer: Value = serde_json::from_slice(&called.answer.unwrap().payload.unwrap()).unwrap();
    let model = session.model("acme.tiny-v1").await.unwrap();
    let ids = model.tokenize("<|im_start|>user\nhi<|im_end|>\n", false);
    assert_eq!(answer["prompt_token_count"], ids.unwrap().len());
    assert_eq!(answer["generation_token_count"], 4);
}
