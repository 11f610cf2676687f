//! Data sources: folders that stand for buckets, documents given directly, each cut in its own way.

use std::collections::BTreeSet;
use std::future::ready;
use std::sync::Arc;

use outcrop_knowledge::{
    Bucket, Chunking, ChunkingStrategy, DataSource, Ingestion, KnowledgeBase, Query,
};

use crate::doubles::{Fixture, embedder, fixture};

fn source(f: &Fixture, id: &str, prefix: &str, strategy: ChunkingStrategy) -> DataSource {
    DataSource {
        id: id.into(),
        bucket: Some(Bucket {
            name: "bank".into(),
            prefix: prefix.into(),
            folder: f.docs.join("bucket"),
        }),
        strategy,
        retained: false,
    }
}

fn sized(max_tokens: usize, overlap_tokens: usize) -> Chunking {
    Chunking {
        max_tokens,
        overlap_tokens,
    }
}

async fn ingest(base: &KnowledgeBase, id: &str) -> Ingestion {
    let done = base.ingest(embedder(), Some(id), |_| {}, Arc::default());
    done.await.unwrap()
}

fn with_bucket() -> Fixture {
    let f = fixture();
    f.base.remove_source(f.docs.to_str().unwrap()).unwrap();
    f.write("bucket/laws/a.txt", "Zebras graze.");
    f.write("bucket/laws/b.txt", "Bees hum.");
    f.write("bucket/letters/c.txt", "Cats sleep.");
    f
}

#[tokio::test(flavor = "multi_thread")]
async fn an_ingestion_reads_its_own_prefix_and_counts_what_it_did() {
    let f = with_bucket();
    let strategy = ChunkingStrategy::FixedSize(sized(40, 8));
    f.base
        .put_data_source(source(&f, "AAAAAAAAAA", "laws/", strategy))
        .unwrap();
    f.base
        .put_data_source(source(&f, "BBBBBBBBBB", "letters/", strategy))
        .unwrap();
    f.write(
        "bucket/laws/a.txt.metadata.json",
        r#"{"metadataAttributes": {"year": 1}}"#,
    );
    f.write("bucket/laws/x.bin", "?");
    let done = ingest(&f.base, "AAAAAAAAAA").await;
    assert_eq!((done.report.added, done.report.skipped.len()), (2, 1));
    assert_eq!((done.metadata_scanned, done.metadata_modified), (1, 0));
    assert!(done.input_tokens > 0);
    let documents = f.base.documents_of("AAAAAAAAAA").unwrap();
    let uris: Vec<&str> = documents.iter().map(|d| d.uri.as_str()).collect();
    assert_eq!(uris, ["s3://bank/laws/a.txt", "s3://bank/laws/b.txt"]);
    assert_eq!(ingest(&f.base, "BBBBBBBBBB").await.report.added, 1);

    f.write(
        "bucket/laws/a.txt.metadata.json",
        r#"{"metadataAttributes": {"year": 2}}"#,
    );
    f.write("bucket/laws/b.txt", "Bees sting.");
    std::fs::remove_file(f.docs.join("bucket/letters/c.txt")).unwrap();
    let done = ingest(&f.base, "AAAAAAAAAA").await;
    assert_eq!((done.report.modified, done.report.deleted), (2, 0));
    assert_eq!((done.metadata_modified, done.metadata_alone), (1, 1));
    let report = f.base.sync(embedder(), |_| {}).await.unwrap();
    assert_eq!(
        (report.deleted, report.unchanged),
        (1, 2),
        "a sync reads all sources"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn a_deleted_source_takes_its_documents_or_leaves_them() {
    let f = with_bucket();
    for (id, prefix) in [("AAAAAAAAAA", "laws/"), ("BBBBBBBBBB", "letters/")] {
        let strategy = ChunkingStrategy::Whole;
        f.base
            .put_data_source(source(&f, id, prefix, strategy))
            .unwrap();
        ingest(&f.base, id).await;
    }
    f.base.remove_data_source("AAAAAAAAAA", false).unwrap();
    f.base.remove_data_source("BBBBBBBBBB", true).unwrap();
    assert_eq!(f.ids(), ["letters/c.txt"]);
    assert_eq!(f.base.sync(embedder(), |_| {}).await.unwrap().deleted, 0);
    assert_eq!(f.ids(), ["letters/c.txt"]);
    f.base.data_source("BBBBBBBBBB").unwrap_err();
    let ids = BTreeSet::from(["letters/c.txt".to_owned(), "none".to_owned()]);
    assert_eq!(f.base.delete_from("BBBBBBBBBB", &ids).unwrap().len(), 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn documents_are_cut_as_their_source_says() {
    let f = with_bucket();
    let zebras = "Zebras graze in Kenya. Zebras run in herds. Zebras fear lions. ";
    let taxes = "Taxes are due in March. Late taxes cost interest. Taxes fund schools. ";
    f.write("bucket/laws/a.txt", format!("{zebras}{taxes}"));
    f.write("bucket/laws/b.txt", "Bees hum.");
    let whole = f.docs.join("bucket/laws/a.txt");
    let text = std::fs::read_to_string(whole).unwrap();
    for (strategy, chunks, found) in [
        (ChunkingStrategy::Whole, 1, text.trim()),
        (
            ChunkingStrategy::Hierarchical {
                parent_tokens: 15,
                children: sized(9, 0),
            },
            6,
            zebras.trim(),
        ),
        (
            ChunkingStrategy::Semantic {
                max_tokens: 60,
                buffer: 0,
                percentile: 80,
            },
            2,
            zebras.trim(),
        ),
    ] {
        f.base
            .put_data_source(source(&f, "AAAAAAAAAA", "laws/", strategy))
            .unwrap();
        ingest(&f.base, "AAAAAAAAAA").await;
        let documents = f.base.documents_of("AAAAAAAAAA").unwrap();
        assert_eq!(documents[0].chunks, chunks, "{strategy:?}");
        let query = Query::new("Zebras fear lions", 2);
        let found_now = f
            .base
            .search(ready(Ok(embedder())), query)
            .await
            .unwrap()
            .into_passages();
        assert_eq!(found_now[0].text, found, "{strategy:?}");
        assert_eq!(found_now.len(), 2, "{strategy:?}");
        assert_ne!(found_now[1].text, found, "each passage is found once");
        f.base.remove_data_source("AAAAAAAAAA", false).unwrap();
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_whole_document_that_is_too_long_fails_with_its_reason() {
    let f = with_bucket();
    f.write("bucket/laws/a.txt", "word ".repeat(400));
    f.base
        .put_data_source(source(&f, "AAAAAAAAAA", "laws/", ChunkingStrategy::Whole))
        .unwrap();
    let done = ingest(&f.base, "AAAAAAAAAA").await;
    assert_eq!(done.report.added, 1);
    assert_eq!(done.report.failed[0].document, "laws/a.txt");
    let reason = &done.report.failed[0].reason;
    assert!(
        reason.contains("402 tokens") && reason.contains("at most 256"),
        "{reason}"
    );
}
