//! Distillation: from the session and by Bedrock's operation, over kills and from recorded calls.

use std::collections::HashSet;
use std::path::Path;

use outcrop::operations::Service::{Bedrock, BedrockRuntime};
use outcrop::{CustomizationJob, DistillRequest, Session, runtime};
use serde_json::{Value, json};

use crate::operations::{answer, call};
use crate::resources::wait;
use crate::{fixture, session};

/// A teacher that says the same to everything, after a little while.
fn teacher(session: &Session, delay_ms: u64) {
    let spec = json!({"script": [{"answer": {"text": "7 %", "delay_ms": delay_ms}}]});
    let work = session.register_model("acme.teacher-v1", spec, false, None);
    runtime().unwrap().block_on(work).unwrap();
}

fn prompts(path: &Path, count: usize) {
    let line = |i: usize| json!({"prompt": format!("Rate {i}?"), "completion": "7 %"}).to_string();
    let lines: Vec<String> = (0..count).map(line).collect();
    std::fs::write(path, lines.join("\n")).unwrap();
}

fn request(prompts: &Path, more: Value) -> DistillRequest {
    let mut request = json!({
        "teacher": "acme.teacher-v1", "student": fixture("llama3"), "prompts": prompts,
        "name": "pupil", "max_response_tokens": 8, "method": "full",
        "training": {"epochs": 2, "batch_size": 8, "learning_rate": 3e-3},
        "teacher_price": {"input": 1.0, "output": 4.0},
    });
    let members = request.as_object_mut().unwrap();
    members.extend(more.as_object().unwrap().clone());
    serde_json::from_value(request).unwrap()
}

fn start(session: &Session, request: DistillRequest) -> outcrop::Result<CustomizationJob> {
    runtime().unwrap().block_on(session.distill(request))
}

fn ended(job: &CustomizationJob) {
    wait(|| serde_json::to_value(job.status().unwrap()).unwrap());
    let status = job.status().unwrap();
    assert_eq!(status.status, "Completed", "{status:?}");
}

/// The digests of the prompts that the teacher has answered, as the home keeps them.
fn kept(home: &tempfile::TempDir, job: &CustomizationJob) -> Vec<String> {
    let file = home
        .path()
        .join("progress")
        .join(job.id())
        .join("teacher.jsonl");
    let text = std::fs::read_to_string(file).unwrap_or_default();
    let lines = text
        .lines()
        .map(|line| serde_json::from_str::<Value>(line).unwrap());
    lines
        .map(|line| line["prompt"].as_str().unwrap().to_owned())
        .collect()
}

#[test]
fn a_student_learns_what_the_teacher_answers_and_the_report_compares_them() {
    let (home, folder) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let (session, data) = (session(&home), folder.path().join("prompts.jsonl"));
    prompts(&data, 120);
    teacher(&session, 0);
    let out = folder.path().join("out");
    let job = start(&session, request(&data, json!({"output": &out}))).unwrap();
    ended(&job);
    let status = job.status().unwrap();
    let report = status.report.unwrap();
    assert_eq!(
        (report.prompts, report.examples, report.held_out),
        (108, 108, 12)
    );
    assert_eq!(
        serde_json::to_value(report.reference).unwrap(),
        "completion"
    );
    assert_eq!(
        (report.teacher.score, report.teacher.parameters),
        (1.0, None)
    );
    assert_eq!(report.student_before.score, 0.0);
    assert!(report.student.score >= 0.9, "{report:?}");
    assert!(report.student.parameters.unwrap() > 100_000);
    let usage = report.teacher.usage;
    let dollars = (usage.input_tokens as f64 + 4.0 * usage.output_tokens as f64) / 1e6;
    assert!(dollars > 0.0 && (report.teacher.cost - dollars).abs() < 1e-12);
    assert_eq!(report.student.model, status.model.unwrap());
    assert_eq!(kept(&home, &job).len(), 120);
    let file = format!("model-customization-job-{}/validation_artifacts", job.id());
    let file = out.join(file).join("distillation_report.json");
    let told: Value = serde_json::from_slice(&std::fs::read(file).unwrap()).unwrap();
    assert_eq!(
        told,
        serde_json::to_value(job.status().unwrap().report).unwrap()
    );
    let about = answer(
        &session,
        Bedrock,
        "GetModelCustomizationJob",
        json!({"jobIdentifier": job.id()}),
    );
    assert_eq!(about["customizationType"], "DISTILLATION");
}

#[test]
fn a_job_that_was_cut_off_asks_no_prompt_twice() {
    let (home, folder) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let (first, data) = (session(&home), folder.path().join("prompts.jsonl"));
    prompts(&data, 150);
    teacher(&first, 30);
    let more = json!({"training": {"epochs": 1, "batch_size": 32, "learning_rate": 1e-3}});
    let job = start(&first, request(&data, more)).unwrap();
    while kept(&home, &job).len() < 20 {
        std::thread::sleep(std::time::Duration::from_millis(2));
    }
    first.close();
    let before = kept(&home, &job);
    assert!(before.len() < 150, "it was not cut off");
    let second = session(&home);
    let again = second.customization_job("pupil").unwrap();
    ended(&again);
    let after = kept(&home, &again);
    let different: HashSet<&String> = after.iter().collect();
    assert_eq!((after.len(), different.len()), (150, 150));
    assert_eq!(after[..before.len()], before[..]);
}

