//! Journals: JSON entries in their order, of which none is lost, changed or put in between.

use std::fs::{self, File, OpenOptions};
use std::io::Write;
use std::path::{Path, PathBuf};
use std::time::Duration;

use serde::Serialize;
use serde::de::DeserializeOwned;

use crate::atomic_file;
use crate::download::sha256;
use crate::error::{Result, StoreError};
use crate::home::Home;
use crate::lock::FileLock;
use crate::name::escape;

/// Characters of the chain's digest that stand before an entry.
const MARK: usize = 16;

/// A journal of the home: `journals/<kind>/<id>.jsonl`. An entry is written whole, by one system
/// call, and is there before the append returns. Each line begins with a digest of the lines up to
/// it, so that a change of an earlier one is found when it is read.
///
/// It has one writer at a time, for as long as the writer is not dropped.
#[derive(Debug)]
pub struct Journal {
    path: PathBuf,
    file: File,
    mark: String,
    /// Bytes of its whole lines.
    len: u64,
    _lock: FileLock,
}

impl Home {
    /// Opens the journal `id` of `kind` for writing, with the entries that it has. What a kill cut
    /// off at its end was never written.
    ///
    /// # Errors
    /// `Locked` where it has another writer; `Corrupt`, naming the file and the entry; `Invalid` for
    /// an id; `Io`.
    pub fn journal<T: DeserializeOwned>(&self, kind: &str, id: &str) -> Result<(Journal, Vec<T>)> {
        let path = self.journal_file(kind, id)?;
        if let Some(folder) = path.parent().filter(|folder| !folder.is_dir()) {
            fs::create_dir_all(folder).map_err(StoreError::io("create", folder))?;
            atomic_file::flush_parent(folder)?;
        }
        let lock = FileLock::acquire(&path, id, Duration::ZERO)?;
        let mut options = OpenOptions::new();
        options.create(true).append(true).read(true);
        #[cfg(unix)]
        std::os::unix::fs::OpenOptionsExt::mode(&mut options, 0o600);
        let file = options.open(&path).map_err(StoreError::io("open", &path))?;
        let (entries, mark, whole) = read(&path)?;
        file.set_len(whole as u64)
            .map_err(StoreError::io("truncate", &path))?;
        let journal = Journal {
            path,
            file,
            mark,
            len: whole as u64,
            _lock: lock,
        };
        Ok((journal, entries))
    }

    /// The entries of the journal `id` of `kind`; none where there is no such journal. It is not
    /// written to.
    ///
    /// # Errors
    /// As [`Home::journal`].
    pub fn read_journal<T: DeserializeOwned>(&self, kind: &str, id: &str) -> Result<Vec<T>> {
        let path = self.journal_file(kind, id)?;
        match path.exists() {
            true => Ok(read(&path)?.0),
            false => Ok(Vec::new()),
        }
    }

    /// Deletes the journal `id` of `kind`; says whether there was one.
    ///
    /// # Errors
    /// `Invalid` for an id, `Io`.
    pub fn delete_journal(&self, kind: &str, id: &str) -> Result<bool> {
        let path = self.journal_file(kind, id)?;
        let was_there = atomic_file::remove(&path)?;
        if was_there {
            atomic_file::flush_parent(&path)?;
        }
        Ok(was_there)
    }

    fn journal_file(&self, kind: &str, id: &str) -> Result<PathBuf> {
        let folder = self.folder("journals").join(escape("kind", kind)?);
        Ok(folder.join(escape("id", id)? + ".jsonl"))
    }
}

