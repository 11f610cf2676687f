//! The trace of a turn in Bedrock's form. What that form has no member for is in the session's own
//! trace only.

use outcrop_agents::{
    AgentDefinition, CallSummary, Delegation, Effect, Event, Outcome, Target, TraceEvent,
};
use serde_json::{Value, json};

use super::control;
use super::team::{self, Team};
use crate::operations::retrieval::reference_to;

/// The `trace` members that an event of a turn's trace is told as, in order, with the delegations
/// that each is within.
pub(super) fn of(team: &Team, event: &TraceEvent) -> Vec<(Vec<Delegation>, Value)> {
    if let Event::ApprovalRequest { pending } = &event.event {
        let invocation = control::invocation_id(pending);
        let inputs = pending.iter().map(|one| {
            let call = control::summary(&one.call);
            let mut told = input(team.of(&one.within), &call, Some(&invocation));
            told["traceId"] = json!(format!("{}.{}", event.turn, event.step));
            let told = json!({"orchestrationTrace": {"invocationInput": told}});
            (one.within.clone(), told)
        });
        return inputs.collect();
    }
    let told = of_one(team.of(&event.within), event).into_iter();
    told.map(|told| (event.within.clone(), told)).collect()
}

fn of_one(definition: &AgentDefinition, event: &TraceEvent) -> Vec<Value> {
    let id = format!("{}.{}", event.turn, event.step);
    let orchestration = |member: &str, mut told: Value| {
        told["traceId"] = json!(id);
        vec![json!({"orchestrationTrace": {member: told}})]
    };
    let asked = |routes: bool, member: &str, mut told: Value| {
        told["traceId"] = json!(id);
        let kind = match routes {
            true => "routingClassifierTrace",
            false => "orchestrationTrace",
        };
        vec![json!({kind: {member: told}})]
    };
    match &event.event {
        Event::ModelInvocationInput {
            model,
            text,
            routes,
            summarizes: false,
        } => {
            let kind = match routes {
                true => "ROUTING_CLASSIFIER",
                false => "ORCHESTRATION",
            };
            asked(
                *routes,
                "modelInvocationInput",
                json!({"type": kind, "foundationModel": model, "text": text}),
            )
        }
        Event::ModelInvocationOutput {
            content,
            usage,
            took_ms,
            routes,
            summarizes: false,
            ..
        } => asked(
            *routes,
            "modelInvocationOutput",
            json!({
                "rawResponse": {"content": json!(content).to_string()},
                "metadata": {
                    "usage": {"inputTokens": usage.input_tokens, "outputTokens": usage.output_tokens},
                    "totalTimeMs": took_ms,
                },
            }),
        ),
        Event::Rationale { text } => orchestration("rationale", json!({"text": text})),
        Event::InvocationInput { call } => {
            orchestration("invocationInput", input(definition, call, None))
        }
        Event::Observation {
            call,
            outcome,
            took_ms,
        } => orchestration(
            "observation",
            observation(definition, call, outcome, *took_ms),
        ),
        // What is denied is told the model at once, and comes to nothing more.
        Event::Decision {
            call,
            effect: Effect::Deny,
            rule,
            ..
        } => {
            let denied = Outcome::Denied { rule: rule.clone() };
            orchestration("observation", observation(definition, call, &denied, 0))
        }
        Event::FinalResponse { text, .. } => orchestration(
            "observation",
            json!({"type": "FINISH", "finalResponse": {"text": text}}),
        ),
        Event::Failure { message, .. } => {
            vec![json!({"failureTrace": {"traceId": id, "failureReason": message}})]
        }
        // A step of Bedrock's, which has no member of its own for it.
        Event::SummaryFailure { message } => {
            let reason = format!("The summary of the session was not made: {message}");
            vec![json!({"failureTrace": {"traceId": id, "failureReason": reason}})]
        }
        Event::MemoryRead { memory } => {
            let missing = memory.missing.iter().map(|one| {
                let (of, why) = (&one.session_id, &one.reason);
                let reason = format!("The summary of session {of} was not made: {why}");
                json!({"failureTrace": {"traceId": id, "failureReason": reason}})
            });
            missing.collect()
        }
        Event::Input { .. }
        | Event::ModelInvocationInput { .. }
        | Event::ModelInvocationOutput { .. }
        | Event::SessionEnded { .. }
        | Event::Summary { .. }
        | Event::Decision { .. }
        | Event::ApprovalRequest { .. }
        | Event::ApprovalResponse { .. }
        | Event::Edited {} => Vec::new(),
    }
}

