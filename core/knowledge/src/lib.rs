//! Knowledge bases: parse, chunk, ingest, retrieve, cite.

pub mod chunk;
pub mod parse;
