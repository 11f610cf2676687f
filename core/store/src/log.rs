//! Append-only logs of JSON lines, a file a day.

use std::fs::{self, File, OpenOptions};
use std::io::Write;
use std::path::PathBuf;
use std::sync::{Arc, Mutex, PoisonError};

use serde::Serialize;

use crate::error::{Result, StoreError};
use crate::home::Home;
use crate::name::escape;

/// A log of the home: `logs/<name>/<day>.jsonl`. Clones are the same log.
///
/// Any number of processes may append to one log. A line is written whole, by one system call, and
/// is there before the append returns: a process that is killed afterwards does not lose it.
#[derive(Clone, Debug)]
pub struct Log {
    folder: Arc<PathBuf>,
    open: Arc<Mutex<Option<Day>>>,
}

/// Bytes of most lines.
const LINE: usize = 1024;

/// The file of one day.
#[derive(Debug)]
struct Day {
    day: String,
    file: File,
}

impl Home {
    /// The log by that name. Nothing is created before its first line.
    ///
    /// # Errors
    /// `Invalid` for an empty or overlong name.
    pub fn log(&self, name: &str) -> Result<Log> {
        Ok(Log {
            folder: Arc::new(self.folder("logs").join(escape("name", name)?)),
            open: Arc::default(),
        })
    }
}

impl Log {
    /// Appends `record` as one line to the file of `day`, such as `2026-11-23`.
    ///
    /// # Errors
    /// `Io`, naming the file; the line is then not counted on by anybody.
    pub fn append(&self, day: &str, record: &impl Serialize) -> Result<()> {
        let path = || self.folder.join(format!("{day}.jsonl"));
        let mut line = Vec::with_capacity(LINE);
        serde_json::to_writer(&mut line, record)
            .map_err(|source| StoreError::io("write", &path())(source.into()))?;
        line.push(b'\n');
        let mut open = self.open.lock().unwrap_or_else(PoisonError::into_inner);
        let day = match open.take() {
            Some(open) if open.day == day => open,
            _ => Day {
                day: day.to_string(),
                file: self.open_file(&path())?,
            },
        };
        let day = open.insert(day);
        day.file
            .write_all(&line)
            .map_err(|source| StoreError::io("write", &path())(source))
    }

    /// Every line of the log, the oldest first; a last line that a full disk cut off is left out.
    ///
    /// # Errors
    /// `Io`, naming the file.
    pub fn lines(&self) -> Result<Vec<String>> {
        let mut lines = Vec::new();
        for path in self.files()? {
            let text = fs::read_to_string(&path).map_err(StoreError::io("read", &path))?;
            let whole = text.rfind('\n').map_or(0, |end| end);
            lines.extend(text[..whole].lines().map(str::to_string));
        }
        Ok(lines)
    }

    /// The log's files, the oldest first.
    fn files(&self) -> Result<Vec<PathBuf>> {
        let entries = match fs::read_dir(&*self.folder) {
            Ok(entries) => entries,
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(Vec::new()),
            Err(error) => return Err(StoreError::io("list", &self.folder)(error)),
        };
        let mut files = Vec::new();
        for entry in entries {
            let path = entry.map_err(StoreError::io("list", &self.folder))?.path();
            if path.extension().is_some_and(|end| end == "jsonl") {
                files.push(path);
            }
        }
        files.sort_unstable();
        Ok(files)
    }

    fn open_file(&self, path: &PathBuf) -> Result<File> {
        fs::create_dir_all(&*self.folder).map_err(StoreError::io("create", &self.folder))?;
        let mut options = OpenOptions::new();
        options.append(true).create(true);
        #[cfg(unix)]
        std::os::unix::fs::OpenOptionsExt::mode(&mut options, 0o600);
        options.open(path).map_err(StoreError::io("open", path))
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn lines_of_several_writers_and_days_come_back_whole_and_in_order() {
        let folder = tempfile::tempdir().unwrap();
        let home = Home::open(folder.path()).unwrap();
        let log = home.log("audit").unwrap();
        assert!(log.lines().unwrap().is_empty());
        log.append("2026-11-23", &1).unwrap();
        home.log("audit").unwrap().append("2026-11-24", &3).unwrap();
        log.append("2026-11-23", &2).unwrap();
        assert_eq!(log.lines().unwrap(), ["1", "2", "3"]);

        let path = folder.path().join("logs/audit/2026-11-24.jsonl");
        fs::write(&path, "3\n{\"cut").unwrap();
        assert_eq!(log.lines().unwrap(), ["1", "2", "3"]);
    }

    #[test]
    fn threads_do_not_mix_their_lines() {
        let folder = tempfile::tempdir().unwrap();
        let home = Home::open(folder.path()).unwrap();
        let line = "x".repeat(5000);
        std::thread::scope(|scope| {
            for _ in 0..4 {
                let log = home.log("audit").unwrap();
                let line = &line;
                scope.spawn(move || (0..50).for_each(|_| log.append("d", line).unwrap()));
            }
        });
        let lines = home.log("audit").unwrap().lines().unwrap();
        assert_eq!(lines.len(), 200);
        assert!(lines.iter().all(|l| l.len() == 5002));
    }
}
