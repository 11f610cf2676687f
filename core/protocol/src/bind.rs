//! From an HTTP request to one object of the operation's members, and the payload's bytes.

use serde_json::{Map, Number, Value};

use crate::http::HttpRequest;
use crate::route::{Route, percent_decode};
use crate::service_model::{Kind, Place, ServiceModel, ShapeId, Structure};

/// A request's members by the names of the service model, and its payload.
#[derive(Debug, Default)]
pub struct Bound {
    /// The members. None of them is null.
    pub input: Map<String, Value>,
    /// The body of an operation whose body is bytes.
    pub payload: Vec<u8>,
}

/// Gathers the members of `request` from its path, its query, its headers and its body.
///
/// # Errors
/// The message of the `ValidationException` where a value cannot be read as what its place asks for.
pub fn bind(route: &Route, request: HttpRequest) -> Result<Bound, String> {
    let service = route.service;
    let input = service.structure(route.operation.input);
    let mut bound = Bound {
        input: placed(route, input, &request)?,
        payload: Vec::new(),
    };
    let Some(payload) = input.payload.and_then(|name| input.member(name)) else {
        let body = json(&request.body)?;
        let Some(Value::Object(members)) = pruned(service, route.operation.input, body) else {
            return Err("The request body is not a JSON object of members".to_string());
        };
        for (name, value) in members {
            // A member that belongs in the path or a header is not one of the body's.
            match input.member(&name) {
                Some(member) if member.place != Place::Body => {
                    return Err(format!(
                        "'{name}' does not belong in the body: it is sent {}",
                        place_name(member.place)
                    ));
                }
                _ => bound.input.insert(name, value),
            };
        }
        return Ok(bound);
    };
    match service.shape(payload.shape).kind {
        Kind::Blob(_) | Kind::String(..) => bound.payload = request.body,
        _ if request.body.is_empty() => {}
        _ => {
            let body = pruned(service, payload.shape, json(&request.body)?);
            bound
                .input
                .extend(body.map(|body| (payload.name.to_string(), body)));
        }
    }
    Ok(bound)
}

fn place_name(place: Place) -> String {
    match place {
        Place::Body => "in the body".to_string(),
        Place::Uri(_) => "in the path".to_string(),
        Place::Query(name) => format!("as '{name}' in the query string"),
        Place::Header(name) => format!("in the header {name}"),
    }
}

/// The members that stand in the path, the query string and the headers.
fn placed(
    route: &Route,
    input: &Structure,
    request: &HttpRequest,
) -> Result<Map<String, Value>, String> {
    let query = query_pairs(&request.query)?;
    let mut members = Map::new();
    for member in &input.members {
        let values: Vec<&str> = match member.place {
            Place::Body => continue,
            Place::Uri(label) => {
                let labels = route.labels.iter().filter(|(name, _)| *name == label);
                labels.map(|(_, value)| value.as_str()).collect()
            }
            Place::Query(key) => {
                let pairs = query.iter().filter(|(name, _)| name == key);
                pairs.map(|(_, value)| value.as_str()).collect()
            }
            Place::Header(name) => request.header(name).into_iter().collect(),
        };
        if values.is_empty() {
            continue;
        }
        let value = match &route.service.shape(member.shape).kind {
            Kind::List(item, _) => values
                .iter()
                .map(|text| typed(route.service, *item, member.name, text))
                .collect::<Result<Value, String>>()?,
            _ => typed(route.service, member.shape, member.name, values[0])?,
        };
        members.insert(member.name.to_string(), value);
    }
    Ok(members)
}

/// A text of the path, the query or a header as the JSON value that its shape asks for.
fn typed(service: &ServiceModel, shape: ShapeId, name: &str, text: &str) -> Result<Value, String> {
    let wrong = |what: &str| format!("STRING_VALUE can not be converted to {what}: '{name}'");
    match service.shape(shape).kind {
        Kind::Boolean => match text {
            "true" => Ok(Value::Bool(true)),
            "false" => Ok(Value::Bool(false)),
            _ => Err(wrong("a Boolean")),
        },
        Kind::Integer(_) | Kind::Long(_) => match text.parse::<i64>() {
            Ok(number) => Ok(number.into()),
            Err(_) => Err(wrong("an Integer")),
        },
        Kind::Float(_) => match text.parse().ok().and_then(Number::from_f64) {
            Some(number) => Ok(Value::Number(number)),
            None => Err(wrong("a Float")),
        },
        _ => Ok(Value::String(text.to_string())),
    }
}

