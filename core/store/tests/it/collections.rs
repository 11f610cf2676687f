//! Collections: commits, snapshots that hold still, compaction, and one writer at a time.

use std::collections::BTreeMap;
use std::time::Duration;

use outcrop_store::{Collection, Home, StoreError};
use proptest::prelude::*;

use crate::{check_document, document};

const WAIT: Duration = Duration::from_secs(20);

fn collection() -> (tempfile::TempDir, Home, Collection) {
    let folder = tempfile::tempdir().unwrap();
    let home = Home::open(folder.path()).unwrap();
    let collection = home.create_collection("policies").unwrap();
    (folder, home, collection)
}

#[test]
fn a_collection_is_created_listed_opened_and_deleted() {
    let (_folder, home, _) = collection();
    let error = home.create_collection("policies").unwrap_err();
    assert!(matches!(error, StoreError::AlreadyExists { .. }));
    assert_eq!(home.list_collections().unwrap(), ["policies"]);
    let opened = home.collection("policies").unwrap();
    assert_eq!(opened.snapshot().unwrap().document_count(), 0);
    assert!(home.delete_collection("policies").unwrap());
    assert!(!home.delete_collection("policies").unwrap());
    assert!(matches!(
        opened.snapshot(),
        Err(StoreError::NotFound { .. })
    ));
    assert!(matches!(
        home.collection("policies"),
        Err(StoreError::NotFound { .. })
    ));
    home.create_collection("policies").unwrap();
}

#[test]
fn a_commit_is_seen_whole_by_another_session_and_not_before() {
    let (folder, _, collection) = collection();
    let other = Home::open(folder.path())
        .unwrap()
        .collection("policies")
        .unwrap();
    let mut writer = collection.writer(WAIT).unwrap();
    writer.put(document("a", 1, 3)).unwrap();
    writer.put(document("b", 1, 0)).unwrap();
    writer.set_sources(vec!["docs/".into()]);
    assert_eq!(other.snapshot().unwrap().document_count(), 0);
    assert_eq!(writer.commit().unwrap(), 1);
    assert_eq!(
        writer.commit().unwrap(),
        1,
        "without a change, no generation"
    );
    let snapshot = other.snapshot().unwrap();
    assert_eq!(snapshot.sources(), ["docs/"]);
    assert_eq!((snapshot.document_count(), snapshot.chunk_count()), (2, 3));
    assert_eq!(
        (
            check_document(&snapshot, "a"),
            check_document(&snapshot, "b")
        ),
        (1, 1)
    );
    assert!(std::sync::Arc::ptr_eq(
        &snapshot,
        &other.snapshot().unwrap()
    ));
    for rows in snapshot.matrices() {
        assert_eq!(rows.as_ptr() as usize % 64, 0);
    }
}

#[test]
fn documents_without_chunks_may_come_before_the_first_vector() {
    let (_folder, _, collection) = collection();
    let mut writer = collection.writer(WAIT).unwrap();
    writer.put(document("empty", 1, 0)).unwrap();
    writer.commit().unwrap();
    writer.put(document("full", 1, 2)).unwrap();
    writer.commit().unwrap();
    let snapshot = collection.snapshot().unwrap();
    assert_eq!(check_document(&snapshot, "empty"), 1);
    assert_eq!(check_document(&snapshot, "full"), 1);
}

#[test]
fn a_second_writer_waits_and_is_then_told_who_is_in_the_way() {
    let (_folder, _, collection) = collection();
    let writer = collection.writer(WAIT).unwrap();
    let error = collection.writer(Duration::from_millis(30)).unwrap_err();
    assert!(matches!(&error, StoreError::Locked { .. }), "{error}");
    let api = outcrop_api::Error::from(error);
    assert_eq!(api.kind(), outcrop_api::ErrorKind::ConflictException);
    assert!(api.message().contains("collection policies"), "{api}");
    drop(writer);
    collection.writer(Duration::ZERO).unwrap();
}

#[test]
fn vectors_that_do_not_fit_are_refused_and_nothing_is_staged() {
    let (_folder, _, collection) = collection();
    let mut writer = collection.writer(WAIT).unwrap();
    let mut bad = document("a", 1, 2);
    bad.vectors[3] = f32::NAN;
    assert!(
        writer
            .put(bad)
            .unwrap_err()
            .to_string()
            .starts_with("vectors: expected")
    );
    let mut short = document("a", 1, 2);
    short.vectors.pop();
    assert!(matches!(writer.put(short), Err(StoreError::Invalid { .. })));
    writer.put(document("a", 1, 2)).unwrap();
    let mut wide = document("b", 1, 1);
    wide.vectors.push(1.0);
    let error = writer.put(wide).unwrap_err().to_string();
    assert_eq!(
        error,
        "vectors: expected 4 a chunk, got 5 values for 1 chunks"
    );
    assert_eq!(writer.staged_chunks(), 2);
}

