//! The record of a knowledge base in the home.

use std::time::{SystemTime, UNIX_EPOCH};

use outcrop_api as api;
use outcrop_store::{Home, StoreError};
use serde::{Deserialize, Serialize};

use crate::chunk::Chunking;
use crate::document::sha256;
use crate::scan::SourceInfo;

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
    /// The number of the last source; numbers are not used twice.
    pub last_source: u64,
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
pub(crate) fn new_id(name: &str) -> String {
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
