//! Training an embedding model of one's own: what it finds gets better, and its folder loads.

use outcrop::api::EmbedOptions;
use outcrop::{FineTuneRequest, Session, runtime};
use serde_json::{Value, json};

use crate::operations::{answer, call};
use crate::resources::wait;
use crate::{fixture, session};
use outcrop::operations::Service::Bedrock;

/// Topics, each with two ways to ask for it and the passage that answers.
const TOPICS: [(&str, &str, &str); 8] = [
    (
        "wire money abroad",
        "send funds to another country",
        "An international transfer costs 30 euros.",
    ),
    (
        "replace a lost card",
        "get a new card after a theft",
        "A new card is sent within five days.",
    ),
    (
        "overdraw my account",
        "let my balance fall below zero",
        "The credit line has a rate of nine percent.",
    ),
    (
        "rent a safe box",
        "keep papers in the vault",
        "Deposit lockers are let by the year.",
    ),
    (
        "pay in a cheque",
        "cash a cheque at the counter",
        "Drafts are credited on the next day.",
    ),
    (
        "close my account",
        "leave the bank",
        "A contract ends a month after notice.",
    ),
    (
        "fix the mortgage rate",
        "lock the interest of my loan",
        "Offers hold for thirty days.",
    ),
    (
        "get a new pin",
        "reset the code of my card",
        "Secret numbers come by post.",
    ),
];
const FORMS: [&str; 5] = [
    "How do I {}?",
    "I want to {}.",
    "What does it cost to {}?",
    "Can I {} today?",
    "{}, please.",
];

fn questions(held_out: bool) -> Vec<(String, usize)> {
    let forms = if held_out { &FORMS[4..] } else { &FORMS[..4] };
    let each = |(index, (first, second, _)): (usize, &(&str, &str, &str))| {
        let asked = [*first, *second];
        let all = forms
            .iter()
            .flat_map(move |form| asked.map(|what| form.replace("{}", what)));
        all.map(move |question| (question, index))
            .collect::<Vec<_>>()
    };
    TOPICS.iter().enumerate().flat_map(each).collect()
}

/// Share of the held-out questions whose passage is the nearest.
fn recall(session: &Session, model: &str) -> f64 {
    let model = runtime().unwrap().block_on(session.model(model)).unwrap();
    let embed = |texts: Vec<String>| {
        let work = model.embed(texts, EmbedOptions::default());
        runtime().unwrap().block_on(work).unwrap()
    };
    let asked = questions(true);
    let queries = embed(asked.iter().map(|(question, _)| question.clone()).collect());
    let passages = embed(TOPICS.map(|(_, _, passage)| passage.to_owned()).to_vec());
    let width = passages.dimensions;
    let dot = |a: &[f32], b: &[f32]| a.iter().zip(b).map(|(a, b)| a * b).sum::<f32>();
    let right =
        asked
            .iter()
            .zip(queries.values.chunks_exact(width))
            .filter(|((_, topic), query)| {
                let scores = passages
                    .values
                    .chunks_exact(width)
                    .map(|passage| dot(query, passage));
                let best = scores
                    .enumerate()
                    .max_by(|(_, a), (_, b)| a.total_cmp(b))
                    .unwrap();
                best.0 == *topic
            });
    right.count() as f64 / asked.len() as f64
}

fn data(folder: &tempfile::TempDir) -> std::path::PathBuf {
    let line = |(question, topic): &(String, usize)| {
        json!({"anchor": question, "positive": TOPICS[*topic].2}).to_string()
    };
    let lines: Vec<String> = questions(false).iter().map(line).collect();
    let path = folder.path().join("pairs.jsonl");
    std::fs::write(&path, lines.join("\n")).unwrap();
    path
}

fn request(more: Value) -> FineTuneRequest {
    let mut request = json!({
        "base_model": fixture("bert_minilm"), "name": "finder",
        "training": {"epochs": 25, "batch_size": 16, "learning_rate": 2e-3},
    });
    let members = request.as_object_mut().unwrap();
    members.extend(more.as_object().unwrap().clone());
    serde_json::from_value(request).unwrap()
}

