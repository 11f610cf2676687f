//! Collections: the durable part of a knowledge base, committed a generation at a time.

use std::fs;
use std::path::PathBuf;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use crate::atomic_file;
use crate::envelope;
use crate::error::{Result, StoreError};
use crate::home::Home;
use crate::lock::{FileLock, RECORD_TIMEOUT};
use crate::manifest::{Manifest, WHAT, segment_file};
use crate::name::{escape, unescape};
use crate::segment::Segment;
use crate::snapshot::Snapshot;
use crate::writer::Writer;

/// How often a reader starts again when a writer replaced the generation under it.
const READ_ATTEMPTS: usize = 20;

/// A collection of documents with their chunks, vectors and texts. Clones share what they have open.
#[derive(Clone, Debug)]
pub struct Collection {
    home: Home,
    id: Arc<str>,
    folder: Arc<PathBuf>,
    open: Arc<Mutex<Option<Open>>>,
}

/// The last generation that was read, and the first bytes of its manifest file.
#[derive(Debug)]
struct Open {
    fingerprint: Vec<u8>,
    snapshot: Arc<Snapshot>,
}

impl Home {
    /// Creates an empty collection.
    ///
    /// # Errors
    /// `AlreadyExists`, `Invalid` for an empty or overlong id, `Locked`, `Io`.
    pub fn create_collection(&self, id: &str) -> Result<Collection> {
        let collection = self.collection_at(id)?;
        let _lock = collection.lock(RECORD_TIMEOUT)?;
        if Manifest::file(&collection.folder).exists() {
            return Err(StoreError::AlreadyExists {
                resource: collection.resource(),
            });
        }
        let segments = collection.folder.join("segments");
        fs::create_dir_all(&segments).map_err(StoreError::io("create", &segments))?;
        atomic_file::flush_parent(&segments)?;
        atomic_file::flush_parent(&collection.folder)?;
        collection.write_manifest(&Manifest::default())?;
        Ok(collection)
    }

    /// Opens a collection.
    ///
    /// # Errors
    /// `NotFound`. Its files are read and checked by [`Collection::snapshot`].
    pub fn collection(&self, id: &str) -> Result<Collection> {
        let collection = self.collection_at(id)?;
        if !Manifest::file(&collection.folder).exists() {
            return Err(collection.not_found());
        }
        Ok(collection)
    }

    /// The ids of all collections, sorted.
    pub fn list_collections(&self) -> Result<Vec<String>> {
        let folder = self.folder("collections");
        let mut ids = Vec::new();
        for entry in fs::read_dir(&folder).map_err(StoreError::io("list", &folder))? {
            let entry = entry.map_err(StoreError::io("list", &folder))?;
            if Manifest::file(&entry.path()).exists() {
                ids.extend(entry.file_name().to_str().and_then(unescape));
            }
        }
        ids.sort_unstable();
        Ok(ids)
    }

    /// Deletes a collection with all its files, damaged or not; says whether there was one.
    ///
    /// # Errors
    /// `Locked` where a writer has it, `Io`.
    pub fn delete_collection(&self, id: &str) -> Result<bool> {
        let collection = self.collection_at(id)?;
        let _lock = collection.lock(RECORD_TIMEOUT)?;
        // Without its manifest it is no collection: whatever stops the deletion, the next one goes on from there.
        let was_there = atomic_file::remove(&Manifest::file(&collection.folder))?;
        if was_there {
            atomic_file::flush_folder(&collection.folder)?;
        }
        match fs::remove_dir_all(&*collection.folder) {
            Ok(()) => atomic_file::flush_parent(&collection.folder)?,
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => {}
            Err(error) => return Err(StoreError::io("delete", &collection.folder)(error)),
        }
        Ok(was_there)
    }

    fn collection_at(&self, id: &str) -> Result<Collection> {
        Ok(Collection {
            home: self.clone(),
            id: id.into(),
            folder: Arc::new(self.folder("collections").join(escape("collection", id)?)),
            open: Arc::default(),
        })
    }
}

