//! What `promptOverrideConfiguration` may override: how the model of the orchestration samples, and
//! how a session's summary is asked for.

use outcrop_api::{Error, InferenceConfig, Result};
use serde_json::{Value, json};

/// The member's name, for an error.
const PLACE: &str = "promptOverrideConfiguration";
/// The prompt by which a session's summary is asked for.
const SUMMARIZATION: &str = "MEMORY_SUMMARIZATION";

/// Lengths and sampling of the orchestration's model; none where nothing is said of them.
///
/// # Errors
/// `ValidationException` for an override that an agent here does not honour.
pub(super) fn inference_config(configuration: &Value) -> Result<Option<InferenceConfig>> {
    if configuration.get("overrideLambda").is_some() {
        return refuse(
            "overrideLambda",
            "an agent here reads what its model says itself",
        );
    }
    let prompts = configuration["promptConfigurations"].as_array();
    let mut config = None;
    for (at, prompt) in prompts.into_iter().flatten().enumerate() {
        let place = format!("promptConfigurations[{at}]");
        check(&place, prompt)?;
        let asked = &prompt["inferenceConfiguration"];
        if prompt["promptType"] == "ORCHESTRATION" && asked.is_object() {
            config = Some(read(asked));
        }
    }
    Ok(config)
}

/// The template and the sampling that sessions are summed up with; none where nothing is said of
/// them.
///
/// # Errors
/// As [`inference_config`].
pub(super) fn summarization(
    configuration: &Value,
) -> Result<(Option<String>, Option<InferenceConfig>)> {
    inference_config(configuration)?;
    let mut prompts = configuration["promptConfigurations"]
        .as_array()
        .into_iter()
        .flatten();
    let Some(prompt) = prompts.find(|prompt| prompt["promptType"] == SUMMARIZATION) else {
        return Ok((None, None));
    };
    let asked = &prompt["inferenceConfiguration"];
    let template = prompt["basePromptTemplate"].as_str().map(String::from);
    Ok((template, asked.is_object().then(|| read(asked))))
}

fn check(place: &str, prompt: &Value) -> Result<()> {
    let kind = prompt["promptType"].as_str().unwrap_or_default();
    for (name, why) in [
        (
            "basePromptTemplate",
            "an agent here is prompted by its own turn",
        ),
        (
            "foundationModel",
            "every prompt of an agent here asks the agent's model",
        ),
    ] {
        let is_honoured = kind == SUMMARIZATION && name == "basePromptTemplate";
        if prompt.get(name).is_some() && !is_honoured {
            return refuse(&format!("{place}.{name}"), why);
        }
    }
    if prompt["parserMode"] == "OVERRIDDEN" {
        return refuse(
            &format!("{place}.parserMode OVERRIDDEN"),
            "an agent here reads what its model says itself",
        );
    }
    let fields = prompt.get("additionalModelRequestFields");
    if fields.is_some_and(|fields| *fields != json!({})) {
        return refuse(
            &format!("{place}.additionalModelRequestFields"),
            "an agent's model takes its inferenceConfiguration only",
        );
    }
    let has_it = [
        "ORCHESTRATION",
        "KNOWLEDGE_BASE_RESPONSE_GENERATION",
        SUMMARIZATION,
    ]
    .contains(&kind);
    if kind == "ORCHESTRATION" && prompt["promptState"] == "DISABLED" {
        return refuse(
            &format!("{place}.promptState DISABLED"),
            "an agent without its orchestration does nothing",
        );
    }
    if !has_it && prompt["promptState"] == "ENABLED" {
        return refuse(
            &format!("{place}.promptState ENABLED"),
            &format!("an agent here has no step of the type {kind}"),
        );
    }
    let is_open = ["ORCHESTRATION", SUMMARIZATION].contains(&kind);
    if !is_open && prompt["promptCreationMode"] == "OVERRIDDEN" {
        return refuse(
            &format!("{place}.promptCreationMode OVERRIDDEN"),
            "of an agent's prompts the inferenceConfiguration of ORCHESTRATION and the \
             MEMORY_SUMMARIZATION can be overridden",
        );
    }
    Ok(())
}

fn read(asked: &Value) -> InferenceConfig {
    let whole = |name: &str| asked[name].as_u64().map(|number| number as usize);
    let real = |name: &str| asked[name].as_f64().map(|number| number as f32);
    let stops = asked["stopSequences"].as_array().into_iter().flatten();
    InferenceConfig {
        max_tokens: whole("maximumLength"),
        temperature: real("temperature"),
        top_p: real("topP"),
        // Bedrock's 0 is all tokens.
        top_k: whole("topK").filter(|top_k| *top_k > 0),
        stop_sequences: stops.filter_map(Value::as_str).map(String::from).collect(),
        ..InferenceConfig::default()
    }
}

fn refuse<T>(what: &str, why: &str) -> Result<T> {
    Err(Error::validation(format!(
        "{PLACE}.{what} is not supported: {why}."
    )))
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    fn of(prompt: Value) -> Result<Option<InferenceConfig>> {
        inference_config(&json!({"promptConfigurations": [prompt]}))
    }

    #[test]
    fn the_orchestration_samples_as_it_is_told() {
        let config = of(json!({
            "promptType": "ORCHESTRATION",
            "promptCreationMode": "OVERRIDDEN",
            "inferenceConfiguration": {
                "temperature": 0.5, "topP": 0.9, "topK": 40, "maximumLength": 99,
                "stopSequences": ["END"],
            },
        }));
        let config = config.unwrap().unwrap();
        assert_eq!(config.max_tokens, Some(99));
        assert_eq!(config.temperature, Some(0.5));
        assert_eq!((config.top_p, config.top_k), (Some(0.9), Some(40)));
        assert_eq!(config.stop_sequences, ["END"]);
        assert!(inference_config(&Value::Null).unwrap().is_none());
    }

    #[test]
    fn what_is_not_honoured_is_refused_by_name() {
        for (prompt, name) in [
            (
                json!({"promptType": "ORCHESTRATION", "basePromptTemplate": "x"}),
                "basePromptTemplate",
            ),
            (
                json!({"promptType": "PRE_PROCESSING", "promptState": "ENABLED"}),
                "promptState",
            ),
            (
                json!({"promptType": "ORCHESTRATION", "promptState": "DISABLED"}),
                "promptState",
            ),
            (
                json!({"promptType": "ORCHESTRATION", "parserMode": "OVERRIDDEN"}),
                "parserMode",
            ),
        ] {
            let error = of(prompt).unwrap_err();
            assert!(error.message().contains(name), "{error}");
        }
        assert!(of(json!({"promptType": "PRE_PROCESSING", "promptState": "DISABLED"})).is_ok());
    }
}
