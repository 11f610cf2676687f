//! Resources that stand for a model, for whoever resolves a model's name.

use outcrop_api::{Error, ErrorKind, Result};
use outcrop_models::ModelDirectory;
use outcrop_store::Home;

use super::{
    CUSTOM_MODEL_DEPLOYMENTS, CUSTOM_MODELS, IMPORTED_MODELS, INFERENCE_PROFILES, Kind, Resource,
    Resources,
};

/// The member of a resource that names the model that it stands for.
pub(crate) const STANDS_FOR: &str = "modelId";

/// The application inference profiles, the imported models, and the custom models of a home with their
/// deployments.
pub(crate) struct Directory(pub Home);

impl ModelDirectory for Directory {
    fn model_of(&self, name: &str) -> Result<Option<String>> {
        let kinds: [&'static Kind; 4] = [
            &INFERENCE_PROFILES,
            &IMPORTED_MODELS,
            &CUSTOM_MODELS,
            &CUSTOM_MODEL_DEPLOYMENTS,
        ];
        for kind in kinds {
            match Resources::new(self.0.clone(), kind).get(name) {
                Ok(resource) => {
                    check_ready(&resource)?;
                    return Ok(Some(resource.text(STANDS_FOR).to_string()));
                }
                Err(error) if error.kind() == ErrorKind::ResourceNotFoundException => {}
                Err(error) => return Err(error),
            }
        }
        Ok(None)
    }
}

/// Refuses a custom model whose files are not there yet, or could not be brought in.
fn check_ready(resource: &Resource) -> Result<()> {
    match resource.text("modelStatus") {
        status @ ("Creating" | "Failed") => Err(Error::new(
            ErrorKind::ModelNotReadyException,
            format!(
                "The custom model {} can't run: it is {status}.",
                resource.arn
            ),
        )),
        _ => Ok(()),
    }
}
