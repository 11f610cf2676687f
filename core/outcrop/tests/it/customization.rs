//! Training on one's own data: from the session and by Bedrock's operations, over kills and closes.

use std::path::Path;

use outcrop::governance::{Caller, Principal};
use outcrop::operations::Operation;
use outcrop::operations::Service::{Bedrock, BedrockRuntime};
use outcrop::{CustomizationJob, ErrorKind, FineTuneRequest, Session, runtime};
use serde_json::{Value, json};

use crate::operations::{answer, call};
use crate::resources::wait;
use crate::{fixture, session};

fn lines(count: usize) -> String {
    let line = |i: usize| json!({"prompt": format!("Rate {i}?"), "completion": format!("{i} %")});
    (0..count).map(|i| line(i).to_string() + "\n").collect()
}

fn request(data: &Path, more: Value) -> FineTuneRequest {
    let mut request = json!({
        "base_model": fixture("llama3"), "training_data": data, "name": "advisor",
        "training": {"epochs": 2, "batch_size": 4, "learning_rate": 1e-3},
    });
    request
        .as_object_mut()
        .unwrap()
        .extend(more.as_object().unwrap().clone());
    serde_json::from_value(request).unwrap()
}

fn start(session: &Session, request: FineTuneRequest) -> outcrop::Result<CustomizationJob> {
    runtime().unwrap().block_on(session.fine_tune(request))
}

fn ended(job: &CustomizationJob) -> String {
    wait(|| serde_json::to_value(job.status().unwrap()).unwrap());
    let status = job.status().unwrap();
    assert_eq!(status.status, "Completed", "{status:?}");
    status.model.unwrap()
}

#[test]
fn a_job_makes_a_private_model_that_opens_by_its_arn() {
    let (home, folder) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let (session, data) = (session(&home), folder.path().join("train.jsonl"));
    std::fs::write(&data, lines(12)).unwrap();
    let more = json!({"validation": &data, "output": folder.path().join("out")});
    let job = start(&session, request(&data, more)).unwrap();
    let arn = ended(&job);
    let metrics = job.metrics().unwrap();
    assert_eq!(metrics.len(), 6);
    assert!(metrics[5].loss < metrics[0].loss && metrics[2].validation_loss.is_some());
    let again = session.customization_job("advisor").unwrap();
    assert_eq!(again.metrics().unwrap(), metrics);
    let model = runtime().unwrap().block_on(session.model(&arn)).unwrap();
    assert!(
        model.info().id.contains("custom-models"),
        "{:?}",
        model.info()
    );
    let about = answer(
        &session,
        Bedrock,
        "GetCustomModel",
        json!({"modelIdentifier": "advisor"}),
    );
    let folder_of_model = home.path().join("custom-models").join(job.id());
    assert_eq!(about["modelArn"], json!(arn));
    assert!(
        folder_of_model
            .join("adapter/adapter_model.safetensors")
            .exists()
    );
    #[cfg(unix)]
    {
        use std::os::unix::fs::PermissionsExt;
        let mode = std::fs::metadata(&folder_of_model)
            .unwrap()
            .permissions()
            .mode();
        assert_eq!(mode & 0o777, 0o700);
    }
    let table = format!("model-customization-job-{}/training_artifacts", job.id());
    let table = folder
        .path()
        .join("out")
        .join(table)
        .join("step_wise_training_metrics.csv");
    let table = std::fs::read_to_string(table).unwrap();
    assert!(table.starts_with("step_number,epoch_number,training_loss,perplexity\n1,1,"));
    assert_eq!(table.lines().count(), 7);
    let error = start(&session, request(&data, json!({}))).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::ConflictException);
    assert_eq!(job.stop().unwrap_err().kind(), ErrorKind::ConflictException);
    check_others(&session, &arn);
    answer(
        &session,
        Bedrock,
        "DeleteCustomModel",
        json!({"modelIdentifier": arn}),
    );
    assert!(!folder_of_model.exists());
    let asked = json!({"modelIdentifier": arn});
    let error = call(&session, Bedrock, "GetCustomModel", asked).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::ResourceNotFoundException);
}

/// Another principal may not run the model, and the owner may.
fn check_others(session: &Session, arn: &str) {
    let operation = Operation::find(BedrockRuntime, "Converse").unwrap();
    let input = json!({"modelId": arn, "inferenceConfig": {"maxTokens": 2},
                       "messages": [{"role": "user", "content": [{"text": "Rate 3?"}]}]});
    let call = |principal: Principal| {
        let caller = Caller {
            principal,
            ..Caller::in_process()
        };
        let called = session.call(caller, operation, input.clone(), Vec::new());
        runtime().unwrap().block_on(called).answer
    };
    let error = call(Principal::key("other", "OCK1")).err().unwrap();
    assert_eq!(error.kind(), ErrorKind::AccessDeniedException, "{error}");
    assert!(call(Principal::owner()).is_ok());
}

