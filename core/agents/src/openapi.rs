//! The functions that an OpenAPI 3 schema describes, one for each operation.

use std::collections::BTreeMap;

use outcrop_api::{Error, Result};
use serde_json::{Map, Value, json};

use crate::definition::{ApiOperation, Function};

/// The methods of a path, as an OpenAPI schema names them.
const METHODS: [&str; 8] = [
    "get", "put", "post", "delete", "options", "head", "patch", "trace",
];
/// Deepest nesting of references.
const DEPTH: usize = 32;
/// Most parts of one function's schema with its references written out.
const MAX_PARTS: usize = 10_000;

/// The functions of an OpenAPI 3 schema, JSON or YAML. A function goes by the operation's
/// `operationId`, or by its method and path; its arguments are the parameters and the members of
/// the body. `x-requireConfirmation: ENABLED` asks for a person's approval of each call.
///
/// # Errors
/// `ValidationException` that names the path and method, and what is wrong there.
pub fn functions(text: &str) -> Result<Vec<Function>> {
    let root = parse(text)?;
    let version = root["openapi"].as_str().unwrap_or_default();
    if !version.starts_with("3.") {
        return Err(Error::validation(format!(
            "apiSchema: expected an OpenAPI schema of version 3, got {}",
            root.get("openapi").unwrap_or(&Value::Null)
        )));
    }
    let Some(paths) = root["paths"].as_object() else {
        return Err(Error::validation("apiSchema: expected an object as paths"));
    };
    let mut functions = Vec::new();
    for (path, item) in paths {
        for method in METHODS {
            if let Some(operation) = item.get(method) {
                let mut reader = Reader {
                    root: &root,
                    parts: 0,
                };
                let shared = item.get("parameters");
                let read = reader.function(path, method, operation, shared);
                functions.push(read.map_err(|error| {
                    let method = method.to_uppercase();
                    Error::validation(format!("apiSchema: {method} {path}: {}", error.message()))
                })?);
            }
        }
    }
    match functions.is_empty() {
        true => Err(Error::validation(
            "apiSchema: expected at least one operation",
        )),
        false => Ok(functions),
    }
}

fn parse(text: &str) -> Result<Value> {
    if text.trim_start().starts_with('{') {
        return serde_json::from_str(text).map_err(|error| {
            Error::validation(format!("apiSchema: it is no JSON: {error}")).with_source(error)
        });
    }
    serde_yaml_ng::from_str(text).map_err(|error| {
        Error::validation(format!("apiSchema: it is no YAML: {error}")).with_source(error)
    })
}

/// Reads one operation.
struct Reader<'a> {
    root: &'a Value,
    parts: usize,
}

/// The arguments of an operation, as they are gathered.
#[derive(Default)]
struct Arguments {
    properties: Map<String, Value>,
    required: Vec<String>,
}

impl Arguments {
    fn add(&mut self, name: &str, schema: Value, required: bool) -> Result<()> {
        if self.properties.insert(name.into(), schema).is_some() {
            return Err(Error::validation(format!(
                "expected arguments of different names, got {name:?} twice"
            )));
        }
        if required {
            self.required.push(name.into());
        }
        Ok(())
    }
}

impl Reader<'_> {
    fn function(
        &mut self,
        path: &str,
        method: &str,
        operation: &Value,
        shared: Option<&Value>,
    ) -> Result<Function> {
        let text = |name: &str| operation[name].as_str().unwrap_or_default();
        let mut arguments = Arguments::default();
        let own = list(operation.get("parameters"));
        let named = |parameter: &Value| (parameter["name"].clone(), parameter["in"].clone());
        let (mut seen, mut headers) = (Vec::new(), Vec::new());
        for parameter in own.chain(list(shared)) {
            let parameter = self.inline(parameter, 0)?;
            // What an operation says of a parameter stands before what its path says of it.
            if !seen.contains(&named(&parameter)) {
                seen.push(named(&parameter));
                add_parameter(&mut arguments, &parameter)?;
                if let (Some("header"), Some(name)) =
                    (parameter["in"].as_str(), parameter["name"].as_str())
                {
                    headers.push(name.to_string());
                }
            }
        }
        let body = match operation.get("requestBody") {
            Some(body) => {
                let body = self.inline(body, 0)?;
                add_body(&mut arguments, &body)?
            }
            None => BTreeMap::new(),
        };
        let description = match text("description") {
            "" => text("summary"),
            description => description,
        };
        Ok(Function {
            name: match text("operationId") {
                "" => name_of(method, path),
                id => id.into(),
            },
            description: description.into(),
            input_schema: json!({
                "type": "object",
                "properties": arguments.properties,
                "required": arguments.required,
                "additionalProperties": false,
            }),
            require_confirmation: operation["x-requireConfirmation"] == "ENABLED",
            api: Some(ApiOperation {
                path: path.into(),
                method: method.to_uppercase(),
                headers,
                body,
            }),
            ..Function::default()
        })
    }

    /// The value with its references written out.
    fn inline(&mut self, value: &Value, depth: usize) -> Result<Value> {
        self.parts += 1;
        if depth > DEPTH || self.parts > MAX_PARTS {
            return Err(Error::validation(format!(
                "$ref: expected references that end within {DEPTH} levels and {MAX_PARTS} parts"
            )));
        }
        match value {
            Value::Array(items) => items
                .iter()
                .map(|item| self.inline(item, depth + 1))
                .collect(),
            Value::Object(members) => {
                if let Some(at) = members.get("$ref").and_then(Value::as_str) {
                    let found = at.strip_prefix('#').and_then(|at| self.root.pointer(at));
                    let found = found.ok_or_else(|| {
                        Error::validation(format!(
                            "$ref: expected a part of the same schema, got {at:?}"
                        ))
                    })?;
                    return self.inline(found, depth + 1);
                }
                let mut inlined = Map::new();
                for (name, value) in members {
                    inlined.insert(name.clone(), self.inline(value, depth + 1)?);
                }
                Ok(Value::Object(inlined))
            }
            plain => Ok(plain.clone()),
        }
    }
}

