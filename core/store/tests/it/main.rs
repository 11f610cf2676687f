//! What the store promises: nothing half-written is ever seen, and no damage passes unnoticed.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, missing_docs)]

mod collections;
mod crash;
mod damage;
mod downloads;
mod records;

use outcrop_store::NewDocument;
use serde_json::json;

pub const DIMS: usize = 4;

/// A document whose text, chunks and vectors all follow from its id and version.
pub fn document(id: &str, version: u32, chunks: usize) -> NewDocument<serde_json::Value> {
    let text = format!("{id} v{version}");
    NewDocument {
        id: id.to_owned(),
        sha256: outcrop_store::sha256(text.as_bytes()),
        source: Some("docs".to_owned()),
        metadata: json!({ "version": version }),
        text,
        chunks: (0..chunks)
            .map(|i| json!({"of": id, "version": version, "i": i}))
            .collect(),
        vectors: (0..chunks * DIMS)
            .map(|i| version as f32 + i as f32 / 64.0)
            .collect(),
    }
}

/// Checks that everything a snapshot says of a document is of one version, and gives the version.
pub fn check_document(snapshot: &outcrop_store::Snapshot, id: &str) -> u32 {
    let entry = snapshot.document(id).expect("the document is listed");
    let version = entry.metadata["version"].as_u64().unwrap() as u32;
    let text = snapshot.text(id).unwrap().unwrap();
    assert_eq!(text, format!("{id} v{version}"));
    assert_eq!(entry.sha256, outcrop_store::sha256(text.as_bytes()));
    let chunks: Vec<_> = snapshot.chunks(id).collect();
    assert_eq!(chunks.len(), entry.chunk_count as usize);
    for (i, chunk) in chunks.iter().enumerate() {
        assert_eq!((chunk.document, chunk.ordinal as usize), (id, i));
        let value: serde_json::Value = chunk.value().unwrap();
        assert_eq!(value, json!({"of": id, "version": version, "i": i}));
        let expected: Vec<f32> = (i * DIMS..(i + 1) * DIMS)
            .map(|n| version as f32 + n as f32 / 64.0)
            .collect();
        assert_eq!(snapshot.vector(chunk.row).unwrap(), expected);
        let word = snapshot.live_rows()[chunk.row as usize / 64];
        assert_eq!(word >> (chunk.row % 64) & 1, 1);
    }
    version
}
