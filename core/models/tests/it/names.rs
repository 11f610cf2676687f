//! Registered models and aliases: what the home keeps, and where names lead.

use std::sync::Arc;

use outcrop_api::{ErrorKind, ModelKind, Result};
use outcrop_models::{LoadOptions, ModelDirectory, Shelf};
use serde_json::{Value, json};

use crate::fixture;
use crate::scripted::shelf;

const HAIKU: &str = "anthropic.claude-3-haiku-20240307-v1:0";

fn script(text: &str) -> Value {
    json!({"script": [{"answer": text}]})
}

async fn register(shelf: &Shelf, id: &str, text: &str) {
    shelf.register(id, script(text), false, None).await.unwrap();
}

#[tokio::test]
async fn a_registration_is_kept_and_replaced_only_where_asked() {
    let home = tempfile::tempdir().unwrap();
    register(&shelf(&home), "acme.a", "1").await;
    let shelf = shelf(&home);
    let entry = shelf
        .catalogue()
        .unwrap()
        .into_iter()
        .find(|e| e.id == "acme.a")
        .unwrap();
    assert_eq!(
        (entry.kind, entry.source.as_str()),
        (Some(ModelKind::Chat), "script")
    );
    assert!(entry.available);
    let model = shelf.resolve("acme.a", None).await.unwrap();
    assert_eq!(model.info().architecture, "scripted");
    // The same again leaves the loaded model; another one is a conflict.
    register(&shelf, "acme.a", "1").await;
    assert!(Arc::ptr_eq(
        &model,
        &shelf.resolve("acme.a", None).await.unwrap()
    ));
    let error = shelf
        .register("acme.a", script("2"), false, None)
        .await
        .unwrap_err();
    assert_eq!(error.kind(), ErrorKind::ConflictException);
    shelf
        .register("acme.a", script("2"), true, None)
        .await
        .unwrap();
    assert!(!Arc::ptr_eq(
        &model,
        &shelf.resolve("acme.a", None).await.unwrap()
    ));
    let path = fixture("llama3").display().to_string();
    let error = shelf.import(&path, "acme.a", None).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::ConflictException);
    let options = LoadOptions {
        max_batch: Some(1),
        ..LoadOptions::default()
    };
    shelf.clear();
    let error = shelf.open("acme.a", options, None).await.err().unwrap();
    assert!(
        error
            .message()
            .starts_with("max_batch: model acme.a is declared"),
        "{error}"
    );
    // Another process replaces it, and takes it away.
    let elsewhere = crate::scripted::shelf(&home);
    let before = shelf.resolve("acme.a", None).await.unwrap();
    elsewhere
        .register("acme.a", script("3"), true, None)
        .await
        .unwrap();
    assert!(!Arc::ptr_eq(
        &before,
        &shelf.resolve("acme.a", None).await.unwrap()
    ));
    elsewhere.unregister("acme.a").unwrap();
    assert!(shelf.resolve("acme.a", None).await.is_err());
    register(&shelf, "acme.a", "1").await;
    shelf.unregister("acme.a").unwrap();
    let error = shelf.resolve("acme.a", None).await.err().unwrap();
    assert_eq!(error.kind(), ErrorKind::ResourceNotFoundException);
    assert!(shelf.unregister("acme.a").is_err() && shelf.unregister("outcrop.quote-v1").is_err());
    let entry = shelf
        .register("acme.files", json!({"path": path}), false, None)
        .await
        .unwrap();
    assert_eq!(entry.source, path);
    assert!(
        shelf
            .resolve("acme.files", None)
            .await
            .unwrap()
            .engine()
            .is_ok()
    );
}

