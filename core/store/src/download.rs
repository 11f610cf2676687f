//! Downloads into the models folder: resumed after a break, checked, and visible only when whole.

use std::fs::{self, File, OpenOptions};
use std::io::{Read, Write};
use std::path::{Path, PathBuf};
use std::time::Duration;

use sha2::{Digest, Sha256};

use crate::atomic_file;
use crate::error::{Result, StoreError};
use crate::home::Home;
use crate::lock::FileLock;
use crate::name::{check_relative, escape};

const PARTIAL: &str = ".partial";

/// A model's files on their way into the models folder. Dropped, what has arrived stays for the next attempt.
#[derive(Debug)]
pub struct Download {
    staging: PathBuf,
    target: PathBuf,
    resource: String,
    _lock: FileLock,
}

/// One file of a download, open for appending.
#[derive(Debug)]
pub struct PartialFile<'a> {
    file: File,
    partial: PathBuf,
    target: PathBuf,
    len: u64,
    _download: std::marker::PhantomData<&'a mut Download>,
}

/// What a whole file must be; unknown parts are not checked.
#[derive(Clone, Debug, Default)]
pub struct Expected {
    /// Its length in bytes.
    pub len: Option<u64>,
    /// Its SHA-256, in hexadecimal digits of either case.
    pub sha256: Option<String>,
}

impl Home {
    /// Where the model `name` is once it is whole; none while it is not.
    pub fn model_path(&self, name: &str) -> Result<Option<PathBuf>> {
        let path = self.models_dir().join(escape("model", name)?);
        Ok(path.exists().then_some(path))
    }

    /// Starts or goes on with the download of the model `name`, a folder of files.
    ///
    /// # Errors
    /// `AlreadyExists` where it is there already, also when another session finished it during the wait;
    /// `Locked` where another session is still downloading it after `timeout`.
    pub fn download(&self, name: &str, timeout: Duration) -> Result<Download> {
        let escaped = escape("model", name)?;
        let resource = format!("model {name}");
        let lock = self.lock(&format!("model.{name}"), &resource, timeout)?;
        let target = self.models_dir().join(&escaped);
        if target.exists() {
            return Err(StoreError::AlreadyExists { resource });
        }
        let staging = self.models_dir().join(PARTIAL).join(&escaped);
        fs::create_dir_all(&staging).map_err(StoreError::io("create", &staging))?;
        Ok(Download {
            staging,
            target,
            resource,
            _lock: lock,
        })
    }

    /// Deletes the model `name` and what there is of an unfinished download; says whether there was a whole one.
    pub fn delete_model(&self, name: &str, timeout: Duration) -> Result<bool> {
        let escaped = escape("model", name)?;
        let _lock = self.lock(&format!("model.{name}"), &format!("model {name}"), timeout)?;
        let partial = self.models_dir().join(PARTIAL);
        let doomed = partial.join(&escaped);
        remove_folder(&doomed)?;
        let target = self.models_dir().join(&escaped);
        if !target.exists() {
            return Ok(false);
        }
        // Out of sight first, so that nobody meets a half-deleted model.
        fs::create_dir_all(&partial).map_err(StoreError::io("create", &partial))?;
        fs::rename(&target, &doomed).map_err(StoreError::io("delete", &target))?;
        remove_folder(&doomed)?;
        Ok(true)
    }
}

fn remove_folder(path: &Path) -> Result<()> {
    match fs::remove_dir_all(path) {
        Err(error) if error.kind() != std::io::ErrorKind::NotFound => {
            Err(StoreError::io("delete", path)(error))
        }
        _ => Ok(()),
    }
}

impl Download {
    /// Whether the file `name` has arrived whole, in this attempt or in one before it.
    pub fn has(&self, name: &str) -> Result<bool> {
        check_relative(name)?;
        Ok(self.staging.join(name).is_file())
    }

