//! Documents of a knowledge base: as they are given, as they are stored, as they are listed.

use outcrop_api as api;
use outcrop_store::DocumentEntry;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};
use sha2::{Digest, Sha256};

use crate::chunk::Chunk;

/// The first part of the key of a document that was added directly.
const ADDED: &str = "added";

/// A document given as text.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Document {
    /// Its id; a document of the same id is replaced. Default: made from the text and the metadata.
    #[serde(default)]
    pub id: Option<String>,
    /// Its text.
    pub text: String,
    /// Its metadata.
    #[serde(default)]
    pub metadata: Map<String, Value>,
    /// A vector of one's own, of the embedding model's length. The text is then one passage. It is
    /// scaled to length 1, so that scores are cosines.
    #[serde(default)]
    pub embedding: Option<Vec<f32>>,
}

/// A document as it is listed.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct DocumentInfo {
    /// Its id: its path relative to its source, or the id that it was added with.
    pub id: String,
    /// The id of its source; none for one that was added directly.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub source: Option<String>,
    /// Its URI.
    pub uri: String,
    /// Its title, where it states one, else its name.
    pub title: String,
    /// How many pages it has, where the format has pages.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub pages: Option<usize>,
    /// How many passages it was cut into.
    pub chunks: usize,
    /// SHA-256 of what it was made from.
    pub sha256: String,
    /// Its metadata.
    #[serde(default)]
    pub metadata: Map<String, Value>,
}

/// What the store keeps with a document.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct DocumentFacts {
    pub id: String,
    pub uri: String,
    pub title: String,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub pages: Option<usize>,
    #[serde(default)]
    pub metadata: Map<String, Value>,
    /// SHA-256 of the content alone, where metadata lies beside it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub content: Option<String>,
}

impl DocumentFacts {
    /// Reads what the store keeps with `key`.
    pub fn of(key: &str, entry: &DocumentEntry) -> api::Result<Self> {
        DocumentFacts::deserialize(&entry.metadata).map_err(|error| {
            api::Error::internal(format!(
                "document {key}: its entry in the manifest is not as expected: {error}"
            ))
        })
    }

    pub fn listed(self, entry: &DocumentEntry) -> DocumentInfo {
        DocumentInfo {
            id: self.id,
            source: entry.source.clone(),
            uri: self.uri,
            title: self.title,
            pages: self.pages,
            chunks: entry.chunk_count as usize,
            sha256: entry.sha256.clone(),
            metadata: self.metadata,
        }
    }
}

/// What the store keeps of a chunk. Its text is the document's text at its bytes.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct StoredChunk {
    /// Bytes in the document's text.
    pub bytes: (usize, usize),
    /// Characters in the document's text.
    pub chars: (usize, usize),
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub pages: Option<(u32, u32)>,
    /// SHA-256 of its text.
    pub sha256: String,
    /// The larger chunk that it is found as.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub parent: Option<Box<StoredChunk>>,
}

impl StoredChunk {
    /// A chunk of `text` as it is stored.
    pub fn new(text: &str, chunk: &Chunk) -> Self {
        Self {
            sha256: sha256(&[&text.as_bytes()[chunk.bytes.clone()]]),
            bytes: (chunk.bytes.start, chunk.bytes.end),
            chars: (chunk.chars.start, chunk.chars.end),
            pages: chunk.pages,
            parent: None,
        }
    }
}

/// The key of a document in the store: unique even where two sources hold the same relative path.
pub(crate) fn key(source: Option<&str>, id: &str) -> String {
    format!("{}/{id}", source.unwrap_or(ADDED))
}

/// SHA-256 of parts that cannot be taken for each other, in hexadecimal.
pub(crate) fn sha256(parts: &[&[u8]]) -> String {
    let mut hasher = Sha256::new();
    for part in parts {
        if parts.len() > 1 {
            hasher.update((part.len() as u64).to_le_bytes());
        }
        hasher.update(part);
    }
    hasher
        .finalize()
        .iter()
        .map(|byte| format!("{byte:02x}"))
        .collect()
}
