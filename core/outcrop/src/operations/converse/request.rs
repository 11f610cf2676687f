//! A `Converse` request as the request of a chat model.

use std::collections::BTreeMap;

use outcrop_api::{
    ConverseRequest, Error, InferenceConfig, OutputFormat, Result, Scheduling, Tool, ToolChoice,
};
use serde::Deserialize;
use serde_json::Value;

use super::blocks::{self, Blocks};
use super::{fields, rules};

/// What stands between the parts of the system text.
const SEPARATOR: &str = "\n\n";

/// A request, and what of it is about the answer's form only.
pub struct Asked {
    pub request: ConverseRequest,
    /// Whether it marks what is worth keeping in the prefix cache.
    pub marks_cache: bool,
    /// JSON pointers into the model's own answer.
    pub response_paths: Vec<String>,
}

/// Members that nothing here can honour, with what they are.
const REFUSED: &[(&str, &str)] = &[
    ("guardrailConfig", "guardrails are not here yet"),
    (
        "promptVariables",
        "they go with the ARN of a prompt as modelId",
    ),
];

/// Reads the members of a request. `cites` says whether the model cites documents.
///
/// # Errors
/// `ValidationException` for what the model cannot be asked for.
pub fn read(input: &Value, cites: bool) -> Result<Asked> {
    rules::check(input)?;
    for (name, why) in REFUSED {
        if input.get(name).is_some() {
            return Err(unsupported(name, why));
        }
    }
    let mut blocks = Blocks::new(cites);
    let messages = blocks.messages(input.get("messages"))?;
    let mut request = ConverseRequest {
        messages,
        system: system(input, &mut blocks)?,
        inference_config: inference(input)?,
        tools: tools(input, &mut blocks)?,
        tool_choice: tool_choice(input)?,
        output_format: output_format(input)?,
        scheduling: scheduling(input)?,
        request_metadata: metadata(input),
        ..ConverseRequest::default()
    };
    fields::apply(input.get("additionalModelRequestFields"), &mut request)?;
    Ok(Asked {
        request,
        marks_cache: blocks.marks_cache,
        response_paths: texts(input, "additionalModelResponseFieldPaths"),
    })
}

/// Whether a message, or a tool's result in one, holds a document.
pub fn has_document(input: &Value) -> bool {
    let messages = blocks::list(input.get("messages"));
    let mut content = messages.flat_map(|message| blocks::list(message.get("content")));
    content.any(|block| {
        let result = blocks::list(block.pointer("/toolResult/content"));
        let mut blocks = std::iter::once(block).chain(result);
        blocks.any(|block| block.get("document").is_some())
    })
}

/// The error of a member that the model cannot honour.
pub fn unsupported(member: &str, why: &str) -> Error {
    Error::validation(format!(
        "This model doesn't support the {member} field: {why}. Remove {member} and try again."
    ))
}

fn system(input: &Value, blocks: &mut Blocks) -> Result<Option<String>> {
    let mut parts = Vec::new();
    for block in blocks::list(input.get("system")) {
        match blocks::union(block)? {
            ("text", text) => parts.push(text.as_str().unwrap_or_default()),
            ("guardContent", guarded) => parts.push(blocks::guarded_text(guarded)?),
            ("cachePoint", _) => blocks.marks_cache = true,
            (other, _) => return Err(unsupported(&format!("system.{other}"), "it is no text")),
        }
    }
    Ok((!parts.is_empty()).then(|| parts.join(SEPARATOR)))
}

fn inference(input: &Value) -> Result<InferenceConfig> {
    let Some(config) = input.get("inferenceConfig") else {
        return Ok(InferenceConfig::default());
    };
    #[derive(Deserialize)]
    #[serde(rename_all = "camelCase")]
    struct Members {
        max_tokens: Option<usize>,
        temperature: Option<f32>,
        top_p: Option<f32>,
        #[serde(default)]
        stop_sequences: Vec<String>,
    }
    let members = Members::deserialize(config)
        .map_err(|error| Error::validation(format!("inferenceConfig: {error}")))?;
    Ok(InferenceConfig {
        max_tokens: members.max_tokens,
        temperature: members.temperature,
        top_p: members.top_p,
        stop_sequences: members.stop_sequences,
        ..InferenceConfig::default()
    })
}

fn tools(input: &Value, blocks: &mut Blocks) -> Result<Vec<Tool>> {
    let mut tools = Vec::new();
    for tool in blocks::list(input.pointer("/toolConfig/tools")) {
        match blocks::union(tool)? {
            // A call is always JSON of its tool's schema: `strict` asks for what is done anyway.
            ("toolSpec", spec) => tools.push(Tool {
                name: blocks::text_of(spec, "name")?.to_string(),
                description: spec["description"].as_str().unwrap_or_default().to_string(),
                input_schema: spec["inputSchema"]["json"].clone(),
            }),
            ("cachePoint", _) => blocks.marks_cache = true,
            (other, _) => {
                return Err(unsupported(
                    &format!("toolConfig.tools.{other}"),
                    "the model has no tools of its own",
                ));
            }
        }
    }
    Ok(tools)
}

fn tool_choice(input: &Value) -> Result<Option<ToolChoice>> {
    let choice = input.pointer("/toolConfig/toolChoice");
    choice
        .map(|choice| {
            ToolChoice::deserialize(choice)
                .map_err(|error| Error::validation(format!("toolConfig.toolChoice: {error}")))
        })
        .transpose()
}

fn output_format(input: &Value) -> Result<Option<OutputFormat>> {
    let Some(config) = input.get("outputConfig") else {
        return Ok(None);
    };
    if config.get("effort").is_some() {
        return Err(unsupported("effort", "how long it thinks cannot be set"));
    }
    let Some(schema) = config.pointer("/textFormat/structure/jsonSchema/schema") else {
        return Ok(None);
    };
    let text = schema.as_str().unwrap_or_default();
    let schema = serde_json::from_str(text).map_err(|error| {
        Error::validation(format!(
            "outputConfig.textFormat.structure.jsonSchema.schema: expected a JSON schema as text: {error}"
        ))
    })?;
    Ok(Some(OutputFormat::JsonSchema(schema)))
}

/// The tiers as priorities of one queue.
fn scheduling(input: &Value) -> Result<Scheduling> {
    if input["performanceConfig"]["latency"] == "optimized" {
        return Err(unsupported(
            "performanceConfig.latency",
            "it always runs as fast as this machine does",
        ));
    }
    let priority = match input["serviceTier"]["type"].as_str() {
        None | Some("default") => 0,
        Some("priority") => 1,
        Some("flex") => -1,
        Some(other) => {
            return Err(unsupported(
                "serviceTier",
                &format!("no capacity is kept for {other:?}"),
            ));
        }
    };
    Ok(Scheduling {
        priority,
        ..Scheduling::default()
    })
}

fn metadata(input: &Value) -> BTreeMap<String, String> {
    let entries = input["requestMetadata"].as_object().into_iter().flatten();
    entries
        .filter_map(|(name, value)| Some((name.clone(), value.as_str()?.to_string())))
        .collect()
}

fn texts(input: &Value, name: &str) -> Vec<String> {
    blocks::list(input.get(name))
        .filter_map(|text| text.as_str().map(str::to_string))
        .collect()
}
