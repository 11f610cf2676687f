//! From a document's text to what the store takes: its chunks and their vectors.

use std::fs::{self, File};
use std::io::Read;
use std::path::Path;

use outcrop_api as api;
use outcrop_store::NewDocument;
use serde_json::{Map, Value};

use crate::chunk::{Chunk, ChunkingStrategy};
use crate::document::{DocumentFacts, StoredChunk, key, sha256};
use crate::parse::{MAX_FILE_BYTES, ParsedDocument, parse};
use crate::scan::{FoundFile, METADATA_SUFFIX};

/// Changes whenever the same bytes would be parsed or cut differently, so that a sync reads them again.
const PARSER_VERSION: &[u8] = b"1";
/// Most texts of one call of the embedder: a sync that is given up ends after one.
const EMBED_BATCH: usize = 64;

/// A document that waits for its vectors.
#[derive(Debug)]
pub(crate) struct Prepared {
    pub key: String,
    pub source: Option<String>,
    pub facts: DocumentFacts,
    pub sha256: String,
    pub text: String,
    pub chunks: Vec<StoredChunk>,
    /// What is embedded: each chunk's text, with its headings before it.
    pub texts: Vec<String>,
    /// Vectors, (chunks, dimensions) row-major, once they are there.
    pub vectors: Vec<f32>,
}

impl Prepared {
    /// Cuts a parsed document into chunks. Those of a file carry its title, stated or by its name;
    /// those of an added document only a stated one, since its id may say nothing.
    pub fn new(
        source: Option<&str>,
        facts: DocumentFacts,
        sha256: String,
        parsed: ParsedDocument,
        strategy: ChunkingStrategy,
        embedder: &dyn api::Embedder,
    ) -> api::Result<Self> {
        let title = match source {
            Some(_) => Some(facts.title.as_str()),
            None => parsed.title.as_deref(),
        };
        let chunks = strategy.cut(&parsed, title, embedder)?;
        let texts = chunks
            .iter()
            .map(|(chunk, _)| format!("{}{}", chunk.context, &parsed.text[chunk.bytes.clone()]))
            .collect();
        let stored = |chunk: &Chunk| StoredChunk::new(&parsed.text, chunk);
        let chunks = chunks
            .iter()
            .map(|(chunk, parent)| StoredChunk {
                parent: parent.as_ref().map(|parent| Box::new(stored(parent))),
                ..stored(chunk)
            })
            .collect();
        Ok(Self {
            key: key(source, &facts.id),
            source: source.map(str::to_owned),
            facts,
            sha256,
            text: parsed.text,
            chunks,
            texts,
            vectors: Vec::new(),
        })
    }

    /// Why the embedding model cannot read it, where it is one chunk and too long for that.
    pub fn too_long(
        &self,
        strategy: ChunkingStrategy,
        embedder: &dyn api::Embedder,
    ) -> api::Result<Option<String>> {
        let (ChunkingStrategy::Whole, Some(text)) = (strategy, self.texts.first()) else {
            return Ok(None);
        };
        let (tokens, most) = (embedder.count_tokens(text)?, embedder.max_tokens());
        Ok((tokens > most).then(|| {
            format!(
                "chunkingStrategy NONE: it is one chunk of {tokens} tokens, and {} reads at most \
                 {most}",
                embedder.id()
            )
        }))
    }

    /// The document as the store takes it.
    pub fn into_new_document(self) -> api::Result<NewDocument<StoredChunk>> {
        let metadata = serde_json::to_value(&self.facts)
            .map_err(|error| api::Error::internal(format!("document {}: {error}", self.key)))?;
        Ok(NewDocument {
            id: self.key,
            sha256: self.sha256,
            source: self.source,
            metadata,
            text: self.text,
            chunks: self.chunks,
            vectors: self.vectors,
        })
    }
}

