//! Models on their way into the home: from the hub, or from a folder of this machine.

use std::collections::BTreeSet;
use std::fs::File;
use std::io::Read;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use outcrop_api::{Error, ErrorKind, Result};
use outcrop_store::{Download, Expected, Home, PartialFile, StoreError, sha256, sha256_of};
use serde::{Deserialize, Serialize};

use crate::hub::{Hub, HubError, RemoteFile};
use crate::model::kind_of;
use crate::record::{InstalledFile, ModelRecord};
use crate::reference::HubReference;

/// Attempts in a row that bring no byte before a download is given up.
const ATTEMPTS: u32 = 4;
/// The first pause between attempts; each later one is twice as long.
const PAUSE: Duration = Duration::from_millis(250);
/// How long one session waits for another that installs the same model.
const WAIT: Duration = Duration::from_secs(600);
/// Bytes read between two looks at the cancellation flag.
const PIECE: usize = 256 << 10;

/// How far a download is.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct DownloadProgress {
    /// The model, by its id or hub name.
    pub model: String,
    /// The file that is arriving.
    pub file: String,
    /// Bytes of all files that have arrived, those of earlier attempts included.
    pub bytes_done: u64,
    /// Bytes of all files, where the hub says every size.
    pub bytes_total: Option<u64>,
}

/// Is told of a download on its way, from the thread that downloads.
pub type Progress = Arc<dyn Fn(DownloadProgress) + Send + Sync>;

/// One model to install.
pub(crate) struct Install {
    pub home: Home,
    /// The id of its record.
    pub id: String,
    /// Where it is from, for people.
    pub source: String,
    /// A file whose SHA-256 is known beforehand, and the digest.
    pub pinned: Option<(&'static str, &'static str)>,
}

impl Install {
    /// Copies the model of `folder` into the home folder of models, as `name`, and records it.
    pub(crate) fn copy_from(
        &self,
        name: &str,
        folder: &Path,
        cancel: &AtomicBool,
    ) -> Result<ModelRecord> {
        let names = needed(&names_in(folder)?, &self.source)?;
        let installed = self.staged(name, |download| {
            for name in &names {
                if download.has(name)? {
                    continue;
                }
                let path = folder.join(name);
                let mut from = File::open(&path).map_err(|error| unreadable(&path, error))?;
                let mut file = download.partial_file(name)?;
                file.restart()?;
                let size = from
                    .metadata()
                    .map_err(|error| unreadable(&path, error))?
                    .len();
                copy(&mut from, &mut file, cancel, |_| {})?
                    .map_err(|error| unreadable(&path, error))?;
                self.finish(file, name, Some(size), None)?;
            }
            Ok(())
        })?;
        self.record(installed, &names, None, None)
    }

    /// Downloads a model of the hub into the home and records it.
    pub(crate) fn fetch_from(
        &self,
        hub: &Hub,
        place: &HubReference,
        progress: Option<Progress>,
        cancel: &AtomicBool,
    ) -> Result<ModelRecord> {
        let remote = hub.list(&place.repo, &place.revision).map_err(hub_error)?;
        let names: Vec<String> = remote.files.iter().map(|file| file.name.clone()).collect();
        let names = match &place.file {
            Some(file) if names.contains(file) => vec![file.clone()],
            Some(file) => {
                return Err(Error::not_found(format!(
                    "model hf:{}: there is no file {file}; its .gguf files: {}",
                    place.repo,
                    gguf_files(&names)
                )));
            }
            None => needed(&names, &format!("hf:{}", place.repo))?,
        };
        let files: Vec<&RemoteFile> = names
            .iter()
            .filter_map(|name| remote.files.iter().find(|file| file.name == *name))
            .collect();
        let mut name = format!("hub--{}--{}", place.repo.replace('/', "--"), remote.commit);
        if let Some(file) = &place.file {
            name = format!("{name}--{}", file.replace('/', "--"));
        }
        let transfer = Transfer {
            hub,
            repo: &place.repo,
            commit: &remote.commit,
            model: &self.id,
            total: files.iter().map(|file| file.size).sum(),
            progress,
            cancel,
        };
        let installed = self.staged(&name, |download| {
            let mut done = 0;
            for file in &files {
                if !download.has(&file.name)? {
                    let (partial, sha256) = transfer.fetch(download, file, done)?;
                    self.finish(partial, &file.name, file.size, sha256)?;
                }
                done += file.size.unwrap_or(0);
            }
            Ok(())
        })?;
        self.record(
            installed,
            &names,
            Some(remote.commit),
            place.file.as_deref(),
        )
    }

