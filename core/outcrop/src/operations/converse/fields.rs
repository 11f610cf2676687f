//! `additionalModelRequestFields`: what a model takes beyond what all models take.

use outcrop_api::{ConverseRequest, Error, OutputFormat, Result};
use serde::de::DeserializeOwned;
use serde_json::{Map, Value};

/// Applies the fields to the request. Samplers go by the names that models on Bedrock have for
/// them; a JSON schema may come by each of the ways in use.
///
/// # Errors
/// `ValidationException` for a field that is not known or of the wrong type.
pub(super) fn apply(fields: Option<&Value>, request: &mut ConverseRequest) -> Result<()> {
    let Some(fields) = fields else {
        return Ok(());
    };
    let Value::Object(fields) = fields else {
        return Err(Error::validation(format!(
            "additionalModelRequestFields: expected an object, got {fields}"
        )));
    };
    for (name, value) in fields {
        field(name, value, request)?;
    }
    Ok(())
}

fn field(name: &str, value: &Value, request: &mut ConverseRequest) -> Result<()> {
    let config = &mut request.inference_config;
    match name {
        "top_k" | "topK" => config.top_k = Some(read(name, value)?),
        "top_p" | "topP" => config.top_p = Some(read(name, value)?),
        "min_p" | "minP" => config.min_p = Some(read(name, value)?),
        "seed" => config.seed = Some(read(name, value)?),
        "repetition_penalty" | "repetitionPenalty" => {
            config.repetition_penalty = Some(read(name, value)?);
        }
        "stop_sequences" => config.stop_sequences = read(name, value)?,
        "inferenceConfig" => members(name, value, &["topK"], request)?,
        "logprobs" => config.logprobs = Some(read(name, value)?),
        "adapter" => request.adapter = Some(read(name, value)?),
        "thinking" | "reasoning_config" => thinking(name, value, request)?,
        "chat_template_kwargs" => request
            .template_variables
            .extend(read::<Map<_, _>>(name, value)?),
        "output_config" => {
            for (inner, value) in &read::<Map<String, Value>>(name, value)? {
                match inner.as_str() {
                    "format" => schema(&format!("{name}.{inner}"), value, request)?,
                    _ => return Err(unknown(&format!("#/{name}"), inner)),
                }
            }
        }
        "response_format" | "output_format" => schema(name, value, request)?,
        _ => return Err(unknown("#", name)),
    }
    Ok(())
}

/// Fields one level down.
fn members(name: &str, value: &Value, known: &[&str], request: &mut ConverseRequest) -> Result<()> {
    for (inner, value) in &read::<Map<String, Value>>(name, value)? {
        if !known.contains(&inner.as_str()) {
            return Err(unknown(&format!("#/{name}"), inner));
        }
        field(inner, value, request)?;
    }
    Ok(())
}

/// `{"type": "json_schema", …}` in the forms of Anthropic and of OpenAI.
fn schema(name: &str, value: &Value, request: &mut ConverseRequest) -> Result<()> {
    let schema = match value["type"].as_str() {
        Some("json_schema") => value
            .get("schema")
            .or_else(|| value.pointer("/json_schema/schema")),
        _ => None,
    };
    let schema = schema.ok_or_else(|| {
        Error::validation(format!(
            "additionalModelRequestFields.{name}: expected {{\"type\": \"json_schema\", \"schema\": …}}, got {value}"
        ))
    })?;
    request.output_format = Some(OutputFormat::JsonSchema(schema.clone()));
    Ok(())
}

/// Whether the model thinks first. For how long cannot be set.
fn thinking(name: &str, value: &Value, request: &mut ConverseRequest) -> Result<()> {
    let is_on = match value["type"].as_str() {
        Some("enabled" | "adaptive") if value.get("budget_tokens").is_none() => true,
        Some("disabled") => false,
        _ => {
            return Err(Error::validation(format!(
                "additionalModelRequestFields.{name}: expected {{\"type\": \"enabled\"}} or {{\"type\": \"disabled\"}}; \
                 a budget of tokens is not supported by this model; got {value}"
            )));
        }
    };
    request
        .template_variables
        .insert("enable_thinking".into(), is_on.into());
    Ok(())
}

fn read<T: DeserializeOwned>(name: &str, value: &Value) -> Result<T> {
    T::deserialize(value).map_err(|error| {
        Error::validation(format!(
            "additionalModelRequestFields.{name}: {error}, got {value}"
        ))
    })
}

fn unknown(place: &str, name: &str) -> Error {
    Error::validation(format!(
        "The model returned the following errors: Malformed input request: {place}: extraneous key [{name}] is not permitted, please reformat your input and try again."
    ))
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use serde_json::json;

    fn applied(fields: Value) -> Result<ConverseRequest> {
        let mut request = ConverseRequest::default();
        apply(Some(&fields), &mut request).map(|()| request)
    }

    #[test]
    fn every_way_of_a_schema_leads_to_the_same_form() {
        let form = json!({"type": "object"});
        for fields in [
            json!({"output_config": {"format": {"type": "json_schema", "schema": form}}}),
            json!({"output_format": {"type": "json_schema", "schema": form}}),
            json!({"response_format": {"type": "json_schema", "json_schema": {"name": "x", "schema": form}}}),
        ] {
            let request = applied(fields).unwrap();
            assert_eq!(
                request.output_format,
                Some(OutputFormat::JsonSchema(form.clone()))
            );
        }
    }

    #[test]
    fn samplers_are_taken_and_what_is_not_known_is_named() {
        let request =
            applied(json!({"top_k": 3, "min_p": 0.5, "seed": 7, "inferenceConfig": {"topK": 4}}));
        assert_eq!(request.unwrap().inference_config.top_k, Some(4));
        let error = applied(json!({"anthropic_beta": []})).unwrap_err();
        assert!(
            error
                .message()
                .contains("#: extraneous key [anthropic_beta]")
        );
        let error = applied(json!({"top_k": "x"})).unwrap_err();
        assert!(
            error
                .message()
                .starts_with("additionalModelRequestFields.top_k: invalid type")
        );
    }
}
