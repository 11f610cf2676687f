use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use outcrop_api::ErrorKind;
use outcrop_knowledge::{Document, KnowledgeBase, SyncProgress};
use outcrop_store::Home;

use crate::doubles::{HashingEmbedder, create, embedder, fixture};

#[tokio::test(flavor = "multi_thread")]
async fn a_sync_sees_what_was_added_changed_and_deleted() {
    let f = fixture();
    f.write("a.txt", "Zebras graze in Kenya.");
    f.write("sub/b.md", "# Bees\n\nHoney is made by bees.");
    f.write("sub/c.html", "<h1>Cats</h1><p>Cats sleep all day.</p>");
    f.write("picture.png", "x");
    f.write(".hidden.txt", "x");
    let report = f.base.sync(embedder(), |_| {}).await.unwrap();
    assert_eq!((report.scanned, report.added, report.unchanged), (3, 3, 0));
    assert_eq!(report.skipped, ["picture.png"]);
    assert_eq!(f.ids(), ["a.txt", "sub/b.md", "sub/c.html"]);

    let again = f.base.sync(embedder(), |_| {}).await.unwrap();
    assert_eq!(
        (again.added, again.modified, again.deleted, again.unchanged),
        (0, 0, 0, 3)
    );
    assert_eq!(again.chunks, 0);

    f.write("a.txt", "Zebras run in Namibia.");
    std::fs::remove_file(f.docs.join("sub/c.html")).unwrap();
    f.write("d.txt", "Dogs bark.");
    let report = f.base.sync(embedder(), |_| {}).await.unwrap();
    assert_eq!(
        (
            report.added,
            report.modified,
            report.deleted,
            report.unchanged
        ),
        (1, 1, 1, 1)
    );
    let found = f.base.retrieve(embedder(), "zebras", 1).await.unwrap();
    assert_eq!(found[0].text, "Zebras run in Namibia.");
    assert!(found[0].location.uri.starts_with("file:///"));
    assert!(found[0].location.uri.ends_with("/a.txt"));
    let all = f
        .base
        .retrieve(embedder(), "Cats sleep all day", 100)
        .await
        .unwrap();
    assert!(all.iter().all(|p| !p.text.contains("Cats")));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_failed_document_is_named_and_does_not_answer() {
    let f = fixture();
    f.write("good.txt", "Zebras graze in Kenya.");
    f.write("turns.txt", "Bees make honey.");
    f.base.sync(embedder(), |_| {}).await.unwrap();
    f.write("turns.txt", b"Bees \xff");
    f.write("broken.pdf", "%PDF-1.4 and nothing");
    f.write("empty.md", "  \n");
    f.write("noted.txt", "Dogs bark.");
    f.write("noted.txt.metadata.json", "{");
    let report = f.base.sync(embedder(), |_| {}).await.unwrap();
    let mut failed: Vec<String> = report
        .failed
        .iter()
        .map(|f| format!("{}: {}", f.document, f.reason))
        .collect();
    failed.sort();
    assert!(
        failed[0].starts_with("broken.pdf: broken PDF"),
        "{failed:?}"
    );
    assert_eq!(failed[1], "empty.md: the document holds no text");
    assert!(
        failed[2].starts_with("noted.txt: its metadata file: "),
        "{failed:?}"
    );
    assert_eq!(failed[3], "turns.txt: not UTF-8 text: invalid at byte 5");
    assert_eq!(f.ids(), ["good.txt"]);
    assert_eq!(report.scanned, 5);
}

#[cfg(unix)]
#[tokio::test(flavor = "multi_thread")]
async fn links_lead_nowhere() {
    let f = fixture();
    f.write("sub/a.txt", "Zebras.");
    std::os::unix::fs::symlink(&f.docs, f.docs.join("sub/circle")).unwrap();
    std::os::unix::fs::symlink("/etc/passwd", f.docs.join("passwd.txt")).unwrap();
    let report = f.base.sync(embedder(), |_| {}).await.unwrap();
    assert_eq!(
        report.skipped,
        ["passwd.txt (symbolic link)", "sub/circle (symbolic link)"]
    );
    assert_eq!(f.ids(), ["sub/a.txt"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn metadata_beside_a_document_is_its_own() {
    let f = fixture();
    f.write("a.txt", "Zebras graze.");
    f.write(
        "a.txt.metadata.json",
        r#"{"metadataAttributes": {"year": 2024}}"#,
    );
    f.base.sync(embedder(), |_| {}).await.unwrap();
    let found = f.base.retrieve(embedder(), "zebras", 5).await.unwrap();
    assert_eq!(found.len(), 1);
    assert_eq!(found[0].metadata["year"], 2024);
    f.write(
        "a.txt.metadata.json",
        r#"{"metadataAttributes": {"year": 2025}}"#,
    );
    let report = f.base.sync(embedder(), |_| {}).await.unwrap();
    assert_eq!(report.modified, 1);
    assert_eq!(f.base.documents().unwrap()[0].metadata["year"], 2025);
}

#[tokio::test(flavor = "multi_thread")]
async fn two_sources_may_hold_the_same_path() {
    let f = fixture();
    let other = tempfile::tempdir().unwrap();
    f.write("fees.txt", "Zebra fees.");
    std::fs::write(other.path().join("fees.txt"), "Bee fees.").unwrap();
    let second = f.base.add_source(other.path()).unwrap();
    assert_eq!(second.id, "source-2");
    f.base.sync(embedder(), |_| {}).await.unwrap();
    assert_eq!(f.ids(), ["fees.txt", "fees.txt"]);
    let found = f.base.retrieve(embedder(), "fees", 5).await.unwrap();
    assert_eq!(found.len(), 2);
    assert_ne!(found[0].id, found[1].id);
    assert_ne!(found[0].location.uri, found[1].location.uri);
    let error = f.base.add_source(&f.docs).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::ConflictException);
    assert!(error.message().contains("source-1"), "{error}");
    let error = f.base.add_source(f.docs.join("missing")).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::ResourceNotFoundException);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_source_that_is_gone_is_no_empty_folder() {
    let f = fixture();
    f.write("a.txt", "Zebras.");
    f.base.sync(embedder(), |_| {}).await.unwrap();
    std::fs::rename(&f.docs, f.docs.with_extension("away")).unwrap();
    let error = f.base.sync(embedder(), |_| {}).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::ResourceNotFoundException);
    assert!(error.message().contains("source-1"), "{error}");
    assert_eq!(f.ids(), ["a.txt"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn another_embedder_is_a_conflict_that_names_both() {
    let f = fixture();
    f.write("a.txt", "Zebras.");
    f.base.sync(embedder(), |_| {}).await.unwrap();
    let other = Arc::new(HashingEmbedder {
        id: "test.other-v2",
        ..HashingEmbedder::default()
    });
    for error in [
        f.base.sync(other.clone(), |_| {}).await.unwrap_err(),
        f.base.retrieve(other, "zebras", 1).await.unwrap_err(),
    ] {
        assert_eq!(error.kind(), ErrorKind::ConflictException);
        assert!(
            error.message().contains("test.hashing-v1")
                && error.message().contains("test.other-v2")
        );
    }
    let short = Arc::new(HashingEmbedder {
        max_tokens: 20,
        ..HashingEmbedder::default()
    });
    let error = f.base.sync(short, |_| {}).await.unwrap_err();
    assert_eq!(
        error.message(),
        "chunking.max_tokens: test.hashing-v1 reads at most 20 tokens, got 40"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn progress_counts_up_and_a_cancelled_sync_keeps_what_is_done() {
    let f = fixture();
    for n in 0..400 {
        f.write(
            &format!("{n:03}.txt"),
            format!("Document number{n} tells of zebras."),
        );
    }
    let seen: Arc<Mutex<Vec<SyncProgress>>> = Arc::default();
    let cancel = Arc::new(AtomicBool::new(false));
    let (log, flag) = (seen.clone(), cancel.clone());
    let on_progress = move |progress: SyncProgress| {
        flag.store(progress.documents_done >= 100, Ordering::Relaxed);
        log.lock().unwrap().push(progress);
    };
    let error = f
        .base
        .sync_until(embedder(), on_progress, cancel)
        .await
        .unwrap_err();
    assert_eq!(error.kind(), ErrorKind::CancelledException);
    let done = f.ids().len();
    assert!((100..400).contains(&done), "{done}");
    {
        let seen = seen.lock().unwrap();
        assert_eq!((seen[0].documents_done, seen[0].documents_total), (0, 400));
        assert!(
            seen.windows(2)
                .all(|w| w[0].documents_done < w[1].documents_done)
        );
    }
    let report = f.base.sync(embedder(), |_| {}).await.unwrap();
    assert_eq!((report.unchanged, report.added), (done, 400 - done));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_dropped_sync_frees_the_lock_and_leaves_a_whole_state() {
    let f = fixture();
    for n in 0..300 {
        f.write(
            &format!("{n:03}.txt"),
            format!("Document number{n} tells of zebras."),
        );
    }
    let slow = Arc::new(HashingEmbedder {
        delay: Duration::from_millis(40),
        ..HashingEmbedder::default()
    });
    let sync = f.base.sync(slow, |_| {});
    assert!(
        tokio::time::timeout(Duration::from_millis(100), sync)
            .await
            .is_err()
    );
    let report = f.base.sync(embedder(), |_| {}).await.unwrap();
    assert_eq!(report.scanned, 300);
    assert_eq!(f.ids().len(), 300);
}

#[tokio::test(flavor = "multi_thread")]
async fn retrieving_during_a_sync_sees_whole_documents() {
    let f = fixture();
    for n in 0..200 {
        f.write(
            &format!("{n:03}.txt"),
            format!("Old zebra{n}. {}", "Filler sentence here. ".repeat(30)),
        );
    }
    f.base.sync(embedder(), |_| {}).await.unwrap();
    for n in 0..200 {
        f.write(
            &format!("{n:03}.txt"),
            format!("New zebra{n}. {}", "Filler sentence here. ".repeat(30)),
        );
    }
    let base = f.base.clone();
    let sync = tokio::spawn(async move { base.sync(embedder(), |_| {}).await });
    let mut rounds = 0;
    while !sync.is_finished() {
        let found = f.base.retrieve(embedder(), "zebra7", 5).await.unwrap();
        assert_eq!(found.len(), 5);
        rounds += 1;
    }
    assert_eq!(sync.await.unwrap().unwrap().modified, 200);
    assert!(rounds > 0);
    let found = f.base.retrieve(embedder(), "zebra7", 100).await.unwrap();
    assert!(found.iter().all(|p| !p.text.contains("Old")));
}

#[tokio::test(flavor = "multi_thread")]
async fn documents_are_added_and_deleted_by_id() {
    let f = fixture();
    let document = |id: Option<&str>, text: &str| Document {
        id: id.map(str::to_owned),
        text: text.into(),
        ..Document::default()
    };
    let ids = f
        .base
        .add(
            embedder(),
            vec![
                document(Some("z"), "Zebras graze."),
                document(None, "Bees hum."),
            ],
        )
        .await
        .unwrap();
    assert_eq!(ids[0], "z");
    assert_eq!(f.ids().len(), 2);
    let same = f
        .base
        .add(embedder(), vec![document(None, "Bees hum.")])
        .await
        .unwrap();
    assert_eq!(
        same[0], ids[1],
        "an id made from the text is the same for the same text"
    );

    let mut own = document(Some("own"), " My own vector. ");
    own.embedding = Some(vec![0.0; 256]);
    own.embedding.as_mut().unwrap()[3] = 1e20;
    f.base.add(embedder(), vec![own.clone()]).await.unwrap();
    let found = f
        .base
        .retrieve(embedder(), "anything else", 3)
        .await
        .unwrap();
    let passage = found.iter().find(|p| p.location.document == "own").unwrap();
    assert_eq!(
        (passage.text.as_str(), passage.location.start),
        ("My own vector.", 1)
    );

    type Change<'a> = &'a dyn Fn(&mut Document);
    let wrongs: [(Change<'_>, &str); 5] = [
        (
            &|d| d.embedding = Some(vec![1.0; 3]),
            "documents[0].embedding: expected 256 values, got 3",
        ),
        (
            &|d| d.embedding.as_mut().unwrap()[1] = f32::NAN,
            "documents[0].embedding[1]: expected a finite",
        ),
        (
            &|d| d.embedding = Some(vec![0.0; 256]),
            "documents[0].embedding: expected a vector with",
        ),
        (
            &|d| d.text = " ".into(),
            "documents[0].text: expected a text",
        ),
        (
            &|d| d.id = Some(String::new()),
            "documents[0].id: expected a text",
        ),
    ];
    for (change, message) in wrongs {
        let mut wrong = own.clone();
        change(&mut wrong);
        let error = f.base.add(embedder(), vec![wrong]).await.unwrap_err();
        assert_eq!(error.kind(), ErrorKind::ValidationException);
        assert!(error.message().starts_with(message), "{error}");
    }

    f.write("a.txt", "Cats sleep.");
    f.base.sync(embedder(), |_| {}).await.unwrap();
    assert_eq!(f.ids().len(), 4, "a sync leaves added documents alone");
    let error = f
        .base
        .delete_documents(&["z".into(), "nobody".into()])
        .unwrap_err();
    assert_eq!(error.kind(), ErrorKind::ResourceNotFoundException);
    assert!(error.message().contains("nobody"));
    assert_eq!(f.ids().len(), 4, "all or none");
    assert_eq!(
        f.base
            .delete_documents(&["z".into(), "a.txt".into()])
            .unwrap(),
        2
    );
    assert_eq!(f.ids().len(), 2);
}

#[tokio::test(flavor = "multi_thread")]
async fn knowledge_bases_are_created_listed_and_deleted() {
    let f = fixture();
    let home = Home::open(&f.home).unwrap();
    create(&f.home, "another");
    let names: Vec<String> = KnowledgeBase::list(&home)
        .unwrap()
        .into_iter()
        .map(|i| i.name)
        .collect();
    assert_eq!(names, ["another", "policies"]);
    let by_id = KnowledgeBase::open(&home, f.base.id()).unwrap();
    assert_eq!(by_id.name(), "policies");
    let info = by_id.info().unwrap();
    assert_eq!(
        (info.documents, info.dimensions, info.sources.len()),
        (Some(0), None, 1)
    );
    let spec = serde_json::from_str(r#"{"name": "policies", "embeddingModel": "m"}"#).unwrap();
    let error = KnowledgeBase::create(&home, spec).map(|_| ()).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::ConflictException);
    KnowledgeBase::delete(&home, "policies").unwrap();
    for error in [
        KnowledgeBase::open(&home, "policies")
            .map(|_| ())
            .unwrap_err(),
        KnowledgeBase::delete(&home, "policies").unwrap_err(),
        f.base.documents().map(|_| ()).unwrap_err(),
        f.base
            .sync(embedder(), |_| {})
            .await
            .map(|_| ())
            .unwrap_err(),
    ] {
        assert_eq!(
            error.kind(),
            ErrorKind::ResourceNotFoundException,
            "{error}"
        );
        assert!(error.message().contains("policies"));
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_source_that_is_gone_holds_the_sync_up_until_it_is_removed() {
    let f = fixture();
    f.write("a.txt", "Zebras graze.");
    let gone = tempfile::tempdir().unwrap();
    std::fs::write(gone.path().join("b.txt"), "Bees hum.").unwrap();
    let second = f.base.add_source(gone.path()).unwrap();
    f.base.sync(embedder(), |_| {}).await.unwrap();
    drop(gone);
    let error = f.base.sync(embedder(), |_| {}).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::ResourceNotFoundException);
    assert_eq!(f.ids(), ["a.txt", "b.txt"]);

    assert_eq!(f.base.remove_source(&second.id).unwrap(), second);
    let report = f.base.sync(embedder(), |_| {}).await.unwrap();
    assert_eq!((report.deleted, report.unchanged), (1, 1));
    assert_eq!(f.ids(), ["a.txt"]);
    let error = f.base.remove_source(&second.id).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::ResourceNotFoundException);
    assert!(error.message().contains(&second.id), "{error}");

    // By its path; and what is added again is another source.
    let first = f.base.sources().unwrap().remove(0);
    f.base.remove_source(first.path.to_str().unwrap()).unwrap();
    assert_eq!(f.base.add_source(&f.docs).unwrap().id, "source-3");
    let report = f.base.sync(embedder(), |_| {}).await.unwrap();
    assert_eq!((report.added, report.deleted), (1, 1));
}

#[tokio::test(flavor = "multi_thread")]
async fn queries_are_checked() {
    let f = fixture();
    assert_eq!(f.base.retrieve(embedder(), "zebras", 5).await.unwrap(), []);
    let long = "zebra ".repeat(300);
    for (query, k, message) in [
        (" ", 5, "query: expected a text"),
        ("zebra", 0, "k: expected 1..=100, got 0"),
        ("zebra", 101, "k: expected 1..=100, got 101"),
        (
            long.as_str(),
            5,
            "query: test.hashing-v1 reads at most 256 tokens, got 302",
        ),
    ] {
        let error = f.base.retrieve(embedder(), query, k).await.unwrap_err();
        assert_eq!(error.kind(), ErrorKind::ValidationException);
        assert!(error.message().starts_with(message), "{error}");
    }
}
