//! Files outside the home that a job writes, and the lines that it keeps while it works on them.

use std::fs::{self, File, OpenOptions};
use std::io::Write;
use std::path::{Path, PathBuf};

use serde::Serialize;
use serde_json::Value;

use crate::atomic_file;
use crate::error::{Result, StoreError};
use crate::home::Home;
use crate::name::escape;

/// Writes a file whole or not at all, in place of any before it; its folders are created.
///
/// # Errors
/// `Io`, naming the file; `Invalid` for a path without a name.
pub fn write_file(path: &Path, bytes: &[u8]) -> Result<()> {
    let (Some(folder), Some(name)) = (path.parent(), path.file_name()) else {
        return Err(StoreError::invalid("path", path.display(), "a file's path"));
    };
    fs::create_dir_all(folder).map_err(StoreError::io("create", folder))?;
    let temporary = folder.join(format!(".{}.writing", name.to_string_lossy()));
    atomic_file::replace(path, &temporary, bytes)
}

/// Copies a file whole or not at all, in place of any before it; the folders of `to` are created.
///
/// # Errors
/// `Io`, naming the file; `Invalid` for a path without a name.
pub fn copy_file(from: &Path, to: &Path) -> Result<()> {
    let (Some(folder), Some(name)) = (to.parent(), to.file_name()) else {
        return Err(StoreError::invalid("path", to.display(), "a file's path"));
    };
    fs::create_dir_all(folder).map_err(StoreError::io("create", folder))?;
    let temporary = folder.join(format!(".{}.writing", name.to_string_lossy()));
    fs::copy(from, &temporary).map_err(StoreError::io("copy", from))?;
    let file = File::open(&temporary).map_err(StoreError::io("open", &temporary))?;
    file.sync_all()
        .map_err(StoreError::io("flush", &temporary))?;
    fs::rename(&temporary, to).map_err(StoreError::io("replace", to))?;
    atomic_file::flush_parent(to)
}

/// The finished parts of a job that is at work: JSON lines in the home.
#[derive(Debug)]
pub struct Progress {
    path: PathBuf,
    file: File,
}

impl Home {
    /// The finished parts of the job's piece `name`, to which more are appended. A part that a
    /// kill cut off is not one.
    ///
    /// # Errors
    /// `Invalid` for a name, `Io`, naming the file.
    pub fn progress(&self, job: &str, name: &str) -> Result<(Progress, Vec<Value>)> {
        let folder = self.progress_folder(job)?;
        fs::create_dir_all(&folder).map_err(StoreError::io("create", &folder))?;
        let path = folder.join(escape("name", name)? + ".jsonl");
        let mut options = OpenOptions::new();
        options.create(true).append(true).read(true);
        #[cfg(unix)]
        std::os::unix::fs::OpenOptionsExt::mode(&mut options, 0o600);
        let file = options.open(&path).map_err(StoreError::io("open", &path))?;
        let bytes = fs::read(&path).map_err(StoreError::io("read", &path))?;
        let mut whole = 0;
        let mut parts = Vec::new();
        for line in bytes.split_inclusive(|byte| *byte == b'\n') {
            let part = line.strip_suffix(b"\n").map(serde_json::from_slice);
            let Some(Ok(part)) = part else {
                break;
            };
            parts.push(part);
            whole += line.len();
        }
        file.set_len(whole as u64)
            .map_err(StoreError::io("truncate", &path))?;
        Ok((Progress { path, file }, parts))
    }

    /// The finished parts of the job's piece `name` so far, for whoever watches it; none where there
    /// is no such piece.
    ///
    /// # Errors
    /// As [`Home::progress`].
    pub fn read_progress(&self, job: &str, name: &str) -> Result<Vec<Value>> {
        let path = self
            .progress_folder(job)?
            .join(escape("name", name)? + ".jsonl");
        let bytes = match fs::read(&path) {
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(Vec::new()),
            read => read.map_err(StoreError::io("read", &path))?,
        };
        let whole = bytes.split_inclusive(|byte| *byte == b'\n');
        let parts = whole.map_while(|line| serde_json::from_slice(line.strip_suffix(b"\n")?).ok());
        Ok(parts.collect())
    }

