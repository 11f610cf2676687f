//! A writer that is killed at any moment leaves a whole generation behind.

use std::io::{BufRead, BufReader};
use std::process::{Command, Stdio};
use std::time::Duration;

use outcrop_store::Home;

use crate::{check_document, document};

const HOME: &str = "OUTCROP_STORE_TEST_WRITE_IN";
const WAIT: Duration = Duration::from_secs(20);

/// Runs only as the child of the test below: version after version of three documents, until it is killed.
#[test]
fn writing_child() {
    let Ok(path) = std::env::var(HOME) else {
        return;
    };
    let home = Home::open(path).unwrap();
    let mut writer = home.collection("policies").unwrap().writer(WAIT).unwrap();
    println!("\nbegin");
    for _ in 0..100_000 {
        let version = writer
            .snapshot()
            .document("a")
            .map_or(0, |d| d.metadata["version"].as_u64().unwrap() as u32)
            + 1;
        for id in ["a", "b", "c"] {
            writer
                .put(document(id, version, 1 + version as usize % 3))
                .unwrap();
        }
        // One that stays as it is, so that there is something to compact.
        writer
            .put(document(&format!("kept{}", version % 12), version, 2))
            .unwrap();
        writer.commit().unwrap();
        println!("committed {version}");
        home.put_record("progress", "version", &version).unwrap();
        writer.compact().unwrap();
    }
}

#[test]
fn a_killed_writer_leaves_a_whole_generation() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("home");
    let home = Home::open(&path).unwrap();
    home.create_collection("policies").unwrap();
    let mut last = 0;
    let mut dirty = 0;
    for round in 0..20u64 {
        let mut child = Command::new(std::env::current_exe().unwrap())
            .args(["--exact", "crash::writing_child", "--nocapture"])
            .env(HOME, &path)
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let mut lines = BufReader::new(child.stdout.take().unwrap()).lines();
        while lines.next().unwrap().unwrap() != "begin" {}
        // Spread over about three commits, so that the kills fall into every part of one.
        std::thread::sleep(Duration::from_micros(500 + round * 7919 % 20_000));
        child.kill().unwrap();
        child.wait().unwrap();
        let told = lines.map_while(Result::ok).filter_map(|line| {
            line.strip_prefix("committed ")
                .and_then(|n| n.parse::<u32>().ok())
        });
        let told = told.max().unwrap_or(last);

        let collection = home.collection("policies").unwrap();
        let snapshot = collection.snapshot().unwrap();
        let versions: Vec<u32> = ["a", "b", "c"]
            .into_iter()
            .filter(|id| snapshot.document(id).is_some())
            .map(|id| check_document(&snapshot, id))
            .collect();
        assert!(versions.is_empty() || versions.len() == 3);
        assert!(
            versions.windows(2).all(|w| w[0] == w[1]),
            "a mix: {versions:?}"
        );
        let version = versions.first().copied().unwrap_or(0);
        assert!(
            version >= told,
            "round {round}: {told} was committed, {version} is there"
        );
        assert!(
            version <= told + 1,
            "round {round}: {version} was never committed"
        );
        for (id, _) in snapshot.documents() {
            check_document(&snapshot, id);
        }
        home.get_record::<u32>("progress", "version").unwrap();
        let segments = path.join("collections/policies/segments");
        let count = || std::fs::read_dir(&segments).unwrap().count();
        dirty += usize::from(count() != snapshot.segments().len());
        drop(collection.writer(WAIT).unwrap());
        assert_eq!(count(), snapshot.segments().len(), "the next writer sweeps");
        last = version;
    }
    assert!(last > 0, "the child never got as far as a commit");
    println!("{last} commits, {dirty} of 20 kills left a file to sweep");
}
