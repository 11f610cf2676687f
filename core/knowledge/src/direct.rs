//! Documents given directly to a data source, each with an outcome of its own; and documents that are
//! read and not stored.

use std::path::PathBuf;
use std::sync::Arc;

use outcrop_api as api;
use serde_json::{Map, Value};

use crate::chunk::{Chunking, chunk};
use crate::document::{DocumentFacts, key, sha256};
use crate::ingest::{self, Prepared, name_as_title};
use crate::knowledge_base::KnowledgeBase;
use crate::parse::{Format, ParsedDocument, parse, parse_text};
use crate::retrieve::{Found, Retrieved};
use crate::scan::FoundFile;
use crate::sync::{LOCK_TIMEOUT, blocking};

/// Words of a passage of a document that is read and not stored.
const PASSAGE_WORDS: usize = 200;

/// What a document is made of.
#[derive(Clone, Debug)]
pub enum Content {
    /// Text.
    Text(String),
    /// The bytes of a file of a format.
    Bytes(Format, Vec<u8>),
    /// A file, with the metadata file beside it.
    File(PathBuf),
}

/// A document for a data source.
#[derive(Clone, Debug)]
pub struct Given {
    /// Its id in the source.
    pub id: String,
    /// Its URI.
    pub uri: String,
    /// What it is made of.
    pub content: Content,
    /// Its metadata; a file's own is beside it.
    pub metadata: Map<String, Value>,
}

impl KnowledgeBase {
    /// Adds documents to a data source, replacing those of the same id. Of each, why it could not be
    /// read, where it could not; and how many tokens the embedding model read.
    ///
    /// # Errors
    /// `ResourceNotFoundException` for the source; `ConflictException` while another session writes,
    /// or for another embedding model; those of the embedder.
    pub async fn add_to(
        &self,
        source: &str,
        embedder: Arc<dyn api::Embedder>,
        documents: Vec<Given>,
    ) -> api::Result<(Vec<Result<(), String>>, usize)> {
        let (base, model, id) = (self.clone(), embedder.clone(), source.to_owned());
        let looked = blocking(move || {
            base.pin(&*model)?;
            let look = |given| base.look_at(&id, given, &*model);
            documents
                .into_iter()
                .map(look)
                .collect::<api::Result<Vec<_>>>()
        })
        .await?;
        let mut outcomes = Vec::with_capacity(looked.len());
        let mut ready = Vec::new();
        for one in looked {
            outcomes.push(one.map(|prepared| ready.push(prepared)));
        }
        let tokens = ingest::embed(&mut ready, &*embedder, &|| false).await?;
        let base = self.clone();
        blocking(move || {
            base.readable()?;
            let mut writer = base.collection()?.writer(LOCK_TIMEOUT)?;
            for prepared in ready {
                writer.put(prepared.into_new_document()?)?;
            }
            writer.commit()?;
            writer.compact()?;
            Ok(())
        })
        .await?;
        Ok((outcomes, tokens))
    }

    fn look_at(
        &self,
        source: &str,
        given: Given,
        embedder: &dyn api::Embedder,
    ) -> api::Result<Result<Prepared, String>> {
        let strategy = self.data_source(source)?.strategy;
        let (parsed, hash) = match given.content {
            Content::File(path) => {
                let Some(format) = Format::of(&path) else {
                    return Ok(Err("its format is not one that is read".to_owned()));
                };
                let file = FoundFile {
                    source: source.to_owned(),
                    document: given.id,
                    path,
                    uri: given.uri,
                    format,
                };
                let content = match ingest::read(&file) {
                    Ok(content) => content,
                    Err(reason) => return Ok(Err(reason)),
                };
                return ingest::prepare_file(&file, content, strategy, embedder);
            }
            Content::Text(text) => {
                let hash = sha256(&[text.as_bytes()]);
                if text.trim().is_empty() {
                    return Ok(Err("the document holds no text".to_owned()));
                }
                (parse_text(text), hash)
            }
            Content::Bytes(format, bytes) => {
                let hash = sha256(&[&bytes]);
                match parse(format, bytes) {
                    Ok(parsed) => (parsed, hash),
                    Err(error) => return Ok(Err(error.to_string())),
                }
            }
        };
        let facts = DocumentFacts {
            title: parsed
                .title
                .clone()
                .unwrap_or_else(|| name_as_title(&given.id)),
            uri: given.uri,
            pages: (!parsed.pages.is_empty()).then_some(parsed.pages.len()),
            metadata: given.metadata,
            content: Some(hash.clone()),
            id: given.id,
        };
        // Its id may say nothing: without a source, only a stated title is embedded.
        let mut prepared = Prepared::new(None, facts, hash, parsed, strategy, embedder)?;
        prepared.key = key(Some(source), &prepared.facts.id);
        prepared.source = Some(source.to_owned());
        let too_long = prepared.too_long(strategy, embedder)?;
        Ok(too_long.map_or(Ok(prepared), Err))
    }
}

impl Retrieved {
    /// The passages of a document that is not stored, in its order.
    ///
    /// # Errors
    /// `ValidationException` with the reason why it cannot be read.
    pub fn of_document(id: &str, format: Format, bytes: Vec<u8>) -> api::Result<Self> {
        let unread = |error: crate::parse::ParseError| {
            api::Error::validation(format!("document {id:?}: {error}"))
        };
        let parsed = parse(format, bytes).map_err(unread)?;
        let words = |text: &str| Ok(text.split_whitespace().count());
        let chunking = Chunking {
            max_tokens: PASSAGE_WORDS,
            overlap_tokens: 0,
        };
        let title = parsed.title.clone().unwrap_or_else(|| name_as_title(id));
        let chunks = chunk(&parsed, None, chunking, &words)?;
        let passage = |(at, chunk): (usize, crate::chunk::Chunk)| Found {
            title: title.clone(),
            source: None,
            row: 0,
            passage: passage_of(&parsed, id, at, &chunk),
        };
        Ok(Self {
            snapshot: None,
            found: chunks.into_iter().enumerate().map(passage).collect(),
            input_tokens: 0,
        })
    }
}

fn passage_of(
    parsed: &ParsedDocument,
    id: &str,
    at: usize,
    chunk: &crate::chunk::Chunk,
) -> api::Passage {
    api::Passage {
        id: format!("{id}#{at}"),
        text: parsed.text[chunk.bytes.clone()].to_owned(),
        score: 0.0,
        location: api::Location {
            document: id.to_owned(),
            uri: id.to_owned(),
            page: chunk.pages.map(|(first, _)| first),
            last_page: chunk.pages.map(|(_, last)| last),
            start: chunk.chars.start,
            end: chunk.chars.end,
        },
        metadata: Map::new(),
    }
}