fn list(value: Option<&Value>) -> impl Iterator<Item = &Value> {
    value.and_then(Value::as_array).into_iter().flatten()
}

fn add_parameter(arguments: &mut Arguments, parameter: &Value) -> Result<()> {
    let Some(name) = parameter["name"].as_str() else {
        return Err(Error::validation("expected a name of each parameter"));
    };
    let mut schema = match parameter.get("schema") {
        Some(schema) => schema.clone(),
        None => {
            return Err(Error::validation(format!(
                "expected a schema of the parameter {name:?}"
            )));
        }
    };
    if let (Some(description), Some(members)) =
        (parameter.get("description"), schema.as_object_mut())
    {
        members.insert("description".into(), description.clone());
    }
    arguments.add(name, schema, parameter["required"] == json!(true))
}

/// Adds the members of a request's body; tells their names by its media type.
fn add_body(arguments: &mut Arguments, body: &Value) -> Result<BTreeMap<String, Vec<String>>> {
    let content = body["content"].as_object();
    let Some((media, content)) = content.and_then(|content| content.iter().next()) else {
        return Err(Error::validation("requestBody: expected a content"));
    };
    let schema = &content["schema"];
    let Some(properties) = schema["properties"].as_object() else {
        return Err(Error::validation(format!(
            "requestBody: expected the schema of an object with properties as {media}"
        )));
    };
    let needs_body = body["required"] == json!(true);
    let mut names = Vec::new();
    for (name, property) in properties {
        let mut required = list(schema.get("required"));
        let is_required = needs_body && required.any(|required| required == name.as_str());
        arguments.add(name, property.clone(), is_required)?;
        names.push(name.clone());
    }
    Ok(BTreeMap::from([(media.clone(), names)]))
}

/// A name for an operation that has none: its method and its path.
fn name_of(method: &str, path: &str) -> String {
    let words = path.split(|c: char| !c.is_ascii_alphanumeric());
    let words = words.filter(|word| !word.is_empty());
    std::iter::once(method)
        .chain(words)
        .collect::<Vec<_>>()
        .join("_")
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    const YAML: &str = r##"
openapi: 3.0.1
info: {title: limits, version: "1"}
paths:
  /limits/{userId}:
    parameters:
      - {name: userId, in: path, required: true, description: whose, schema: {type: string}}
    get:
      operationId: getCreditLimit
      description: The credit limit of a user.
      responses: {"200": {description: ok}}
    put:
      summary: Sets it.
      x-requireConfirmation: ENABLED
      requestBody:
        required: true
        content:
          application/json:
            schema: {$ref: "#/components/schemas/Limit"}
components:
  schemas:
    Limit:
      type: object
      required: [amount]
      properties:
        amount: {type: number}
        note: {type: string}
"##;

    #[test]
    fn operations_become_functions() {
        let functions = functions(YAML).unwrap();
        assert_eq!(functions.len(), 2);
        let get = &functions[0];
        assert_eq!(get.name, "getCreditLimit");
        assert_eq!(
            get.input_schema["properties"]["userId"]["description"],
            "whose"
        );
        assert_eq!(get.input_schema["required"], json!(["userId"]));
        let put = &functions[1];
        assert_eq!(put.name, "put_limits_userId");
        assert_eq!(put.description, "Sets it.");
        assert!(put.require_confirmation);
        assert_eq!(put.input_schema["required"], json!(["userId", "amount"]));
        let api = put.api.as_ref().unwrap();
        assert_eq!(
            (api.method.as_str(), api.path.as_str()),
            ("PUT", "/limits/{userId}")
        );
        assert_eq!(api.body["application/json"], ["amount", "note"]);
    }

    #[test]
    fn what_cannot_be_called_is_refused_with_its_place() {
        let of = |operation: Value| {
            let schema = json!({"openapi": "3.0.0", "paths": {"/a": {"post": operation}}});
            functions(&schema.to_string())
                .unwrap_err()
                .message()
                .to_string()
        };
        let body = |schema: Value| json!({"requestBody": {"content": {"application/json": {"schema": schema}}}});
        assert!(of(body(json!({"type": "string"}))).contains("POST /a: requestBody"));
        assert!(of(body(json!({"$ref": "other.yaml"}))).contains("\"other.yaml\""));
        let itself =
            json!({"$ref": "#/paths/~1a/post/requestBody/content/application~1json/schema"});
        assert!(of(body(itself)).contains("references that end"));
        assert!(
            functions("swagger: '2.0'")
                .unwrap_err()
                .message()
                .contains("version 3")
        );
        assert!(functions("{}").is_err() && functions("a: [").is_err());
    }
}
