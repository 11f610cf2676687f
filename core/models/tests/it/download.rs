//! Downloads from a hub on loopback: whole, broken, wrong, refused.

use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use outcrop_api::{Error, ErrorKind};
use outcrop_models::hub::HubOptions;
use outcrop_models::{CatalogueEntry, DownloadProgress, Progress, Shelf, ShelfOptions};
use outcrop_store::Home;

use crate::fixture;
use crate::hub_server::{COMMIT, Faults, HubServer};

const REPO: &str = "acme/tiny";
const SOURCE: &str = "hf:acme/tiny";

fn shelf(home: &tempfile::TempDir, hub: &HubServer, offline: bool) -> Shelf {
    let options = ShelfOptions {
        offline,
        hub: HubOptions {
            endpoint: Some(hub.endpoint.clone()),
            token: Some("secret".into()),
            certificates: None,
        },
        ..ShelfOptions::default()
    };
    Shelf::new(Home::open(home.path()).unwrap(), options)
}

async fn import(shelf: &Shelf) -> Result<CatalogueEntry, Error> {
    shelf.import(SOURCE, "acme.tiny", None).await
}

fn model_folder(home: &tempfile::TempDir) -> std::path::PathBuf {
    home.path()
        .join("models")
        .join(format!("hub--acme--tiny--{COMMIT}"))
}

/// Every installed file is the fixture's, byte for byte; nothing that a model does not need came.
fn assert_installed(home: &tempfile::TempDir, name: &str) {
    let folder = model_folder(home);
    for file in ["config.json", "tokenizer.json", "model.safetensors"] {
        let (got, expected) = (folder.join(file), fixture(name).join(file));
        assert_eq!(
            std::fs::read(got).unwrap(),
            std::fs::read(expected).unwrap(),
            "{file}"
        );
    }
    assert!(!folder.join("README.md").exists() && !folder.join("pytorch_model.bin").exists());
}

fn assert_nothing_installed(home: &tempfile::TempDir, shelf: &Shelf) {
    assert!(!model_folder(home).exists());
    let ids: Vec<String> = shelf
        .catalogue()
        .unwrap()
        .into_iter()
        .map(|entry| entry.id)
        .collect();
    assert!(
        !ids.contains(&"acme.tiny".into()) && !ids.contains(&SOURCE.into()),
        "{ids:?}"
    );
}

#[tokio::test]
async fn only_what_is_needed_is_fetched_with_progress() {
    let home = tempfile::tempdir().unwrap();
    let hub = HubServer::start(REPO, &fixture("bert_minilm"), Faults::default());
    let seen: Arc<Mutex<Vec<DownloadProgress>>> = Arc::default();
    let sink = seen.clone();
    let progress: Progress = Arc::new(move |now| sink.lock().unwrap().push(now));
    let entry = shelf(&home, &hub, false)
        .import(SOURCE, "acme.tiny", Some(progress))
        .await
        .unwrap();
    assert!(entry.available);
    assert_eq!(entry.source, SOURCE);
    assert_installed(&home, "bert_minilm");
    assert!(model_folder(&home).join("1_Pooling/config.json").exists());
    let seen = seen.lock().unwrap();
    let last = seen.last().unwrap();
    assert_eq!(Some(last.bytes_done), last.bytes_total);
    assert!(
        seen.windows(2)
            .all(|pair| pair[0].bytes_done <= pair[1].bytes_done)
    );
    assert!(
        hub.seen()
            .iter()
            .all(|seen| seen.authorization.as_deref() == Some("Bearer secret"))
    );
}

#[tokio::test]
async fn a_cut_connection_is_resumed_where_it_broke() {
    let home = tempfile::tempdir().unwrap();
    let faults = Faults {
        cuts: 3,
        cut_after: 10_000,
        ..Faults::default()
    };
    let hub = HubServer::start(REPO, &fixture("bert_minilm"), faults);
    import(&shelf(&home, &hub, false)).await.unwrap();
    assert_installed(&home, "bert_minilm");
    let ranges: Vec<_> = hub
        .seen()
        .into_iter()
        .filter_map(|seen| seen.range)
        .collect();
    assert_eq!(ranges, ["bytes=10000-", "bytes=20000-", "bytes=30000-"]);
}

