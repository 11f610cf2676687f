//! The session: one home folder, its models and its knowledge bases.

use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Weak};

use outcrop_api::{Error, Result};
use outcrop_governance::{AccessKeys, Principal};
use outcrop_inference::DeviceChoice;
use outcrop_knowledge as knowledge;
use outcrop_knowledge::{KnowledgeBaseInfo, OpenKnowledgeBases};
use outcrop_models::{
    Alias, CatalogueEntry, LoadOptions, ModelDirectory, ModelSummary, Progress, Resolution, Shelf,
    ShelfOptions,
};
use outcrop_store::Home;
use serde_json::Value;

use crate::agents::{Endpoints, McpServers, ReadyPolicies};
use crate::customization::{check_creator, check_creators};
use crate::desk::Desk;
use crate::jobs;
use crate::knowledge_base::{KnowledgeBase, KnowledgeBaseRequest, validate_name};
use crate::model::Model;
use crate::operations::knowledge_bases;
use crate::options::SessionOptions;
use crate::registry::Directory;

/// One home folder, open: its models and its knowledge bases. Clones are the same session.
///
/// Several sessions and several processes may have one home open at the same time.
#[derive(Clone)]
pub struct Session {
    inner: Arc<Inner>,
}

/// A session that this does not keep open.
pub(crate) struct WeakSession(Weak<Inner>);

impl WeakSession {
    /// The session, where somebody has it open.
    pub fn upgrade(&self) -> Option<Session> {
        self.0.upgrade().map(|inner| Session { inner })
    }
}

struct Inner {
    home: Home,
    path: PathBuf,
    device: String,
    shelf: Shelf,
    bases: OpenKnowledgeBases,
    desk: Desk,
    policies: ReadyPolicies,
    endpoints: Endpoints,
    mcp_servers: McpServers,
    closed: AtomicBool,
    pid: u32,
}

impl Session {
    /// Opens a home folder, creating it where it is not there. No model is loaded yet.
    ///
    /// # Errors
    /// `ValidationException` for a device that cannot be used, or a home that is not a folder.
    pub fn open(options: SessionOptions) -> Result<Self> {
        let device = DeviceChoice::parse(&options.device)?;
        let path = options.home_folder()?;
        let home = Home::open(path)?;
        let path = home.path().to_path_buf();
        let mut shelf = ShelfOptions::from_env();
        shelf.offline |= options.offline;
        shelf.model_paths = options.model_paths;
        shelf.device = device.clone();
        let session = Self {
            inner: Arc::new(Inner {
                shelf: Shelf::new(home.clone(), shelf),
                bases: OpenKnowledgeBases::default(),
                desk: Desk::new(&home)?,
                policies: ReadyPolicies::default(),
                endpoints: Endpoints::default(),
                mcp_servers: McpServers::default(),
                home,
                path,
                device: device.device.to_string(),
                closed: AtomicBool::new(false),
                pid: std::process::id(),
            }),
        };
        let directory = Directory(session.store().clone());
        session.inner.shelf.set_directory(Box::new(directory));
        jobs::take_over(&session)?;
        Ok(session)
    }

    /// The home folder.
    pub fn home(&self) -> &Path {
        &self.inner.path
    }

    /// What action groups may call.
    pub(crate) fn endpoints(&self) -> &Endpoints {
        &self.inner.endpoints
    }

    /// The MCP servers of its agents.
    pub(crate) fn mcp_servers(&self) -> &McpServers {
        &self.inner.mcp_servers
    }

    /// What stands before and behind every call.
    pub fn desk(&self) -> &Desk {
        &self.inner.desk
    }

    /// The home's store, for the handlers of operations.
    pub(crate) fn store(&self) -> &Home {
        &self.inner.home
    }

    /// The policies over agents' calls that are ready to be asked.
    pub(crate) fn ready_policies(&self) -> &ReadyPolicies {
        &self.inner.policies
    }

    /// The home's models.
    pub(crate) fn shelf(&self) -> &Shelf {
        &self.inner.shelf
    }

