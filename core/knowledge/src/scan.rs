//! Lists the documents of a source: a folder with all below it, or one file.
//!
//! Hidden files are ignored. Files of other formats and symbolic links are named as skipped: a link
//! could lead out of the folder, or round in a circle.

use std::fs;
use std::path::{Path, PathBuf};

use outcrop_api as api;
use serde::{Deserialize, Serialize};

use crate::data_source::Bucket;
use crate::parse::Format;

/// The end of the name of a file that carries another file's metadata, as in Bedrock.
pub(crate) const METADATA_SUFFIX: &str = ".metadata.json";

/// Where documents come from.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct SourceInfo {
    /// Its id in the knowledge base, such as `source-1`.
    pub id: String,
    /// The folder or file, absolute.
    pub path: PathBuf,
}

/// A document that could not be read, and why.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct FailedDocument {
    /// Its path relative to its source.
    pub document: String,
    /// What is wrong with it.
    pub reason: String,
}

/// A file that a source holds.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct FoundFile {
    pub source: String,
    /// Relative to the source, with `/` between parts.
    pub document: String,
    pub path: PathBuf,
    pub uri: String,
    pub format: Format,
}

/// A folder or a file to be scanned.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Folder<'a> {
    /// The id of the source.
    pub source: &'a str,
    pub path: &'a Path,
    /// The bucket that the folder stands for.
    pub bucket: Option<&'a Bucket>,
}

impl<'a> Folder<'a> {
    pub fn of(source: &'a SourceInfo) -> Self {
        Self {
            source: &source.id,
            path: &source.path,
            bucket: None,
        }
    }

    fn wants(&self, document: &str) -> bool {
        self.bucket.is_none_or(|b| document.starts_with(&b.prefix))
    }

    /// Whether there may be wanted documents below a folder, whose name ends with `/`.
    fn enters(&self, folder: &str) -> bool {
        self.bucket
            .is_none_or(|b| folder.starts_with(&b.prefix) || b.prefix.starts_with(folder))
    }

    /// The URI of one of its documents.
    fn uri(&self, document: &str, path: &Path) -> String {
        match self.bucket {
            Some(bucket) => format!("s3://{}/{document}", bucket.name),
            None => file_uri(path),
        }
    }
}

/// What a source holds.
#[derive(Debug, Default)]
pub(crate) struct Scan {
    pub files: Vec<FoundFile>,
    pub skipped: Vec<String>,
    pub failed: Vec<FailedDocument>,
}

impl Scan {
    /// Adds what `source` holds, in the order of its paths.
    ///
    /// # Errors
    /// `ResourceNotFoundException` where the source itself is not there: a folder that is not
    /// mounted is not a folder without documents.
    pub fn add(&mut self, source: Folder<'_>) -> api::Result<()> {
        let found = fs::metadata(source.path).map_err(|error| {
            api::Error::not_found(format!(
                "source {}: cannot read {}: {error}",
                source.source,
                source.path.display()
            ))
            .with_resource(source.path.display().to_string())
        })?;
        if found.is_dir() {
            self.walk(source);
            return Ok(());
        }
        let name = source.path.file_name().unwrap_or_default();
        match name.to_str() {
            Some(name) => self.file(source, name.to_owned(), source.path.to_owned()),
            None => self.unreadable_name(&name.to_string_lossy()),
        }
        Ok(())
    }

    /// Walks a folder with a list of its own, so that depth costs no stack.
    fn walk(&mut self, source: Folder<'_>) {
        let mut open = vec![(String::new(), source.path.to_owned())];
        while let Some((prefix, folder)) = open.pop() {
            let listed = fs::read_dir(&folder).and_then(Iterator::collect::<Result<Vec<_>, _>>);
            let mut entries = match listed {
                Ok(entries) => entries,
                Err(error) => {
                    self.fail(&prefix, format!("cannot list the folder: {error}"));
                    continue;
                }
            };
            entries.sort_by_key(fs::DirEntry::file_name);
            let mut folders = Vec::new();
            for entry in entries {
                let name = entry.file_name();
                let Some(name) = name.to_str() else {
                    self.unreadable_name(&format!("{prefix}{}", name.to_string_lossy()));
                    continue;
                };
                // `~$` are the locks that word processors leave beside an open document.
                if name.starts_with('.') || name.starts_with("~$") {
                    continue;
                }
                let document = format!("{prefix}{name}");
                match entry.file_type() {
                    Ok(kind) if kind.is_dir() && !source.enters(&format!("{document}/")) => {}
                    Ok(kind) if !kind.is_dir() && !source.wants(&document) => {}
                    Ok(kind) if kind.is_symlink() => {
                        self.skipped.push(format!("{document} (symbolic link)"));
                    }
                    Ok(kind) if kind.is_dir() => folders.push((document + "/", entry.path())),
                    Ok(_) => self.file(source, document, entry.path()),
                    Err(error) => self.fail(&document, error.to_string()),
                }
            }
            folders.reverse();
            open.append(&mut folders);
        }
    }

    fn file(&mut self, source: Folder<'_>, document: String, path: PathBuf) {
        if document.ends_with(METADATA_SUFFIX) {
            return;
        }
        match Format::of(&path) {
            Some(format) => self.files.push(FoundFile {
                source: source.source.to_owned(),
                uri: source.uri(&document, &path),
                document,
                path,
                format,
            }),
            None => self.skipped.push(document),
        }
    }

    fn unreadable_name(&mut self, name: &str) {
        self.fail(name, "its name is not Unicode".to_owned());
    }

    fn fail(&mut self, document: &str, reason: String) {
        self.failed.push(FailedDocument {
            document: document.to_owned(),
            reason,
        });
    }
}

/// The URI of a file: each byte of its absolute path that is not unreserved as `%XX` (RFC 8089).
pub(crate) fn file_uri(path: &Path) -> String {
    let mut uri = String::from("file://");
    for &byte in path.as_os_str().as_encoded_bytes() {
        if byte.is_ascii_alphanumeric() || b"-._~/".contains(&byte) {
            uri.push(byte as char);
        } else {
            uri.push_str(&format!("%{byte:02X}"));
        }
    }
    uri
}
