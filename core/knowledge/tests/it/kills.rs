//! A sync that is killed at any moment leaves a whole state, and the next one finishes.

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;
use std::process::{Command, Stdio};
use std::sync::Arc;
use std::time::{Duration, Instant};

use outcrop_knowledge::KnowledgeBase;
use outcrop_store::Home;

use crate::doubles::{HashingEmbedder, Numbers, create, embedder};

const FILES: u64 = 2_000;
const KILLS: u64 = 20;
const HOME: &str = "OUTCROP_TEST_KILL_HOME";

/// Not a test of its own: what the other test runs in a process that it kills.
#[tokio::test(flavor = "multi_thread")]
async fn child_that_syncs() {
    let Ok(home) = std::env::var(HOME) else {
        println!("skipped: runs as the child of a_killed_sync_is_finished_by_the_next");
        return;
    };
    let slow = Arc::new(HashingEmbedder {
        delay: Duration::from_millis(3),
        ..HashingEmbedder::default()
    });
    let base = KnowledgeBase::open(&Home::open(home).unwrap(), "policies").unwrap();
    base.sync(slow, |_| {}).await.unwrap();
}

fn write(docs: &Path, n: u64, version: u64) {
    let name = docs.join(format!("{:02}/{n:04}.txt", n % 20));
    fs::create_dir_all(name.parent().unwrap()).unwrap();
    let text = format!(
        "Zebra{n} is at version {version}.\n\nIt was seen by guard{} in camp{}.",
        n % 7,
        n % 31
    );
    fs::write(name, text).unwrap();
}

fn child(home: &Path) -> std::process::Child {
    Command::new(std::env::current_exe().unwrap())
        .args(["--exact", "kills::child_that_syncs"])
        .env(HOME, home)
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn()
        .unwrap()
}

/// What a knowledge base holds: each document's hash and number of passages.
fn listing(base: &KnowledgeBase) -> BTreeMap<String, (String, usize)> {
    let documents = base.documents().unwrap();
    let count = documents.len();
    let listing: BTreeMap<_, _> = documents
        .into_iter()
        .map(|d| (d.id, (d.sha256, d.chunks)))
        .collect();
    assert_eq!(listing.len(), count, "a document is there twice");
    listing
}

#[tokio::test(flavor = "multi_thread")]
async fn a_killed_sync_is_finished_by_the_next() {
    let folder = tempfile::tempdir().unwrap();
    let (home, docs) = (folder.path().join("home"), folder.path().join("docs"));
    for n in 0..FILES {
        write(&docs, n, 0);
    }
    let base = create(&home, "policies");
    base.add_source(&docs).unwrap();

    // How long a whole sync takes, in a home of its own.
    let trial = folder.path().join("trial");
    create(&trial, "policies").add_source(&docs).unwrap();
    let started = Instant::now();
    assert!(child(&trial).wait().unwrap().success());
    let whole = started.elapsed();

    let mut numbers = Numbers(42);
    let (mut killed, mut partial) = (0, 0);
    for round in 1..=KILLS {
        let mut sync = child(&home);
        let wait = numbers.below(whole.as_micros() as u64 * 6 / 10);
        std::thread::sleep(Duration::from_micros(wait));
        killed += u64::from(sync.try_wait().unwrap().is_none());
        sync.kill().unwrap();
        sync.wait().unwrap();
        // The last committed state is whole and can be searched.
        let held = listing(&base);
        partial += u64::from(!held.is_empty() && held.len() < FILES as usize);
        if !held.is_empty() {
            let found = base
                .retrieve(embedder(), "zebra seen by guard3", 10)
                .await
                .unwrap();
            assert!(
                found
                    .iter()
                    .all(|p| held.contains_key(&p.location.document))
            );
        }
        // The world goes on: documents change, go and come back.
        for _ in 0..400 {
            write(&docs, numbers.below(FILES), round);
        }
        for _ in 0..20 {
            let n = numbers.below(FILES);
            let _ = fs::remove_file(docs.join(format!("{:02}/{n:04}.txt", n % 20)));
        }
    }
    assert!(killed >= KILLS / 2, "only {killed} were killed in time");

    let report = base.sync(embedder(), |_| {}).await.unwrap();
    println!(
        "{killed} of {KILLS} killed in time, {partial} left a part; the last sync: {report:?}"
    );
    assert!(report.failed.is_empty() && report.rebuilt.is_none());
    let fresh = create(&folder.path().join("fresh"), "policies");
    fresh.add_source(&docs).unwrap();
    fresh.sync(embedder(), |_| {}).await.unwrap();
    assert_eq!(listing(&base), listing(&fresh));

    let held = listing(&base);
    for n in (0..FILES).step_by(17) {
        let name = format!("{:02}/{n:04}.txt", n % 20);
        let Ok(text) = fs::read_to_string(docs.join(&name)) else {
            assert!(!held.contains_key(&name), "{name} is gone");
            continue;
        };
        let found = base.retrieve(embedder(), &text, 5).await.unwrap();
        let own: Vec<_> = found
            .iter()
            .filter(|p| p.location.document == name)
            .collect();
        assert!(!own.is_empty(), "{name} is missing");
        assert!(
            own.iter().all(|p| text.contains(&p.text)),
            "{name} is stale"
        );
    }
    let again = base.sync(embedder(), |_| {}).await.unwrap();
    assert_eq!((again.added, again.modified, again.deleted), (0, 0, 0));
}
