//! The control plane: models, profiles, routers, imports, logging, prompts.

use std::time::{Duration, Instant};

use outcrop::operations::Service::{Bedrock, BedrockAgent, BedrockRuntime};
use outcrop::{Error, Session, runtime};
use serde_json::{Value, json};

use crate::operations::{answer, call, refusal};
use crate::{copy_folder, fixture, session};

const ROLE: &str = "arn:aws:iam::000000000000:role/any";

/// Converses with a model by any name: its text.
fn hello(session: &Session, model: &str) -> Result<String, Error> {
    let messages = json!([{"role": "user", "content": [{"text": "Hello"}]}]);
    let input =
        json!({"modelId": model, "messages": messages, "inferenceConfig": {"maxTokens": 2}});
    let reply = call(session, BedrockRuntime, "Converse", input)?;
    let text = &reply["output"]["message"]["content"][0]["text"];
    Ok(text.as_str().unwrap_or_default().to_string())
}

fn ask(session: &Session, name: &str, input: Value) -> Value {
    answer(session, Bedrock, name, input)
}

/// Asks until `status` is none of those that a job has before its end.
pub(crate) fn wait(ask: impl Fn() -> Value) -> Value {
    let start = Instant::now();
    loop {
        let job = ask();
        let status = job["status"].as_str().unwrap();
        let at_work = ["Submitted", "Validating", "InProgress", "Stopping"];
        if !at_work.contains(&status) {
            return job;
        }
        assert!(start.elapsed() < Duration::from_secs(60), "{job}");
        std::thread::sleep(Duration::from_millis(20));
    }
}

#[test]
fn foundation_models_are_what_the_shelf_holds() {
    let home = tempfile::tempdir().unwrap();
    let session = session(&home);
    let chat = fixture("llama3").display().to_string();
    runtime()
        .unwrap()
        .block_on(session.alias("anthropic.claude-3-haiku-20240307-v1:0", Some(&chat)))
        .unwrap();
    let listed = |input| {
        let models = ask(&session, "ListFoundationModels", input)["modelSummaries"].clone();
        let models = models.as_array().unwrap().iter();
        models
            .map(|m| m["modelId"].as_str().unwrap().to_string())
            .collect::<Vec<_>>()
    };
    let claude = "anthropic.claude-3-haiku-20240307-v1:0";
    assert_eq!(
        listed(json!({})),
        [
            claude,
            "outcrop.minilm-embed-v1",
            "outcrop.quote-v1",
            "outcrop.tiny-v1"
        ]
    );
    assert_eq!(
        listed(json!({"byOutputModality": "EMBEDDING"})),
        ["outcrop.minilm-embed-v1"]
    );
    assert_eq!(listed(json!({"byProvider": "Anthropic"})), [claude]);
    assert!(listed(json!({"byInferenceType": "PROVISIONED"})).is_empty());
    assert!(listed(json!({"byCustomizationType": "FINE_TUNING"})).is_empty());
    let arn = format!("arn:aws:bedrock:local::foundation-model/{claude}");
    let got = ask(
        &session,
        "GetFoundationModel",
        json!({"modelIdentifier": arn}),
    );
    assert_eq!(got["modelDetails"]["modelArn"], arn);
    assert_eq!(got["modelDetails"]["responseStreamingSupported"], true);
    assert_eq!(
        got["modelDetails"].get("modelName"),
        None,
        "too long for its shape"
    );
    let available = ask(
        &session,
        "GetFoundationModelAvailability",
        json!({"modelId": claude}),
    );
    assert_eq!(available["entitlementAvailability"], "AVAILABLE");
    let unknown = json!({"modelIdentifier": "acme.none-v1"});
    assert_eq!(
        refusal(&session, Bedrock, "GetFoundationModel", unknown),
        "ResourceNotFoundException"
    );
}

