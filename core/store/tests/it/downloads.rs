//! Downloads: resumed, checked, and visible only when whole.

use std::time::Duration;

use outcrop_store::{Expected, Home, StoreError, sha256};

const WAIT: Duration = Duration::from_millis(20);

fn whole(bytes: &[u8]) -> Expected {
    Expected {
        len: Some(bytes.len() as u64),
        sha256: Some(sha256(bytes).to_uppercase()),
    }
}

#[test]
fn a_model_arrives_over_two_sessions_and_is_seen_only_then() {
    let folder = tempfile::tempdir().unwrap();
    let home = Home::open(folder.path()).unwrap();
    let name = "hf:org/name@main";
    let mut download = home.download(name, WAIT).unwrap();
    let mut file = download.partial_file("onnx/model.bin").unwrap();
    file.append(b"first ").unwrap();
    let short = file.finish(&whole(b"first half")).unwrap_err();
    assert!(matches!(short, StoreError::Invalid { .. }), "{short}");
    let locked = home.download(name, WAIT).unwrap_err();
    assert!(matches!(locked, StoreError::Locked { .. }));
    drop(download);
    assert_eq!(home.model_path(name).unwrap(), None);

    let mut download = home.download(name, WAIT).unwrap();
    let mut file = download.partial_file("onnx/model.bin").unwrap();
    assert_eq!(file.len(), 6);
    file.append(b"half").unwrap();
    assert_eq!(
        file.finish(&whole(b"first half")).unwrap(),
        sha256(b"first half")
    );
    assert!(download.has("onnx/model.bin").unwrap());
    let mut unfinished = download.partial_file("config.json").unwrap();
    unfinished.append(b"{}").unwrap();
    drop(unfinished);
    let error = download.commit().unwrap_err();
    assert!(error.to_string().contains("config.json.part"), "{error}");

    let mut download = home.download(name, WAIT).unwrap();
    download
        .partial_file("config.json")
        .unwrap()
        .finish(&Expected::default())
        .unwrap();
    let path = download.commit().unwrap();
    assert_eq!(home.model_path(name).unwrap(), Some(path.clone()));
    assert_eq!(
        std::fs::read(path.join("onnx/model.bin")).unwrap(),
        b"first half"
    );
    let again = home.download(name, WAIT).unwrap_err();
    assert!(matches!(again, StoreError::AlreadyExists { .. }));
    assert!(home.delete_model(name, WAIT).unwrap());
    assert!(!home.delete_model(name, WAIT).unwrap());
    assert_eq!(home.model_path(name).unwrap(), None);
}

#[test]
fn a_wrong_checksum_is_named_and_its_bytes_are_thrown_away() {
    let folder = tempfile::tempdir().unwrap();
    let home = Home::open(folder.path()).unwrap();
    let mut download = home.download("m", WAIT).unwrap();
    let mut file = download.partial_file("model.gguf").unwrap();
    file.append(b"right").unwrap();
    file.restart().unwrap();
    file.append(b"wrong").unwrap();
    let error = file.finish(&whole(b"right")).unwrap_err();
    assert!(matches!(&error, StoreError::Corrupt { file, .. } if file.ends_with("m/model.gguf")));
    let file = download.partial_file("model.gguf").unwrap();
    assert!(file.is_empty());
    drop(file);
    let outside = download.partial_file("../../escape").unwrap_err();
    assert!(matches!(outside, StoreError::Invalid { field: "file", .. }));
    download.abort().unwrap();
}