#[test]
fn what_it_finds_gets_better_and_its_folder_loads() {
    let (home, folder) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let session = session(&home);
    let path = data(&folder);
    let base = fixture("bert_minilm").display().to_string();
    let before = recall(&session, &base);
    let request = request(json!({"training_data": path, "validation": path}));
    let job = runtime()
        .unwrap()
        .block_on(session.fine_tune(request))
        .unwrap();
    wait(|| serde_json::to_value(job.status().unwrap()).unwrap());
    let status = job.status().unwrap();
    assert_eq!(status.status, "Completed", "{status:?}");
    let steps = job.metrics().unwrap();
    assert!(steps.last().unwrap().loss < 0.5 * steps[0].loss);
    assert!(steps.last().unwrap().validation_loss.is_some());
    let arn = status.model.unwrap();
    let after = recall(&session, &arn);
    assert!(before < 0.3 && after >= 0.5, "recall {before} -> {after}");
    let made = home.path().join("custom-models").join(job.id());
    for file in [
        "modules.json",
        "1_Pooling/config.json",
        "tokenizer.json",
        "model.safetensors",
    ] {
        assert!(made.join(file).exists(), "{file}");
    }
    let about = answer(
        &session,
        Bedrock,
        "GetCustomModel",
        json!({"modelIdentifier": arn}),
    );
    assert_eq!(about["modelStatus"], "Active");
}

#[test]
fn what_is_no_pair_is_told_and_bedrocks_door_trains_too() {
    let (home, folder) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let session = session(&home);
    let wrong = folder.path().join("wrong.jsonl");
    std::fs::write(
        &wrong,
        "{\"anchor\": \"a\", \"positive\": \"b\"}\n{\"prompt\": \"a\", \"completion\": \"b\"}\n",
    )
    .unwrap();
    for (more, expected) in [
        (
            json!({"training_data": wrong}),
            "line 2: expected anchor, positive",
        ),
        (
            json!({"training_data": data(&folder), "method": "lora"}),
            "expected full for an embedding model",
        ),
        (
            json!({"training_data": data(&folder), "max_tokens": 3}),
            "expected at most 3 tokens",
        ),
        (
            json!({"training_data": data(&folder), "base_model": fixture("qwen3_embedding")}),
            "qwen3_embedding",
        ),
    ] {
        let error = runtime()
            .unwrap()
            .block_on(session.fine_tune(request(more)))
            .unwrap_err();
        assert!(error.message().contains(expected), "{error}");
    }
    session
        .map_bucket("acme-data", Some(folder.path()))
        .unwrap();
    let input = |parameters: Value| {
        json!({
            "jobName": "pairs", "customModelName": "finder", "baseModelIdentifier": fixture("bert_minilm"),
            "roleArn": "arn:aws:iam::000000000000:role/any", "hyperParameters": parameters,
            "trainingDataConfig": {"s3Uri": "s3://acme-data/pairs.jsonl"},
            "outputDataConfig": {"s3Uri": "s3://acme-data/out/"},
        })
    };
    data(&folder);
    let asked = input(json!({"contrastiveTemperature": "0"}));
    let error = call(&session, Bedrock, "CreateModelCustomizationJob", asked).unwrap_err();
    assert!(
        error.message().contains("contrastiveTemperature"),
        "{error}"
    );
    let asked =
        input(json!({"epochCount": "1", "batchSize": "16", "contrastiveTemperature": "0.1"}));
    let made = answer(&session, Bedrock, "CreateModelCustomizationJob", asked);
    let about = wait(|| {
        answer(
            &session,
            Bedrock,
            "GetModelCustomizationJob",
            json!({"jobIdentifier": made["jobArn"]}),
        )
    });
    assert_eq!(about["status"], "Completed", "{about}");
}