    /// The session, which is not kept open by this.
    pub(crate) fn downgrade(&self) -> WeakSession {
        WeakSession(Arc::downgrade(&self.inner))
    }

    /// The device that decoders run on: `cpu`, or `cuda:0`.
    pub fn device(&self) -> &str {
        &self.inner.device
    }

    /// Closes the session: its models are dropped and their memory is given back when the calls
    /// that are in flight have ended. Every later call on it or its handles is an error; closing it
    /// again is not.
    pub fn close(&self) {
        self.inner.closed.store(true, Ordering::SeqCst);
        // A forked child must not tear down engines whose threads live in the parent only.
        if self.inner.pid == std::process::id() {
            self.inner.shelf.clear();
            self.inner.mcp_servers.close();
        }
    }

    /// Whether [`Session::close`] was called.
    pub fn is_closed(&self) -> bool {
        self.inner.closed.load(Ordering::SeqCst)
    }

    /// The keys by which callers over HTTP show who they are.
    pub fn access_keys(&self) -> AccessKeys {
        AccessKeys::new(self.inner.home.clone())
    }

    /// The models that this session knows: the built-in ones and those in its home.
    ///
    /// # Errors
    /// `ValidationException` where the session is closed; an error where the home cannot be read. A
    /// single record that cannot be read is listed as damaged.
    pub fn models(&self) -> Result<Vec<CatalogueEntry>> {
        let record = self.open_record("ListFoundationModels", "", "")?;
        let entries = self.inner.shelf.catalogue();
        record.close(entries.as_ref().err())?;
        entries
    }

    /// The model by a catalogue id, an ARN, a folder, a `.gguf` file or `hf:org/name[@revision]`:
    /// loaded when it is first asked for, and shared from then on.
    ///
    /// # Errors
    /// `ResourceNotFoundException` where nothing is there by that name, `ModelErrorException` where
    /// its files are damaged or of an unknown architecture.
    pub async fn model(&self, id: &str) -> Result<Model> {
        self.open_model(id, LoadOptions::default(), None).await
    }

    /// [`Session::model`], loading it as `options` say and telling `progress` of a download on its
    /// way. A model that is open already is shared where what the options state is what it was
    /// opened with.
    ///
    /// # Errors
    /// As [`Session::model`]; `ConflictException` where the model is open with another value of an
    /// option; `ValidationException` for an option that the model cannot follow.
    pub async fn open_model(
        &self,
        id: &str,
        options: LoadOptions,
        progress: Option<Progress>,
    ) -> Result<Model> {
        let loaded = self.load(id, options, progress).await?;
        Ok(Model::new(self.clone(), &loaded))
    }

    /// What is known of the model by that name before it is loaded as `options` say: its size, and
    /// the memory that it needs. Nothing is downloaded and no weights are read.
    ///
    /// # Errors
    /// `ResourceNotFoundException` where it is not on this machine; `ModelErrorException` where its
    /// files are damaged or of an unknown architecture.
    pub async fn model_summary(&self, id: &str, options: LoadOptions) -> Result<ModelSummary> {
        self.check()?;
        let (shelf, id) = (self.inner.shelf.clone(), id.to_string());
        blocking(move || shelf.summary(&id, &options)).await
    }

    /// Registers a folder, a `.gguf` file or `hf:org/name[@revision]` under an id of the caller's
    /// own, in the home. A path stays where it is; what comes from the hub is downloaded.
    ///
    /// # Errors
    /// `ConflictException` where the id is taken, `ValidationException` for an id or a source of
    /// the wrong form.
    pub async fn import_model(
        &self,
        source: &str,
        id: &str,
        progress: Option<Progress>,
    ) -> Result<CatalogueEntry> {
        let work = self.inner.shelf.import(source, id, progress);
        let record = self.open_record("CreateModelImportJob", "importedModelName", id)?;
        record.run(work).await
    }

