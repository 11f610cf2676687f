//! A small AWS client over `handle`: members to an HTTP request, the response to members.

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use outcrop::Session;
use outcrop::governance::Caller;
use outcrop_protocol::service_model::{
    Kind, OperationModel, Place, ServiceModel, ShapeId, service,
};
use outcrop_protocol::{Body, HttpRequest, HttpResponse, handle, read_frame, validate};
use serde_json::{Map, Value, json};

/// What came back from a call.
pub struct Reply {
    /// `{"code", "status", "message", ...}` where it failed.
    pub error: Option<Value>,
    /// The members of the answer.
    pub output: Value,
    /// The events of a stream.
    pub events: Vec<Value>,
}

/// Calls `name`, such as `bedrock-runtime.Converse`, with the members of `input`.
pub async fn call(session: &Session, name: &str, input: &Value) -> Reply {
    let (service_name, operation) = name.split_once('.').expect("service.Operation");
    let service = service(service_name).expect("a service");
    let operation = service.operation(operation).expect("an operation");
    let request = request(service, operation, input);
    let response = handle(session, Caller::in_process(), request).await;
    reply(service, operation, response).await
}

fn request(service: &ServiceModel, operation: &OperationModel, input: &Value) -> HttpRequest {
    let shape = service.structure(operation.input);
    let mut request = HttpRequest {
        method: operation.method.to_string(),
        path: operation.uri.to_string(),
        headers: vec![(
            "host".to_string(),
            format!("{}.local.amazonaws.com", service.name),
        )],
        ..HttpRequest::default()
    };
    let mut body = Map::new();
    for member in &shape.members {
        let value = match input.get(member.name) {
            Some(value) => value.clone(),
            None if member.idempotency_token => json!(format!("token-{}", outcrop::request_id())),
            None => continue,
        };
        match member.place {
            Place::Uri(label) => {
                let encoded = encode(&plain(&value));
                request.path = request.path.replace(&format!("{{{label}}}"), &encoded);
            }
            Place::Query(name) => {
                let values = value.as_array().cloned().unwrap_or_else(|| vec![value]);
                let pairs = values
                    .iter()
                    .map(|it| format!("{name}={}", encode(&plain(it))));
                let query: Vec<String> = pairs.collect();
                let joint = if request.query.is_empty() { "" } else { "&" };
                request.query += &format!("{joint}{}", query.join("&"));
            }
            Place::Header(name) => request.headers.push((name.to_string(), plain(&value))),
            Place::Body if shape.payload == Some(member.name) => {
                request.body = bytes(&value).unwrap_or_else(|| value.to_string().into_bytes());
            }
            Place::Body => {
                body.insert(member.name.to_string(), sent(service, member.shape, &value));
            }
        }
    }
    if shape.payload.is_none() && !matches!(operation.method, "GET" | "DELETE") {
        request.body = Value::Object(body).to_string().into_bytes();
    }
    request
}

/// A value of a case as JSON on the wire: bytes become base64.
fn sent(service: &ServiceModel, shape: ShapeId, value: &Value) -> Value {
    match (&service.shape(shape).kind, value) {
        (Kind::Timestamp(_), value) => value["$time"].clone(),
        (Kind::Blob(_), _) => json!(STANDARD.encode(bytes(value).expect("bytes of a blob"))),
        (Kind::Structure(structure), Value::Object(members)) => members
            .iter()
            .map(|(name, value)| {
                let member = structure.member(name);
                let sent = member.map(|member| sent(service, member.shape, value));
                (name.clone(), sent.unwrap_or_else(|| value.clone()))
            })
            .collect(),
        (Kind::List(item, _), Value::Array(items)) => items
            .iter()
            .map(|value| sent(service, *item, value))
            .collect(),
        (Kind::Map(_, item, _), Value::Object(entries)) => entries
            .iter()
            .map(|(name, value)| (name.clone(), sent(service, *item, value)))
            .collect(),
        _ => value.clone(),
    }
}

fn bytes(value: &Value) -> Option<Vec<u8>> {
    let text = value
        .get("$text")
        .and_then(Value::as_str)
        .map(str::to_string);
    let json = value.get("$json").map(Value::to_string);
    text.or(json).map(String::into_bytes)
}

/// Bytes of an answer in a case's form: as JSON where they are that.
fn shown(bytes: &[u8]) -> Value {
    match serde_json::from_slice::<Value>(bytes) {
        Ok(json) => json!({"$json": json}),
        Err(_) => json!({"$text": String::from_utf8_lossy(bytes)}),
    }
}

fn plain(value: &Value) -> String {
    value
        .as_str()
        .map_or_else(|| value.to_string(), str::to_string)
}

