//! Batch inference, and jobs that outlive the session that started them.

use std::path::Path;

use outcrop::operations::Service::{Bedrock, BedrockAgent, BedrockRuntime};
use outcrop::{Session, runtime};
use serde_json::{Value, json};

use crate::operations::{answer, refusal};
use crate::resources::wait;
use crate::session;

const MODEL: &str = "acme.scripted-v1";

/// A session with the bucket `acme-batch` and a model that greets, fails, or takes its time.
fn prepared(home: &tempfile::TempDir, bucket: &Path) -> Session {
    let session = session(home);
    let usage = json!({"input_tokens": 3, "output_tokens": 2});
    let script = json!({"script": [
        {"match": {"text": "fail"}, "answer": {"fault": {"error": "ThrottlingException", "message": "too many"}}},
        {"match": {"text": {"contains": "slow"}}, "answer": {"text": "slowly", "usage": usage, "delay_ms": 300}},
        {"answer": {"text": "hello", "usage": usage}},
    ]});
    let registered = session.register_model(MODEL, script, false, None);
    runtime().unwrap().block_on(registered).unwrap();
    session.map_bucket("acme-batch", Some(bucket)).unwrap();
    session
}

fn record(id: usize, text: &str) -> String {
    let input = json!({"messages": [{"role": "user", "content": [{"text": text}]}]});
    json!({"recordId": format!("R{id}"), "modelInput": input}).to_string() + "\n"
}

fn create(name: &str, uri: &str) -> Value {
    json!({
        "jobName": name,
        "roleArn": "arn:aws:iam::000000000000:role/any",
        "modelId": MODEL,
        "modelInvocationType": "Converse",
        "inputDataConfig": {"s3InputDataConfig": {"s3Uri": uri}},
        "outputDataConfig": {"s3OutputDataConfig": {"s3Uri": "s3://acme-batch/out/"}},
    })
}

fn start(session: &Session, input: Value) -> String {
    let made = answer(session, Bedrock, "CreateModelInvocationJob", input);
    made["jobArn"].as_str().unwrap().to_string()
}

fn get(session: &Session, arn: &str) -> Value {
    answer(
        session,
        Bedrock,
        "GetModelInvocationJob",
        json!({"jobIdentifier": arn}),
    )
}

fn lines(path: &Path) -> Vec<Value> {
    let text = std::fs::read_to_string(path).unwrap();
    text.lines()
        .map(|line| serde_json::from_str(line).unwrap())
        .collect()
}

fn manifest(path: &Path) -> Value {
    serde_json::from_str(&std::fs::read_to_string(path.join("manifest.json.out")).unwrap()).unwrap()
}

#[test]
fn a_batch_answers_each_record_or_says_what_was_wrong_with_it() {
    let (home, bucket) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let session = prepared(&home, bucket.path());
    std::fs::create_dir_all(bucket.path().join("in")).unwrap();
    let mixed = record(1, "hi") + &record(2, "fail") + "{broken\n\n" + &record(4, "hi");
    std::fs::write(bucket.path().join("in/a.jsonl"), mixed).unwrap();
    std::fs::write(bucket.path().join("in/b.jsonl"), record(5, "hi")).unwrap();
    std::fs::write(bucket.path().join("in/notes.txt"), "no records").unwrap();
    let arn = start(&session, create("first", "s3://acme-batch/in/"));
    let job = wait(|| get(&session, &arn));
    assert_eq!(job["status"], "Completed", "{job}");
    let counts = ["total", "processed", "success", "error"]
        .map(|what| job[format!("{what}RecordCount")].as_u64().unwrap());
    assert_eq!(counts, [5, 5, 3, 2]);
    let out = bucket
        .path()
        .join("out")
        .join(arn.rsplit('/').next().unwrap());
    let a = lines(&out.join("a.jsonl.out"));
    let ids: Vec<_> = a
        .iter()
        .map(|line| line["recordId"].as_str().unwrap())
        .collect();
    assert_eq!(ids, ["R1", "R2", "CALL0000003", "R4"]);
    assert_eq!(
        a[0]["modelOutput"]["output"]["message"]["content"][0]["text"],
        "hello"
    );
    assert_eq!(
        a[1]["error"],
        json!({"errorCode": 429, "errorMessage": "too many"})
    );
    assert_eq!(a[2]["error"]["errorCode"], 400);
    assert_eq!(lines(&out.join("b.jsonl.out")).len(), 1);
    assert_eq!(
        manifest(&out),
        json!({"totalRecordCount": 5, "processedRecordCount": 5, "successRecordCount": 3,
               "errorRecordCount": 2, "inputTokenCount": 9, "outputTokenCount": 6})
    );
    // Each record that reached the model was a call of its own.
    let calls = session.desk().trail().calls().unwrap();
    let of_job = calls
        .iter()
        .filter(|call| call["sourceIPAddress"] == arn.as_str());
    assert_eq!(
        of_job
            .filter(|call| call["eventName"] == "Converse")
            .count(),
        4
    );
}

