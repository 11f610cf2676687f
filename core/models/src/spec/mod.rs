//! A model that is declared as data, in the one JSON form of all faces.

pub(crate) mod place;

use outcrop_api::{Error, ModelKind, Result};
use serde_json::Value;

use crate::model::Model;
use crate::remote::{RemoteEmbedder, RemoteModel, RemoteSpec};
use crate::scripted::{
    Script, ScriptedEmbedder, ScriptedModel, ScriptedReranker, ScriptedScores, ScriptedVectors,
};
use place::Place;

/// The members that say what a declaration is.
const FORMS: [&str; 5] = ["script", "embeddings", "rerank", "openai", "path"];

/// A declared model.
#[derive(Clone, Debug)]
pub(crate) enum ModelSpec {
    /// Answers by rules.
    Script(Script),
    /// Vectors of texts.
    Embeddings(ScriptedVectors),
    /// Scores of texts.
    Rerank(ScriptedScores),
    /// A server of OpenAI's form.
    OpenAi(RemoteSpec),
    /// A folder, a `.gguf` file or `hf:org/name`.
    Path(String),
}

impl ModelSpec {
    /// Reads a declaration.
    ///
    /// # Errors
    /// `ValidationException` that names the place and what was expected there.
    pub fn read(spec: &Value) -> Result<Self> {
        let place = Place::root(spec);
        if !spec.is_object() {
            return Err(place.wrong(format!("an object with one of {}", FORMS.join(", "))));
        }
        let named = FORMS.iter().filter(|form| spec.get(form).is_some());
        if named.count() != 1 {
            let members: Vec<&str> = spec
                .as_object()
                .into_iter()
                .flatten()
                .map(|(k, _)| k.as_str())
                .collect();
            return Err(Error::validation(format!(
                "spec: expected exactly one of {}, got the members {members:?}",
                FORMS.join(", ")
            )));
        }
        let (form, value) = place.one_of(&FORMS)?;
        if form == "script" {
            return Ok(Self::Script(Script::read(&place)?));
        }
        place.only(&[form])?;
        Ok(match form {
            "embeddings" => Self::Embeddings(ScriptedVectors::read(&value)?),
            "rerank" => Self::Rerank(ScriptedScores::read(&value)?),
            "openai" => Self::OpenAi(RemoteSpec::read(&value)?),
            _ => Self::Path(value.name()?.into()),
        })
    }

    /// What the model is for; `None` for a path, whose files say it.
    pub fn kind(&self) -> Option<ModelKind> {
        match self {
            Self::Script(_) => Some(ModelKind::Chat),
            Self::Embeddings(_) => Some(ModelKind::Embedding),
            Self::Rerank(_) => Some(ModelKind::Rerank),
            Self::OpenAi(remote) => Some(remote.kind()),
            Self::Path(_) => None,
        }
    }

    /// Where the model is from, for people.
    pub fn source(&self) -> String {
        match self {
            Self::Script(_) | Self::Embeddings(_) | Self::Rerank(_) => "script".into(),
            Self::OpenAi(remote) => remote.source(),
            Self::Path(path) => path.clone(),
        }
    }

    /// The model by the id that it is declared under; `None` for a path.
    ///
    /// # Errors
    /// `ValidationException` where the environment has not what the declaration names.
    pub fn open(self, id: &str) -> Result<Option<Model>> {
        Ok(Some(match self {
            Self::Script(script) => Model::scripted(ScriptedModel::new(id, script)),
            Self::Embeddings(script) => {
                let model = ScriptedEmbedder::new(id, script);
                Model::declared_embedder(model.info(), model)
            }
            Self::Rerank(script) => {
                let model = ScriptedReranker::new(id, script);
                Model::declared_reranker(model.info(), model)
            }
            Self::OpenAi(remote) if remote.kind() == ModelKind::Embedding => {
                let model = RemoteEmbedder::new(id, remote)?;
                Model::declared_embedder(model.info(), model)
            }
            Self::OpenAi(remote) => Model::remote(RemoteModel::new(id, remote)?),
            Self::Path(_) => return Ok(None),
        }))
    }
}