#[test]
fn a_snapshot_holds_still_while_its_segments_are_compacted_away() {
    let (folder, _, collection) = collection();
    let mut writer = collection.writer(WAIT).unwrap();
    for n in 0..10 {
        writer.put(document(&format!("d{n}"), 1, 2)).unwrap();
        writer.commit().unwrap();
    }
    let before = collection.snapshot().unwrap();
    writer.delete("d3");
    writer.put(document("d4", 2, 5)).unwrap();
    writer.commit().unwrap();
    assert!(writer.compact().unwrap());
    assert!(!writer.compact().unwrap(), "just done");
    let after = collection.snapshot().unwrap();
    assert_eq!(after.segments().len(), 1);
    assert_eq!(after.row_count(), after.chunk_count());
    let files = std::fs::read_dir(folder.path().join("collections/policies/segments"));
    assert_eq!(files.unwrap().count(), 1);
    for n in 0..10 {
        assert_eq!(check_document(&before, &format!("d{n}")), 1);
    }
    assert!(after.document("d3").is_none());
    assert_eq!(check_document(&after, "d4"), 2);
    assert_eq!(check_document(&after, "d9"), 1);
}

#[test]
fn readers_see_whole_generations_while_a_writer_works() {
    let (folder, _, collection) = collection();
    let done = std::sync::atomic::AtomicBool::new(false);
    std::thread::scope(|scope| {
        scope.spawn(|| {
            let mut writer = collection.writer(WAIT).unwrap();
            for version in 1..=30 {
                for id in ["a", "b", "c"] {
                    writer
                        .put(document(id, version, version as usize % 4))
                        .unwrap();
                }
                writer.commit().unwrap();
                writer.compact().unwrap();
            }
            done.store(true, std::sync::atomic::Ordering::Release);
        });
        let reader = Home::open(folder.path())
            .unwrap()
            .collection("policies")
            .unwrap();
        let mut last = 0;
        while !done.load(std::sync::atomic::Ordering::Acquire) {
            // A fresh collection opens every segment again, the other one only new ones.
            let fresh = Home::open(folder.path())
                .unwrap()
                .collection("policies")
                .unwrap();
            for snapshot in [reader.snapshot().unwrap(), fresh.snapshot().unwrap()] {
                assert!(snapshot.generation() >= last, "time runs forward");
                last = snapshot.generation();
                let versions: Vec<u32> = snapshot
                    .documents()
                    .map(|(id, _)| check_document(&snapshot, id))
                    .collect();
                assert!(versions.windows(2).all(|w| w[0] == w[1]), "{versions:?}");
            }
        }
    });
}

#[derive(Clone, Debug)]
enum Step {
    Put(u8, usize),
    Delete(u8),
    Commit,
    Compact,
    Reopen,
}

fn step() -> impl Strategy<Value = Step> {
    prop_oneof![
        4 => (0u8..6, 0usize..4).prop_map(|(id, chunks)| Step::Put(id, chunks)),
        2 => (0u8..6).prop_map(Step::Delete),
        3 => Just(Step::Commit),
        1 => Just(Step::Compact),
        1 => Just(Step::Reopen),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(24))]
    /// Whatever the order of changes, the collection equals a map that is changed alike.
    #[test]
    fn a_collection_is_a_map(steps in prop::collection::vec(step(), 1..40)) {
        let (_folder, home, _) = collection();
        let mut writer = home.collection("policies").unwrap().writer(WAIT).unwrap();
        let (mut committed, mut staged) = (BTreeMap::new(), BTreeMap::new());
        for (at, step) in steps.into_iter().enumerate() {
            match step {
                Step::Put(id, chunks) => {
                    let version = at as u32 + 1;
                    writer.put(document(&format!("d{id}"), version, chunks)).unwrap();
                    staged.insert(format!("d{id}"), version);
                }
                Step::Delete(id) => {
                    let id = format!("d{id}");
                    let was_there = staged.remove(&id).is_some();
                    prop_assert_eq!(writer.delete(&id), was_there);
                }
                Step::Commit => {
                    writer.commit().unwrap();
                    committed = staged.clone();
                }
                Step::Compact => {
                    writer.compact().unwrap();
                }
                Step::Reopen => {
                    drop(writer);
                    writer = home.collection("policies").unwrap().writer(WAIT).unwrap();
                    staged = committed.clone();
                }
            }
            let snapshot = home.collection("policies").unwrap().snapshot().unwrap();
            let found: BTreeMap<String, u32> = snapshot
                .documents()
                .map(|(id, _)| (id.to_owned(), check_document(&snapshot, id)))
                .collect();
            prop_assert_eq!(&found, &committed);
            let live: u32 = snapshot.live_rows().iter().map(|w| w.count_ones()).sum();
            prop_assert_eq!(live as usize, snapshot.chunk_count());
        }
    }
}
