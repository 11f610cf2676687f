//! From an operation's answer to an HTTP response: members to headers and body, events to frames.

use outcrop::api::{BoxFuture, ErrorKind};
use outcrop::caught;
use outcrop::operations::{Answer, OperationEvents};
use serde_json::{Map, Value};

use crate::error_response::{WireError, stream_error};
use crate::frame::{self, EVENT_STREAM};
use crate::http::{Body, Chunks, HttpResponse};
use crate::service_model::{OperationModel, Place, ServiceModel, ShapeId};

const JSON: &str = "application/json";
/// Where the services' error codes come from, as their responses tell.
const ERROR_NAMESPACE: &str = "http://internal.amazon.com/coral/com.amazon.bedrock/";

/// The response of `operation` that carries `answer`.
pub fn unbind(
    service: &'static ServiceModel,
    operation: &'static OperationModel,
    answer: Answer,
) -> HttpResponse {
    let shape = service.structure(operation.output);
    let mut members = answer.output;
    let mut headers = Vec::new();
    for member in &shape.members {
        if let Place::Header(name) = member.place
            && let Some(value) = members.shift_remove(member.name)
        {
            headers.push((name.to_string(), header_value(&value)));
        }
    }
    let payload = shape.payload.and_then(|name| shape.member(name));
    let (content_type, body) = match (answer.events, payload) {
        (Some(events), Some(payload)) => {
            let frames = Frames {
                service,
                stream: payload.shape,
                events: Some(events),
            };
            (EVENT_STREAM, Body::Chunks(Box::new(frames)))
        }
        (_, Some(payload)) => match answer.payload {
            Some(bytes) => (JSON, Body::Whole(bytes)),
            None => {
                let value = members.shift_remove(payload.name);
                (JSON, Body::Whole(bytes(&value.unwrap_or(Value::Null))))
            }
        },
        (_, None) => (JSON, Body::Whole(bytes(&Value::Object(members)))),
    };
    // A body of bytes may be of a type that its member tells.
    if !headers.iter().any(|(name, _)| name == "Content-Type") {
        headers.insert(0, ("Content-Type".to_string(), content_type.to_string()));
    }
    HttpResponse {
        status: operation.status,
        headers,
        body,
    }
}

/// The response that carries an error.
pub fn unbind_error(error: WireError) -> HttpResponse {
    let code = format!("{}:{ERROR_NAMESPACE}", error.code);
    HttpResponse {
        status: error.status,
        headers: vec![
            ("Content-Type".to_string(), JSON.to_string()),
            ("x-amzn-ErrorType".to_string(), code),
        ],
        body: Body::Whole(bytes(&Value::Object(error.members))),
    }
}

/// The response to a request that leads to no operation, in the service's own form.
pub fn unknown_operation() -> HttpResponse {
    let body = r#"{"Output":{"__type":"com.amazon.coral.service#UnknownOperationException"},"Version":"1.0"}"#;
    HttpResponse {
        status: 404,
        headers: vec![
            ("Content-Type".to_string(), JSON.to_string()),
            (
                "x-amzn-ErrorType".to_string(),
                "UnknownOperationException".to_string(),
            ),
        ],
        body: Body::Whole(body.as_bytes().to_vec()),
    }
}

/// A member's value as the text of a header. What no header can hold is percent-encoded.
pub fn header_value(value: &Value) -> String {
    let text = match value {
        Value::String(text) => text.clone(),
        other => other.to_string(),
    };
    if text.bytes().all(|byte| matches!(byte, b' '..=b'~')) {
        return text;
    }
    let encoded = text.bytes().map(|byte| match byte {
        b' '..=b'~' => char::from(byte).to_string(),
        other => format!("%{other:02X}"),
    });
    encoded.collect()
}

fn bytes(value: &Value) -> Vec<u8> {
    value.to_string().into_bytes()
}

/// The frames of an answer's events, one as each event comes.
struct Frames {
    service: &'static ServiceModel,
    stream: ShapeId,
    /// Gone after the stream's end.
    events: Option<Box<dyn OperationEvents>>,
}

impl Chunks for Frames {
    fn next(&mut self) -> BoxFuture<'_, Option<Vec<u8>>> {
        Box::pin(async move {
            let event = caught(self.events.as_mut()?.next()).await;
            let event = event.unwrap_or_else(|error| Some(Err(error)));
            if !matches!(event, Some(Ok(_))) {
                self.events = None;
            }
            match event? {
                Ok((name, value)) => Some(frame::event(name, &bytes(&value))),
                Err(error) if error.kind() == ErrorKind::CancelledException => None,
                Err(error) => {
                    let (name, members) = stream_error(self.service, self.stream, &error)
                        .unwrap_or(("internalServerException", Map::new()));
                    Some(frame::exception(name, &bytes(&Value::Object(members))))
                }
            }
        })
    }
}
