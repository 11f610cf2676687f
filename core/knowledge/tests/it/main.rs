//! Knowledge bases as the rooms above use them: on disk, with an embedder and a chat model that are
//! written out in full.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, missing_docs)]

mod asking;
mod corpus;
mod damage;
mod data_sources;
mod doubles;
mod filters;
mod kills;
mod parsers;
mod syncing;
