//! The shelf: an id, an ARN, a path or a hub name becomes something that chats, embeds or reranks.
//!
//! A [`Shelf`] stands over the models of one home. [`Shelf::resolve`] reads a name ([`Reference`]),
//! finds the files or has them installed ([`hub`]), loads them once and shares the [`Model`].

mod alias;
mod catalogue;
mod declare;
mod download;
pub mod hub;
mod listing;
mod load_options;
mod model;
mod quote;
mod record;
mod reference;
mod remote;
mod resolution;
mod scripted;
mod shelf;
mod spec;
mod summary;

pub use alias::Alias;
pub use catalogue::{CatalogueEntry, DEFAULT_CHAT_MODEL, DEFAULT_EMBEDDING_MODEL, DEFAULT_READER};
pub use download::{DownloadProgress, Progress};
pub use load_options::{KvStorage, LoadOptions};
pub use model::{Model, kind_of};
pub use quote::{NO_ANSWER, QuoteModel};
pub use reference::{HubReference, Reference, arn};
pub use resolution::{ModelDirectory, PROFILE_AREAS, Resolution};
pub use shelf::{Shelf, ShelfOptions};
pub use summary::ModelSummary;