fn encode(text: &str) -> String {
    let encoded = text.bytes().map(|byte| match byte {
        b'a'..=b'z' | b'A'..=b'Z' | b'0'..=b'9' | b'-' | b'_' | b'.' | b'~' => {
            char::from(byte).to_string()
        }
        other => format!("%{other:02X}"),
    });
    encoded.collect()
}

async fn reply(
    service: &'static ServiceModel,
    operation: &'static OperationModel,
    response: HttpResponse,
) -> Reply {
    let header = |name: &str| {
        let mut headers = response.headers.iter();
        let found = headers.find(|(it, _)| it.eq_ignore_ascii_case(name));
        found.map(|(_, value)| value.clone())
    };
    assert!(
        header("x-amzn-RequestId").is_some_and(|id| !id.is_empty()),
        "no request id"
    );
    if let Some(code) = header("x-amzn-ErrorType") {
        let Body::Whole(body) = response.body else {
            panic!("an error that is a stream");
        };
        return Reply {
            error: Some(error(service, operation, &code, response.status, &body)),
            output: Value::Null,
            events: Vec::new(),
        };
    }
    assert_eq!(
        response.status, operation.status,
        "the status of {}",
        operation.name
    );
    let shape = service.structure(operation.output);
    let mut output = Map::new();
    let mut events = Vec::new();
    let payload = shape.payload.and_then(|name| shape.member(name));
    for member in &shape.members {
        if let Place::Header(name) = member.place
            && let Some(value) = header(name)
        {
            output.insert(member.name.to_string(), value.into());
        }
    }
    match (response.body, payload) {
        (Body::Chunks(mut chunks), Some(payload)) => {
            while let Some(chunk) = chunks.next().await {
                let (frame, taken) = read_frame(&chunk)
                    .expect("a right frame")
                    .expect("a whole frame");
                assert_eq!(taken, chunk.len(), "a chunk is one frame");
                events.push(event(service, payload.shape, &frame));
            }
        }
        (Body::Whole(body), Some(payload)) => {
            output.insert(payload.name.to_string(), shown(&body));
        }
        (Body::Whole(body), None) => {
            let body: Map<String, Value> = serde_json::from_slice(&body).expect("an object");
            output.extend(body);
        }
        (Body::Chunks(_), None) => panic!("{} has no stream", operation.name),
    }
    let mut members = output.clone();
    if let Some(payload) = payload {
        members.remove(payload.name);
    }
    let problem = validate(service, operation.output, &members);
    assert_eq!(
        problem,
        Ok(()),
        "the answer of {}: {output:?}",
        operation.name
    );
    Reply {
        error: None,
        output: Value::Object(output),
        events,
    }
}

fn error(
    service: &ServiceModel,
    operation: &OperationModel,
    code: &str,
    status: u16,
    body: &[u8],
) -> Value {
    let code = code.split(':').next().expect("a code");
    let members: Map<String, Value> = serde_json::from_slice(body).expect("an object");
    let mut errors = operation.errors.iter();
    match errors.find(|id| service.shape(**id).name == code) {
        Some(shape) => {
            assert_eq!(
                validate(service, *shape, &members),
                Ok(()),
                "{code}: {members:?}"
            );
            assert_eq!(
                service.structure(*shape).error,
                Some(status),
                "the status of {code}"
            );
        }
        None => assert_eq!(
            (code, status),
            ("NotImplementedException", 501),
            "undeclared"
        ),
    }
    let mut error = json!({"code": code, "status": status});
    error.as_object_mut().expect("an object").extend(members);
    error
}

fn event(service: &ServiceModel, stream: ShapeId, frame: &outcrop_protocol::Frame) -> Value {
    let members: Map<String, Value> = serde_json::from_slice(&frame.payload).expect("an object");
    let name = frame
        .header(":event-type")
        .or(frame.header(":exception-type"));
    let name = name.expect("a frame has a name");
    let member = service
        .structure(stream)
        .member(name)
        .expect("an event of the stream");
    let problem = validate(service, member.shape, &members);
    assert_eq!(problem, Ok(()), "the event {name}: {members:?}");
    if frame.header(":message-type") == Some("exception") {
        let mut told = json!({"code": name});
        told.as_object_mut().expect("an object").extend(members);
        return json!({"$exception": told});
    }
    let mut members = members;
    for (name, value) in &mut members {
        let member = service
            .structure(member.shape)
            .member(name)
            .expect("a member");
        if let (Kind::Blob(_), Some(text)) = (&service.shape(member.shape).kind, value.as_str()) {
            *value = shown(&STANDARD.decode(text).expect("base64"));
        }
    }
    json!({name: members})
}
