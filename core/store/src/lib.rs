//! Everything durable: records, collections and downloads in one home folder.
//!
//! Any number of processes may have one home open. Readers never wait; writers of one thing wait for each other
//! on a file lock. A killed process leaves the last committed state, and every file is checksummed: damage is
//! [`StoreError::Corrupt`], naming the file.
//!
//! ```text
//! home.json                          the layout's version
//! records/<kind>/<id>.json           small values                        Home::put_record, get_record, …
//! collections/<id>/manifest.json     one generation of a collection      Home::collection
//!                 /segments/*.seg    its chunks, vectors and texts       Snapshot
//! models/<name>/                     whole models only                   Home::download
//! progress/<job>/<name>.jsonl        the finished parts of a job     Progress
//! journals/<kind>/<id>.jsonl         entries in their order              Journal
//! logs/<name>/<day>.jsonl            append-only lines                   Log
//! locks/                             one empty file for each lock
//! ```
//!
//! ```no_run
//! # use std::time::Duration;
//! # use outcrop_store::{Expected, Home, NewDocument, Result, sha256};
//! # fn main() -> Result<()> {
//! let home = Home::open("/tmp/home")?;
//!
//! // Records: of several processes that create the same one, exactly one succeeds.
//! home.create_record("knowledge-base", "policies", &serde_json::json!({"model": "m"}))?;
//! let record: Option<serde_json::Value> = home.get_record("knowledge-base", "policies")?;
//!
//! // A collection: one writer at a time stages documents and commits them as one generation.
//! let collection = home.create_collection("policies")?;
//! let mut writer = collection.writer(Duration::from_secs(30))?;
//! writer.put(NewDocument {
//!     id: "loans.md".into(),
//!     sha256: sha256(b"# Loans"),
//!     source: Some("docs/".into()),
//!     metadata: serde_json::json!({"title": "Loans"}),
//!     text: "Loans".into(),
//!     chunks: vec![serde_json::json!({"start": 0, "end": 5})],
//!     vectors: vec![0.6, 0.8],
//! })?;
//! writer.delete("old.md");
//! writer.commit()?;
//! writer.compact()?; // does nothing unless it is due
//!
//! // A snapshot does not change under its reader; `snapshot()` is cheap when nothing was committed.
//! let snapshot = collection.snapshot()?;
//! let rows = snapshot.matrices(); // one (rows, dims) slice a segment, for the index …
//! let live = snapshot.live_rows(); // … with a bit a row
//! let best = snapshot.chunk(0); // a row that the index found: document, ordinal, JSON
//! let text = snapshot.text("loans.md")?;
//!
//! // A download: resumed where it broke off, and visible only when whole.
//! let mut download = home.download("hf:org/name", Duration::from_secs(1))?;
//! let mut file = download.partial_file("config.json")?;
//! let resume_at = file.len();
//! file.append(b"{}")?;
//! file.finish(&Expected { len: Some(2), sha256: None })?;
//! let folder = download.commit()?;
//! # Ok(())
//! # }
//! ```

mod atomic_file;
mod collection;
mod download;
mod envelope;
mod error;
mod hold;
mod home;
mod journal;
mod lock;
mod log;
mod manifest;
mod mapping;
mod name;
mod output;
mod records;
mod sealed_file;
mod segment;
mod segment_layout;
mod snapshot;
mod writer;

pub use collection::Collection;
pub use download::{Download, Expected, PartialFile, sha256, sha256_of};
pub use error::{Result, StoreError};
pub use hold::Hold;
pub use home::Home;
pub use journal::Journal;
pub use log::Log;
pub use manifest::DocumentEntry;
pub use output::{Progress, copy_file, write_file};
pub use records::Stamp;
pub use sealed_file::{read_sealed, write_sealed};
pub use segment::Segment;
pub use snapshot::{Chunk, Snapshot};
pub use writer::{NewDocument, Writer};