    /// Writes the file that this program holds into the home, where it is not there as it should be,
    /// and records it. Each edition has a folder of its own: programs of two editions share a home.
    pub(crate) fn embedded(&self, name: &str, bytes: &[u8]) -> Result<ModelRecord> {
        let digest = sha256(bytes);
        let recorded = ModelRecord::get(&self.home, &self.id)?;
        let is_this = |record: &ModelRecord| record.files.iter().all(|file| file.sha256 == digest);
        if let Some(record) = recorded.filter(is_this)
            && record.location(&self.home).exists()
        {
            record.verify(&self.home)?;
            return Ok(record);
        }
        let folder = format!("{}--{}", self.id, &digest[..16]);
        let installed = self.staged(&folder, |download| {
            let mut file = download.partial_file(name)?;
            file.restart()?;
            file.append(bytes)?;
            self.finish(file, name, Some(bytes.len() as u64), Some(digest))
        })?;
        self.record(installed, &[name.to_owned()], None, Some(name))
    }

    /// Runs `fill` on the staged model `name` and makes it visible as a whole. Where another
    /// session has installed it meanwhile, that one is taken.
    fn staged(
        &self,
        name: &str,
        fill: impl FnOnce(&mut Download) -> Result<()>,
    ) -> Result<PathBuf> {
        let mut download = match self.home.download(name, WAIT) {
            Ok(download) => download,
            Err(StoreError::AlreadyExists { .. }) => {
                return Ok(self.home.models_dir().join(name));
            }
            Err(error) => return Err(error.into()),
        };
        fill(&mut download)?;
        Ok(download.commit()?)
    }

    fn finish(
        &self,
        file: PartialFile<'_>,
        name: &str,
        len: Option<u64>,
        sha256: Option<String>,
    ) -> Result<()> {
        let pinned = self.pinned.filter(|(pinned, _)| *pinned == name);
        let sha256 = pinned.map(|(_, digest)| digest.to_string()).or(sha256);
        file.finish(&Expected { len, sha256 })
            .map(drop)
            .map_err(|error| {
                let message = format!(
                    "model {} from {}: {error}; nothing was installed",
                    self.id, self.source
                );
                let kind = match error {
                    StoreError::Corrupt { .. } => ErrorKind::ModelErrorException,
                    _ => ErrorKind::InternalServerException,
                };
                Error::new(kind, message)
                    .with_resource(&self.id)
                    .with_source(error)
            })
    }

    fn record(
        &self,
        folder: PathBuf,
        names: &[String],
        commit: Option<String>,
        file: Option<&str>,
    ) -> Result<ModelRecord> {
        let files = names.iter().map(|name| {
            let path = folder.join(name);
            let size = std::fs::metadata(&path)
                .map_err(|error| unreadable(&path, error))?
                .len();
            Ok(InstalledFile {
                name: name.clone(),
                size,
                sha256: sha256_of(&path)?,
            })
        });
        let files = files.collect::<Result<Vec<_>>>()?;
        let path = match file {
            Some(file) => folder.join(file),
            None => folder.clone(),
        };
        let inside = |path: &Path| {
            path.strip_prefix(self.home.models_dir())
                .map_or_else(|_| path.to_path_buf(), Path::to_path_buf)
        };
        let record = ModelRecord {
            id: self.id.clone(),
            kind: kind_of(&path)?,
            source: self.source.clone(),
            path: inside(&path),
            spec: None,
            folder: Some(inside(&folder)),
            commit,
            files,
        };
        record.put(&self.home)?;
        Ok(record)
    }
}

/// The files of one commit on their way.
struct Transfer<'a> {
    hub: &'a Hub,
    repo: &'a str,
    commit: &'a str,
    model: &'a str,
    total: Option<u64>,
    progress: Option<Progress>,
    cancel: &'a AtomicBool,
}

