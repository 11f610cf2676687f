//! Models that callers declare under ids of their own, kept in the home.

use std::sync::Arc;

use outcrop_api::{Error, Result};
use serde_json::Value;

use crate::alias::Alias;
use crate::catalogue::{CatalogueEntry, built_in};
use crate::download::Progress;
use crate::load_options::LoadOptions;
use crate::model::Model;
use crate::record::ModelRecord;
use crate::shelf::{Shelf, validate_id};
use crate::spec::ModelSpec;

impl Shelf {
    /// Registers the model that `spec` declares under `id`, in the home: `{"script": […]}`,
    /// `{"embeddings": {…}}`, `{"rerank": […]}`, `{"openai": {…}}` or `{"path": "…"}`. The same declaration again
    /// changes nothing; another one takes its place where `replace` says so.
    ///
    /// # Errors
    /// `ValidationException` that names the place in the declaration, or the id; `ConflictException`
    /// where the id is taken.
    pub async fn register(
        &self,
        id: &str,
        spec: Value,
        replace: bool,
        progress: Option<Progress>,
    ) -> Result<CatalogueEntry> {
        validate_id(id)?;
        let read = ModelSpec::read(&spec)?;
        let record = match (read.kind(), &read) {
            (Some(kind), declared) => ModelRecord {
                id: id.into(),
                kind,
                source: declared.source(),
                path: Default::default(),
                spec: Some(spec),
                folder: None,
                commit: None,
                files: Vec::new(),
            },
            (None, path) => self.record_from(&path.source(), id, progress).await?,
        };
        self.put(&record, replace)
    }

    /// Takes a registered or imported model out of the home. Its own files stay where they are, and
    /// calls that are running end.
    ///
    /// # Errors
    /// `ResourceNotFoundException` where there is none, `ValidationException` for a built-in model.
    pub fn unregister(&self, id: &str) -> Result<()> {
        if built_in(id).is_some() {
            return Err(Error::validation(format!(
                "id: {id:?} is a built-in model and stays"
            )));
        }
        if !ModelRecord::delete(&self.inner.home, id)? {
            return Err(self.unknown(id)?);
        }
        self.forget(id);
        Ok(())
    }

    /// Writes the record of an id, where it is free, is of the same model, or may be replaced.
    pub(crate) fn put(&self, record: &ModelRecord, replace: bool) -> Result<CatalogueEntry> {
        let (home, id) = (&self.inner.home, record.id.as_str());
        if let Some(alias) = Alias::get(home, id)? {
            return Err(Error::conflict(format!(
                "id: {id:?} is an alias of {}; remove it first",
                alias.target
            ))
            .with_resource(id));
        }
        // A record that cannot be read holds no id: it is mended here.
        let taken = ModelRecord::get(home, id).ok().flatten();
        let is_same =
            |taken: &ModelRecord| taken.source == record.source && taken.spec == record.spec;
        match &taken {
            Some(taken) if !is_same(taken) && !replace => Err(Error::conflict(format!(
                "id: {id:?} is already {}; replace it, or choose another id",
                match &taken.spec {
                    Some(_) => "a model that is declared otherwise".to_string(),
                    None => format!("the model from {}", taken.source),
                }
            ))
            .with_resource(id)),
            Some(taken) if taken == record => Ok(self.entry(record)),
            _ => {
                record.put(home)?;
                if !taken.as_ref().is_some_and(is_same) {
                    self.forget(id);
                }
                Ok(self.entry(record))
            }
        }
    }
}

/// The model that the home's declaration of `id` says.
pub(crate) fn open(id: &str, spec: &Value, options: &LoadOptions) -> Result<Arc<Model>> {
    options.refuse_all(id)?;
    let model = ModelSpec::read(spec)?.open(id)?;
    let model = model.ok_or_else(|| {
        Error::internal(format!("model {id}: a path is no declaration of its own"))
    })?;
    Ok(Arc::new(model))
}
