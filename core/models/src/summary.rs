//! What is known of a model before it is loaded.

use std::path::{Path, PathBuf};

use outcrop_api::{Error, MemoryEstimate, ModelKind, Result};
use outcrop_inference::{Checkpoint, DecoderConfig, GgufValue, ModelSource, estimate};
use serde::Serialize;

use crate::catalogue::{Place, built_in};
use crate::load_options::LoadOptions;
use crate::model::kind_of;
use crate::record::ModelRecord;
use crate::reference::Reference;
use crate::shelf::{Shelf, canonical};

/// What is known of a model by its files' headers: no weights are read.
#[derive(Clone, Debug, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct ModelSummary {
    /// The id, path or hub name that it opens by.
    pub id: String,
    /// Its folder or file.
    pub path: PathBuf,
    /// What it is for.
    pub kind: ModelKind,
    /// The architecture, by Hugging Face's `model_type`, or that of a GGUF file.
    pub architecture: String,
    /// Number of parameters.
    pub parameters: u64,
    /// Storage of most weights, such as `F32`, `BF16` or `Q4_K`.
    pub quantization: String,
    /// Most tokens of one sequence, for a language model.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub context_length: Option<usize>,
    /// Bytes of its weights.
    pub bytes: u64,
    /// The memory that it needs once it is loaded, and what there is.
    pub memory: MemoryEstimate,
}

impl Shelf {
    /// What is known of the model by that name before it is loaded as `options` say. Nothing is
    /// downloaded.
    ///
    /// # Errors
    /// `ResourceNotFoundException` where it is not on this machine; `ModelErrorException` where its
    /// files are damaged or of an unknown architecture.
    pub fn summary(&self, name: &str, options: &LoadOptions) -> Result<ModelSummary> {
        let (id, path) = self.place_of(name)?;
        let kind = kind_of(&path)?;
        let checkpoint = Checkpoint::open(&path)?;
        let decoder = match kind {
            ModelKind::Chat => Some(DecoderConfig::from_source(checkpoint.config())?),
            ModelKind::Embedding | ModelKind::Rerank => None,
        };
        let architecture = match (&decoder, checkpoint.config()) {
            (Some(config), _) => config.architecture.clone(),
            (None, ModelSource::HuggingFace { config, .. }) => {
                config["model_type"].as_str().unwrap_or_default().into()
            }
            (None, ModelSource::Gguf { metadata }) => {
                let name = metadata.get("general.architecture");
                name.and_then(GgufValue::as_str).unwrap_or_default().into()
            }
        };
        let mut engine = options.engine();
        if let Some(draft) = &options.draft {
            engine.draft = Some(self.place_of(draft)?.1);
        }
        Ok(ModelSummary {
            id,
            kind,
            architecture,
            parameters: checkpoint.parameters(),
            quantization: checkpoint.quantization(),
            context_length: decoder.map(|config| config.context_length),
            bytes: checkpoint.bytes(),
            memory: estimate(&path, &engine, options.encoder().precision)?,
            path,
        })
    }

    /// The id of the model by that name and where its files are on this machine.
    pub(crate) fn place_of(&self, name: &str) -> Result<(String, PathBuf)> {
        let home = &self.inner.home;
        let id = match Reference::parse(&self.resolution(name)?.model)? {
            Reference::Path(path) => {
                let path = canonical(&path)?;
                return Ok((path.display().to_string(), path));
            }
            Reference::Hub(hub) => hub.to_string(),
            Reference::Id(id) => id,
        };
        // The quoting reader is what it reads by.
        let id = match built_in(&id).map(|model| &model.place) {
            Some(Place::Over(below)) => (*below).to_string(),
            _ => id,
        };
        let installed = home.models_dir().join(&id);
        let recorded = ModelRecord::get(home, &id)?;
        if recorded
            .as_ref()
            .is_some_and(|record| record.spec.is_some())
        {
            return Err(Error::validation(format!(
                "model {id} is declared as data and has no files"
            ))
            .with_resource(id));
        }
        let recorded = recorded.map(|record| record.location(home));
        let places = recorded
            .into_iter()
            .chain([installed])
            .chain(self.candidates(&id));
        let here = |path: &PathBuf| path.is_file() || path.join("config.json").exists();
        if let Some(path) = places.into_iter().find(here) {
            return Ok((id, path));
        }
        if Path::new(&id).is_dir() {
            let path = canonical(Path::new(&id))?;
            return Ok((path.display().to_string(), path));
        }
        if id.starts_with("hf:") || built_in(&id).is_some() {
            return Err(Error::not_found(format!(
                "model {id}: it is not on this machine; open it once to fetch it"
            ))
            .with_resource(id));
        }
        Err(self.unknown(&id)?)
    }
}