impl Transfer<'_> {
    /// Fetches one file to its end, going on where a broken connection left it. Gives the digest
    /// that the hub states for it.
    fn fetch<'d>(
        &self,
        download: &'d mut Download,
        remote: &RemoteFile,
        done: u64,
    ) -> Result<(PartialFile<'d>, Option<String>)> {
        let mut file = download.partial_file(&remote.name)?;
        let mut sha256 = remote.sha256.clone();
        if remote.size.is_some_and(|size| file.len() > size) {
            file.restart()?;
        }
        // Only what goes beyond the furthest attempt is progress: a file that never grows to its
        // size must not be begun for ever.
        let (mut failures, mut furthest) = (0, file.len());
        while remote
            .size
            .is_none_or(|size| file.len() < size || size == 0)
        {
            let why = match self.attempt(&mut file, remote, done, &mut sha256)? {
                None => break,
                Some(why) => why,
            };
            failures = if file.len() > furthest {
                0
            } else {
                failures + 1
            };
            furthest = furthest.max(file.len());
            if failures >= ATTEMPTS {
                return Err(hub_error(why));
            }
            std::thread::sleep(PAUSE * 2_u32.pow(failures));
        }
        Ok((file, sha256))
    }

    /// One connection. None: the file's end was reached. Some: why it was not, where another
    /// attempt may help.
    fn attempt(
        &self,
        file: &mut PartialFile<'_>,
        remote: &RemoteFile,
        done: u64,
        sha256: &mut Option<String>,
    ) -> Result<Option<HubError>> {
        self.check()?;
        let mut bytes = match self
            .hub
            .open(self.repo, self.commit, &remote.name, file.len())
        {
            Ok(bytes) => bytes,
            Err(HubError::OutOfRange(url)) => {
                file.restart()?;
                return Ok(Some(HubError::OutOfRange(url)));
            }
            Err(error) if error.is_passing() => return Ok(Some(error)),
            Err(error) => return Err(hub_error(error)),
        };
        if sha256.is_none() {
            *sha256 = bytes.sha256.take();
        }
        if bytes.start != file.len() {
            file.restart()?;
        }
        let broken = |detail: String| HubError::Transport {
            url: format!("{}/{}/{}", self.hub.endpoint(), self.repo, remote.name),
            detail,
        };
        let copied = copy(&mut bytes.reader, file, self.cancel, |arrived| {
            if let Some(progress) = &self.progress {
                progress(DownloadProgress {
                    model: self.model.into(),
                    file: remote.name.clone(),
                    bytes_done: done + arrived,
                    bytes_total: self.total,
                });
            }
        })?;
        Ok(match (copied, remote.size) {
            (Err(error), _) => Some(broken(error.to_string())),
            (Ok(()), Some(size)) if file.len() < size => Some(broken(format!(
                "the connection ended after {} of {size} bytes",
                file.len()
            ))),
            (Ok(()), _) => None,
        })
    }

    fn check(&self) -> Result<()> {
        match self.cancel.load(Ordering::Relaxed) {
            true => Err(Error::cancelled()),
            false => Ok(()),
        }
    }
}

/// Appends what `from` gives to `file`. The inner error is the reader's.
fn copy(
    from: &mut dyn Read,
    file: &mut PartialFile<'_>,
    cancel: &AtomicBool,
    arrived: impl Fn(u64),
) -> Result<std::io::Result<()>> {
    let mut piece = vec![0; PIECE];
    loop {
        if cancel.load(Ordering::Relaxed) {
            return Err(Error::cancelled());
        }
        match from.read(&mut piece) {
            Ok(0) => return Ok(Ok(())),
            Ok(count) => file.append(&piece[..count])?,
            Err(error) if error.kind() == std::io::ErrorKind::Interrupted => continue,
            Err(error) => return Ok(Err(error)),
        }
        arrived(file.len());
    }
}

