//! The desk, as façades ask it.

use outcrop::api::{EmbedOptions, Embeddings};
use outcrop::governance::Caller;
use outcrop::operations::{Answer, Operation, OperationEvents, Service};
use outcrop::{Error, Result, Session};
use serde_json::{Map, Value};

use super::vendor::{Answered, Failure, Headers};
use crate::handle::MODEL_HEADER;
use crate::http::HttpRequest;
use crate::service_model::service;
use crate::unbind::header_value;
use crate::validate::validate;

/// A session, and who asks it.
pub(super) struct Desk<'a> {
    pub session: &'a Session,
    pub caller: &'a Caller,
}

impl Desk<'_> {
    /// Calls an operation of the runtime; gives its members, and what to tell of the call.
    pub async fn call(
        &self,
        operation: &'static str,
        input: Map<String, Value>,
    ) -> Answered<(Map<String, Value>, Headers)> {
        let (answer, headers) = self
            .answer(Service::BedrockRuntime, operation, input)
            .await?;
        Ok((answer.output, headers))
    }

    /// Calls an operation of the runtime that answers with a stream.
    pub async fn stream(
        &self,
        operation: &'static str,
        input: Map<String, Value>,
    ) -> Answered<(Box<dyn OperationEvents>, Headers)> {
        let (answer, headers) = self
            .answer(Service::BedrockRuntime, operation, input)
            .await?;
        match answer.events {
            Some(events) => Ok((events, headers)),
            None => {
                let message = format!("{operation} answered without a stream");
                Err(Error::internal(message).into())
            }
        }
    }

    /// The vectors of texts.
    pub async fn embed(
        &self,
        model: &str,
        texts: Vec<String>,
        options: EmbedOptions,
    ) -> Answered<(Embeddings, Headers)> {
        let caller = self.caller.clone();
        let embedded = self.session.embed(caller, model, &texts, options).await?;
        let headers = headers(&embedded.request_id, Some(&embedded.model));
        Ok((embedded.embeddings, headers))
    }

    /// The models that can be asked.
    pub async fn models(&self) -> Answered<Vec<ListedModel>> {
        let listed = self.answer(Service::Bedrock, "ListFoundationModels", Map::new());
        let (answer, _) = listed.await?;
        let models = answer
            .output
            .get("modelSummaries")
            .and_then(Value::as_array);
        let text = |model: &Value, name: &str| model[name].as_str().unwrap_or_default().to_string();
        let models = models.into_iter().flatten().map(|model| ListedModel {
            id: text(model, "modelId"),
            name: text(model, "modelName"),
            provider: text(model, "providerName"),
        });
        Ok(models.collect())
    }

    async fn answer(
        &self,
        service_of: Service,
        name: &'static str,
        input: Map<String, Value>,
    ) -> Answered<(Answer, Headers)> {
        let model = service(service_of.name());
        let row = Operation::find(service_of, name);
        let shape = model.and_then(|model| Some((model, model.operation(name)?)));
        let (Some(operation), Some((model, shape))) = (row, shape) else {
            return Err(Error::internal(format!("{name} is no operation")).into());
        };
        validate(model, shape.input, &input).map_err(Error::validation)?;
        let (caller, input) = (self.caller.clone(), Value::Object(input));
        let called = self
            .session
            .call(caller, operation, input, Vec::new())
            .await;
        let headers = headers(&called.request_id, called.model.as_deref());
        match called.answer {
            Ok(answer) => Ok((answer, headers)),
            Err(error) => Err(Failure { error, headers }),
        }
    }
}

/// The id of a call by each vendor's name of it, and the model that ran.
fn headers(request_id: &str, model: Option<&str>) -> Headers {
    let ids = ["x-request-id", "request-id"].map(|name| (name.to_string(), request_id.to_string()));
    let model = model.map(|model| {
        let value = Value::String(model.to_string());
        (MODEL_HEADER.to_string(), header_value(&value))
    });
    ids.into_iter().chain(model).collect()
}

/// The JSON of a request's body.
pub(super) fn json_body(request: &HttpRequest) -> Result<Value> {
    serde_json::from_slice(&request.body)
        .map_err(|error| Error::validation(format!("body: expected JSON: {error}")))
}

/// The error of a path that the vendor's API has not here.
pub(super) fn unknown(method: &str, path: &str) -> Error {
    Error::not_found(format!("{method} {path} is not here"))
}

/// A model in a list.
pub(super) struct ListedModel {
    pub id: String,
    pub name: String,
    pub provider: String,
}