#[test]
fn a_profile_stands_for_its_model() {
    let home = tempfile::tempdir().unwrap();
    let session = session(&home);
    let script = json!({"script": [{"answer": "here"}]});
    let registered = session.register_model("acme.scripted-v1", script, false, None);
    runtime().unwrap().block_on(registered).unwrap();
    let source = "arn:aws:bedrock:local::foundation-model/acme.scripted-v1";
    let create = json!({
        "inferenceProfileName": "team a",
        "clientRequestToken": "one",
        "modelSource": {"copyFrom": source},
        "tags": [{"key": "team", "value": "a"}],
    });
    let made = ask(&session, "CreateInferenceProfile", create.clone());
    let arn = made["inferenceProfileArn"].as_str().unwrap().to_string();
    assert_eq!(
        ask(&session, "CreateInferenceProfile", create.clone()),
        made
    );
    let refused = |input| refusal(&session, Bedrock, "CreateInferenceProfile", input);
    let mut other = create.clone();
    other["inferenceProfileName"] = json!("team b");
    assert_eq!(refused(other), "ConflictException");
    let mut again = create.clone();
    again["clientRequestToken"] = json!("two");
    assert_eq!(refused(again), "ConflictException");
    let mut unknown = create;
    unknown["clientRequestToken"] = json!("three");
    unknown["modelSource"]["copyFrom"] = json!("arn:aws:bedrock:local::foundation-model/acme.none");
    assert_eq!(refused(unknown), "ValidationException");

    let got = ask(
        &session,
        "GetInferenceProfile",
        json!({"inferenceProfileIdentifier": arn}),
    );
    assert_eq!(got["models"], json!([{"modelArn": source}]));
    assert_eq!(hello(&session, &arn).unwrap(), "here");
    let tags = ask(&session, "ListTagsForResource", json!({"resourceARN": arn}));
    assert_eq!(tags["tags"], json!([{"key": "team", "value": "a"}]));

    runtime()
        .unwrap()
        .block_on(session.alias("us.amazon.nova-lite-v1:0", Some("acme.scripted-v1")))
        .unwrap();
    let system = ask(
        &session,
        "ListInferenceProfiles",
        json!({"typeEquals": "SYSTEM_DEFINED"}),
    );
    let system = &system["inferenceProfileSummaries"];
    assert_eq!(system[0]["inferenceProfileId"], "us.amazon.nova-lite-v1:0");
    assert_eq!(system[0]["models"], json!([{"modelArn": source}]));
    assert_eq!(system.as_array().unwrap().len(), 1);
    ask(
        &session,
        "DeleteInferenceProfile",
        json!({"inferenceProfileIdentifier": arn}),
    );
    assert!(hello(&session, &arn).is_err());
}

#[test]
fn a_model_is_imported_from_a_bucket_and_runs_by_its_arn() {
    let home = tempfile::tempdir().unwrap();
    let bucket = tempfile::tempdir().unwrap();
    copy_folder(&fixture("llama3"), &bucket.path().join("models/llama"));
    let session = session(&home);
    session
        .map_bucket("acme-models", Some(bucket.path()))
        .unwrap();
    let create = |job: &str, name: &str, uri: &str| {
        json!({
            "jobName": job,
            "importedModelName": name,
            "roleArn": ROLE,
            "modelDataSource": {"s3DataSource": {"s3Uri": uri}},
            "importedModelTags": [{"key": "a", "value": "1"}],
        })
    };
    let import = |input| ask(&session, "CreateModelImportJob", input)["jobArn"].clone();
    let ended =
        |arn: &Value| wait(|| ask(&session, "GetModelImportJob", json!({"jobIdentifier": arn})));
    let job = ended(&import(create(
        "first",
        "llama",
        "s3://acme-models/models/llama",
    )));
    assert_eq!(job["status"], "Completed", "{job}");
    let model = ask(
        &session,
        "GetImportedModel",
        json!({"modelIdentifier": "llama"}),
    );
    assert_eq!(model["modelArn"], job["importedModelArn"]);
    assert_eq!(model["modelArchitecture"], "llama");
    assert_eq!(model["jobName"], "first");
    let arn = model["modelArn"].as_str().unwrap();
    hello(&session, arn).unwrap();
    hello(&session, "llama").unwrap();
    let taken = create("second", "llama", "s3://acme-models/models/llama");
    assert_eq!(
        refusal(&session, Bedrock, "CreateModelImportJob", taken),
        "ConflictException"
    );

    let failed = ended(&import(create("third", "none", "s3://acme-models/nowhere")));
    assert_eq!(failed["status"], "Failed");
    assert!(
        failed["failureMessage"]
            .as_str()
            .unwrap()
            .contains("nowhere"),
        "{failed}"
    );
    let unmapped = create("fourth", "x", "s3://other-bucket/x");
    assert_eq!(
        refusal(&session, Bedrock, "CreateModelImportJob", unmapped),
        "ValidationException"
    );
    let jobs = ask(
        &session,
        "ListModelImportJobs",
        json!({"statusEquals": "Failed"}),
    );
    assert_eq!(jobs["modelImportJobSummaries"][0]["jobName"], "third");
    assert_eq!(jobs["modelImportJobSummaries"].as_array().unwrap().len(), 1);

    ask(
        &session,
        "DeleteImportedModel",
        json!({"modelIdentifier": "llama"}),
    );
    assert!(hello(&session, arn).is_err());
    assert!(bucket.path().join("models/llama/config.json").exists());
}