#[test]
fn everything_is_refused_before_the_job_starts() {
    let (home, folder) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let (session, data) = (session(&home), folder.path().join("train.jsonl"));
    std::fs::write(&data, lines(3) + "{broken\n" + "{\"prompt\": \"a\"}\n").unwrap();
    let error = start(&session, request(&data, json!({}))).unwrap_err();
    let message = error.message();
    assert!(
        message.contains("2 bad lines") && message.contains("line 4:"),
        "{message}"
    );
    std::fs::write(&data, lines(3)).unwrap();
    let wrong = [
        (
            json!({"training": {"epochs": 0}}),
            "epochs: expected at least 1",
        ),
        (
            json!({"lora": {"target_modules": ["nothing"]}}),
            "got nothing",
        ),
        (json!({"base_model": "outcrop.quote-v1"}), "outcrop"),
        (
            json!({"training_data": folder.path().join("none")}),
            "cannot be read",
        ),
    ];
    for (more, expected) in wrong {
        let error = start(&session, request(&data, more)).unwrap_err();
        assert!(error.message().contains(expected), "{error}");
    }
    let listed = answer(&session, Bedrock, "ListModelCustomizationJobs", json!({}));
    assert_eq!(listed["modelCustomizationJobSummaries"], json!([]));
}

#[test]
fn a_job_goes_on_in_the_next_session_to_the_same_bytes() {
    let folder = tempfile::tempdir().unwrap();
    let data = folder.path().join("train.jsonl");
    std::fs::write(&data, lines(40)).unwrap();
    let more = json!({"checkpoint_every": 3, "lora": {"dropout": 0.1},
                      "training": {"epochs": 3, "batch_size": 2, "learning_rate": 1e-3}});
    let homes = [tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap()];
    let whole = session(&homes[0]);
    let expected = start(&whole, request(&data, more.clone())).unwrap();
    ended(&expected);
    let first = session(&homes[1]);
    let job = start(&first, request(&data, more)).unwrap();
    while job.metrics().unwrap().len() < 8 {
        std::thread::sleep(std::time::Duration::from_millis(5));
    }
    first.close();
    let second = session(&homes[1]);
    let again = second.customization_job("advisor").unwrap();
    ended(&again);
    assert_eq!(again.metrics().unwrap(), expected.metrics().unwrap());
    let weights = |home: &tempfile::TempDir, job: &CustomizationJob| {
        let folder = home.path().join("custom-models").join(job.id());
        std::fs::read(folder.join("model.safetensors")).unwrap()
    };
    assert!(weights(&homes[0], &expected) == weights(&homes[1], &again));
}

#[test]
fn bedrocks_operations_train_stop_and_tell() {
    let (home, bucket) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let session = session(&home);
    session
        .map_bucket("acme-data", Some(bucket.path()))
        .unwrap();
    std::fs::write(bucket.path().join("train.jsonl"), lines(400)).unwrap();
    let base = fixture("llama3").display().to_string();
    let input = |name: &str, parameters: Value| {
        json!({
            "jobName": name, "customModelName": name, "baseModelIdentifier": base,
            "roleArn": "arn:aws:iam::000000000000:role/any", "hyperParameters": parameters,
            "trainingDataConfig": {"s3Uri": "s3://acme-data/train.jsonl"},
            "outputDataConfig": {"s3Uri": "s3://acme-data/out/"},
        })
    };
    let create = |name: &str, parameters: Value| {
        let made = answer(
            &session,
            Bedrock,
            "CreateModelCustomizationJob",
            input(name, parameters),
        );
        made["jobArn"].as_str().unwrap().to_owned()
    };
    let about = |arn: &str| {
        let asked = json!({"jobIdentifier": arn});
        answer(&session, Bedrock, "GetModelCustomizationJob", asked)
    };
    let long = create("long", json!({"epochCount": "10", "batchSize": "1"}));
    wait_for(|| about(&long)["statusDetails"]["trainingDetails"]["status"] == "InProgress");
    let second = create(
        "short",
        json!({
            "epochCount": "1", "batchSize": "64", "learningRate": "0.001", "precision": "bfloat16",
        }),
    );
    assert_eq!(
        about(&second)["statusDetails"]["trainingDetails"]["status"],
        "NotStarted"
    );
    answer(
        &session,
        Bedrock,
        "StopModelCustomizationJob",
        json!({"jobIdentifier": long}),
    );
    assert_eq!(wait(|| about(&long))["status"], "Stopped");
    let job = wait(|| about(&second));
    assert_eq!(job["status"], "Completed", "{job}");
    assert!(job["trainingMetrics"]["trainingLoss"].as_f64().unwrap() > 0.0);
    assert_eq!(job["hyperParameters"]["batchSize"], "64");
    let wrong = [
        (json!({"epochCount": "11"}), "1..=10"),
        (json!({"batchSize": "many"}), "as text"),
        (json!({"precision": "half"}), "expected float32 or bfloat16"),
        (json!({"temperature": "1"}), "expected one of epochCount"),
    ];
    for (parameters, expected) in wrong {
        let asked = input("other", parameters);
        let error = call(&session, Bedrock, "CreateModelCustomizationJob", asked).unwrap_err();
        assert!(error.message().contains(expected), "{error}");
    }
}

fn wait_for(is_so: impl Fn() -> bool) {
    for _ in 0..2000 {
        if is_so() {
            return;
        }
        std::thread::sleep(std::time::Duration::from_millis(5));
    }
    panic!("it did not come about");
}
