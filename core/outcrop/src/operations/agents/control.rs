//! Return of control: the calls that a paused turn hands back, and what is answered of them.

use outcrop_agents::{
    AgentDefinition, Answer, Asks, Call, CallAnswer, CallSummary, Function, Outcome, Pending,
    Target, digest,
};
use outcrop_api::{Error, Result};
use serde_json::{Value, json};

use super::team::Team;

/// Most calls that one event hands back: the others follow once these are answered.
const MAX_INPUTS: usize = 5;

/// The id of a pause: what it waits for.
pub(super) fn invocation_id(pending: &[Pending]) -> String {
    digest::of_json(&pending)
}

/// The `returnControl` event of a turn that is paused.
pub(super) fn event(team: &Team, pending: &[Pending]) -> Value {
    let inputs = pending.iter().take(MAX_INPUTS);
    json!({
        "invocationId": invocation_id(pending),
        "invocationInputs": inputs.map(|one| input(team.of(&one.within), one)).collect::<Vec<_>>(),
    })
}

fn input(definition: &AgentDefinition, pending: &Pending) -> Value {
    let call = summary(&pending.call);
    let function = function_of(definition, &call);
    let (group, name) = names(&call);
    let mut about = json!({
        "actionGroup": group,
        "agentId": definition.id,
        "actionInvocationType": pending.asks,
    });
    if let Some(last) = pending.within.last() {
        about["collaboratorName"] = json!(last.name);
    }
    let Some(api) = function.and_then(|function| function.api.as_ref()) else {
        about["function"] = json!(name);
        about["parameters"] = parameters(&call.arguments, function, |_| true);
        return json!({"functionInvocationInput": about});
    };
    let (outside, body) = split(&call.arguments, function);
    about["apiPath"] = json!(api.path);
    about["httpMethod"] = json!(api.method);
    about["parameters"] = outside;
    if let Some((media, properties)) = body {
        about["requestBody"] = json!({"content": {media: {"properties": properties}}});
    }
    json!({"apiInvocationInput": about})
}

/// The arguments that belong to an operation's path, query or headers, and those of its body.
pub(super) fn split(
    arguments: &Value,
    function: Option<&Function>,
) -> (Value, Option<(String, Value)>) {
    let api = function.and_then(|function| function.api.as_ref());
    let body = api.and_then(|api| api.body.iter().next());
    let is_of_body = |name: &str| body.is_some_and(|(_, names)| names.iter().any(|n| n == name));
    let outside = parameters(arguments, function, |name| !is_of_body(name));
    let inside =
        body.map(|(media, _)| (media.clone(), parameters(arguments, function, is_of_body)));
    (outside, inside)
}

/// The arguments that `keep` keeps, each with the type that its schema says.
pub(super) fn parameters(
    arguments: &Value,
    function: Option<&Function>,
    keep: impl Fn(&str) -> bool,
) -> Value {
    let arguments = arguments.as_object().into_iter().flatten();
    let kept = arguments.filter(|(name, _)| keep(name));
    kept.map(|(name, value)| {
        let schema = function.map(|function| &function.input_schema["properties"][name.as_str()]);
        let kind = schema.and_then(|schema| schema["type"].as_str());
        let text = value.as_str().map(str::to_string);
        json!({
            "name": name,
            "type": kind.unwrap_or_else(|| kind_of(value)),
            "value": text.unwrap_or_else(|| value.to_string()),
        })
    })
    .collect()
}

fn kind_of(value: &Value) -> &'static str {
    match value {
        Value::Bool(_) => "boolean",
        Value::Number(number) if number.is_f64() => "number",
        Value::Number(_) => "integer",
        Value::Array(_) => "array",
        Value::Object(_) => "object",
        Value::String(_) | Value::Null => "string",
    }
}

/// The function that a call leads to.
pub(super) fn function_of<'a>(
    definition: &'a AgentDefinition,
    call: &CallSummary,
) -> Option<&'a Function> {
    let (group, name) = names(call);
    let mut groups = definition.action_groups.iter();
    let group = groups.find(|there| there.name == group)?;
    group.functions.iter().find(|there| there.name == name)
}

/// The action group and the function of a call.
pub(super) fn names(call: &CallSummary) -> (&str, &str) {
    match &call.target {
        Some(Target::Function {
            action_group,
            function,
            ..
        }) => (action_group, function),
        _ => ("", &call.tool),
    }
}