#[tokio::test]
async fn names_of_aws_lead_to_the_model_that_an_alias_says() {
    let home = tempfile::tempdir().unwrap();
    register(&shelf(&home), "acme.a", "1").await;
    register(&shelf(&home), "acme.b", "1").await;
    let profile = format!("us.{HAIKU}");
    shelf(&home).set_alias(HAIKU, "acme.a").unwrap();
    let shelf = shelf(&home);
    let leads = |name: &str| {
        let resolution = shelf.runtime_resolution(name, false).unwrap();
        assert_eq!(resolution.asked, name);
        (resolution.model, resolution.aliases)
    };
    let by = |names: &[&str]| names.iter().map(ToString::to_string).collect::<Vec<_>>();
    for name in [
        HAIKU.to_string(),
        profile.clone(),
        format!("arn:aws:bedrock:us-east-1::foundation-model/{HAIKU}"),
        format!("arn:aws-us-gov:bedrock:us-gov-west-1::foundation-model/{HAIKU}"),
        format!("arn:aws:bedrock:eu-west-1:123456789012:inference-profile/eu.{HAIKU}"),
    ] {
        assert_eq!(leads(&name), ("acme.a".into(), by(&[HAIKU])), "{name}");
        assert_eq!(
            shelf.resolve(&name, None).await.unwrap().info().id,
            "acme.a"
        );
    }
    // A profile may have an alias of its own, and an alias may stand for another.
    shelf.set_alias(&profile, "acme.b").unwrap();
    assert_eq!(leads(&profile), ("acme.b".into(), by(&[&profile])));
    shelf
        .set_alias("meta.llama3-8b-instruct-v1:0", HAIKU)
        .unwrap();
    assert_eq!(
        leads("meta.llama3-8b-instruct-v1:0"),
        (
            "acme.a".into(),
            by(&["meta.llama3-8b-instruct-v1:0", HAIKU])
        )
    );
    assert_eq!(leads("acme.a"), ("acme.a".into(), vec![]));
    let error = shelf
        .set_alias(HAIKU, "meta.llama3-8b-instruct-v1:0")
        .unwrap_err();
    assert!(
        error.message().contains("would stand for itself"),
        "{error}"
    );
    let names: Vec<String> = shelf
        .aliases()
        .unwrap()
        .into_iter()
        .map(|a| a.name)
        .collect();
    assert_eq!(names, [HAIKU, "meta.llama3-8b-instruct-v1:0", &profile]);
    // Set by its ARN, taken away by its id.
    shelf
        .remove_alias(&format!(
            "arn:aws:bedrock:us-east-1::foundation-model/{HAIKU}"
        ))
        .unwrap();
    assert!(shelf.runtime_resolution(HAIKU, false).is_err());
    assert!(shelf.remove_alias(HAIKU).is_err());
}

#[tokio::test]
async fn what_the_home_does_not_know_is_refused_in_the_words_of_aws() {
    let home = tempfile::tempdir().unwrap();
    let shelf = shelf(&home);
    let folder = fixture("llama3").display().to_string();
    for name in [
        HAIKU,
        "arn:aws:bedrock:us-east-1::foundation-model/x.y",
        "arn:aws:bedrock:us-east-1:123456789012:provisioned-model/abc",
        "arn:aws:s3:::bucket",
        "hf:org/name",
        "",
        &folder,
        "src",
    ] {
        let error = shelf.runtime_resolution(name, false).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::ValidationException, "{name}");
        assert_eq!(error.message(), "The provided model identifier is invalid.");
    }
    assert!(shelf.runtime_resolution("outcrop.quote-v1", false).is_ok());
    // The owner of the home may name a path, and its ids are AWS's all the same.
    assert_eq!(
        shelf.runtime_resolution(&folder, true).unwrap().model,
        folder
    );
    assert!(shelf.runtime_resolution(HAIKU, true).is_err());
    // Natively, a name that is not known says what is near.
    let error = shelf.resolve("outcrop.qoute-v1", None).await.err().unwrap();
    assert!(
        error.message().contains("did you mean outcrop.quote-v1"),
        "{error}"
    );
    for (name, target, kind) in [
        (
            "outcrop.quote-v1",
            "outcrop.minilm-embed-v1",
            ErrorKind::ValidationException,
        ),
        (HAIKU, "acme.nothing", ErrorKind::ResourceNotFoundException),
        (HAIKU, "./nowhere", ErrorKind::ResourceNotFoundException),
        (HAIKU, HAIKU, ErrorKind::ValidationException),
        ("a/b", "outcrop.quote-v1", ErrorKind::ValidationException),
        (
            "arn:aws:s3:::x",
            "outcrop.quote-v1",
            ErrorKind::ValidationException,
        ),
    ] {
        assert_eq!(
            shelf.set_alias(name, target).unwrap_err().kind(),
            kind,
            "{name}"
        );
    }
    shelf.set_alias(HAIKU, &folder).unwrap();
    assert_eq!(
        shelf.runtime_resolution(HAIKU, false).unwrap().model,
        folder
    );
    let error = shelf
        .register(HAIKU, script("x"), false, None)
        .await
        .unwrap_err();
    assert_eq!(error.kind(), ErrorKind::ConflictException);
}

struct Profiles;

impl ModelDirectory for Profiles {
    fn model_of(&self, name: &str) -> Result<Option<String>> {
        Ok(name.ends_with("/abc123").then(|| HAIKU.to_string()))
    }
}

#[tokio::test]
async fn other_resources_are_asked_for_what_they_stand_for() {
    let home = tempfile::tempdir().unwrap();
    let shelf = shelf(&home);
    register(&shelf, "acme.a", "1").await;
    shelf.set_alias(HAIKU, "acme.a").unwrap();
    shelf.set_directory(Box::new(Profiles));
    let arn = "arn:aws:bedrock:local:000000000000:application-inference-profile/abc123";
    let resolution = shelf.runtime_resolution(arn, false).unwrap();
    assert_eq!(resolution.model, "acme.a");
    assert_eq!(resolution.aliases, [arn, HAIKU]);
}