#[test]
fn what_cannot_be_followed_is_told_before_the_teacher_is_asked() {
    let (home, folder) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let (session, data) = (session(&home), folder.path().join("prompts.jsonl"));
    prompts(&data, 3);
    teacher(&session, 0);
    std::fs::write(
        folder.path().join("bad.jsonl"),
        "{\"prompt\": \"a\"}\n{\"text\": \"b\"}\n",
    )
    .unwrap();
    std::fs::write(folder.path().join("one.jsonl"), "{\"prompt\": \"a\"}\n").unwrap();
    for (more, expected) in [
        (
            json!({"prompts": folder.path().join("bad.jsonl")}),
            "line 2: expected prompt",
        ),
        (
            json!({"prompts": folder.path().join("one.jsonl")}),
            "got 1 and 0",
        ),
        (json!({"prompts": null}), "got neither"),
        (
            json!({"teacher": "outcrop.minilm-embed-v1"}),
            "expected a model that chats",
        ),
        (json!({"teacher": "acme.nobody-v1"}), "acme.nobody-v1"),
        (json!({"student": "acme.teacher-v1"}), "acme.teacher-v1"),
        (json!({"max_response_tokens": 0}), "expected at least 1"),
        (json!({"max_tokens": 4}), "expected at most 4 tokens"),
        (json!({"teacher_price": {"input": -1.0}}), "price.input"),
    ] {
        let error = start(&session, request(&data, more)).unwrap_err();
        assert!(error.message().contains(expected), "{error}");
    }
    let listed = answer(&session, Bedrock, "ListModelCustomizationJobs", json!({}));
    assert_eq!(listed["modelCustomizationJobSummaries"], json!([]));
}

#[test]
fn recorded_calls_teach_through_bedrocks_door() {
    let (home, bucket) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let session = session(&home);
    session
        .map_bucket("acme-logs", Some(bucket.path()))
        .unwrap();
    teacher(&session, 0);
    let logging =
        json!({"loggingConfig": {"s3Config": {"bucketName": "acme-logs", "keyPrefix": "calls"}}});
    answer(
        &session,
        Bedrock,
        "PutModelInvocationLoggingConfiguration",
        logging,
    );
    for i in 0..24 {
        let team = if i < 20 { "cards" } else { "loans" };
        let input = json!({"modelId": "acme.teacher-v1", "requestMetadata": {"team": team},
                           "messages": [{"role": "user", "content": [{"text": format!("Rate {i}?")}]}]});
        answer(&session, BedrockRuntime, "Converse", input);
    }
    answer(
        &session,
        Bedrock,
        "DeleteModelInvocationLoggingConfiguration",
        json!({}),
    );
    let input = |kind: &str, config: Value| {
        json!({
            "jobName": "logs", "customModelName": "pupil", "customizationType": kind,
            "baseModelIdentifier": fixture("llama3"), "customizationConfig": config,
            "roleArn": "arn:aws:iam::000000000000:role/any", "hyperParameters": {"epochCount": "1"},
            "outputDataConfig": {"s3Uri": "s3://acme-logs/out/"},
            "trainingDataConfig": {"invocationLogsConfig": {
                "usePromptResponse": true,
                "invocationLogSource": {"s3Uri": "s3://acme-logs/calls/"},
                "requestMetadataFilters": {"equals": {"team": "cards"}},
            }},
        })
    };
    let config = json!({"distillationConfig": {"teacherModelConfig": {
        "teacherModelIdentifier": "acme.teacher-v1", "maxResponseLengthForInference": 8}}});
    let wrong = call(
        &session,
        Bedrock,
        "CreateModelCustomizationJob",
        input("FINE_TUNING", config.clone()),
    );
    assert!(
        wrong
            .unwrap_err()
            .message()
            .contains("of DISTILLATION only")
    );
    let made = answer(
        &session,
        Bedrock,
        "CreateModelCustomizationJob",
        input("DISTILLATION", config.clone()),
    );
    let job = session
        .customization_job(made["jobArn"].as_str().unwrap())
        .unwrap();
    ended(&job);
    let report = job.status().unwrap().report.unwrap();
    assert_eq!(
        (report.prompts, report.held_out, report.examples),
        (18, 2, 18)
    );
    // Its answers were recorded: it was not asked again.
    assert_eq!(kept(&home, &job), [""; 0]);
    assert_eq!(
        (report.teacher.score, report.teacher.tokens_per_second),
        (1.0, None)
    );
    assert_eq!(serde_json::to_value(report.reference).unwrap(), "teacher");
    let about = answer(
        &session,
        Bedrock,
        "GetModelCustomizationJob",
        json!({"jobIdentifier": "logs"}),
    );
    assert_eq!(about["customizationConfig"], config);
}