    /// Opens the file `name` where it was left, or new. A name may have folders: `onnx/model.onnx`.
    ///
    /// # Errors
    /// `Invalid` for a name that leaves the model's folder or ends in `.part`; `Io`.
    pub fn partial_file(&mut self, name: &str) -> Result<PartialFile<'_>> {
        check_relative(name)?;
        let target = self.staging.join(name);
        let partial = self.staging.join(format!("{name}.part"));
        if let Some(folder) = partial.parent() {
            fs::create_dir_all(folder).map_err(StoreError::io("create", folder))?;
        }
        let file = OpenOptions::new()
            .create(true)
            .append(true)
            .read(true)
            .open(&partial)
            .map_err(StoreError::io("open", &partial))?;
        let len = file
            .metadata()
            .map_err(StoreError::io("read", &partial))?
            .len();
        Ok(PartialFile {
            file,
            partial,
            target,
            len,
            _download: std::marker::PhantomData,
        })
    }

    /// Makes the model visible as a whole, and gives its folder.
    ///
    /// # Errors
    /// `Invalid` while one of its files is unfinished; `Io`.
    pub fn commit(self) -> Result<PathBuf> {
        if let Some(unfinished) = find_partial(&self.staging)? {
            let value = unfinished.display();
            return Err(StoreError::invalid("download", value, "only whole files"));
        }
        if self.target.exists() {
            return Err(StoreError::AlreadyExists {
                resource: self.resource,
            });
        }
        fs::rename(&self.staging, &self.target).map_err(StoreError::io("publish", &self.target))?;
        atomic_file::flush_parent(&self.target)?;
        Ok(self.target)
    }

    /// Gives the download up and deletes what has arrived.
    pub fn abort(self) -> Result<()> {
        remove_folder(&self.staging)
    }
}

/// A file in `folder` or below that is not whole.
fn find_partial(folder: &Path) -> Result<Option<PathBuf>> {
    for entry in fs::read_dir(folder).map_err(StoreError::io("list", folder))? {
        let path = entry.map_err(StoreError::io("list", folder))?.path();
        let found = if path.is_dir() {
            find_partial(&path)?
        } else {
            path.extension()
                .is_some_and(|e| e == "part")
                .then_some(path)
        };
        if found.is_some() {
            return Ok(found);
        }
    }
    Ok(None)
}

impl PartialFile<'_> {
    /// How many bytes have arrived: where to go on.
    pub fn len(&self) -> u64 {
        self.len
    }

    /// Whether nothing has arrived.
    pub fn is_empty(&self) -> bool {
        self.len == 0
    }

    /// Appends bytes.
    pub fn append(&mut self, bytes: &[u8]) -> Result<()> {
        self.file
            .write_all(bytes)
            .map_err(StoreError::io("write", &self.partial))?;
        self.len += bytes.len() as u64;
        Ok(())
    }

    /// Begins again from nothing, as when the server's file is no longer the one that was begun.
    pub fn restart(&mut self) -> Result<()> {
        self.file
            .set_len(0)
            .map_err(StoreError::io("truncate", &self.partial))?;
        self.len = 0;
        Ok(())
    }

    /// Checks, flushes and names the file, and gives its SHA-256 in lower-case hexadecimal digits.
    ///
    /// # Errors
    /// `Corrupt` where it is longer than expected or its checksum differs: what has arrived is deleted then.
    /// `Invalid` where it is shorter: it can be resumed. `Io`.
    pub fn finish(self, expected: &Expected) -> Result<String> {
        if let Some(len) = expected.len.filter(|&len| self.len < len) {
            let expected = format!("{len} bytes");
            return Err(StoreError::invalid(
                "download",
                format!("{} bytes", self.len),
                expected,
            ));
        }
        let sha256 = sha256_of(&self.partial)?;
        let wrong_len = expected.len.filter(|&len| self.len != len);
        let wrong_sum = expected
            .sha256
            .as_ref()
            .filter(|wanted| !wanted.eq_ignore_ascii_case(&sha256));
        let detail = match (wrong_len, wrong_sum) {
            (Some(len), _) => Some(format!("{} bytes arrived, expected {len}", self.len)),
            (None, Some(sum)) => Some(format!("its SHA-256 is {sha256}, expected {sum}")),
            (None, None) => None,
        };
        if let Some(detail) = detail {
            atomic_file::remove(&self.partial)?;
            let detail = format!("{detail}; it was deleted, to be downloaded again");
            return Err(StoreError::corrupt(&self.target, detail));
        }
        self.file
            .sync_all()
            .map_err(StoreError::io("flush", &self.partial))?;
        fs::rename(&self.partial, &self.target).map_err(StoreError::io("rename", &self.partial))?;
        atomic_file::flush_parent(&self.target)?;
        Ok(sha256)
    }
}

/// The SHA-256 of a file, in lower-case hexadecimal digits.
pub fn sha256_of(path: &Path) -> Result<String> {
    let mut file = File::open(path).map_err(StoreError::io("open", path))?;
    let mut hasher = Sha256::new();
    let mut buffer = vec![0u8; 1 << 18];
    loop {
        let read = file
            .read(&mut buffer)
            .map_err(StoreError::io("read", path))?;
        if read == 0 {
            break;
        }
        hasher.update(buffer.get(..read).unwrap_or_default());
    }
    Ok(hex(&hasher.finalize()))
}

/// The SHA-256 of bytes, in lower-case hexadecimal digits: what a document's `sha256` is compared with.
pub fn sha256(bytes: &[u8]) -> String {
    hex(&Sha256::digest(bytes))
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}
