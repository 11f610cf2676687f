//! Data sources as Bedrock knows them: a bucket that a folder stands for, or documents given directly.

use std::collections::BTreeSet;
use std::path::PathBuf;

use outcrop_api as api;
use serde::{Deserialize, Serialize};

use crate::chunk::ChunkingStrategy;
use crate::document::{DocumentFacts, DocumentInfo};
use crate::knowledge_base::KnowledgeBase;
use crate::scan::Folder;
use crate::sync::LOCK_TIMEOUT;

/// A bucket that a folder stands for, or the part of it whose names begin with a prefix.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Bucket {
    /// Its name.
    pub name: String,
    /// What the keys of its documents begin with.
    #[serde(default)]
    pub prefix: String,
    /// The folder, absolute.
    pub folder: PathBuf,
}

/// A data source.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct DataSource {
    /// Its id.
    pub id: String,
    /// Where a sync finds its documents; none where they are given directly.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub bucket: Option<Bucket>,
    /// How its documents are cut.
    pub strategy: ChunkingStrategy,
    /// Whether it is deleted and its documents stay.
    #[serde(default)]
    pub retained: bool,
}

impl DataSource {
    pub(crate) fn folder(&self) -> Option<Folder<'_>> {
        let bucket = self.bucket.as_ref().filter(|_| !self.retained)?;
        Some(Folder {
            source: &self.id,
            path: &bucket.folder,
            bucket: Some(bucket),
        })
    }
}

impl KnowledgeBase {
    /// The data source `id`.
    ///
    /// # Errors
    /// `ResourceNotFoundException`.
    pub fn data_source(&self, id: &str) -> api::Result<DataSource> {
        let sources = self.record()?.data_sources;
        let found = sources.into_iter().find(|s| s.id == id && !s.retained);
        found.ok_or_else(|| {
            api::Error::not_found(format!("data source {id:?} does not exist")).with_resource(id)
        })
    }

    /// Adds a data source, in place of the one of the same id.
    ///
    /// # Errors
    /// `ResourceNotFoundException` where the knowledge base is gone.
    pub fn put_data_source(&self, source: DataSource) -> api::Result<()> {
        self.change(|record| {
            record.data_sources.retain(|other| other.id != source.id);
            record.data_sources.push(source);
        })?;
        Ok(())
    }

    /// Removes a data source with its documents, or keeps those where `retain` says so.
    ///
    /// # Errors
    /// `ConflictException` while another session writes.
    pub fn remove_data_source(&self, id: &str, retain: bool) -> api::Result<()> {
        if !retain {
            let documents = self.documents_of(id)?;
            let ids: BTreeSet<String> = documents.into_iter().map(|d| d.id).collect();
            self.delete_from(id, &ids)?;
        }
        self.change(|record| {
            if retain {
                let own = record.data_sources.iter_mut().filter(|s| s.id == id);
                own.for_each(|source| source.retained = true);
            } else {
                record.data_sources.retain(|source| source.id != id);
            }
        })?;
        Ok(())
    }

    /// The documents of a source, in the order of their ids.
    ///
    /// # Errors
    /// One that names a damaged file.
    pub fn documents_of(&self, source: &str) -> api::Result<Vec<DocumentInfo>> {
        let snapshot = self.readable()?;
        let mut documents = snapshot
            .documents()
            .filter(|(_, entry)| entry.source.as_deref() == Some(source))
            .map(|(key, entry)| Ok(DocumentFacts::of(key, entry)?.listed(entry)))
            .collect::<api::Result<Vec<_>>>()?;
        documents.sort_by(|a, b| a.id.cmp(&b.id));
        Ok(documents)
    }

    /// Deletes documents of a source; gives the ids of those that were there.
    ///
    /// # Errors
    /// `ConflictException` while another session writes.
    pub fn delete_from(
        &self,
        source: &str,
        ids: &BTreeSet<String>,
    ) -> api::Result<BTreeSet<String>> {
        self.readable()?;
        let mut writer = self.collection()?.writer(LOCK_TIMEOUT)?;
        let deleted = ids
            .iter()
            .filter(|id| writer.delete(&crate::document::key(Some(source), id)))
            .cloned()
            .collect();
        writer.commit()?;
        writer.compact()?;
        Ok(deleted)
    }
}