#[test]
fn logging_keeps_bodies_in_the_home_and_refuses_other_places() {
    let home = tempfile::tempdir().unwrap();
    let session = session(&home);
    let get = || {
        ask(
            &session,
            "GetModelInvocationLoggingConfiguration",
            json!({}),
        )
    };
    assert_eq!(get(), json!({}));
    let config = json!({"loggingConfig": {"textDataDeliveryEnabled": true}});
    ask(
        &session,
        "PutModelInvocationLoggingConfiguration",
        config.clone(),
    );
    assert_eq!(get(), config);
    for refused in [
        json!({"s3Config": {"bucketName": "acme-logs"}}),
        json!({"cloudWatchConfig": {"logGroupName": "g", "roleArn": ROLE}}),
        json!({"textDataDeliveryEnabled": true, "imageDataDeliveryEnabled": false}),
    ] {
        let input = json!({"loggingConfig": refused});
        let name = "PutModelInvocationLoggingConfiguration";
        assert_eq!(
            refusal(&session, Bedrock, name, input),
            "ValidationException"
        );
    }
    ask(
        &session,
        "DeleteModelInvocationLoggingConfiguration",
        json!({}),
    );
    assert_eq!(get(), json!({}));
}

#[test]
fn routers_are_kept_with_models_that_are_there() {
    let home = tempfile::tempdir().unwrap();
    let session = session(&home);
    let arn = "arn:aws:bedrock:local::foundation-model/outcrop.quote-v1";
    let create = json!({
        "promptRouterName": "by weight",
        "models": [{"modelArn": arn}],
        "routingCriteria": {"responseQualityDifference": 20.0},
        "fallbackModel": {"modelArn": arn},
    });
    let made = ask(&session, "CreatePromptRouter", create.clone());
    let got = ask(&session, "GetPromptRouter", made.clone());
    assert_eq!(got["routingCriteria"], create["routingCriteria"]);
    assert_eq!(got["type"], "custom");
    let listed = |kind| {
        ask(&session, "ListPromptRouters", json!({"type": kind}))["promptRouterSummaries"].clone()
    };
    assert_eq!(listed("custom"), json!([got]));
    assert_eq!(listed("default"), json!([]));
    let mut unknown = create;
    unknown["fallbackModel"]["modelArn"] =
        json!("arn:aws:bedrock:local::foundation-model/acme.none");
    assert_eq!(
        refusal(&session, Bedrock, "CreatePromptRouter", unknown),
        "ValidationException"
    );
    ask(&session, "DeletePromptRouter", made.clone());
    assert_eq!(
        refusal(&session, Bedrock, "GetPromptRouter", made),
        "ResourceNotFoundException"
    );
}

fn prompt(name: &str, text: &str) -> Value {
    json!({
        "name": name,
        "defaultVariant": "v",
        "variants": [{
            "name": "v",
            "templateType": "TEXT",
            "templateConfiguration": {"text": {"text": text, "inputVariables": [{"name": "topic"}]}},
            "modelId": "outcrop.quote-v1",
            "inferenceConfiguration": {"text": {"maxTokens": 8}},
        }],
    })
}

