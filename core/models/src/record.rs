//! What the home knows of a model that was installed in it or imported.

use std::path::{Path, PathBuf};

use outcrop_api::{Error, ModelKind, Result};
use outcrop_store::{Home, Stamp, sha256_of};
use serde::{Deserialize, Serialize};
use serde_json::Value;

/// The store's kind of these records.
const KIND: &str = "models";
/// Files of more bytes together are compared by size alone when a model is loaded.
const MAX_VERIFIED: u64 = 256 << 20;

/// A model that was installed in the home or imported.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct ModelRecord {
    /// The id to open it by: the caller's own, a built-in id, or `hf:org/name`.
    pub id: String,
    /// What it is for.
    pub kind: ModelKind,
    /// Where it is from, for people: a path or `hf:org/name`.
    pub source: String,
    /// The folder or `.gguf` file: absolute, or relative to the home's folder of models. Empty for a
    /// model that `spec` declares.
    #[serde(default, skip_serializing_if = "is_empty")]
    pub path: PathBuf,
    /// The declaration of a model that is data.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub spec: Option<Value>,
    /// The folder of the installed files, relative to the home's folder of models.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub folder: Option<PathBuf>,
    /// The commit on the hub.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub commit: Option<String>,
    /// What was installed. Empty for an imported path, whose files are its owner's.
    #[serde(default)]
    pub files: Vec<InstalledFile>,
}

fn is_empty(path: &Path) -> bool {
    path.as_os_str().is_empty()
}

/// A file as it was installed.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct InstalledFile {
    /// Its path in the model's folder.
    pub name: String,
    /// Its bytes.
    pub size: u64,
    /// Its SHA-256 in hexadecimal digits.
    pub sha256: String,
}

impl ModelRecord {
    pub(crate) fn get(home: &Home, id: &str) -> Result<Option<Self>> {
        Ok(home.get_record(KIND, id)?)
    }

    /// Every record by its id: what it says, or the error that names its damaged file.
    pub(crate) fn list(home: &Home) -> Result<Vec<(String, Result<Self>)>> {
        let mut records = Vec::new();
        for id in home.list_record_ids(KIND)? {
            // A record may be deleted between the listing and the reading.
            if let Some(record) = Self::get(home, &id).transpose() {
                records.push((id, record));
            }
        }
        Ok(records)
    }

    pub(crate) fn put(&self, home: &Home) -> Result<()> {
        Ok(home.put_record(KIND, &self.id, self)?)
    }

    /// What tells whether the record of that id was written anew.
    pub(crate) fn stamp(home: &Home, id: &str) -> Result<Option<Stamp>> {
        Ok(home.record_stamp(KIND, id)?)
    }

    /// Deletes the record of that id; whether there was one.
    pub(crate) fn delete(home: &Home, id: &str) -> Result<bool> {
        Ok(home.delete_record(KIND, id)?)
    }

    /// Where the model is.
    pub(crate) fn location(&self, home: &Home) -> PathBuf {
        home.models_dir().join(&self.path)
    }

    /// Checks the installed files against the record: sizes always, and bytes where they are few
    /// enough to be read before each load.
    ///
    /// # Errors
    /// `ModelErrorException` that names the first file that is not as it was installed.
    pub(crate) fn verify(&self, home: &Home) -> Result<()> {
        let Some(folder) = self
            .folder
            .as_ref()
            .map(|folder| home.models_dir().join(folder))
        else {
            return Ok(());
        };
        let all: u64 = self.files.iter().map(|file| file.size).sum();
        for file in &self.files {
            let path = folder.join(&file.name);
            let damaged = |what: String| {
                Error::model(format!(
                    "{}: {what}; delete the folder {} and open the model again to install it anew",
                    path.display(),
                    folder.display()
                ))
                .with_resource(&self.id)
            };
            let size = std::fs::metadata(&path)
                .map_err(|error| damaged(error.to_string()).with_source(error))?
                .len();
            if size != file.size {
                return Err(damaged(format!("expected {} bytes, got {size}", file.size)));
            }
            if all <= MAX_VERIFIED {
                let sha256 = sha256_of(&path)?;
                if sha256 != file.sha256 {
                    return Err(damaged(format!(
                        "damaged: expected SHA-256 {}, got {sha256}",
                        file.sha256
                    )));
                }
            }
        }
        Ok(())
    }
}
