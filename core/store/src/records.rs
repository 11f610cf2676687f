//! Records: small JSON values by kind and id, each a checksummed file that is replaced atomically
//! and that only its owner may read.

use std::fs;
use std::path::PathBuf;

use serde::Serialize;
use serde::de::DeserializeOwned;

use crate::atomic_file;
use crate::envelope;
use crate::error::{Result, StoreError};
use crate::home::Home;
use crate::lock::{FileLock, RECORD_TIMEOUT};
use crate::name::{escape, unescape};

const EXTENSION: &str = ".json";

/// One writing of a record: another one has another stamp.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Stamp {
    modified: Option<std::time::SystemTime>,
    len: u64,
    /// A record is replaced by a new file.
    file: u64,
}

impl Stamp {
    fn of(metadata: &fs::Metadata) -> Self {
        #[cfg(unix)]
        let file = std::os::unix::fs::MetadataExt::ino(metadata);
        #[cfg(not(unix))]
        let file = 0;
        Self {
            modified: metadata.modified().ok(),
            len: metadata.len(),
            file,
        }
    }
}

impl Home {
    /// Stores `value` as the record `id` of `kind`, in place of any before it.
    ///
    /// # Errors
    /// `Invalid` for an empty or overlong id, `Locked` after 10 s of other writers, `Io`.
    pub fn put_record<T: Serialize + ?Sized>(&self, kind: &str, id: &str, value: &T) -> Result<()> {
        let file = self.record_file(kind, id)?;
        let bytes = envelope::seal("record", value)?;
        let _lock = self.lock_records(kind)?;
        self.write_record(kind, &file, &bytes)
    }

    /// Stores `value` as the record `id` of `kind` unless there is one: of several callers in any number
    /// of processes, exactly one succeeds.
    ///
    /// # Errors
    /// `AlreadyExists`, and those of [`Home::put_record`].
    pub fn create_record<T: Serialize + ?Sized>(
        &self,
        kind: &str,
        id: &str,
        value: &T,
    ) -> Result<()> {
        let file = self.record_file(kind, id)?;
        let bytes = envelope::seal("record", value)?;
        let _lock = self.lock_records(kind)?;
        if file.exists() {
            return Err(StoreError::AlreadyExists {
                resource: format!("{kind} {id}"),
            });
        }
        self.write_record(kind, &file, &bytes)
    }

    /// What tells whether a record was written anew, without reading it; none where there is none.
    ///
    /// # Errors
    /// `Invalid` for an empty or overlong id, `Io`.
    pub fn record_stamp(&self, kind: &str, id: &str) -> Result<Option<Stamp>> {
        let file = self.record_file(kind, id)?;
        match fs::metadata(&file) {
            Ok(metadata) => Ok(Some(Stamp::of(&metadata))),
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(None),
            Err(error) => Err(StoreError::io("read", &file)(error)),
        }
    }

    /// Replaces a record by what `change` makes of it, with no other writer between the reading and the writing.
    ///
    /// # Errors
    /// `Corrupt` where the record that is there cannot be read, and those of [`Home::put_record`].
    pub fn update_record<T: Serialize + DeserializeOwned>(
        &self,
        kind: &str,
        id: &str,
        change: impl FnOnce(Option<T>) -> T,
    ) -> Result<T> {
        let file = self.record_file(kind, id)?;
        let _lock = self.lock_records(kind)?;
        let value = change(self.get_record(kind, id)?);
        self.write_record(kind, &file, &envelope::seal("record", &value)?)?;
        Ok(value)
    }

    /// The record `id` of `kind`, or none where there is none.
    ///
    /// # Errors
    /// `Corrupt`, naming the file, where its bytes or its shape are not what was written.
    pub fn get_record<T: DeserializeOwned>(&self, kind: &str, id: &str) -> Result<Option<T>> {
        let file = self.record_file(kind, id)?;
        envelope::read(&file)?
            .map(|bytes| envelope::unseal(&file, "record", &bytes))
            .transpose()
    }

    /// Every record of `kind` with its id, in the order of the ids.
    ///
    /// # Errors
    /// `Corrupt`, naming the file, where one of them cannot be read.
    pub fn list_records<T: DeserializeOwned>(&self, kind: &str) -> Result<Vec<(String, T)>> {
        let mut records = Vec::new();
        for id in self.list_record_ids(kind)? {
            // A record may be deleted between the listing and the reading.
            if let Some(value) = self.get_record(kind, &id)? {
                records.push((id, value));
            }
        }
        Ok(records)
    }

    /// The ids of every record of `kind`, sorted, without reading the records.
    pub fn list_record_ids(&self, kind: &str) -> Result<Vec<String>> {
        let folder = self.record_folder(kind)?;
        let entries = match fs::read_dir(&folder) {
            Ok(entries) => entries,
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(Vec::new()),
            Err(error) => return Err(StoreError::io("list", &folder)(error)),
        };
        let mut ids = Vec::new();
        for entry in entries {
            let entry = entry.map_err(StoreError::io("list", &folder))?;
            let name = entry.file_name();
            let id = name.to_str().and_then(|name| name.strip_suffix(EXTENSION));
            ids.extend(id.and_then(unescape));
        }
        ids.sort_unstable();
        Ok(ids)
    }

    /// Deletes the record `id` of `kind`; says whether there was one.
    pub fn delete_record(&self, kind: &str, id: &str) -> Result<bool> {
        let file = self.record_file(kind, id)?;
        let _lock = self.lock_records(kind)?;
        let was_there = atomic_file::remove(&file)?;
        if was_there {
            atomic_file::flush_parent(&file)?;
        }
        Ok(was_there)
    }

    fn record_folder(&self, kind: &str) -> Result<PathBuf> {
        Ok(self.folder("records").join(escape("kind", kind)?))
    }

    fn record_file(&self, kind: &str, id: &str) -> Result<PathBuf> {
        let name = escape("id", id)? + EXTENSION;
        Ok(self.record_folder(kind)?.join(name))
    }

    fn lock_records(&self, kind: &str) -> Result<FileLock> {
        self.lock(&format!("records.{kind}"), kind, RECORD_TIMEOUT)
    }

    /// The caller holds the kind's lock, so the one temporary name is its own.
    fn write_record(&self, kind: &str, file: &std::path::Path, bytes: &[u8]) -> Result<()> {
        let temporary = self.make_record_folder(kind)?.join(".writing");
        atomic_file::replace_private(file, &temporary, bytes)
    }

    fn make_record_folder(&self, kind: &str) -> Result<PathBuf> {
        let folder = self.record_folder(kind)?;
        if !folder.is_dir() {
            fs::create_dir_all(&folder).map_err(StoreError::io("create", &folder))?;
            atomic_file::flush_parent(&folder)?;
        }
        Ok(folder)
    }
}