/// The files that a model's folder needs of `names`, small ones first.
///
/// # Errors
/// `ValidationException` where there is no configuration or there are no safetensors.
fn needed(names: &[String], source: &str) -> Result<Vec<String>> {
    const TEXTS: &[&str] = &[
        "added_tokens.json",
        "chat_template.jinja",
        "chat_template.json",
        "config.json",
        "config_sentence_transformers.json",
        "generation_config.json",
        "modules.json",
        "sentence_bert_config.json",
        "special_tokens_map.json",
        "tokenizer.json",
        "tokenizer_config.json",
        "vocab.txt",
    ];
    let known: BTreeSet<&str> = names.iter().map(String::as_str).collect();
    let index = "model.safetensors.index.json";
    let is_shard = |name: &str| {
        name.starts_with("model-") && name.ends_with(".safetensors") && !name.contains('/')
    };
    // A module of sentence-transformers, such as `1_Pooling/config.json`, with its weights.
    let is_module = |name: &str| {
        name.split_once('/').is_some_and(|(folder, file)| {
            folder.starts_with(|c: char| c.is_ascii_digit())
                && folder.contains('_')
                && (file == "config.json" || file == "model.safetensors")
        })
    };
    let mut found: Vec<&str> = TEXTS
        .iter()
        .copied()
        .filter(|name| known.contains(name))
        .collect();
    found.extend(known.iter().copied().filter(|name| is_module(name)));
    let texts = found.len();
    if known.contains("model.safetensors") {
        found.push("model.safetensors");
    } else if known.contains(index) {
        found.push(index);
        found.extend(known.iter().copied().filter(|name| is_shard(name)));
    }
    if !known.contains("config.json") || found.len() == texts {
        return Err(Error::validation(format!(
            "model {source}: expected config.json and model.safetensors (or \
             model.safetensors.index.json with its shards); of these formats it has none. Its .gguf \
             files, which are opened one by one: {}",
            gguf_files(names)
        )));
    }
    Ok(found.into_iter().map(str::to_string).collect())
}

fn gguf_files(names: &[String]) -> String {
    let found: Vec<&str> = names
        .iter()
        .map(String::as_str)
        .filter(|name| name.ends_with(".gguf"))
        .collect();
    match found.is_empty() {
        true => "none".into(),
        false => found.join(", "),
    }
}

/// The files of a folder and of the folders in it.
fn names_in(folder: &Path) -> Result<Vec<String>> {
    let mut names = Vec::new();
    let mut open = vec![(folder.to_path_buf(), String::new(), 0)];
    while let Some((folder, prefix, depth)) = open.pop() {
        for entry in std::fs::read_dir(&folder).map_err(|error| unreadable(&folder, error))? {
            let entry = entry.map_err(|error| unreadable(&folder, error))?;
            let Ok(name) = entry.file_name().into_string() else {
                continue;
            };
            let path = entry.path();
            if path.is_dir() && depth == 0 {
                open.push((path, format!("{name}/"), 1));
            } else if path.is_file() {
                names.push(format!("{prefix}{name}"));
            }
        }
    }
    Ok(names)
}

fn unreadable(path: &Path, error: std::io::Error) -> Error {
    Error::model(format!("{}: {error}", path.display()))
        .with_resource(path.display().to_string())
        .with_source(error)
}

/// The hub's errors by AWS's names.
pub(crate) fn hub_error(error: HubError) -> Error {
    let kind = match &error {
        HubError::Endpoint(_) | HubError::Certificates(..) => ErrorKind::ValidationException,
        HubError::Denied { .. } => ErrorKind::AccessDeniedException,
        HubError::NotFound(_) => ErrorKind::ResourceNotFoundException,
        error if error.is_passing() => ErrorKind::ModelNotReadyException,
        HubError::Unexpected { .. }
        | HubError::Transport { .. }
        | HubError::OutOfRange(_)
        | HubError::Path { .. } => ErrorKind::ModelErrorException,
    };
    Error::new(kind, error.to_string()).with_source(error)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    fn names(of: &[&str]) -> Vec<String> {
        of.iter().map(ToString::to_string).collect()
    }

    #[test]
    fn only_what_a_model_needs_is_taken() {
        let all = names(&[
            "README.md",
            "config.json",
            "1_Pooling/config.json",
            "2_Dense/config.json",
            "2_Dense/model.safetensors",
            "2_Dense/pytorch_model.bin",
            "onnx/config.json",
            "model.safetensors",
            "pytorch_model.bin",
            "tokenizer.json",
            "consolidated.safetensors",
        ]);
        assert_eq!(
            needed(&all, "x").unwrap(),
            [
                "config.json",
                "tokenizer.json",
                "1_Pooling/config.json",
                "2_Dense/config.json",
                "2_Dense/model.safetensors",
                "model.safetensors"
            ]
        );
        let shards = names(&[
            "config.json",
            "model.safetensors.index.json",
            "model-00001-of-00002.safetensors",
            "model-00002-of-00002.safetensors",
            "consolidated.safetensors",
        ]);
        assert_eq!(needed(&shards, "x").unwrap().len(), 4);
    }

    #[test]
    fn a_repository_of_gguf_files_says_which() {
        let error = needed(&names(&["q4.gguf", "config.json"]), "hf:a/b").unwrap_err();
        assert!(error.message().contains("q4.gguf"), "{error}");
    }
}