pub(super) fn summary(call: &Call) -> CallSummary {
    CallSummary {
        id: call.id.clone(),
        tool: call.tool.clone(),
        target: call.target.clone(),
        arguments: call.arguments.clone(),
    }
}

/// What the `returnControlInvocationResults` of a session's state, at `member` of its request,
/// answer of the calls that a turn waits for. Of several calls
/// of one function, the first result is of the first.
///
/// # Errors
/// `ValidationException` for a result of no such call, or another pause's `invocationId`.
pub(super) fn answers(
    team: &Team,
    state: &Value,
    member: &str,
    pending: &[Pending],
) -> Result<Vec<Answer>> {
    if pending.is_empty() {
        return Err(Error::conflict(format!(
            "{member}: the session waits for no call: its last turn has ended"
        )));
    }
    let id = invocation_id(pending);
    if state["invocationId"]
        .as_str()
        .is_some_and(|given| given != id)
    {
        return Err(Error::validation(format!(
            "{member}.invocationId: expected {id}, which the session waits for, got {}",
            state["invocationId"]
        )));
    }
    let mut open: Vec<&Pending> = pending.iter().collect();
    let mut answers = Vec::new();
    let results = state["returnControlInvocationResults"].as_array();
    for (at, result) in results.into_iter().flatten().enumerate() {
        let place = format!("{member}.returnControlInvocationResults[{at}]");
        let result = match result.get("functionResult") {
            Some(result) => result,
            None => &result["apiResult"],
        };
        let is_of = |one: &&Pending| is_result_of(team.of(&one.within), &one.call, result);
        let found = open.iter().position(is_of).ok_or_else(|| {
            Error::validation(format!("{place}: the session waits for no such call"))
        })?;
        let one = open.remove(found);
        answers.push(Answer {
            call: one.call.id.clone(),
            answer: answer(&place, one, result)?,
            by: None,
        });
    }
    Ok(answers)
}

fn is_result_of(definition: &AgentDefinition, call: &Call, result: &Value) -> bool {
    let call = summary(call);
    let (group, name) = names(&call);
    let api = function_of(definition, &call).and_then(|function| function.api.as_ref());
    let is_named = match api {
        Some(api) => {
            let method = result["httpMethod"].as_str().unwrap_or_default();
            result["apiPath"] == json!(api.path) && method.eq_ignore_ascii_case(&api.method)
        }
        None => result["function"] == json!(name),
    };
    let agent = result["agentId"].as_str();
    let is_its = agent.is_none_or(|agent| agent == definition.id);
    result["actionGroup"] == json!(group) && is_named && is_its
}

fn answer(place: &str, pending: &Pending, result: &Value) -> Result<CallAnswer> {
    let body = body(place, result)?;
    let confirmation = result["confirmationState"].as_str();
    match (confirmation, body) {
        (Some("DENY"), body) => Ok(CallAnswer::Rejected {
            reason: body.unwrap_or_else(|| "the user denied it".into()),
        }),
        (Some(_), None) => Ok(CallAnswer::Approved {}),
        (Some(_), Some(_)) if pending.asks == Asks::UserConfirmation => Ok(CallAnswer::Approved {}),
        (None, _) if pending.asks != Asks::Result => Err(Error::validation(format!(
            "{place}.confirmationState: expected CONFIRM or DENY, which the call waits for, got none"
        ))),
        (_, body) => {
            let text = body.unwrap_or_default();
            Ok(CallAnswer::Result(
                match result["responseState"].is_string() {
                    true => Outcome::Failed { error: text },
                    false => Outcome::Returned(read(text)),
                },
            ))
        }
    }
}

/// A structured result as such: policies look at its members.
fn read(text: String) -> Value {
    match serde_json::from_str(&text) {
        Ok(value @ (Value::Object(_) | Value::Array(_))) => value,
        _ => Value::String(text),
    }
}

fn body(place: &str, result: &Value) -> Result<Option<String>> {
    let bodies = result["responseBody"].as_object();
    let mut texts = Vec::new();
    for (media, body) in bodies.into_iter().flatten() {
        if body.get("images").is_some() {
            return Err(Error::validation(format!(
                "{place}.responseBody.{media}.images is not supported: a result here is text."
            )));
        }
        texts.extend(body["body"].as_str());
    }
    Ok((!texts.is_empty()).then(|| texts.join("\n")))
}
