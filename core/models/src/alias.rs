//! Aliases: other names of models, set by the user and kept in the home.

use std::path::Path;

use outcrop_api::{Error, Result};
use outcrop_store::Home;
use serde::{Deserialize, Serialize};

use crate::catalogue::built_in;
use crate::record::ModelRecord;
use crate::reference::{Arn, Reference};
use crate::shelf::{Shelf, canonical, validate_id};

/// The store's kind of these records.
const KIND: &str = "aliases";

/// A name, and the model that runs where it is asked for.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Alias {
    /// A model id of Bedrock, the id of an inference profile, or an ARN.
    pub name: String,
    /// Any name that opens a model, or another alias.
    pub target: String,
}

impl Alias {
    /// The alias that is kept for exactly that name.
    pub(crate) fn get(home: &Home, name: &str) -> Result<Option<Self>> {
        Ok(home.get_record(KIND, name)?)
    }
}

impl Shelf {
    /// Lets `name` stand for `target`, in the home. A target that is a path is made absolute.
    ///
    /// # Errors
    /// `ValidationException` for a name of the wrong form, or a loop of aliases;
    /// `ConflictException` where a model has that name; `ResourceNotFoundException` where the
    /// target is not known.
    pub fn set_alias(&self, name: &str, target: &str) -> Result<Alias> {
        let home = &self.inner.home;
        let name = alias_name(name)?;
        if built_in(&name).is_some() || ModelRecord::get(home, &name)?.is_some() {
            return Err(Error::conflict(format!(
                "name: {name:?} is a model of this home itself; an alias needs another name"
            ))
            .with_resource(name));
        }
        let target = self.alias_target(target)?;
        let resolution = self.resolution(&target)?;
        if target == name || resolution.aliases.contains(&name) {
            let chain = [std::slice::from_ref(&name), &resolution.aliases].concat();
            return Err(Error::validation(format!(
                "target: {name:?} would stand for itself: {} → {name}",
                chain.join(" → ")
            ))
            .with_resource(name));
        }
        if !resolution.is_known {
            return Err(self.unknown(&target)?);
        }
        let alias = Alias { name, target };
        home.put_record(KIND, &alias.name, &alias)?;
        Ok(alias)
    }

    /// Takes an alias away.
    ///
    /// # Errors
    /// `ResourceNotFoundException` where there is none of that name.
    pub fn remove_alias(&self, name: &str) -> Result<()> {
        let name = alias_name(name)?;
        match self.inner.home.delete_record(KIND, &name)? {
            true => Ok(()),
            false => {
                let known = self.aliases()?;
                let known: Vec<&str> = known.iter().map(|alias| alias.name.as_str()).collect();
                let hint = match known.is_empty() {
                    true => "this home has no aliases".into(),
                    false => format!("this home has {}", known.join(", ")),
                };
                let message = format!("name: there is no alias {name:?}; {hint}");
                Err(Error::not_found(message).with_resource(name))
            }
        }
    }

    /// The aliases of the home, by name.
    ///
    /// # Errors
    /// `InternalServerException` that names the file where one cannot be read.
    pub fn aliases(&self) -> Result<Vec<Alias>> {
        let records = self.inner.home.list_records(KIND)?;
        Ok(records.into_iter().map(|(_, alias)| alias).collect())
    }

    /// The target in the form in which it is kept.
    fn alias_target(&self, target: &str) -> Result<String> {
        Ok(match Reference::parse(target)? {
            Reference::Path(path) => canonical(&path)?.display().to_string(),
            Reference::Hub(hub) => hub.to_string(),
            // A folder of the current folder, which another process need not stand in.
            Reference::Id(id) if !self.is_model(&id)? && Path::new(&id).is_dir() => {
                canonical(Path::new(&id))?.display().to_string()
            }
            Reference::Id(id) => id,
        })
    }
}

/// The name that an alias is kept by. What an ARN says no more than the id in it is that id.
fn alias_name(name: &str) -> Result<String> {
    let name = name.trim();
    if name.starts_with("arn:") {
        return Ok(Arn::parse(name)?.id().unwrap_or(name).into());
    }
    validate_id(name).map_err(|error| {
        let message = error.message().replacen("id: ", "name: ", 1);
        Error::validation(message).with_source(error)
    })?;
    Ok(name.into())
}
