//! Damaged files of the home: an error that names the file, or a rebuild that says so.

use std::fs;
use std::path::{Path, PathBuf};

use outcrop_api::Result;
use outcrop_knowledge::{Document, KnowledgeBase, SyncReport};
use outcrop_store::Home;

use crate::doubles::{Numbers, embedder, fixture};

fn files(folder: &Path) -> Vec<PathBuf> {
    let mut found = Vec::new();
    for entry in fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            found.extend(files(&path));
        } else {
            found.push(path);
        }
    }
    found.sort();
    found
}

fn copy(from: &Path, to: &Path) {
    for file in files(from) {
        let target = to.join(file.strip_prefix(from).unwrap());
        fs::create_dir_all(target.parent().unwrap()).unwrap();
        fs::copy(&file, target).unwrap();
    }
}

async fn read(home: &Path) -> Result<Vec<outcrop_api::Passage>> {
    let base = KnowledgeBase::open(&Home::open(home)?, "policies")?;
    base.retrieve(embedder(), "zebras in Kenya", 3).await
}

async fn sync(home: &Path) -> Result<SyncReport> {
    let base = KnowledgeBase::open(&Home::open(home)?, "policies")?;
    base.sync(embedder(), |_| {}).await
}

#[tokio::test(flavor = "multi_thread")]
async fn every_kind_of_damage_is_named_or_repaired() {
    let f = fixture();
    for n in 0..30 {
        f.write(&format!("{n}.txt"), format!("Zebras in Kenya, herd{n}."));
    }
    f.base.sync(embedder(), |_| {}).await.unwrap();
    let added = Document {
        id: Some("by-hand".into()),
        text: "Bees hum.".into(),
        ..Document::default()
    };
    f.base.add(embedder(), vec![added]).await.unwrap();
    let good = read(&f.home).await.unwrap();
    assert_eq!(good.len(), 3);

    let mut numbers = Numbers(3);
    let (mut named, mut rebuilt, mut harmless) = (0, 0, 0);
    let folder = tempfile::tempdir().unwrap();
    for (at, file) in files(&f.home).iter().enumerate() {
        let name = file.strip_prefix(&f.home).unwrap();
        let length = fs::metadata(file).unwrap().len();
        for round in 0..10 {
            let home = folder.path().join(format!("{at}-{round}"));
            copy(&f.home, &home);
            let mut bytes = fs::read(file).unwrap();
            match round {
                _ if length == 0 => bytes = b"x".to_vec(),
                0 => bytes.clear(),
                1..=3 => bytes.truncate(numbers.below(length) as usize),
                4 => {
                    fs::remove_file(home.join(name)).unwrap();
                    bytes.clear();
                }
                _ => {
                    let place = numbers.below(length) as usize;
                    bytes[place] ^= 1 << numbers.below(8);
                }
            }
            if round != 4 || length == 0 {
                fs::write(home.join(name), &bytes).unwrap();
            }
            // Reading: the same passages, or an error that names the file or what is missing.
            match read(&home).await {
                Ok(passages) => assert_eq!(passages, good, "{name:?} round {round}"),
                Err(error) => {
                    let message = error.message();
                    let says = message.contains(name.file_name().unwrap().to_str().unwrap())
                        || message.contains("its files are missing")
                        || message.contains("does not exist");
                    assert!(says, "{name:?} round {round}: {message}");
                }
            }
            // Syncing: repaired, and said so; or an error that names the file.
            match sync(&home).await {
                Ok(report) => {
                    if let Some(reason) = &report.rebuilt {
                        assert!(!reason.is_empty());
                        assert_eq!(report.lost, ["by-hand"], "{name:?} round {round}");
                        assert_eq!(report.added, 30);
                        rebuilt += 1;
                    } else {
                        harmless += 1;
                    }
                    let documents: Vec<String> = read(&home)
                        .await
                        .unwrap()
                        .into_iter()
                        .map(|p| p.location.document)
                        .collect();
                    assert_eq!(documents.len(), 3);
                    assert!(
                        documents
                            .iter()
                            .all(|d| good.iter().any(|p| p.location.document == *d))
                    );
                }
                Err(error) => {
                    let says = error
                        .message()
                        .contains(name.file_name().unwrap().to_str().unwrap())
                        || error.message().contains("does not exist");
                    assert!(says, "{name:?} round {round}: {error}");
                    named += 1;
                }
            }
            fs::remove_dir_all(&home).unwrap();
        }
    }
    println!("{named} named, {rebuilt} rebuilt, {harmless} harmless");
    assert!(named > 0 && rebuilt > 0);
}
