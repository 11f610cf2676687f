//! The desk, as façades ask it.

use outcrop::api::{EmbedOptions, Embeddings};
use outcrop::governance::Caller;
use outcrop::operations::{Answer, Operation, OperationEvents, Service};
use outcrop::{Error, Result, Session};
use serde_json::{Map, Value};

use super::vendor::{Answered, Failure};
use crate::http::HttpRequest;
use crate::service_model::service;
use crate::validate::validate;

/// A session, and who asks it.
pub(super) struct Desk<'a> {
    pub session: &'a Session,
    pub caller: &'a Caller,
}

impl Desk<'_> {
    /// Calls an operation of the runtime; gives its members and the id of the call.
    pub async fn call(
        &self,
        operation: &'static str,
        input: Map<String, Value>,
    ) -> Answered<(Map<String, Value>, String)> {
        let (answer, request_id) = self
            .answer(Service::BedrockRuntime, operation, input)
            .await?;
        Ok((answer.output, request_id))
    }

    /// Calls an operation of the runtime that answers with a stream.
    pub async fn stream(
        &self,
        operation: &'static str,
        input: Map<String, Value>,
    ) -> Answered<Box<dyn OperationEvents>> {
        let (answer, request_id) = self
            .answer(Service::BedrockRuntime, operation, input)
            .await?;
        answer.events.ok_or_else(|| Failure {
            error: Error::internal(format!("{operation} answered without a stream")),
            request_id: Some(request_id),
        })
    }

    /// The vectors of texts.
    pub async fn embed(
        &self,
        model: &str,
        texts: Vec<String>,
        options: EmbedOptions,
    ) -> Answered<Embeddings> {
        let caller = self.caller.clone();
        Ok(self.session.embed(caller, model, &texts, options).await?)
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
    ) -> Answered<(Answer, String)> {
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
        let request_id = called.request_id;
        match called.answer {
            Ok(answer) => Ok((answer, request_id)),
            Err(error) => Err(Failure {
                error,
                request_id: Some(request_id),
            }),
        }
    }
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