/// Embeds the texts of `documents`, across their borders in even batches; `stop` ends it between
/// two of them. Gives how many tokens the model read.
///
/// # Errors
/// Those of the embedder; `CancelledException`.
pub(crate) async fn embed(
    documents: &mut [Prepared],
    embedder: &dyn api::Embedder,
    stop: &(dyn Fn() -> bool + Sync),
) -> api::Result<usize> {
    let texts: Vec<String> = documents
        .iter_mut()
        .flat_map(|document| std::mem::take(&mut document.texts))
        .collect();
    let dimensions = embedder.dimensions();
    let mut values = Vec::with_capacity(texts.len() * dimensions);
    let mut tokens = 0;
    for batch in texts.chunks(EMBED_BATCH) {
        if stop() {
            return Err(api::Error::cancelled());
        }
        let options = api::EmbedOptions::with_prompt(api::DOCUMENT_PROMPT);
        let embedded = embedder.embed(batch, options).await?;
        if embedded.values.len() != batch.len() * dimensions {
            return Err(api::Error::model(format!(
                "{}: expected {} vectors of {dimensions}, got {} values",
                embedder.id(),
                batch.len(),
                embedded.values.len()
            )));
        }
        values.extend_from_slice(&embedded.values);
        tokens += embedded.input_tokens;
    }
    let mut rest = values.as_slice();
    for document in documents.iter_mut().filter(|d| d.vectors.is_empty()) {
        let (own, after) = rest.split_at(document.chunks.len() * dimensions);
        document.vectors = own.to_vec();
        rest = after;
    }
    Ok(tokens)
}

/// A file's bytes with those of its metadata, and their hash.
pub(crate) struct FileContent {
    pub bytes: Vec<u8>,
    pub metadata: Option<Vec<u8>>,
    pub sha256: String,
    /// SHA-256 of the bytes alone.
    pub content: String,
}

/// Reads a file and the metadata beside it.
///
/// # Errors
/// The reason why it cannot be read, for the report.
pub(crate) fn read(file: &FoundFile) -> Result<FileContent, String> {
    let bytes = read_whole(&file.path, MAX_FILE_BYTES)?;
    let mut beside = file.path.clone().into_os_string();
    beside.push(METADATA_SUFFIX);
    let metadata = match read_whole(Path::new(&beside), 1 << 20) {
        Ok(bytes) => Some(bytes),
        Err(_) if !Path::new(&beside).exists() => None,
        Err(reason) => return Err(format!("its metadata file: {reason}")),
    };
    let noted = metadata.as_deref();
    let whole = sha256(&[
        PARSER_VERSION,
        &bytes,
        &[u8::from(noted.is_some())],
        noted.unwrap_or_default(),
    ]);
    Ok(FileContent {
        content: sha256(&[&bytes]),
        sha256: whole,
        bytes,
        metadata,
    })
}

/// The bytes of a regular file that does not change meanwhile.
fn read_whole(path: &Path, limit: u64) -> Result<Vec<u8>, String> {
    let before = fs::metadata(path).map_err(|error| format!("cannot read it: {error}"))?;
    if !before.is_file() {
        return Err("it is not a regular file".to_owned());
    }
    if before.len() > limit {
        return Err(format!(
            "file: expected at most {limit} bytes, got {}",
            before.len()
        ));
    }
    let mut file = File::open(path).map_err(|error| format!("cannot open it: {error}"))?;
    let mut bytes = Vec::with_capacity(before.len() as usize);
    (&mut file)
        .take(limit + 1)
        .read_to_end(&mut bytes)
        .map_err(|error| format!("cannot read it: {error}"))?;
    let after = fs::metadata(path).map_err(|error| format!("it vanished: {error}"))?;
    let changed =
        after.len() != bytes.len() as u64 || before.modified().ok() != after.modified().ok();
    if changed {
        return Err("it changed while it was read".to_owned());
    }
    Ok(bytes)
}