    /// A folder of the home that only its owner may enter, created where it is not there: of the job
    /// or model `name` in `area`.
    ///
    /// # Errors
    /// `Invalid` for a name, `Io`, naming the folder.
    pub fn private_folder(&self, area: &str, name: &str) -> Result<PathBuf> {
        let folder = self
            .folder(&escape("area", area)?)
            .join(escape("name", name)?);
        let mut builder = fs::DirBuilder::new();
        builder.recursive(true);
        #[cfg(unix)]
        std::os::unix::fs::DirBuilderExt::mode(&mut builder, 0o700);
        builder
            .create(&folder)
            .map_err(StoreError::io("create", &folder))?;
        Ok(folder)
    }

    /// Deletes a folder of [`Home::private_folder`] with all that it holds.
    ///
    /// # Errors
    /// As there.
    pub fn delete_private_folder(&self, area: &str, name: &str) -> Result<()> {
        let folder = self
            .folder(&escape("area", area)?)
            .join(escape("name", name)?);
        match fs::remove_dir_all(&folder) {
            Err(error) if error.kind() != std::io::ErrorKind::NotFound => {
                Err(StoreError::io("delete", &folder)(error))
            }
            _ => Ok(()),
        }
    }

    /// Deletes the parts of a job.
    ///
    /// # Errors
    /// `Io`, naming the folder.
    pub fn delete_progress(&self, job: &str) -> Result<()> {
        let folder = self.progress_folder(job)?;
        match fs::remove_dir_all(&folder) {
            Err(error) if error.kind() != std::io::ErrorKind::NotFound => {
                Err(StoreError::io("delete", &folder)(error))
            }
            _ => Ok(()),
        }
    }

    fn progress_folder(&self, job: &str) -> Result<PathBuf> {
        Ok(self.folder("progress").join(escape("job", job)?))
    }
}

impl Progress {
    /// Appends a finished part: one line, by one system call.
    ///
    /// # Errors
    /// `Io`, naming the file.
    pub fn append(&mut self, part: &impl Serialize) -> Result<()> {
        let failed = |source: serde_json::Error| StoreError::io("write", &self.path)(source.into());
        let mut line = serde_json::to_vec(part).map_err(failed)?;
        line.push(b'\n');
        self.file
            .write_all(&line)
            .map_err(StoreError::io("write", &self.path))
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn parts_go_on_behind_what_a_kill_left() {
        let folder = tempfile::tempdir().unwrap();
        let home = Home::open(folder.path()).unwrap();
        let (mut progress, parts) = home.progress("job", "a.jsonl").unwrap();
        assert!(parts.is_empty());
        progress.append(&1).unwrap();
        progress.file.write_all(b"{\"cut").unwrap();
        let (mut progress, parts) = home.progress("job", "a.jsonl").unwrap();
        assert_eq!(parts, [1]);
        progress.append(&2).unwrap();
        assert_eq!(home.progress("job", "a.jsonl").unwrap().1, [1, 2]);
        assert_eq!(home.read_progress("job", "a.jsonl").unwrap(), [1, 2]);
        assert!(home.read_progress("job", "b").unwrap().is_empty());
        home.delete_progress("job").unwrap();
        home.delete_progress("job").unwrap();
        assert!(home.progress("job", "a.jsonl").unwrap().1.is_empty());
    }

    #[cfg(unix)]
    #[test]
    fn a_private_folder_is_its_owners_only() {
        use std::os::unix::fs::PermissionsExt;
        let folder = tempfile::tempdir().unwrap();
        let home = Home::open(folder.path()).unwrap();
        let own = home.private_folder("training", "job").unwrap();
        assert_eq!(own, home.private_folder("training", "job").unwrap());
        let mode = fs::metadata(&own).unwrap().permissions().mode();
        assert_eq!(mode & 0o777, 0o700);
        home.delete_private_folder("training", "job").unwrap();
        home.delete_private_folder("training", "job").unwrap();
        assert!(!own.exists());
    }

    #[test]
    fn a_file_is_written_with_its_folders_and_replaced() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("a/b/c.json");
        write_file(&path, b"1").unwrap();
        write_file(&path, b"2").unwrap();
        assert_eq!(fs::read(&path).unwrap(), b"2");
        assert_eq!(fs::read_dir(path.parent().unwrap()).unwrap().count(), 1);
        assert!(write_file(Path::new("/"), b"").is_err());
    }
}
