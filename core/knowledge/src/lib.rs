//! Knowledge bases: parse, chunk, ingest, retrieve, cite.
