//! The operation cases of `core/outcrop/cases`, over `handle`.

mod client;
mod matching;

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use outcrop::operations::Operation;
use outcrop::{Session, SessionOptions};
use serde_json::{Value, json};

use client::{Reply, call};
use matching::{Kept, differs, events_differ, filled};

/// Longest wait for a job of a case.
const PATIENCE: Duration = Duration::from_secs(20);

fn cases() -> Vec<(PathBuf, Value)> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../outcrop/cases");
    let files = std::fs::read_dir(folder)
        .unwrap()
        .map(|file| file.unwrap().path());
    let mut files: Vec<PathBuf> = files
        .filter(|path| path.extension().is_some_and(|it| it == "json"))
        .collect();
    files.sort();
    let read = |path: PathBuf| {
        let text = std::fs::read(&path).unwrap();
        let case = serde_json::from_slice(&text);
        let case = case.unwrap_or_else(|error| panic!("{}: {error}", path.display()));
        (path, case)
    };
    files.into_iter().map(read).collect()
}

#[test]
fn every_case_is_answered_as_it_expects() {
    let runtime = outcrop::runtime().unwrap();
    let mut problems = Vec::new();
    for (path, case) in cases() {
        let name = path.file_stem().unwrap().to_string_lossy().into_owned();
        if let Some(problem) = runtime.block_on(run(&case)) {
            problems.push(format!("{name}: {problem}"));
        }
    }
    assert!(problems.is_empty(), "\n{}", problems.join("\n"));
}

#[test]
fn every_operation_that_is_here_has_a_case() {
    let called: BTreeSet<String> = cases()
        .iter()
        .flat_map(|(_, case)| case["calls"].as_array().cloned().unwrap_or_default())
        .filter_map(|call| call["call"].as_str().map(str::to_string))
        .collect();
    let here = Operation::all().filter(|operation| operation.handler.is_some());
    let missing: Vec<String> = here
        .map(|operation| format!("{}.{}", operation.service.name(), operation.name))
        .filter(|name| !called.contains(name))
        .collect();
    assert!(missing.is_empty(), "no case calls {missing:?}");
}

#[test]
fn every_operation_that_is_not_here_says_so() {
    let home = tempfile::tempdir().unwrap();
    let session = open(home.path());
    let runtime = outcrop::runtime().unwrap();
    for operation in Operation::all().filter(|operation| operation.handler.is_none()) {
        let name = format!("{}.{}", operation.service.name(), operation.name);
        let labels = operation
            .labels()
            .map(|label| (label.to_string(), json!("a1")));
        let input = Value::Object(labels.collect());
        let reply = runtime.block_on(call(&session, &name, &input));
        let error = reply.error.unwrap_or_else(|| panic!("{name} answered"));
        assert_eq!(error["code"], "NotImplementedException", "{name}");
        let message = error["message"].as_str().unwrap();
        assert!(message.contains(operation.name), "{name}: {message}");
    }
}

fn open(home: &Path) -> Session {
    let options = SessionOptions {
        home: Some(home.join("home")),
        offline: true,
        ..SessionOptions::default()
    };
    Session::open(options).unwrap()
}

/// Runs a case; says what was not as it expects.
async fn run(case: &Value) -> Option<String> {
    let folder = tempfile::tempdir().unwrap();
    let files = folder.path().join("files");
    let mut kept = Kept::from([("folder".to_string(), json!(files.to_str().unwrap()))]);
    let session = open(folder.path());
    prepare(&session, case, &files, &kept).await;
    let calls = case["calls"].as_array().expect("calls");
    for (at, step) in calls.iter().enumerate() {
        let name = step["call"].as_str().expect("call");
        let input = filled(step.get("input").unwrap_or(&json!({})), &kept);
        let started = Instant::now();
        let reply = loop {
            let reply = call(&session, name, &input).await;
            let waits = step.get("until").and_then(|until| {
                differs(
                    &filled(until, &kept),
                    Some(&reply.output),
                    "until",
                    &mut kept,
                )
            });
            match waits {
                Some(problem) if started.elapsed() > PATIENCE || reply.error.is_some() => {
                    return Some(format!("call {at} {name}: {problem} {:?}", reply.error));
                }
                Some(_) => tokio::time::sleep(Duration::from_millis(50)).await,
                None => break reply,
            }
        };
        if let Some(problem) = check(step, &reply, &mut kept) {
            return Some(format!("call {at} {name}: {problem}"));
        }
    }
    None
}

async fn prepare(session: &Session, case: &Value, files: &Path, kept: &Kept) {
    for (name, text) in case["files"].as_object().into_iter().flatten() {
        let path = files.join(name);
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        std::fs::write(path, text.as_str().expect("a file's text")).unwrap();
    }
    for (id, spec) in case["models"].as_object().into_iter().flatten() {
        session
            .register_model(id, filled(spec, kept), true, None)
            .await
            .unwrap();
    }
    for (name, folder) in case["buckets"].as_object().into_iter().flatten() {
        let folder = files.join(folder.as_str().expect("a bucket's folder"));
        session.map_bucket(name, Some(&folder)).unwrap();
    }
    for (id, target) in case["aliases"].as_object().into_iter().flatten() {
        session.alias(id, target.as_str()).await.unwrap();
    }
}

fn check(step: &Value, reply: &Reply, kept: &mut Kept) -> Option<String> {
    let Some(expected) = step.get("error") else {
        if let Some(error) = &reply.error {
            return Some(format!("expected an answer, got {error}"));
        }
        let events = step["events"].as_array();
        let events = events.map(|events| filled(&json!(events), kept));
        let output = step.get("output").map(|output| filled(output, kept));
        let problem = output.and_then(|it| differs(&it, Some(&reply.output), "output", kept));
        let events = events.as_ref().and_then(Value::as_array);
        return problem.or_else(|| events.and_then(|it| events_differ(it, &reply.events, 0, kept)));
    };
    match &reply.error {
        Some(error) => differs(&filled(expected, kept), Some(error), "error", kept),
        None => Some(format!("expected {expected}, got {}", reply.output)),
    }
}