impl Journal {
    /// Appends an entry.
    ///
    /// # Errors
    /// `Io`, naming the file; nobody may then count on the entry.
    pub fn append(&mut self, entry: &impl Serialize) -> Result<()> {
        let failed = |source: serde_json::Error| StoreError::io("write", &self.path)(source.into());
        let json = serde_json::to_vec(entry).map_err(failed)?;
        let mark = next_mark(&self.mark, &json);
        let mut line = Vec::with_capacity(json.len() + MARK + 2);
        line.extend_from_slice(mark.as_bytes());
        line.push(b' ');
        line.extend_from_slice(&json);
        line.push(b'\n');
        if let Err(error) = self.file.write_all(&line) {
            // What a full disk left of the line must not stand before the next one.
            let _ = self.file.set_len(self.len);
            return Err(StoreError::io("write", &self.path)(error));
        }
        self.mark = mark;
        self.len += line.len() as u64;
        Ok(())
    }
}

/// The entries of a file, the digest of its last one, and the bytes of its whole lines.
fn read<T: DeserializeOwned>(path: &Path) -> Result<(Vec<T>, String, usize)> {
    let bytes = fs::read(path).map_err(StoreError::io("read", path))?;
    let (mut entries, mut mark, mut whole) = (Vec::new(), String::new(), 0);
    for line in bytes.split_inclusive(|byte| *byte == b'\n') {
        let Some(text) = line.strip_suffix(b"\n") else {
            break;
        };
        let at = entries.len() + 1;
        let corrupt = |what: &str| StoreError::corrupt(path, format!("entry {at}: {what}"));
        let (given, json) = text
            .split_at_checked(MARK + 1)
            .ok_or_else(|| corrupt("it is too short"))?;
        mark = next_mark(&mark, json);
        if given.strip_suffix(b" ") != Some(mark.as_bytes()) {
            return Err(corrupt("it is not what was written, or not at its place"));
        }
        let entry = serde_json::from_slice(json).map_err(|error| corrupt(&error.to_string()))?;
        entries.push(entry);
        whole += line.len();
    }
    Ok((entries, mark, whole))
}

fn next_mark(before: &str, json: &[u8]) -> String {
    let digest = sha256(&[before.as_bytes(), json].concat());
    digest[..MARK].to_string()
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn entries_go_on_behind_what_a_kill_left() {
        let folder = tempfile::tempdir().unwrap();
        let home = Home::open(folder.path()).unwrap();
        assert!(home.read_journal::<u32>("k", "a").unwrap().is_empty());
        let (mut journal, entries) = home.journal::<u32>("k", "a").unwrap();
        assert!(entries.is_empty());
        journal.append(&1).unwrap();
        journal.append(&2).unwrap();
        journal.file.write_all(b"0123456789abcdef {\"cut").unwrap();
        drop(journal);
        let (mut journal, entries) = home.journal::<u32>("k", "a").unwrap();
        assert_eq!(entries, [1, 2]);
        let error = home.journal::<u32>("k", "a").unwrap_err();
        assert!(matches!(error, StoreError::Locked { .. }), "{error}");
        journal.append(&3).unwrap();
        assert_eq!(home.read_journal::<u32>("k", "a").unwrap(), [1, 2, 3]);
        assert!(home.delete_journal("k", "a").unwrap());
        assert!(!home.delete_journal("k", "a").unwrap());
    }

    #[test]
    fn a_changed_or_missing_entry_is_found() {
        let folder = tempfile::tempdir().unwrap();
        let home = Home::open(folder.path()).unwrap();
        let (mut journal, _) = home.journal::<u32>("k", "a").unwrap();
        for entry in 1..=3 {
            journal.append(&entry).unwrap();
        }
        let path = folder.path().join("journals/k/a.jsonl");
        let text = fs::read_to_string(&path).unwrap();
        let lines: Vec<&str> = text.lines().collect();
        let damaged = [
            text.replacen(" 2", " 7", 1),
            [lines[0], lines[2], ""].join("\n"),
            [lines[1], lines[2], ""].join("\n"),
        ];
        for damage in damaged {
            fs::write(&path, damage).unwrap();
            let error = home.read_journal::<u32>("k", "a").unwrap_err();
            assert!(matches!(error, StoreError::Corrupt { .. }), "{error}");
        }
    }
}
