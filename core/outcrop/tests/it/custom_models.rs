//! Custom models of the caller's own files, and their deployments.

use outcrop::governance::{Caller, Principal};
use outcrop::operations::Operation;
use outcrop::operations::Service::{Bedrock, BedrockRuntime};
use outcrop::{Error, ErrorKind, Session, runtime};
use serde_json::{Value, json};

use crate::operations::{answer, call};
use crate::{copy_folder, fixture, session};

fn import(session: &Session, name: &str) -> String {
    let input = json!({
        "modelName": name, "roleArn": "arn:aws:iam::000000000000:role/any",
        "modelSourceConfig": {"s3DataSource": {"s3Uri": "s3://acme-models/llama3/"}},
    });
    let made = answer(session, Bedrock, "CreateCustomModel", input);
    let arn = made["modelArn"].as_str().unwrap().to_owned();
    for _ in 0..2000 {
        let about = answer(
            session,
            Bedrock,
            "GetCustomModel",
            json!({"modelIdentifier": arn}),
        );
        if about["modelStatus"] == "Active" {
            return arn;
        }
        assert_eq!(about["modelStatus"], "Creating", "{about}");
        std::thread::sleep(std::time::Duration::from_millis(5));
    }
    panic!("{arn} is still being made");
}

/// Asks a model as a principal; the answer, or the error.
fn ask(session: &Session, principal: Principal, model: &str) -> Result<Value, Error> {
    as_principal(
        session,
        principal,
        (BedrockRuntime, "Converse"),
        json!({
            "modelId": model, "inferenceConfig": {"maxTokens": 2},
            "messages": [{"role": "user", "content": [{"text": "Rate 3?"}]}],
        }),
    )
}

fn as_principal(
    session: &Session,
    principal: Principal,
    (service, name): (outcrop::operations::Service, &str),
    input: Value,
) -> Result<Value, Error> {
    let caller = Caller {
        principal,
        ..Caller::in_process()
    };
    let operation = Operation::find(service, name).unwrap();
    let called = session.call(caller, operation, input, Vec::new());
    let called = runtime().unwrap().block_on(called);
    called.answer.map(|answer| Value::Object(answer.output))
}

fn other() -> Principal {
    Principal::key("other", "OCK1")
}

fn bucket(session: &Session, folder: &tempfile::TempDir) {
    copy_folder(&fixture("llama3"), &folder.path().join("llama3"));
    session
        .map_bucket("acme-models", Some(folder.path()))
        .unwrap();
}

#[test]
fn a_model_of_own_files_is_copied_runs_and_is_its_makers() {
    let (home, folder) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let session = session(&home);
    bucket(&session, &folder);
    let arn = import(&session, "brought");
    std::fs::remove_dir_all(folder.path().join("llama3")).unwrap();
    ask(&session, Principal::owner(), &arn).unwrap();
    let error = ask(&session, other(), &arn).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::AccessDeniedException, "{error}");
    // Nor by a name that stands for it.
    let profile = answer(
        &session,
        Bedrock,
        "CreateInferenceProfile",
        json!({
        "inferenceProfileName": "mine", "modelSource": {"copyFrom": arn}}),
    );
    let profile = profile["inferenceProfileArn"].as_str().unwrap();
    ask(&session, Principal::owner(), profile).unwrap();
    let error = ask(&session, other(), profile).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::AccessDeniedException, "{error}");
    let listed = answer(
        &session,
        Bedrock,
        "ListCustomModels",
        json!({"modelStatus": "Active"}),
    );
    assert_eq!(listed["modelSummaries"][0]["customizationType"], "IMPORTED");
    let files = home
        .path()
        .join("custom-models")
        .join(arn.rsplit('/').next().unwrap());
    assert!(files.join("model.safetensors").exists());
    answer(
        &session,
        Bedrock,
        "DeleteCustomModel",
        json!({"modelIdentifier": "brought"}),
    );
    assert!(!files.exists());
    for (source, expected) in [
        (
            json!({"s3DataSource": {"s3Uri": "s3://acme-models/nothing/"}}),
            "no files",
        ),
        (
            json!({"s3DataSource": {"s3Uri": "s3://acme-nowhere/"}}),
            "mapped to no folder",
        ),
    ] {
        let input = json!({"modelName": "other", "modelSourceConfig": source});
        let error = call(&session, Bedrock, "CreateCustomModel", input).unwrap_err();
        assert!(error.message().contains(expected), "{error}");
    }
}

#[test]
fn a_deployment_runs_its_model_and_moves_to_another() {
    let (home, folder) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let session = session(&home);
    bucket(&session, &folder);
    let (first, second) = (import(&session, "first"), import(&session, "second"));
    let input =
        json!({"modelDeploymentName": "advisor", "modelArn": first, "description": "Answers."});
    let made = answer(
        &session,
        Bedrock,
        "CreateCustomModelDeployment",
        input.clone(),
    );
    let deployment = made["customModelDeploymentArn"].as_str().unwrap();
    ask(&session, Principal::owner(), deployment).unwrap();
    let error = ask(&session, other(), deployment).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::AccessDeniedException, "{error}");
    let named = json!({"customModelDeploymentIdentifier": "advisor"});
    for name in ["GetCustomModelDeployment", "DeleteCustomModelDeployment"] {
        let error = as_principal(&session, other(), (Bedrock, name), named.clone()).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::AccessDeniedException, "{error}");
    }
    let listed = as_principal(
        &session,
        other(),
        (Bedrock, "ListCustomModelDeployments"),
        json!({}),
    );
    assert_eq!(listed.unwrap()["modelDeploymentSummaries"], json!([]));
    let error = call(&session, Bedrock, "CreateCustomModelDeployment", input).unwrap_err();
    assert!(error.message().contains("already exists"), "{error}");
    let update = json!({"customModelDeploymentIdentifier": deployment, "modelArn": second});
    answer(&session, Bedrock, "UpdateCustomModelDeployment", update);
    let about = answer(&session, Bedrock, "GetCustomModelDeployment", named.clone());
    assert_eq!(about["modelArn"], json!(second));
    assert_eq!(about["updateDetails"]["updateStatus"], "UpdateCompleted");
    assert_eq!(
        (&about["status"], &about["description"]),
        (&json!("Active"), &json!("Answers."))
    );
    let listed = |model: &str| {
        let asked = json!({"modelArnEquals": model, "statusEquals": "Active"});
        let listed = answer(&session, Bedrock, "ListCustomModelDeployments", asked);
        listed["modelDeploymentSummaries"].as_array().unwrap().len()
    };
    assert_eq!((listed(&first), listed(&second)), (0, 1));
    let later = json!({"createdAfter": "2999-01-01T00:00:00Z"});
    let listed = answer(&session, Bedrock, "ListCustomModelDeployments", later);
    assert_eq!(listed["modelDeploymentSummaries"], json!([]));
    let asked = json!({"modelIdentifier": second});
    let error = call(&session, Bedrock, "DeleteCustomModel", asked.clone()).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::ConflictException, "{error}");
    answer(&session, Bedrock, "DeleteCustomModelDeployment", named);
    answer(&session, Bedrock, "DeleteCustomModel", asked);
    assert!(ask(&session, Principal::owner(), deployment).is_err());
}
