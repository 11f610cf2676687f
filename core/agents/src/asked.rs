//! What a turn asks its model, made once for all who need it: the driver, the check, the trace.

use std::sync::{Arc, OnceLock};

use outcrop_api::{ConverseRequest, Result};

use crate::digest;

/// A model call: the request, and what binds events to it.
#[derive(Clone, Debug, PartialEq)]
pub struct ModelCall {
    /// What the model is asked.
    pub request: ConverseRequest,
    /// The same as JSON.
    pub text: String,
    /// SHA-256 of that, in hexadecimal.
    pub digest: String,
}

impl ModelCall {
    /// The call of `request`.
    pub fn of(request: ConverseRequest) -> Self {
        // Every request has a JSON form.
        let text = serde_json::to_string(&request).unwrap_or_default();
        let digest = digest::of_bytes(text.as_bytes());
        Self {
            request,
            text,
            digest,
        }
    }
}

/// The model call of a turn, kept from when it is first needed until the turn changes. It says
/// nothing that the turn does not say: it is not written, and all are equal.
#[derive(Clone, Debug, Default)]
pub(crate) struct Asked(Arc<OnceLock<Arc<ModelCall>>>);

impl Asked {
    /// The call, made where it is not there.
    pub fn call(&self, make: impl FnOnce() -> Result<ConverseRequest>) -> Result<Arc<ModelCall>> {
        if let Some(call) = self.0.get() {
            return Ok(call.clone());
        }
        let call = Arc::new(ModelCall::of(make()?));
        Ok(self.0.get_or_init(|| call).clone())
    }
}

impl PartialEq for Asked {
    fn eq(&self, _: &Self) -> bool {
        true
    }
}