#[test]
fn bodies_of_invoke_model_are_answered_in_a_batch_and_by_themselves() {
    const CLAUDE: &str = "anthropic.claude-3-haiku-20240307-v1:0";
    let (home, bucket) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let session = prepared(&home, bucket.path());
    let alias = session.alias(CLAUDE, Some(MODEL));
    runtime().unwrap().block_on(alias).unwrap();
    let body = json!({"anthropic_version": "bedrock-2023-05-31", "max_tokens": 5,
                      "messages": [{"role": "user", "content": "hi"}]});
    let line = json!({"recordId": "R1", "modelInput": body}).to_string();
    std::fs::write(bucket.path().join("in.jsonl"), line).unwrap();
    let mut request = create("bodies", "s3://acme-batch/in.jsonl");
    request["modelId"] = json!(CLAUDE);
    request["modelInvocationType"] = json!("InvokeModel");
    let arn = start(&session, request);
    assert_eq!(wait(|| get(&session, &arn))["successRecordCount"], 1);
    let id = arn.rsplit('/').next().unwrap();
    let out = bucket.path().join("out").join(id);
    let message = &lines(&out.join("in.jsonl.out"))[0]["modelOutput"];
    assert_eq!(message["content"][0]["text"], "hello");
    assert_eq!(manifest(&out)["inputTokenCount"], 3);

    let destination = json!({"s3OutputDataConfig": {"s3Uri": "s3://acme-batch/async"}});
    let input = json!({"modelId": CLAUDE, "modelInput": body, "outputDataConfig": destination});
    let arn = answer(&session, BedrockRuntime, "StartAsyncInvoke", input)["invocationArn"].clone();
    let told = wait(|| {
        let input = json!({ "invocationArn": arn });
        answer(&session, BedrockRuntime, "GetAsyncInvoke", input)
    });
    assert_eq!(told["status"], "Completed", "{told}");
    let id = arn.as_str().unwrap().rsplit('/').next().unwrap();
    let path = bucket.path().join("async").join(id).join("output.json");
    let message: Value = serde_json::from_str(&std::fs::read_to_string(path).unwrap()).unwrap();
    assert_eq!(message["content"][0]["text"], "hello");
}

#[test]
fn a_batch_goes_on_when_the_home_is_opened_again() {
    let (home, bucket) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let first = prepared(&home, bucket.path());
    let quick: String = (0..20).map(|n| record(n, "hi")).collect();
    let slow: String = (20..60).map(|n| record(n, "slow")).collect();
    std::fs::write(bucket.path().join("in.jsonl"), quick + &slow).unwrap();
    let arn = start(&first, create("first", "s3://acme-batch/in.jsonl"));
    std::thread::sleep(std::time::Duration::from_millis(400));
    assert_eq!(get(&first, &arn)["status"], "InProgress");
    first.close();
    drop(first);

    let again = session(&home);
    let job = wait(|| get(&again, &arn));
    assert_eq!(job["status"], "Completed", "{job}");
    assert_eq!(job["successRecordCount"], 60);
    let out = bucket
        .path()
        .join("out")
        .join(arn.rsplit('/').next().unwrap());
    let ids: Vec<String> = lines(&out.join("in.jsonl.out"))
        .iter()
        .map(|line| line["recordId"].as_str().unwrap().to_string())
        .collect();
    let expected: Vec<String> = (0..60).map(|n| format!("R{n}")).collect();
    assert_eq!(ids, expected);
    assert_eq!(manifest(&out)["outputTokenCount"], 120);
    let calls = again.desk().trail().calls().unwrap();
    let made = calls
        .iter()
        .filter(|call| call["eventName"] == "Converse")
        .count();
    assert!(
        (60..=60 + 16).contains(&made),
        "what was done is not done again: {made}"
    );
}

#[test]
fn a_batch_is_stopped_and_keeps_what_was_answered() {
    let (home, bucket) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let session = prepared(&home, bucket.path());
    let records: String = (0..200).map(|n| record(n, "slow")).collect();
    std::fs::write(bucket.path().join("in.jsonl"), records).unwrap();
    let arn = start(&session, create("first", "s3://acme-batch/in.jsonl"));
    std::thread::sleep(std::time::Duration::from_millis(500));
    let stop = json!({"jobIdentifier": arn});
    answer(&session, Bedrock, "StopModelInvocationJob", stop.clone());
    let job = wait(|| get(&session, &arn));
    assert_eq!(job["status"], "Stopped", "{job}");
    let done = job["processedRecordCount"].as_u64().unwrap();
    assert!(done < 200);
    let out = bucket
        .path()
        .join("out")
        .join(arn.rsplit('/').next().unwrap());
    assert_eq!(lines(&out.join("in.jsonl.out")).len() as u64, done);
    assert_eq!(
        refusal(&session, Bedrock, "StopModelInvocationJob", stop),
        "ConflictException"
    );
}

