//! Damage to any file of a home is an error that names the file.

use std::fs;
use std::path::{Path, PathBuf};
use std::time::Duration;

use outcrop_store::{Home, StoreError};
use serde_json::Value;

use crate::document;

fn read_everything(path: &Path) -> Result<(), StoreError> {
    let home = Home::open(path)?;
    home.list_records::<Value>("kb")?;
    let snapshot = home.collection("policies")?.snapshot()?;
    for (id, _) in snapshot.documents() {
        snapshot.text(id)?;
        for chunk in snapshot.chunks(id) {
            chunk.value::<Value>()?;
        }
    }
    Ok(())
}

fn a_home() -> (tempfile::TempDir, PathBuf, Vec<PathBuf>) {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("home");
    let home = Home::open(&path).unwrap();
    home.put_record("kb", "policies", &serde_json::json!({"name": "policies"}))
        .unwrap();
    let collection = home.create_collection("policies").unwrap();
    let mut writer = collection.writer(Duration::from_secs(5)).unwrap();
    writer.put(document("a", 1, 3)).unwrap();
    writer.put(document("b", 1, 2)).unwrap();
    writer.commit().unwrap();
    let root = home.path();
    let files = vec![
        root.join("home.json"),
        root.join("records/kb/policies.json"),
        root.join("collections/policies/manifest.json"),
        root.join("collections/policies/segments/0000000000000001.seg"),
    ];
    (folder, path, files)
}

fn assert_names(file: &Path, home: &Path, what: &str) {
    match read_everything(home) {
        Err(StoreError::Corrupt { file: named, .. }) => assert_eq!(named, file, "{what}"),
        other => panic!(
            "{}: {what}: expected Corrupt, got {other:?}",
            file.display()
        ),
    }
}

#[test]
fn every_flipped_bit_is_found_and_its_file_named() {
    let (_folder, home, files) = a_home();
    read_everything(&home).unwrap();
    for file in &files {
        let good = fs::read(file).unwrap();
        for at in 0..good.len() {
            let mut bad = good.clone();
            bad[at] ^= 1 << (at % 8);
            fs::write(file, &bad).unwrap();
            assert_names(file, &home, &format!("bit {} of byte {at}", at % 8));
        }
        fs::write(file, &good).unwrap();
    }
    read_everything(&home).unwrap();
}

#[test]
fn every_truncation_and_every_extension_is_found_and_its_file_named() {
    let (_folder, home, files) = a_home();
    for file in &files {
        let good = fs::read(file).unwrap();
        for len in 0..good.len() {
            fs::write(file, &good[..len]).unwrap();
            assert_names(file, &home, &format!("cut to {len}"));
        }
        fs::write(file, [&good[..], b"\0"].concat()).unwrap();
        assert_names(file, &home, "a byte more");
        fs::write(file, &good).unwrap();
    }
}

#[test]
fn a_segment_that_is_missing_or_another_collections_is_named() {
    let (_folder, path, files) = a_home();
    let home = Home::open(&path).unwrap();
    let other = home.create_collection("other").unwrap();
    let mut writer = other.writer(Duration::from_secs(5)).unwrap();
    writer.put(document("a", 7, 5)).unwrap();
    writer.commit().unwrap();
    let segment = &files[3];
    let foreign = home
        .path()
        .join("collections/other/segments/0000000000000001.seg");
    fs::copy(foreign, segment).unwrap();
    assert_names(segment, &path, "another collection's");
    fs::remove_file(segment).unwrap();
    assert_names(segment, &path, "missing");
}

#[test]
fn a_damaged_manifest_says_what_to_do_and_can_be_deleted() {
    let (_folder, path, files) = a_home();
    fs::write(&files[2], b"{}").unwrap();
    let error = read_everything(&path).unwrap_err().to_string();
    assert!(
        error.contains("manifest.json") && error.contains("create it again"),
        "{error}"
    );
    let home = Home::open(&path).unwrap();
    let writer = home
        .collection("policies")
        .unwrap()
        .writer(Duration::from_secs(1));
    assert!(
        matches!(writer, Err(StoreError::Corrupt { .. })),
        "no writer builds on damage"
    );
    assert!(home.delete_collection("policies").unwrap());
    home.create_collection("policies").unwrap();
    read_everything(&path).unwrap();
}
