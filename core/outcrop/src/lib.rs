//! The front desk: the session that every binding opens.
//!
//! A [`Session`] opens one home folder. It hands out [`Model`]s and [`KnowledgeBase`]s: cheap,
//! cloneable handles whose methods take and return owned values of [`outcrop_api`]. Every async
//! method returns a `Send` future for [`runtime`]; dropping the future, or a stream, stops the work.

mod agents;
mod bench;
mod buckets;
mod caught;
mod conversation;
mod customization;
mod desk;
mod feed;
mod jobs;
mod knowledge_base;
mod meter;
mod model;
pub mod operations;
mod options;
mod prefix;
mod question;
mod reader;
mod registry;
mod request;
mod runtime;
mod session;

pub use agents::{
    Agent, AgentInfo, AgentRequest, AgentResult, ApiSchema, CollaboratorRequest, CommandAccess,
    HostAccess, InvokeRequest, PolicyInfo, PolicyRequest, ResumeRequest, Run, StopReason,
};
pub use bench::Measurement;
pub use buckets::Bucket;
pub use caught::{Caught, caught, caught_call};
pub use customization::{
    CustomizationJob, CustomizationStatus, DistillRequest, DistillationReport, FineTuneRequest,
    LeftOut, LogSource, Method, ModelReport, TokenizerReport, TokenizerRequest,
};
pub use desk::{Called, Desk, Embedded, Record, request_id};
pub use feed::{Feed, FeedSender, to_json};
pub use knowledge_base::{ChunkingRequest, KnowledgeBase, KnowledgeBaseRequest};
pub use meter::Meter;
pub use model::Model;
pub use options::SessionOptions;
pub use outcrop_agents as agent_turn;
pub use outcrop_api as api;
pub use outcrop_api::{Error, ErrorKind, Result};
pub use outcrop_governance as governance;
pub use outcrop_inference::DeviceReport;
pub use outcrop_knowledge::{
    Chunking, Document, DocumentInfo, Filter, KnowledgeBaseInfo, Search, SourceInfo, SyncProgress,
    SyncReport,
};
pub use outcrop_models::{
    Alias, CatalogueEntry, DownloadProgress, LoadOptions, ModelDirectory, ModelSummary, Progress,
    Resolution,
};
pub use prefix::Prefix;
pub use question::{AskOptions, RetrieveOptions};
pub use reader::{Reader, Source};
pub use request::{conversation, from_json};
pub use runtime::runtime;
pub use session::Session;