    /// Registers the model that `spec` declares under an id of the caller's own, in the home:
    /// `{"script": […]}`, `{"embeddings": {…}}`, `{"rerank": […]}`, `{"openai": {…}}` or
    /// `{"path": "…"}`. The same declaration again changes nothing; another one takes its place
    /// where `replace` says so.
    ///
    /// # Errors
    /// `ValidationException` that names the place in the declaration, or the id;
    /// `ConflictException` where the id is taken.
    pub async fn register_model(
        &self,
        id: &str,
        spec: Value,
        replace: bool,
        progress: Option<Progress>,
    ) -> Result<CatalogueEntry> {
        let record = self.open_record("CreateModelImportJob", "importedModelName", id)?;
        let work = self.inner.shelf.register(id, spec, replace, progress);
        record.run(work).await
    }

    /// Takes a registered or imported model out of the home. Its own files stay where they are.
    ///
    /// # Errors
    /// `ResourceNotFoundException` where there is none, `ValidationException` for a built-in model.
    pub async fn unregister_model(&self, id: &str) -> Result<()> {
        let record = self.open_record("DeleteImportedModel", "modelIdentifier", id)?;
        record.run(async { self.inner.shelf.unregister(id) }).await
    }

    /// Lets `name`, an id or an ARN of Bedrock, stand for the model that `target` opens; `None`
    /// takes the alias away. Kept in the home.
    ///
    /// # Errors
    /// `ValidationException` for a name of the wrong form, or a loop; `ConflictException` where a
    /// model has that name; `ResourceNotFoundException` for a target that is not known, or where
    /// there is no alias to take away.
    pub async fn alias(&self, name: &str, target: Option<&str>) -> Result<Option<Alias>> {
        // AWS has no aliases of models: what comes nearest is a profile, a name in front of one.
        let (operation, member) = match target {
            Some(_) => ("CreateInferenceProfile", "inferenceProfileName"),
            None => ("DeleteInferenceProfile", "inferenceProfileIdentifier"),
        };
        let work = async {
            match target {
                Some(target) => self.inner.shelf.set_alias(name, target).map(Some),
                None => self.inner.shelf.remove_alias(name).map(|()| None),
            }
        };
        self.open_record(operation, member, name)?.run(work).await
    }

    /// The aliases of the home, by name.
    ///
    /// # Errors
    /// An error that names the file where one cannot be read.
    pub fn aliases(&self) -> Result<Vec<Alias>> {
        self.check()?;
        self.inner.shelf.aliases()
    }

    /// The model that `principal` asks an operation of the runtime for by id, ARN or inference
    /// profile, loaded, and how the name led to it.
    ///
    /// # Errors
    /// `ValidationException` in AWS's words where the home knows no such model; else as
    /// [`Session::model`].
    pub(crate) async fn runtime_model(
        &self,
        name: &str,
        principal: &Principal,
    ) -> Result<(Resolution, Arc<outcrop_models::Model>)> {
        self.check()?;
        check_creator(self, name, principal)?;
        let shelf = &self.inner.shelf;
        let resolution = shelf.runtime_resolution(name, principal.is_owner())?;
        check_creators(self, &resolution, principal)?;
        let model = self.resolve(&resolution.model).await?;
        Ok((resolution, model))
    }

    /// Has `directory` asked for models that other resources stand for, such as application
    /// inference profiles. The first one stays.
    pub fn set_model_directory(&self, directory: Box<dyn ModelDirectory>) {
        self.inner.shelf.set_directory(directory);
    }

    /// Creates a knowledge base.
    ///
    /// # Errors
    /// `ValidationException` for a name or a chunking of the wrong form, or a model that does not
    /// embed; `ConflictException` where the name is taken.
    pub async fn create_knowledge_base(
        &self,
        request: KnowledgeBaseRequest,
    ) -> Result<KnowledgeBase> {
        let record = self.open_record("CreateKnowledgeBase", "name", &request.name)?;
        let session = self.clone();
        let work = async {
            validate_name(&request.name)?;
            let embedder = self.resolve(request.embedding_model()).await?.embedder()?;
            let spec = request.into_spec(embedder.as_ref())?;
            blocking(move || {
                let stored = knowledge::KnowledgeBase::create(session.store(), spec)?;
                // Bedrock's operations know it from now on.
                knowledge_bases::adopted(&session, &stored.info()?)?;
                Ok(stored)
            })
            .await
        };
        let stored = record.run(work).await?;
        Ok(KnowledgeBase::new(self.clone(), stored))
    }

