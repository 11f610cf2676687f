//! What a name stands for: aliases, inference profiles and ARNs followed to the model that runs.

use outcrop_api::{Error, Result};

use crate::alias::Alias;
use crate::catalogue::built_in;
use crate::record::ModelRecord;
use crate::reference::Reference;
use crate::shelf::Shelf;

/// Areas of AWS's inference profiles, which stand before the id of their model.
pub const PROFILE_AREAS: [&str; 9] = [
    "us.", "us-gov.", "eu.", "apac.", "au.", "ca.", "jp.", "sa.", "global.",
];

/// What AWS says of a model id that is none.
const INVALID: &str = "The provided model identifier is invalid.";

/// A name and the model that runs for it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Resolution {
    /// The name that was asked for.
    pub asked: String,
    /// The name of the model that runs: an id of this home, a path, or `hf:org/name`.
    pub model: String,
    /// The aliases, and the resources of a [`ModelDirectory`], that led from the one to the other.
    pub aliases: Vec<String>,
    /// Whether the model is known. A path or a hub name is taken at its word.
    pub(crate) is_known: bool,
}

/// Resources that stand for a model, such as application inference profiles and provisioned models.
pub trait ModelDirectory: Send + Sync {
    /// The name of the model that the resource of that id or ARN stands for; `None` where there is
    /// no such resource.
    ///
    /// # Errors
    /// Where the resource's record cannot be read, or it cannot run.
    fn model_of(&self, name: &str) -> Result<Option<String>>;
}

impl Shelf {
    /// Asks `directory` for names that are neither a model nor an alias. The first one stays.
    pub fn set_directory(&self, directory: Box<dyn ModelDirectory>) {
        let _ = self.inner.directory.set(directory);
    }

    /// Follows a name to the model that runs for it. A name that stands for nothing is its own
    /// model: opening it says what is near.
    ///
    /// # Errors
    /// `ValidationException` for a name of the wrong form, or aliases that go in a circle.
    pub fn resolution(&self, name: &str) -> Result<Resolution> {
        let mut resolution = Resolution {
            asked: name.trim().into(),
            model: name.trim().into(),
            aliases: Vec::new(),
            is_known: false,
        };
        loop {
            let Reference::Id(id) = Reference::parse(&resolution.model)? else {
                resolution.is_known = true;
                return Ok(resolution);
            };
            let (from, to) = match self.step(&resolution.model, &id)? {
                Step::Model(id) => {
                    resolution.is_known = true;
                    resolution.model = id;
                    return Ok(resolution);
                }
                Step::Alias(from, to) => (from, to),
                Step::Unknown => {
                    // A folder of that name stands in the current folder.
                    resolution.is_known = std::path::Path::new(&id).is_dir();
                    resolution.model = id;
                    return Ok(resolution);
                }
            };
            if resolution.aliases.contains(&from) {
                return Err(Error::validation(format!(
                    "model {:?}: its aliases go in a circle: {} → {from}",
                    resolution.asked,
                    resolution.aliases.join(" → ")
                ))
                .with_resource(&resolution.asked));
            }
            resolution.aliases.push(from);
            resolution.model = to;
        }
    }

    /// [`Shelf::resolution`] for the operations of the runtime: what the home does not know is
    /// refused as AWS does. Only where `is_owner` says that the owner of the home asks, who may open
    /// what this machine holds, a path is a name too, and a model of the hub may be fetched.
    ///
    /// # Errors
    /// `ValidationException`.
    pub fn runtime_resolution(&self, name: &str, is_owner: bool) -> Result<Resolution> {
        let invalid = || Error::validation(INVALID).with_resource(name);
        let resolution = match Reference::parse(name) {
            Ok(Reference::Path(_) | Reference::Hub(_)) if is_owner => return self.resolution(name),
            Ok(Reference::Path(_)) | Err(_) => return Err(invalid()),
            Ok(Reference::Hub(hub)) => {
                let hub = hub.to_string();
                let is_here =
                    self.is_loaded(&hub) || ModelRecord::get(&self.inner.home, &hub)?.is_some();
                if !is_here {
                    return Err(invalid());
                }
                self.resolution(name)?
            }
            Ok(Reference::Id(_)) => self.resolution(name)?,
        };
        let is_folder = resolution.aliases.is_empty() && !self.is_model(&resolution.model)?;
        match resolution.is_known && !is_folder {
            true => Ok(resolution),
            false => Err(invalid()),
        }
    }

    /// What `name`, which reads as the id `id`, stands for next.
    fn step(&self, name: &str, id: &str) -> Result<Step> {
        let home = &self.inner.home;
        // An ARN may have an alias of its own; a profile stands for its model.
        let of_profile = PROFILE_AREAS.iter().find_map(|area| id.strip_prefix(area));
        let mut seen = "";
        for candidate in [Some(name), Some(id), of_profile].into_iter().flatten() {
            if candidate == seen {
                continue;
            }
            seen = candidate;
            if self.is_loaded(candidate) {
                return Ok(Step::Model(candidate.into()));
            }
            if let Some(alias) = Alias::get(home, candidate)? {
                return Ok(Step::Alias(alias.name, alias.target));
            }
            if self.is_model(candidate)? {
                return Ok(Step::Model(candidate.into()));
            }
        }
        let found = match self.inner.directory.get() {
            Some(directory) => directory.model_of(name)?,
            None => None,
        };
        Ok(found.map_or(Step::Unknown, |model| Step::Alias(name.into(), model)))
    }

    /// Whether `id` is a model of the catalogue or of the home.
    pub(crate) fn is_model(&self, id: &str) -> Result<bool> {
        if self.is_loaded(id) || built_in(id).is_some() {
            return Ok(true);
        }
        // A damaged record is a model too: opening it says what is wrong.
        Ok(!matches!(ModelRecord::get(&self.inner.home, id), Ok(None)))
    }
}

/// What a name stands for.
enum Step {
    /// A model of the home, by this id.
    Model(String),
    /// This alias or resource, and what it stands for.
    Alias(String, String),
    /// Nothing that is known.
    Unknown,
}
