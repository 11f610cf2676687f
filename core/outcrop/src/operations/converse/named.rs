//! Requests that name a prompt or a prompt router in the place of a model.

use outcrop_api::Result;
use serde_json::{Value, json};

use crate::operations::{Call, foundation_models, prompt_routers, prompts};
use crate::registry::Kind;
use crate::session::blocking;

/// A request as its model is to be asked.
#[derive(Default)]
pub(super) struct Named {
    /// The members, with a model as `modelId`, where they are not those of the call.
    pub input: Option<Value>,
    /// The answer's `trace`, where a router has chosen the model.
    pub trace: Option<Value>,
}

/// The request with the prompt that it names filled in, and the model that its router chooses.
///
/// # Errors
/// Those of [`prompts::expand`] and [`prompt_routers::route`].
pub(super) async fn read(call: &Call, input: &Value) -> Result<Named> {
    let id = input["modelId"].as_str().unwrap_or_default();
    if Kind::of_arn(id).is_none() && input.get("promptVariables").is_none() {
        return Ok(Named::default());
    }
    let (session, record, input) = (call.session.clone(), call.record.clone(), input.clone());
    blocking(move || {
        let mut input = prompts::expand(&session, &input)?.unwrap_or(input);
        let Some(chosen) = prompt_routers::route(&session, &input, &record)? else {
            return Ok(Named {
                input: Some(input),
                trace: None,
            });
        };
        // The shape of the trace knows foundation models and profiles of areas only.
        let model = session.shelf().resolution(&chosen)?.model;
        let invoked = match foundation_models::is_id(&model) {
            true => foundation_models::arn(&model),
            false => chosen.clone(),
        };
        input["modelId"] = json!(chosen);
        let trace = json!({"promptRouter": {"invokedModelId": invoked}});
        Ok(Named {
            input: Some(input),
            trace: Some(trace),
        })
    })
    .await
}
