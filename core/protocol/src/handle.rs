//! The one entry point of the wire: an HTTP request in, an HTTP response out.

use outcrop::governance::Caller;
use outcrop::operations::{Operation, Service};
use outcrop::{Error, Session, caught};
use serde_json::{Map, Value};

use crate::bind::{Bound, bind};
use crate::error_response::{WireError, wire_error};
use crate::facades;
use crate::http::{HttpRequest, HttpResponse};
use crate::refusal::Refusal;
use crate::route::{NoRoute, Route, route};
use crate::service_model::service;
use crate::unbind::{header_value, unbind, unbind_error, unknown_operation};
use crate::validate::validate;

/// The header that names the model that ran, where one did: what an alias stands for.
pub const MODEL_HEADER: &str = "x-outcrop-model-id";

/// Answers one request of `caller`: it is routed, bound to its operation's members, checked against
/// their shapes, and called at the desk. It never fails: what goes wrong is in the response.
pub async fn handle(session: &Session, caller: Caller, request: HttpRequest) -> HttpResponse {
    let answered = caught(Box::pin(async {
        match facades::handle(session, &caller, &request).await {
            Some(response) => response,
            None => answer(session, caller, request).await,
        }
    }));
    answered.await.unwrap_or_else(|error| {
        let error = WireError::plain(error.kind().name(), 500, error.message());
        told(unbind_error(error), None)
    })
}

async fn answer(session: &Session, caller: Caller, request: HttpRequest) -> HttpResponse {
    let named = request.header("host").and_then(service_of_host);
    let route = match route(&request.method, &request.path, named) {
        Ok(route) => route,
        Err(NoRoute::UnknownOperation) => return told(unknown_operation(), None),
        Err(NoRoute::BadLabel(label)) => {
            let message = format!("The value of '{label}' in the path is not UTF-8");
            let error = WireError::plain("ValidationException", 400, &message);
            return told(unbind_error(error), None);
        }
    };
    let Some(operation) = row(&route) else {
        return told(unknown_operation(), None);
    };
    let bound = match operation.handler {
        Some(_) => checked(&route, request),
        // What is not here says so, whatever it was asked.
        None => Ok(labels(&route)),
    };
    let bound = match bound {
        Ok(bound) => bound,
        Err(message) => {
            let error = Error::validation(message);
            let error = wire_error(route.service, route.operation, &error);
            return told(unbind_error(error), None);
        }
    };
    let input = Value::Object(bound.input);
    let called = session.call(caller, operation, input, bound.payload).await;
    let mut response = match called.answer {
        Ok(answer) => unbind(route.service, route.operation, answer),
        Err(error) => unbind_error(wire_error(route.service, route.operation, &error)),
    };
    if let (Some(usage), "InvokeModel") = (called.usage, operation.name) {
        let counts = [
            ("Input-Token-Count", usage.input_tokens as u64),
            ("Output-Token-Count", usage.output_tokens as u64),
            ("Invocation-Latency", called.latency_ms),
        ];
        let counts =
            counts.map(|(name, count)| (format!("X-Amzn-Bedrock-{name}"), count.to_string()));
        response.headers.extend(counts);
    }
    if let Some(model) = called.model {
        let model = header_value(&Value::String(model));
        response.headers.push((MODEL_HEADER.to_string(), model));
    }
    told(response, Some(called.request_id))
}

/// The response to a request that was turned away before it was routed.
pub(crate) fn refused(refusal: &Refusal) -> HttpResponse {
    let error = WireError::plain(refusal.name, refusal.status, &refusal.message);
    told(unbind_error(error), None)
}

fn checked(route: &Route, request: HttpRequest) -> Result<Bound, String> {
    let bound = bind(route, request)?;
    validate(route.service, route.operation.input, &bound.input)?;
    Ok(bound)
}

fn labels(route: &Route) -> Bound {
    let labels = route.labels.iter();
    Bound {
        input: labels
            .map(|(name, value)| (name.to_string(), value.as_str().into()))
            .collect::<Map<_, _>>(),
        payload: Vec::new(),
    }
}

fn row(route: &Route) -> Option<&'static Operation> {
    let mut services = Service::ALL.into_iter();
    let service = services.find(|it| it.name() == route.service.name)?;
    Operation::find(service, route.operation.name)
}

/// The service that a host such as `bedrock-agent.us-east-1.amazonaws.com` names.
fn service_of_host(host: &str) -> Option<&'static str> {
    let first = host.split('.').next()?;
    service(first).map(|service| service.name)
}

/// The response with what every response tells: its id and its time.
fn told(mut response: HttpResponse, request_id: Option<String>) -> HttpResponse {
    let request_id = request_id.unwrap_or_else(outcrop::request_id);
    let date = httpdate::fmt_http_date(std::time::SystemTime::now());
    let headers = &mut response.headers;
    headers.push(("x-amzn-RequestId".to_string(), request_id));
    headers.push(("Date".to_string(), date));
    response
}
