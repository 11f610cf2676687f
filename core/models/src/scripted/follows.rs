//! What a request asks of an answer, and whether a scripted one follows it.

use outcrop_api::{ConverseRequest, Error, OutputFormat, Result, Speculation, ToolChoice};

use super::rule::Answer;

/// Sampling has nothing to choose in a script and is accepted; what would need a real model is
/// refused.
pub(super) fn refuse_what_it_cannot(request: &ConverseRequest, model: &str) -> Result<()> {
    let config = &request.inference_config;
    if config.max_tokens == Some(0) {
        return Err(Error::validation("max_tokens: expected 1 or more, got 0"));
    }
    let asked = [
        ("logprobs", config.logprobs.is_some()),
        ("adapter", request.adapter.is_some()),
        (
            "speculation",
            !matches!(request.speculation, None | Some(Speculation::Off)),
        ),
        ("template_variables", !request.template_variables.is_empty()),
    ];
    match asked.into_iter().find(|(_, is_asked)| *is_asked) {
        None => Ok(()),
        Some((field, _)) => Err(Error::validation(format!(
            "{field}: model {model} answers by a script and cannot follow it"
        ))
        .with_resource(model)),
    }
}

/// Refuses an answer that is not what the request's `tool_choice` or `output_format` asks for.
///
/// # Errors
/// `ValidationException` that names the answer's place in the script.
pub(super) fn check(answer: &Answer, request: &ConverseRequest, place: &str) -> Result<()> {
    let calls = &answer.tool_uses;
    let (asked, follows) = match &request.tool_choice {
        None | Some(ToolChoice::Auto {}) => (String::new(), true),
        Some(ToolChoice::Any {}) => ("a tool".into(), !calls.is_empty()),
        Some(ToolChoice::Tool { name }) => (
            format!("the tool {name:?}"),
            calls.iter().any(|call| call.name == *name),
        ),
    };
    // What goes wrong halfway, or ends by a stated reason, need not get as far as its tool use.
    let ends_early = answer.fault.is_some() || answer.stop_reason.is_some();
    if !follows && !ends_early {
        return Err(Error::validation(format!(
            "tool_choice: the request asks for a use of {asked}, and {place} has none"
        )));
    }
    match &request.output_format {
        Some(format) if calls.is_empty() && !ends_early => in_form(answer, format, place),
        _ => Ok(()),
    }
}

fn in_form(answer: &Answer, format: &OutputFormat, place: &str) -> Result<()> {
    if outcrop_inference::conforms(format, &answer.text.concat())? {
        return Ok(());
    }
    let option = format.option();
    let order = match format {
        OutputFormat::JsonSchema(_) => "; its properties stand in the schema's order",
        _ => "",
    };
    Err(Error::validation(format!(
        "{option}: {place}.text has not the form that the request asks for{order}"
    )))
}