impl Collection {
    /// The collection's id.
    pub fn id(&self) -> &str {
        &self.id
    }

    /// The newest generation. Never waits for a writer; cheap where nothing was committed since the last call,
    /// and otherwise opens and checks only the segments that are new.
    ///
    /// # Errors
    /// `NotFound` after a deletion; `Corrupt`, naming the file; `NewerFormat`; `Io`.
    pub fn snapshot(&self) -> Result<Arc<Snapshot>> {
        let mut open = self.open.lock().unwrap_or_else(PoisonError::into_inner);
        let file = Manifest::file(&self.folder);
        for _ in 0..READ_ATTEMPTS {
            let fingerprint = envelope::fingerprint(&file)?.ok_or_else(|| self.not_found())?;
            if let Some(open) = open.as_ref().filter(|o| o.fingerprint == fingerprint) {
                return Ok(open.snapshot.clone());
            }
            let manifest = Manifest::read(&self.folder)?.ok_or_else(|| self.not_found())?;
            let generation = manifest.generation;
            let known = open.as_ref().map(|open| &*open.snapshot);
            if let Some(snapshot) = self.open_generation(manifest, known)? {
                let snapshot = Arc::new(snapshot);
                *open = Some(Open {
                    fingerprint,
                    snapshot: snapshot.clone(),
                });
                // A manifest replaced between the two readings is noticed by the next call.
                return Ok(snapshot);
            }
            let newer = Manifest::read(&self.folder)?.ok_or_else(|| self.not_found())?;
            if newer.generation == generation {
                return Err(self.missing_segment(&newer));
            }
        }
        Err(StoreError::Locked {
            resource: self.resource(),
            file,
            waited: Duration::ZERO,
        })
    }

    /// Starts writing, after waiting up to `timeout` for the writer before it.
    ///
    /// # Errors
    /// `Locked`, and those of [`Collection::snapshot`].
    pub fn writer(&self, timeout: Duration) -> Result<Writer> {
        let lock = self.lock(timeout)?;
        Writer::start(self.clone(), lock)
    }

    /// Opens the segments of a manifest, those of `known` again without a look at their bytes; none where one
    /// of them is gone.
    fn open_generation(
        &self,
        manifest: Manifest,
        known: Option<&Snapshot>,
    ) -> Result<Option<Snapshot>> {
        let mut segments = Vec::with_capacity(manifest.segments.len());
        for entry in &manifest.segments {
            let path = segment_file(&self.folder, entry.id);
            let known = known.and_then(|known| {
                let at = known.manifest().segments.iter().position(|s| s == entry)?;
                known.segments().get(at).cloned()
            });
            match known {
                Some(segment) => segments.push(segment),
                None => match Segment::open(&path)? {
                    Some(segment) => segments.push(Arc::new(segment)),
                    None => return Ok(None),
                },
            }
        }
        Snapshot::new(&self.folder, manifest, segments).map(Some)
    }

    fn missing_segment(&self, manifest: &Manifest) -> StoreError {
        let files = manifest
            .segments
            .iter()
            .map(|s| segment_file(&self.folder, s.id));
        let missing = files.into_iter().find(|file| !file.exists());
        let file = missing.unwrap_or_else(|| Manifest::file(&self.folder));
        StoreError::corrupt(&file, "it is missing, and the manifest names it")
    }

    pub(crate) fn write_manifest(&self, manifest: &Manifest) -> Result<()> {
        let bytes = envelope::seal(WHAT, manifest)?;
        let temporary = self.folder.join(".manifest.writing");
        atomic_file::replace(&Manifest::file(&self.folder), &temporary, &bytes)
    }

    pub(crate) fn folder(&self) -> &std::path::Path {
        &self.folder
    }

    fn lock(&self, timeout: Duration) -> Result<FileLock> {
        self.home.lock(
            &format!("collection.{}", self.id),
            &self.resource(),
            timeout,
        )
    }

    fn resource(&self) -> String {
        format!("collection {}", self.id)
    }

    fn not_found(&self) -> StoreError {
        StoreError::NotFound {
            resource: self.resource(),
        }
    }
}