fn input(definition: &AgentDefinition, call: &CallSummary, invocation: Option<&str>) -> Value {
    match &call.target {
        Some(Target::KnowledgeBase { id }) => json!({
            "invocationType": "KNOWLEDGE_BASE",
            "knowledgeBaseLookupInput": {"knowledgeBaseId": id, "text": call.arguments["query"]},
        }),
        Some(Target::Collaborator { name }) => json!({
            "invocationType": "AGENT_COLLABORATOR",
            "agentCollaboratorInvocationInput": collaborator(
                definition,
                name,
                json!({"input": {"type": "TEXT", "text": call.arguments["message"]}}),
            ),
        }),
        _ => {
            let function = control::function_of(definition, call);
            let (group, name) = control::names(call);
            let mut about = json!({"actionGroupName": group});
            if let Some(invocation) = invocation {
                about["executionType"] = json!("RETURN_CONTROL");
                about["invocationId"] = json!(invocation);
            }
            let (outside, body) = control::split(&call.arguments, function);
            about["parameters"] = outside;
            match function.and_then(|function| function.api.as_ref()) {
                Some(api) => {
                    about["apiPath"] = json!(api.path);
                    about["verb"] = json!(api.method);
                }
                None => about["function"] = json!(name),
            }
            if let Some((media, properties)) = body {
                about["requestBody"] = json!({"content": {media: properties}});
            }
            json!({"invocationType": "ACTION_GROUP", "actionGroupInvocationInput": about})
        }
    }
}

fn observation(
    definition: &AgentDefinition,
    call: &CallSummary,
    outcome: &Outcome,
    took_ms: u64,
) -> Value {
    let metadata = json!({"totalTimeMs": took_ms});
    let text = text_of(outcome);
    if !outcome.ran() {
        let source = match (&call.target, outcome) {
            (_, Outcome::Malformed { .. }) | (None, _) => "PARSER",
            (Some(Target::KnowledgeBase { .. }), _) => "KNOWLEDGE_BASE",
            _ => "ACTION_GROUP",
        };
        return json!({"type": "REPROMPT", "repromptResponse": {"source": source, "text": text}});
    }
    match (&call.target, outcome) {
        (_, Outcome::Found { passages, .. }) => {
            let found = passages.iter().map(|passage| reference_to(passage, None));
            json!({
                "type": "KNOWLEDGE_BASE",
                "knowledgeBaseLookupOutput": {
                    "retrievedReferences": found.collect::<Vec<_>>(),
                    "metadata": metadata,
                },
            })
        }
        (Some(Target::Collaborator { name }), _) => json!({
            "type": "AGENT_COLLABORATOR",
            "agentCollaboratorInvocationOutput": collaborator(
                definition,
                name,
                json!({"output": {"type": "TEXT", "text": text}, "metadata": metadata}),
            ),
        }),
        (Some(Target::KnowledgeBase { .. }), _) => json!({
            "type": "REPROMPT",
            "repromptResponse": {"source": "KNOWLEDGE_BASE", "text": text},
        }),
        _ => json!({
            "type": "ACTION_GROUP",
            "actionGroupInvocationOutput": {"text": text, "metadata": metadata},
        }),
    }
}

/// What is told of a collaborator's work, with its name and the alias that it is asked by.
fn collaborator(definition: &AgentDefinition, name: &str, mut told: Value) -> Value {
    told["agentCollaboratorName"] = json!(name);
    if let Some(arn) = team::asked_by(definition, name) {
        told["agentCollaboratorAliasArn"] = json!(arn);
    }
    told
}

/// What came of a call, in words.
fn text_of(outcome: &Outcome) -> String {
    match outcome {
        Outcome::Returned(Value::String(text)) => text.clone(),
        Outcome::Returned(value) => value.to_string(),
        Outcome::Cut { text, chars, .. } => format!("{text} [cut: {chars} characters came]"),
        Outcome::Failed { error } => error.clone(),
        Outcome::TimedOut { seconds } => format!("It took longer than {seconds} seconds."),
        Outcome::Unknown {} => "Whether it was done is not known.".into(),
        Outcome::Denied { rule } => format!("It is not allowed: {rule}."),
        Outcome::Rejected { reason } => format!("It was refused: {reason}."),
        Outcome::Malformed { fault } => fault.clone(),
        Outcome::Repeated { times } => format!("The same call was made {times} times before."),
        Outcome::Answered { text, .. } => text.clone(),
        Outcome::Found { .. } => String::new(),
    }
}
