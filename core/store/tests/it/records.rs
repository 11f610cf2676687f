//! Records: stored, listed, replaced, and created exactly once.

use std::process::Command;
use std::sync::Barrier;

use outcrop_store::{Home, StoreError};
use serde_json::{Value, json};

#[test]
fn a_record_is_put_got_listed_and_deleted() {
    let folder = tempfile::tempdir().unwrap();
    let home = Home::open(folder.path()).unwrap();
    assert_eq!(home.get_record::<Value>("model", "a/b").unwrap(), None);
    home.put_record("model", "a/b", &json!(1)).unwrap();
    home.put_record("model", "../../c", &json!(2)).unwrap();
    home.put_record("model", "a/b", &json!(3)).unwrap();
    let again = Home::open(folder.path()).unwrap();
    let all: Vec<(String, Value)> = again.list_records("model").unwrap();
    assert_eq!(
        all,
        [
            ("../../c".to_owned(), json!(2)),
            ("a/b".to_owned(), json!(3))
        ]
    );
    assert!(home.delete_record("model", "a/b").unwrap());
    assert!(!home.delete_record("model", "a/b").unwrap());
    assert_eq!(home.list_record_ids("model").unwrap(), ["../../c"]);
    assert!(home.list_record_ids("unheard of").unwrap().is_empty());
    let error = home.put_record("model", "", &json!(0)).unwrap_err();
    assert!(
        error.to_string().starts_with("id: expected 1 to 200 bytes"),
        "{error}"
    );
}

#[test]
fn concurrent_updates_are_all_counted() {
    let folder = tempfile::tempdir().unwrap();
    let home = Home::open(folder.path()).unwrap();
    std::thread::scope(|scope| {
        for _ in 0..4 {
            scope.spawn(|| {
                for _ in 0..10 {
                    let add = |n: Option<u64>| n.unwrap_or(0) + 1;
                    home.update_record("counter", "n", add).unwrap();
                }
            });
        }
    });
    assert_eq!(home.get_record::<u64>("counter", "n").unwrap(), Some(40));
}

#[test]
fn of_threads_that_create_one_record_exactly_one_wins() {
    let folder = tempfile::tempdir().unwrap();
    let home = Home::open(folder.path()).unwrap();
    let start = Barrier::new(4);
    let won: usize = std::thread::scope(|scope| {
        let attempts: Vec<_> = (0..4)
            .map(|who| {
                let (home, start) = (&home, &start);
                scope.spawn(move || {
                    start.wait();
                    usize::from(home.create_record("kb", "policies", &who).is_ok())
                })
            })
            .collect();
        attempts.into_iter().map(|a| a.join().unwrap()).sum()
    });
    assert_eq!(won, 1);
}

const HOME: &str = "OUTCROP_STORE_TEST_CREATE_IN";

/// Runs only in the children of the test below.
#[test]
fn creating_child() {
    let Ok(path) = std::env::var(HOME) else {
        return;
    };
    let home = Home::open(path).unwrap();
    let won =
        (0..20).filter(
            |n| match home.create_record("kb", &format!("{n}"), &std::process::id()) {
                Ok(()) => true,
                Err(StoreError::AlreadyExists { .. }) => false,
                Err(error) => panic!("{error}"),
            },
        );
    let won: Vec<_> = won.map(|n| n.to_string()).collect();
    println!("won:{}:", won.join(","));
}

#[test]
fn of_processes_that_create_one_record_exactly_one_wins() {
    let folder = tempfile::tempdir().unwrap();
    let home = folder.path().join("home");
    let children: Vec<_> = (0..3)
        .map(|_| {
            Command::new(std::env::current_exe().unwrap())
                .args(["--exact", "records::creating_child", "--nocapture"])
                .env(HOME, &home)
                .stdout(std::process::Stdio::piped())
                .spawn()
                .unwrap()
        })
        .collect();
    let mut won = Vec::new();
    for child in children {
        let output = child.wait_with_output().unwrap();
        assert!(output.status.success());
        let text = String::from_utf8(output.stdout).unwrap();
        let list = text
            .split("won:")
            .nth(1)
            .unwrap()
            .split(':')
            .next()
            .unwrap();
        won.extend(
            list.split(',')
                .filter(|n| !n.is_empty())
                .map(|n| n.parse::<u32>().unwrap()),
        );
    }
    won.sort_unstable();
    assert_eq!(won, (0..20).collect::<Vec<_>>());
}

#[test]
fn a_home_that_cannot_be_one_is_named() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("file");
    std::fs::write(&file, "x").unwrap();
    let error = Home::open(&file).unwrap_err();
    assert!(matches!(&error, StoreError::NotAFolder { path } if *path == file));
    let error = Home::open(file.join("below")).unwrap_err();
    assert!(matches!(&error, StoreError::NotWritable { .. }), "{error}");
    assert!(error.to_string().contains("below"));
    let api = outcrop_api::Error::from(error);
    assert_eq!(api.kind(), outcrop_api::ErrorKind::ValidationException);
}