/// Parses a file and cuts it into chunks.
///
/// # Errors
/// Outer: the embedder's tokenizer failed. Inner: the reason why the document cannot be read.
pub(crate) fn prepare_file(
    file: &FoundFile,
    content: FileContent,
    strategy: ChunkingStrategy,
    embedder: &dyn api::Embedder,
) -> api::Result<Result<Prepared, String>> {
    let metadata = match content.metadata.as_deref().map(read_metadata) {
        None => Map::new(),
        Some(Ok(metadata)) => metadata,
        Some(Err(reason)) => return Ok(Err(format!("its metadata file: {reason}"))),
    };
    let parsed = match parse(file.format, content.bytes) {
        Ok(parsed) => parsed,
        Err(error) => return Ok(Err(error.to_string())),
    };
    let facts = DocumentFacts {
        id: file.document.clone(),
        uri: file.uri.clone(),
        title: parsed
            .title
            .clone()
            .unwrap_or_else(|| name_as_title(&file.document)),
        pages: (!parsed.pages.is_empty()).then_some(parsed.pages.len()),
        metadata,
        content: Some(content.content),
    };
    let source = Some(file.source.as_str());
    let prepared = Prepared::new(source, facts, content.sha256, parsed, strategy, embedder)?;
    let too_long = prepared.too_long(strategy, embedder)?;
    Ok(too_long.map_or(Ok(prepared), Err))
}

/// `policies/loan-policy_2024.txt` as `loan policy 2024`.
pub(crate) fn name_as_title(document: &str) -> String {
    let name = document.rsplit('/').next().unwrap_or(document);
    let stem = name.rsplit_once('.').map_or(name, |(stem, _)| stem);
    let title = stem.replace(['-', '_'], " ");
    if title.trim().is_empty() {
        name.to_owned()
    } else {
        title
    }
}

/// The attributes of a metadata file: `{"metadataAttributes": {"year": 2024, …}}`, values plain or
/// in Bedrock's typed form `{"value": {"type": "NUMBER", "numberValue": 2024}}`.
///
/// # Errors
/// What is wrong in it.
pub fn read_metadata(bytes: &[u8]) -> Result<Map<String, Value>, String> {
    let value: Value = serde_json::from_slice(bytes).map_err(|error| error.to_string())?;
    let Some(Value::Object(attributes)) = value.get("metadataAttributes") else {
        return Err("expected an object \"metadataAttributes\"".to_owned());
    };
    let mut metadata = Map::new();
    for (name, value) in attributes {
        let plain = match value.get("value") {
            Some(typed) => [
                "stringValue",
                "numberValue",
                "booleanValue",
                "stringListValue",
            ]
            .iter()
            .find_map(|member| typed.get(member))
            .ok_or_else(|| format!("metadataAttributes.{name}.value: expected a typed value"))?,
            None => value,
        };
        let is_list = |v: &Value| v.as_array().is_some_and(|l| l.iter().all(Value::is_string));
        if !(plain.is_string() || plain.is_number() || plain.is_boolean() || is_list(plain)) {
            return Err(format!(
                "metadataAttributes.{name}: expected a string, number, boolean or list of strings, \
                 got {plain}"
            ));
        }
        metadata.insert(name.clone(), plain.clone());
    }
    Ok(metadata)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn metadata_is_read_plain_and_typed() {
        let plain = br#"{"metadataAttributes": {"year": 2024, "tags": ["a", "b"]}}"#;
        let typed = br#"{"metadataAttributes": {"year": {"value": {"type": "NUMBER", "numberValue": 2024}, "includeForEmbedding": true}}}"#;
        assert_eq!(read_metadata(plain).unwrap()["year"], 2024);
        assert_eq!(read_metadata(typed).unwrap()["year"], 2024);
        for wrong in [
            &b"{"[..],
            b"{}",
            br#"{"metadataAttributes": {"a": {"b": 1}}}"#,
        ] {
            assert!(read_metadata(wrong).is_err());
        }
    }

    #[test]
    fn a_name_reads_as_a_title() {
        assert_eq!(
            name_as_title("policies/loan-policy_2024.txt"),
            "loan policy 2024"
        );
        assert_eq!(name_as_title("notes"), "notes");
    }
}