#[tokio::test]
async fn a_hub_without_ranges_begins_again() {
    let home = tempfile::tempdir().unwrap();
    let faults = Faults {
        cuts: 2,
        cut_after: 10_000,
        no_ranges: true,
        ..Faults::default()
    };
    let hub = HubServer::start(REPO, &fixture("bert_minilm"), faults);
    import(&shelf(&home, &hub, false)).await.unwrap();
    assert_installed(&home, "bert_minilm");
}

#[tokio::test]
async fn a_busy_hub_is_asked_again() {
    let home = tempfile::tempdir().unwrap();
    let hub = HubServer::start(REPO, &fixture("bert_minilm"), Faults::default());
    let shelf = shelf(&home, &hub, false);
    hub.set_faults(Faults {
        status: Some(503),
        ..Faults::default()
    });
    let error = import(&shelf).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::ModelNotReadyException);
    assert!(error.message().contains("503"), "{error}");
    hub.set_faults(Faults {
        busy: 1,
        ..Faults::default()
    });
    assert!(
        import(&shelf).await.is_err(),
        "the listing is asked for once"
    );
    import(&shelf).await.unwrap();
    assert_installed(&home, "bert_minilm");
}

#[tokio::test]
async fn wrong_bytes_install_nothing_and_the_next_attempt_is_clean() {
    let home = tempfile::tempdir().unwrap();
    let faults = Faults {
        altered: Some("model.safetensors".into()),
        ..Faults::default()
    };
    let hub = HubServer::start(REPO, &fixture("bert_minilm"), faults);
    let shelf = shelf(&home, &hub, false);
    let error = import(&shelf).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::ModelErrorException);
    for part in ["model.safetensors", "SHA-256", "nothing was installed"] {
        assert!(error.message().contains(part), "{error}");
    }
    assert_nothing_installed(&home, &shelf);
    hub.set_faults(Faults::default());
    import(&shelf).await.unwrap();
    assert_installed(&home, "bert_minilm");
}

#[tokio::test]
async fn a_file_that_ends_early_is_an_error_with_both_numbers() {
    let home = tempfile::tempdir().unwrap();
    let faults = Faults {
        short: Some("tokenizer.json".into()),
        ..Faults::default()
    };
    let hub = HubServer::start(REPO, &fixture("bert_minilm"), faults);
    let shelf = shelf(&home, &hub, false);
    let error = import(&shelf).await.unwrap_err();
    assert!(error.message().contains("tokenizer.json"), "{error}");
    assert_nothing_installed(&home, &shelf);
}

#[tokio::test]
async fn a_redirect_gets_no_token_and_its_bytes_are_checked() {
    let home = tempfile::tempdir().unwrap();
    let faults = Faults {
        cuts: 1,
        cut_after: 5_000,
        ..Faults::default()
    };
    let store = HubServer::start(REPO, &fixture("bert_minilm"), faults);
    let faults = Faults {
        redirect_to: Some(store.endpoint.clone()),
        ..Faults::default()
    };
    let hub = HubServer::start(REPO, &fixture("bert_minilm"), faults);
    import(&shelf(&home, &hub, false)).await.unwrap();
    assert_installed(&home, "bert_minilm");
    let there = store.seen();
    assert_eq!(there.len(), 2);
    assert!(there.iter().all(|seen| seen.authorization.is_none()));
    assert_eq!(there[1].range.as_deref(), Some("bytes=5000-"));
}

