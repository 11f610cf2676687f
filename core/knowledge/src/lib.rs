//! Knowledge bases: parse, chunk, ingest, retrieve, cite.
//!
//! A document's journey: [`parse`] makes text of a file, [`chunk`] cuts it into passages, the
//! embedder makes their vectors, the store commits them. A question's journey: the embedder makes its
//! vector, the index finds the nearest passages, a chat model answers from them, and each citation of
//! the answer is checked against the stored text.

mod add;
mod ask;
pub mod chunk;
mod cite;
mod data_source;
mod direct;
mod document;
mod filter;
mod ingest;
mod keywords;
mod knowledge_base;
mod open_bases;
pub mod parse;
mod record;
mod retrieve;
mod scan;
mod sentences;
mod sync;

pub use ask::{Cited, INSTRUCTION, NO_ANSWER, Question, cite};
pub use chunk::{Chunking, ChunkingStrategy};
pub use cite::joined_text;
pub use data_source::{Bucket, DataSource};
pub use direct::{Content, Given};
pub use document::{Document, DocumentInfo};
pub use filter::{DATA_SOURCE_ID, Filter, Operator, SOURCE_URI};
pub use ingest::read_metadata;
pub use knowledge_base::{KnowledgeBase, KnowledgeBaseInfo, KnowledgeBaseSpec};
pub use open_bases::OpenKnowledgeBases;
pub use record::new_id;
pub use retrieve::{Found, Query, Retrieved, Search};
pub use scan::{FailedDocument, SourceInfo};
pub use sync::{Ingestion, SyncProgress, SyncReport};
