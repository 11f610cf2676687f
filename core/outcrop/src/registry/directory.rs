//! Resources that stand for a model, for whoever resolves a model's name.

use outcrop_api::{ErrorKind, Result};
use outcrop_models::ModelDirectory;
use outcrop_store::Home;

use super::{CUSTOM_MODELS, IMPORTED_MODELS, INFERENCE_PROFILES, Kind, Resources};

/// The member of a resource that names the model that it stands for.
pub(crate) const STANDS_FOR: &str = "modelId";

/// The application inference profiles, the imported models and the custom models of a home.
pub(crate) struct Directory(pub Home);

impl ModelDirectory for Directory {
    fn model_of(&self, name: &str) -> Result<Option<String>> {
        let kinds: [&'static Kind; 3] = [&INFERENCE_PROFILES, &IMPORTED_MODELS, &CUSTOM_MODELS];
        for kind in kinds {
            match Resources::new(self.0.clone(), kind).get(name) {
                Ok(resource) => return Ok(Some(resource.text(STANDS_FOR).to_string())),
                Err(error) if error.kind() == ErrorKind::ResourceNotFoundException => {}
                Err(error) => return Err(error),
            }
        }
        Ok(None)
    }
}
