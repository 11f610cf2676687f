//! The desk from outside, as a binding uses it.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, missing_docs)]

mod agent_memory;
mod agent_operations;
mod agents;
mod attacks;
mod collaborators;
mod custom_models;
mod customization;
mod desk;
mod distillation;
mod embedding_training;
mod endpoints;
mod jobs;
mod knowledge_base;
mod knowledge_operations;
mod mcp;
mod operations;
mod resources;
mod session;
mod sessions;

use std::path::{Path, PathBuf};

use outcrop::{AskOptions, Session, SessionOptions};

pub(crate) fn fixture(name: &str) -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR"))
        .join("../inference/tests/fixtures")
        .join(name)
        .canonicalize()
        .expect("the golden models are part of the project")
}

pub(crate) fn copy_folder(from: &Path, to: &Path) {
    std::fs::create_dir_all(to).unwrap();
    for entry in std::fs::read_dir(from).unwrap() {
        let entry = entry.unwrap();
        let target = to.join(entry.file_name());
        if entry.path().is_dir() {
            copy_folder(&entry.path(), &target);
        } else {
            std::fs::copy(entry.path(), target).unwrap();
        }
    }
}

/// A session on a home whose built-in embedder is the tiny golden one: its vectors are real and
/// mean nothing.
pub(crate) fn session(home: &tempfile::TempDir) -> Session {
    let place = home.path().join("models/outcrop.minilm-embed-v1");
    if !place.exists() {
        copy_folder(&fixture("bert_minilm"), &place);
    }
    Session::open(SessionOptions {
        home: Some(home.path().to_path_buf()),
        offline: true,
        ..SessionOptions::default()
    })
    .unwrap()
}

/// Everything that a binding hands to another thread may go there.
#[test]
fn handles_and_futures_are_send() {
    fn send<T: Send + 'static>(_: &T) {}
    let home = tempfile::tempdir().unwrap();
    let session = session(&home);
    send(&session);
    let owned = session.clone();
    send(&async move { owned.model("outcrop.quote-v1").await });
    let owned = session.clone();
    send(&async move {
        let base = owned.knowledge_base("x").await?;
        base.sync(|_| {}).await?;
        base.ask("q".into(), AskOptions::default()).await
    });
}