#[test]
fn what_a_batch_cannot_do_is_refused_or_its_failure() {
    let (home, bucket) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let session = prepared(&home, bucket.path());
    let refused = |change: fn(&mut Value)| {
        let mut input = create("first", "s3://acme-batch/in.jsonl");
        change(&mut input);
        refusal(&session, Bedrock, "CreateModelInvocationJob", input)
    };
    assert_eq!(
        refused(|input| input["modelId"] = json!("acme.none-v1")),
        "ValidationException"
    );
    assert_eq!(
        refused(|input| input["vpcConfig"] = json!({})),
        "ValidationException"
    );
    let unmapped = |input: &mut Value| {
        input["inputDataConfig"]["s3InputDataConfig"]["s3Uri"] = json!("s3://no-bucket/x");
    };
    assert_eq!(refused(unmapped), "ValidationException");
    let failed = start(&session, create("second", "s3://acme-batch/nothing.jsonl"));
    let failed = wait(|| get(&session, &failed));
    assert_eq!(failed["status"], "Failed");
    assert!(
        failed["message"]
            .as_str()
            .unwrap()
            .contains("nothing.jsonl"),
        "{failed}"
    );
}

fn converse(session: &Session, input: Value) -> Value {
    answer(session, BedrockRuntime, "Converse", input)
}

#[test]
fn a_prompt_runs_as_a_model_with_its_variables() {
    let (home, bucket) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let session = prepared(&home, bucket.path());
    let prompt = json!({
        "name": "p",
        "variants": [{
            "name": "v",
            "templateType": "CHAT",
            "templateConfiguration": {"chat": {
                "system": [{"text": "Be {{mood}}."}],
                "messages": [{"role": "user", "content": [{"text": "{{what}}"}]}],
                "inputVariables": [{"name": "what"}, {"name": "mood"}],
            }},
            "modelId": MODEL,
        }],
    });
    let made = answer(&session, BedrockAgent, "CreatePrompt", prompt);
    let run = |what: &str| {
        json!({
            "modelId": made["arn"],
            "promptVariables": {"what": {"text": what}, "mood": {"text": "kind"}},
        })
    };
    let said = |input| converse(&session, input)["output"]["message"]["content"][0]["text"].clone();
    assert_eq!(said(run("hi")), "hello");
    assert_eq!(said(run("slow {{mood}}")), "slowly");
    let refused = |input| refusal(&session, BedrockRuntime, "Converse", input);
    assert_eq!(refused(run("fail")), "ThrottlingException");
    let mut wrong = run("hi");
    wrong["promptVariables"]["other"] = json!({"text": "x"});
    assert_eq!(refused(wrong), "ValidationException");
    let mut wrong = run("hi");
    wrong["inferenceConfig"] = json!({"maxTokens": 1});
    assert_eq!(refused(wrong), "ValidationException");
    assert_eq!(
        refused(json!({"modelId": made["arn"]})),
        "ValidationException"
    );
}

#[test]
fn a_router_tells_which_model_it_chose() {
    let (home, bucket) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let session = prepared(&home, bucket.path());
    let other = json!({"script": [{"answer": "the large one"}]});
    let registered = session.register_model("acme.large-v1", other, false, None);
    runtime().unwrap().block_on(registered).unwrap();
    let arn = |id: &str| format!("arn:aws:bedrock:local::foundation-model/{id}");
    let router = json!({
        "promptRouterName": "r",
        "models": [{"modelArn": arn(MODEL)}, {"modelArn": arn("acme.large-v1")}],
        "fallbackModel": {"modelArn": arn("acme.large-v1")},
        "routingCriteria": {"responseQualityDifference": 10.0},
    });
    let router = answer(&session, Bedrock, "CreatePromptRouter", router)["promptRouterArn"].clone();
    let ask = |text: String| {
        let messages = json!([{"role": "user", "content": [{"text": text}]}]);
        let reply = converse(&session, json!({"modelId": router, "messages": messages}));
        let text = reply["output"]["message"]["content"][0]["text"].clone();
        (
            text,
            reply["trace"]["promptRouter"]["invokedModelId"].clone(),
        )
    };
    assert_eq!(ask("hi".into()), (json!("hello"), json!(arn(MODEL))));
    assert_eq!(
        ask("x".repeat(1000)),
        (json!("the large one"), json!(arn("acme.large-v1")))
    );
    let calls = session.desk().trail().calls().unwrap();
    let facts = &calls.last().unwrap()["additionalEventData"];
    assert_eq!(facts["promptRouter"]["weight"], 12.5);
    assert_eq!(facts["modelId"], "acme.large-v1");
}