fn query_pairs(query: &str) -> Result<Vec<(String, String)>, String> {
    let pairs = query.split('&').filter(|pair| !pair.is_empty());
    pairs
        .map(|pair| {
            let (name, value) = pair.split_once('=').unwrap_or((pair, ""));
            let decoded = percent_decode(name, true).zip(percent_decode(value, true));
            decoded.ok_or_else(|| format!("The query string is not UTF-8 at '{pair}'"))
        })
        .collect()
}

fn json(body: &[u8]) -> Result<Value, String> {
    if body.iter().all(u8::is_ascii_whitespace) {
        return Ok(Value::Object(Map::new()));
    }
    serde_json::from_slice(body)
        .map_err(|error| format!("The request body is not valid JSON: {error}"))
}

/// The value without the members that are null, which stand for absent ones. What is in a document
/// stays as it is.
fn pruned(service: &ServiceModel, shape: ShapeId, mut value: Value) -> Option<Value> {
    prune(service, shape, &mut value);
    Some(value).filter(|value| !value.is_null())
}

fn prune(service: &ServiceModel, shape: ShapeId, value: &mut Value) {
    match (&service.shape(shape).kind, value) {
        (Kind::Structure(structure), Value::Object(members)) => {
            if members.values().any(Value::is_null) {
                members.retain(|_, value| !value.is_null());
            }
            for (name, value) in members {
                if let Some(member) = structure.member(name) {
                    prune(service, member.shape, value);
                }
            }
        }
        (Kind::List(item, _), Value::Array(items)) => {
            for value in items {
                prune(service, *item, value);
            }
        }
        (Kind::Map(_, item, _), Value::Object(entries)) => {
            for value in entries.values_mut() {
                prune(service, *item, value);
            }
        }
        _ => {}
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::panic)]
    use serde_json::json;

    use super::*;
    use crate::route::route;

    fn bound(method: &str, path: &str, query: &str, body: &str) -> Result<Value, String> {
        let request = HttpRequest {
            method: method.to_string(),
            path: path.to_string(),
            query: query.to_string(),
            headers: vec![("accept".to_string(), "application/json".to_string())],
            body: body.as_bytes().to_vec(),
        };
        let route = route(method, path, None).unwrap();
        bind(&route, request).map(|bound| Value::Object(bound.input))
    }

    #[test]
    fn members_come_from_their_places() {
        let converse = bound("POST", "/model/a.b%3A0/converse", "", r#"{"messages": []}"#);
        assert_eq!(converse, Ok(json!({"modelId": "a.b:0", "messages": []})));
        let list = bound(
            "GET",
            "/prompts/",
            "maxResults=5&nextToken=a%2Bb+c&other=1",
            "",
        );
        assert_eq!(list, Ok(json!({"maxResults": 5, "nextToken": "a+b c"})));
        let untag = bound("DELETE", "/tags/arn", "tagKeys=a&tagKeys=b", "");
        assert_eq!(
            untag,
            Ok(json!({"resourceArn": "arn", "tagKeys": ["a", "b"]}))
        );
        let invoke = bound("POST", "/model/a.b/invoke", "", "\u{1}\u{2}");
        assert_eq!(
            invoke,
            Ok(json!({"accept": "application/json", "modelId": "a.b"}))
        );
    }

    #[test]
    fn a_null_is_an_absent_member_save_in_a_document() {
        let body = r#"{"system": null, "inferenceConfig": {"topP": null},
            "additionalModelRequestFields": {"seed": null}}"#;
        let expected = json!({"modelId": "a.b", "inferenceConfig": {},
            "additionalModelRequestFields": {"seed": null}});
        assert_eq!(bound("POST", "/model/a.b/converse", "", body), Ok(expected));
    }

    #[test]
    fn what_cannot_be_read_is_told() {
        let told = |body| bound("POST", "/model/a.b/converse", "", body).unwrap_err();
        assert!(told("{").starts_with("The request body is not valid JSON: EOF"));
        assert_eq!(
            told("[]"),
            "The request body is not a JSON object of members"
        );
        assert_eq!(
            told(r#"{"modelId": "c.d"}"#),
            "'modelId' does not belong in the body: it is sent in the path"
        );
        let deep = "[".repeat(100_000);
        assert!(told(&deep).contains("recursion limit"));
        assert_eq!(
            bound("GET", "/prompts/", "maxResults=many", "").unwrap_err(),
            "STRING_VALUE can not be converted to an Integer: 'maxResults'"
        );
    }
}