#[test]
fn prompts_have_a_draft_and_versions_that_do_not_change() {
    let home = tempfile::tempdir().unwrap();
    let session = session(&home);
    let ask = |name, input| answer(&session, BedrockAgent, name, input);
    let made = ask("CreatePrompt", prompt("greeting", "Hello {{topic}}"));
    assert_eq!(made["version"], "DRAFT");
    let id = made["id"].clone();
    let first = ask(
        "CreatePromptVersion",
        json!({"promptIdentifier": id, "description": "one"}),
    );
    assert_eq!(first["version"], "1");
    assert_eq!(first["arn"], format!("{}:1", made["arn"].as_str().unwrap()));
    let mut changed = prompt("greeting", "Good day {{topic}}");
    changed["promptIdentifier"] = id.clone();
    ask("UpdatePrompt", changed);
    let text = |input| {
        ask("GetPrompt", input)["variants"][0]["templateConfiguration"]["text"]["text"].clone()
    };
    assert_eq!(text(json!({"promptIdentifier": id})), "Good day {{topic}}");
    assert_eq!(
        text(json!({"promptIdentifier": id, "promptVersion": "1"})),
        "Hello {{topic}}"
    );
    assert_eq!(
        text(json!({"promptIdentifier": first["arn"]})),
        "Hello {{topic}}"
    );
    let metadata = ask(
        "GetPrompt",
        json!({"promptIdentifier": id, "includedData": "METADATA_ONLY"}),
    );
    assert_eq!(metadata.get("variants"), None);

    let versions = || {
        let list = ask("ListPrompts", json!({"promptIdentifier": id}))["promptSummaries"].clone();
        let list = list.as_array().unwrap().iter();
        list.map(|v| v["version"].as_str().unwrap().to_string())
            .collect::<Vec<_>>()
    };
    ask("CreatePromptVersion", json!({"promptIdentifier": id}));
    assert_eq!(versions(), ["2", "1", "DRAFT"]);
    ask(
        "DeletePrompt",
        json!({"promptIdentifier": id, "promptVersion": "2"}),
    );
    let third = ask("CreatePromptVersion", json!({"promptIdentifier": id}));
    assert_eq!(third["version"], "3", "a number is not used again");
    assert_eq!(versions(), ["3", "1", "DRAFT"]);

    let refused = |name, input| refusal(&session, BedrockAgent, name, input);
    assert_eq!(
        refused("CreatePrompt", prompt("greeting", "x")),
        "ConflictException"
    );
    assert_eq!(
        refused("CreatePrompt", prompt("other", "{{unknown}}")),
        "ValidationException"
    );
    ask("DeletePrompt", json!({"promptIdentifier": id}));
    assert_eq!(
        refused("GetPrompt", json!({"promptIdentifier": id})),
        "ResourceNotFoundException"
    );
    assert_eq!(
        refused("GetPrompt", json!({"promptIdentifier": first["arn"]})),
        "ResourceNotFoundException"
    );
    ask("CreatePrompt", prompt("greeting", "again"));
}

#[test]
fn a_page_of_prompts_holds_ten() {
    let home = tempfile::tempdir().unwrap();
    let session = session(&home);
    for n in 0..11 {
        answer(
            &session,
            BedrockAgent,
            "CreatePrompt",
            prompt(&format!("p{n}"), "x"),
        );
    }
    let page = answer(
        &session,
        BedrockAgent,
        "ListPrompts",
        json!({"maxResults": 1000}),
    );
    assert_eq!(page["promptSummaries"].as_array().unwrap().len(), 10);
    let rest = answer(
        &session,
        BedrockAgent,
        "ListPrompts",
        json!({"maxResults": 1000, "nextToken": page["nextToken"]}),
    );
    assert_eq!(rest["promptSummaries"][0]["name"], "p0");
    assert_eq!(rest.get("nextToken"), None);
}
