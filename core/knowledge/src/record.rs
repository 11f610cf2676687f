//! The record of a knowledge base in the home.

use std::time::{SystemTime, UNIX_EPOCH};

use outcrop_api as api;
use outcrop_store::{Home, StoreError};
use serde::{Deserialize, Serialize};

use crate::chunk::{Chunking, ChunkingStrategy};
use crate::data_source::DataSource;
use crate::document::sha256;
use crate::scan::{Folder, SourceInfo};

/// The kind of the records of knowledge bases, by name.
pub(crate) const RECORDS: &str = "knowledge-base";
/// Characters of an id, as in Bedrock.
const ID_LENGTH: usize = 10;

/// The embedding model that made the vectors of a knowledge base.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Embedding {
    pub model: String,
    pub dimensions: usize,
}

/// A knowledge base as it is stored.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Record {
    pub id: String,
    pub name: String,
    pub description: Option<String>,
    pub embedding_model: String,
    /// What the first document was embedded with; every later one must be too.
    pub embedding: Option<Embedding>,
    pub chunking: Chunking,
    pub sources: Vec<SourceInfo>,
    /// Sources of the kinds that Bedrock knows.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub data_sources: Vec<DataSource>,
    /// The number of the last source; numbers are not used twice.
    pub last_source: u64,
}

impl Record {
    /// Every folder that a sync reads.
    pub fn folders(&self) -> impl Iterator<Item = Folder<'_>> {
        let native = self.sources.iter().map(Folder::of);
        native.chain(self.data_sources.iter().filter_map(DataSource::folder))
    }

    /// The folders as they are listed.
    pub fn listed_sources(&self) -> Vec<SourceInfo> {
        let listed = |folder: Folder<'_>| SourceInfo {
            id: folder.source.to_owned(),
            path: folder.path.to_owned(),
        };
        self.folders().map(listed).collect()
    }

    /// How the documents of a source are cut.
    pub fn strategy(&self, source: &str) -> ChunkingStrategy {
        let own = self.data_sources.iter().find(|s| s.id == source);
        own.map_or(ChunkingStrategy::FixedSize(self.chunking), |own| {
            own.strategy
        })
    }

    /// Whether a sync leaves the documents of a source, which come from no folder, as they are.
    pub fn keeps(&self, source: &str) -> bool {
        let own = self.data_sources.iter().find(|s| s.id == source);
        own.is_some_and(|own| own.folder().is_none())
    }
}

/// The record by name or id.
pub(crate) fn find(home: &Home, name_or_id: &str) -> api::Result<Record> {
    // A name that cannot be a record's is a name that is not there.
    match home.get_record::<Record>(RECORDS, name_or_id) {
        Ok(Some(record)) => return Ok(record),
        Ok(None) | Err(StoreError::Invalid { .. }) => {}
        Err(error) => return Err(error.into()),
    }
    home.list_records::<Record>(RECORDS)?
        .into_iter()
        .map(|(_, record)| record)
        .find(|record| record.id == name_or_id)
        .ok_or_else(|| not_found(name_or_id))
}

pub(crate) fn not_found(name: &str) -> api::Error {
    api::Error::not_found(format!("knowledge base {name:?} does not exist")).with_resource(name)
}

/// Ten capital letters and digits, as Bedrock's ids are: a hash of the name, the time and the process.
pub fn new_id(name: &str) -> String {
    let now = SystemTime::now()
        .duration_since(UNIX_EPOCH)
        .unwrap_or_default();
    let digest = sha256(&[
        name.as_bytes(),
        &now.as_nanos().to_le_bytes(),
        &std::process::id().to_le_bytes(),
    ]);
    digest
        .chars()
        .take(ID_LENGTH)
        .map(|c| c.to_ascii_uppercase())
        .collect()
}