    /// The knowledge base by its name or id.
    ///
    /// # Errors
    /// `ResourceNotFoundException` where there is none.
    pub async fn knowledge_base(&self, name_or_id: &str) -> Result<KnowledgeBase> {
        self.check()?;
        let (session, name) = (self.clone(), name_or_id.to_string());
        let stored = blocking(move || session.stored_base(&name)).await?;
        Ok(KnowledgeBase::new(self.clone(), stored))
    }

    /// The knowledge base as the store has it.
    ///
    /// # Errors
    /// As [`Session::knowledge_base`].
    pub(crate) fn stored_base(&self, name_or_id: &str) -> Result<knowledge::KnowledgeBase> {
        self.inner.bases.get(&self.inner.home, name_or_id)
    }

    /// The knowledge bases of the home, by name.
    ///
    /// # Errors
    /// An error that names the file where a record is damaged.
    pub async fn knowledge_bases(&self) -> Result<Vec<KnowledgeBaseInfo>> {
        let home = self.inner.home.clone();
        let work = blocking(move || knowledge::KnowledgeBase::list(&home));
        self.open_record("ListKnowledgeBases", "", "")?
            .run(work)
            .await
    }

    /// Deletes a knowledge base with all that it holds. Its sources' files stay.
    ///
    /// # Errors
    /// `ResourceNotFoundException` where there is none.
    pub async fn delete_knowledge_base(&self, name_or_id: &str) -> Result<()> {
        let record = self.open_record("DeleteKnowledgeBase", "knowledgeBaseId", name_or_id)?;
        let (session, name) = (self.clone(), name_or_id.to_string());
        let work = blocking(move || {
            let home = session.store();
            let stored = knowledge::KnowledgeBase::open(home, &name)?;
            knowledge::KnowledgeBase::delete(home, stored.id())?;
            knowledge_bases::forget(&session, stored.id())
        });
        record.run(work).await
    }

    /// The loaded model, as the shelf holds it.
    pub(crate) async fn resolve(&self, id: &str) -> Result<Arc<outcrop_models::Model>> {
        self.load(id, LoadOptions::default(), None).await
    }

    async fn load(
        &self,
        id: &str,
        options: LoadOptions,
        progress: Option<Progress>,
    ) -> Result<Arc<outcrop_models::Model>> {
        self.check()?;
        let model = self.inner.shelf.open(id, options, progress).await?;
        // Closed while the model was being loaded: it must not outlive the session.
        if self.is_closed() {
            self.inner.shelf.clear();
        }
        self.check()?;
        Ok(model)
    }

    /// Refuses a session that is closed, or that was opened before a `fork`.
    pub(crate) fn check(&self) -> Result<()> {
        let (here, there) = (std::process::id(), self.inner.pid);
        if here != there {
            return Err(Error::validation(format!(
                "session: it was opened in process {there} and does not work in its forked child \
                 {here}; open a new Session in the child"
            )));
        }
        if self.is_closed() {
            return Err(Error::validation("session is closed"));
        }
        Ok(())
    }
}

impl std::fmt::Debug for Session {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Session")
            .field("home", &self.inner.path)
            .field("device", &self.inner.device)
            .field("closed", &self.is_closed())
            .finish()
    }
}

/// Runs `work` where it may block.
pub(crate) async fn blocking<T: Send + 'static>(
    work: impl FnOnce() -> Result<T> + Send + 'static,
) -> Result<T> {
    tokio::task::spawn_blocking(work).await.map_err(|error| {
        Error::internal("the work was stopped before its end").with_source(error)
    })?
}
