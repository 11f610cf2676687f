//! The home folder: its layout and its version.

use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use serde::{Deserialize, Serialize};

use crate::atomic_file;
use crate::envelope;
use crate::error::{Result, StoreError};
use crate::lock::{FileLock, RECORD_TIMEOUT};
use crate::name::escape;

const FOLDERS: [&str; 4] = ["records", "collections", "models", "locks"];

/// What `home.json` says about a home.
#[derive(Debug, Serialize, Deserialize)]
struct HomeFile {
    created_by: String,
}

/// A home folder, which any number of processes may have open. Clones are cheap and mean the same folder.
#[derive(Clone, Debug)]
pub struct Home {
    root: Arc<PathBuf>,
}

impl Home {
    /// Opens the home at `path`, creating what is missing.
    ///
    /// # Errors
    /// `NotAFolder`, `NotWritable`, `NewerFormat` of `home.json`, `Corrupt` of `home.json`.
    pub fn open(path: impl AsRef<Path>) -> Result<Self> {
        let path = path.as_ref();
        if path.exists() && !path.is_dir() {
            return Err(StoreError::NotAFolder {
                path: path.to_path_buf(),
            });
        }
        let unwritable = |source| StoreError::NotWritable {
            path: path.to_path_buf(),
            source,
        };
        fs::create_dir_all(path).map_err(unwritable)?;
        for folder in FOLDERS {
            fs::create_dir_all(path.join(folder)).map_err(unwritable)?;
        }
        let root = fs::canonicalize(path).map_err(unwritable)?;
        let home = Self {
            root: Arc::new(root),
        };
        home.check_version()?;
        Ok(home)
    }

    fn check_version(&self) -> Result<()> {
        let file = self.root.join("home.json");
        if envelope::read(&file)?.is_none() {
            let _lock = self.lock("home", "the home", RECORD_TIMEOUT)?;
            if envelope::read(&file)?.is_none() {
                let about = HomeFile {
                    created_by: format!("outcrop {}", env!("CARGO_PKG_VERSION")),
                };
                let bytes = envelope::seal("home", &about)?;
                atomic_file::replace(&file, &self.root.join(".home.writing"), &bytes)?;
            }
        }
        let bytes = envelope::read(&file)?
            .ok_or_else(|| StoreError::corrupt(&file, "it was deleted while it was opened"))?;
        envelope::unseal::<HomeFile>(&file, "home", &bytes).map(drop)
    }

    /// The home's folder, absolute.
    pub fn path(&self) -> &Path {
        &self.root
    }

    /// The folder of downloaded and imported models; a name in it is a whole model or a whole file.
    pub fn models_dir(&self) -> PathBuf {
        self.root.join("models")
    }

    pub(crate) fn folder(&self, name: &str) -> PathBuf {
        self.root.join(name)
    }

    /// Waits for the lock by that name, which guards `resource`.
    pub(crate) fn lock(
        &self,
        name: &str,
        resource: &str,
        timeout: std::time::Duration,
    ) -> Result<FileLock> {
        let name = format!("{}.lock", escape("lock", name)?);
        FileLock::acquire(&self.root.join("locks").join(name), resource, timeout)
    }
}
