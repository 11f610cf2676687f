//! What a session is opened with.

use std::path::PathBuf;

use outcrop_api::{Error, Result};
use serde::{Deserialize, Serialize};

/// What a session is opened with.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default, deny_unknown_fields)]
pub struct SessionOptions {
    /// The home folder. Default: `$OUTCROP_HOME`, else `.outcrop` in the user's home folder.
    pub home: Option<PathBuf>,
    /// Where decoders compute: `cpu`, `cuda`, `cuda:<n>`, or `auto`, which takes the first GPU that
    /// can be used and the CPU where there is none. Default `auto`.
    pub device: String,
    /// Never open a connection. Default false; the environment's `HF_HUB_OFFLINE` also sets it.
    pub offline: bool,
    /// Folders that may hold a catalogue model, as `(id, folder)`: the first that is complete is
    /// copied into the home when the model is first asked for.
    pub model_paths: Vec<(String, PathBuf)>,
}

impl Default for SessionOptions {
    fn default() -> Self {
        Self {
            home: None,
            device: "auto".into(),
            offline: false,
            model_paths: Vec::new(),
        }
    }
}

impl SessionOptions {
    /// The home folder that these options name.
    ///
    /// # Errors
    /// `ValidationException` where there is neither an option, nor `$OUTCROP_HOME`, nor a home
    /// folder of the user.
    pub fn home_folder(&self) -> Result<PathBuf> {
        if let Some(home) = &self.home {
            if home.as_os_str().is_empty() {
                return Err(Error::validation(
                    "home: expected a folder, got an empty path",
                ));
            }
            return Ok(home.clone());
        }
        if let Some(home) = std::env::var_os("OUTCROP_HOME").filter(|home| !home.is_empty()) {
            return Ok(home.into());
        }
        std::env::home_dir()
            .filter(|home| !home.as_os_str().is_empty())
            .map(|home| home.join(".outcrop"))
            .ok_or_else(|| {
                Error::validation(
                    "home: no folder was given, $OUTCROP_HOME is not set and the user has no home folder",
                )
            })
    }
}