#[tokio::test]
async fn refusals_say_what_to_do() {
    let home = tempfile::tempdir().unwrap();
    let hub = HubServer::start(REPO, &fixture("bert_minilm"), Faults::default());
    let shelf = shelf(&home, &hub, false);
    for (status, kind, part) in [
        (401, ErrorKind::AccessDeniedException, "HF_TOKEN"),
        (403, ErrorKind::AccessDeniedException, "HF_TOKEN"),
        (404, ErrorKind::ResourceNotFoundException, "no such model"),
        (418, ErrorKind::ModelErrorException, "HTTP 418"),
    ] {
        hub.set_faults(Faults {
            status: Some(status),
            ..Faults::default()
        });
        let error = import(&shelf).await.unwrap_err();
        assert_eq!(error.kind(), kind, "{error}");
        assert!(error.message().contains(part), "{error}");
    }
    assert_nothing_installed(&home, &shelf);
}

#[tokio::test]
async fn no_name_of_the_hub_leaves_the_folder() {
    for name in [
        "../../evil.json",
        "/tmp/evil.json",
        "a\\..\\evil.json",
        "C:evil.json",
    ] {
        let home = tempfile::tempdir().unwrap();
        let faults = Faults {
            listed: vec![name.into()],
            ..Faults::default()
        };
        let hub = HubServer::start(REPO, &fixture("bert_minilm"), faults);
        let shelf = shelf(&home, &hub, false);
        let error = import(&shelf).await.unwrap_err();
        assert!(
            error.message().contains("leave the model's folder"),
            "{error}"
        );
        assert_nothing_installed(&home, &shelf);
    }
}

#[tokio::test]
async fn offline_and_unreachable_are_told_apart() {
    let home = tempfile::tempdir().unwrap();
    let hub = HubServer::start(REPO, &fixture("bert_minilm"), Faults::default());
    let error = import(&shelf(&home, &hub, true)).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::ResourceNotFoundException);
    assert!(error.message().contains("offline"), "{error}");
    assert!(hub.seen().is_empty());
    let options = ShelfOptions {
        hub: HubOptions {
            endpoint: Some("http://127.0.0.1:9".into()),
            ..HubOptions::default()
        },
        ..ShelfOptions::default()
    };
    let shelf = Shelf::new(Home::open(home.path()).unwrap(), options);
    let error = import(&shelf).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::ModelNotReadyException);
    assert!(error.message().contains("127.0.0.1:9"), "{error}");
    let error = shelf
        .resolve("outcrop.minilm-embed-v1", None)
        .await
        .err()
        .unwrap();
    assert_eq!(error.kind(), ErrorKind::ResourceNotFoundException);
    assert!(
        error.message().contains("pip install \"outcrop[minilm]\""),
        "{error}"
    );
}

#[tokio::test]
async fn a_download_that_is_given_up_stops_and_is_resumed_later() {
    let home = tempfile::tempdir().unwrap();
    let faults = Faults {
        slow: Some(Duration::from_millis(20)),
        ..Faults::default()
    };
    let hub = HubServer::start(REPO, &fixture("bert_minilm"), faults);
    let shelf = shelf(&home, &hub, false);
    let started = Instant::now();
    let given_up = tokio::time::timeout(Duration::from_millis(1500), import(&shelf)).await;
    assert!(given_up.is_err(), "the slow hub takes longer");
    assert!(started.elapsed() < Duration::from_secs(3));
    assert_nothing_installed(&home, &shelf);
    hub.set_faults(Faults::default());
    // The thread that was given up lets go of the model's lock at its next piece.
    import(&shelf).await.unwrap();
    assert_installed(&home, "bert_minilm");
}

#[tokio::test]
async fn one_gguf_file_is_fetched_by_its_name() {
    let home = tempfile::tempdir().unwrap();
    let hub = HubServer::start(REPO, &fixture("llama3"), Faults::default());
    let shelf = shelf(&home, &hub, false);
    let entry = shelf
        .import("hf:acme/tiny/model-Q8_0.gguf", "acme.q8", None)
        .await
        .unwrap();
    assert!(entry.available);
    let error = shelf
        .import("hf:acme/tiny/other.gguf", "acme.other", None)
        .await
        .unwrap_err();
    assert!(error.message().contains("model-Q8_0.gguf"), "{error}");
}
