//! The front desk: the session that every binding opens.
//!
//! A [`Session`] opens one home folder. It hands out [`Model`]s and [`KnowledgeBase`]s: cheap,
//! cloneable handles whose methods take and return owned values of [`outcrop_api`]. Every async
//! method returns a `Send` future for [`runtime`]; dropping the future, or a stream, stops the work.

mod device;
mod knowledge_base;
mod model;
mod options;
mod runtime;
mod session;

pub use knowledge_base::{ChunkingRequest, KnowledgeBase, KnowledgeBaseRequest};
pub use model::Model;
pub use options::SessionOptions;
pub use outcrop_api as api;
pub use outcrop_api::{Error, ErrorKind, Result};
pub use outcrop_knowledge::{
    Chunking, Document, DocumentInfo, KnowledgeBaseInfo, SourceInfo, SyncProgress, SyncReport,
};
pub use outcrop_models::{CatalogueEntry, DownloadProgress, Progress};
pub use runtime::runtime;
pub use session::Session;
