//! `InvokeAgent`: one turn of an agent, or what follows on a return of control.

use std::collections::BTreeMap;

use outcrop_agents::AgentDefinition;
use outcrop_api::{Error, Result};
use serde_json::{Value, json};

use super::aliases::TEST_ALIAS;
use super::invoke_events::Invoking;
use super::team::Team;
use super::{DRAFT, aliases, control};
use crate::agents::{Agent, InvokeRequest, find_definition};
use crate::operations::{Answer, Call};
use crate::registry::AGENT_ALIASES;
use crate::session::blocking;

/// The member of a request that has the session's state.
const STATE: &str = "sessionState";

/// `InvokeAgent`.
pub(in crate::operations) async fn invoke(call: Call) -> Result<Answer> {
    check(&call, STATE)?;
    let (call, definition) = blocking(move || {
        let definition = runs(&call)?;
        Ok((call, definition))
    })
    .await?;
    let traced = about(&call, &definition);
    turn(&call, definition, STATE, traced).await
}

/// Begins a turn of an agent, or goes on with one where the state of the session at `member` has
/// results of a return of control. `traced` is what every event of its trace says of the agent.
///
/// # Errors
/// As [`Agent::invoke`] and [`Agent::resume`].
pub(super) async fn turn(
    call: &Call,
    definition: AgentDefinition,
    member: &str,
    traced: Value,
) -> Result<Answer> {
    let session_id = call.required("sessionId")?.to_string();
    let traced = (call.input["enableTrace"] == json!(true)).then_some(traced);
    let alias = call.text("agentAliasId").unwrap_or(TEST_ALIAS);
    let agent = Agent::new(call.session.clone(), definition.clone()).asked_by(
        call.principal.clone(),
        call.record.clone(),
        alias,
    );
    let state = &call.input[member];
    let memory_id = call.text("memoryId").map(String::from);
    let ends = call.input["endSession"] == json!(true);
    let run = if ends {
        // What else the call says is not asked, as in Bedrock: the answer says so.
        agent.end(session_id.clone(), memory_id).await?
    } else if state.get("returnControlInvocationResults").is_some() {
        let (state, place) = (state.clone(), member.to_string());
        let answers = agent.answer(session_id.clone(), move |result, turn| {
            let team = turn.map(Team::at_work);
            let team = team.ok_or_else(|| Error::internal("no turn of the session has begun"))?;
            control::answers(&team, &state, &place, &result.pending)
        });
        answers.await?
    } else {
        let request = InvokeRequest {
            input: call.text("inputText").unwrap_or_default().into(),
            session_id: Some(session_id.clone()),
            session_attributes: attributes(state, "sessionAttributes"),
            prompt_session_attributes: attributes(state, "promptSessionAttributes"),
            // Nobody's loop stands behind an operation: its caller is handed each call.
            runs: Some(Vec::new()),
            memory_id,
            end_session: false,
        };
        agent.invoke(request).await?
    };
    let events = Invoking::new(run, Team::new(definition), traced);
    let mut answer = Answer::stream(Box::new(events.ending(ends)));
    let headers = [
        ("contentType", Some("application/json")),
        ("sessionId", Some(&session_id)),
        ("memoryId", call.text("memoryId")),
    ];
    for (name, value) in headers {
        if let Some(value) = value {
            answer.output.insert(name.into(), json!(value));
        }
    }
    Ok(answer)
}

fn attributes(state: &Value, name: &str) -> BTreeMap<String, String> {
    let given = state[name].as_object().into_iter().flatten();
    given
        .filter_map(|(name, value)| Some((name.clone(), value.as_str()?.to_string())))
        .collect()
}

/// Refuses members that are not honoured, of a request and of the session's state at `member`.
pub(super) fn check(call: &Call, member: &str) -> Result<()> {
    call.refuse(
        &["promptCreationConfigurations"],
        "a session's turns are all told to its model",
    )?;
    if call.input["streamingConfigurations"]["streamFinalResponse"] == json!(true) {
        return Err(Error::validation(
            "streamingConfigurations.streamFinalResponse is not supported: an answer is told once \
             its citations are checked.",
        ));
    }
    for (name, why) in [
        ("files", "an agent here reads no files"),
        (
            "conversationHistory",
            "a session's history is what happened in it",
        ),
    ] {
        if call.input[member].get(name).is_some() {
            return Err(Error::validation(format!(
                "{member}.{name} is not supported: {why}."
            )));
        }
    }
    Ok(())
}

/// The definition that the alias of a call leads to, as this turn runs it.
fn runs(call: &Call) -> Result<AgentDefinition> {
    let agent = super::agent_of(call)?;
    let alias = aliases::find(&call.session, &agent, call.required("agentAliasId")?)?;
    if alias.text("aliasInvocationState") == "REJECT_INVOCATIONS" {
        return Err(Error::validation(format!(
            "Alias {} of agent {} rejects invocations.",
            alias.id, agent.id
        )));
    }
    let version = aliases::version_of(&alias).unwrap_or(DRAFT);
    let found = find_definition(&call.session, &agent.id, version)?;
    let mut definition = found.ok_or_else(|| match version {
        DRAFT => Error::validation(format!(
            "Agent {} is not prepared: prepare it before it is invoked.",
            agent.id
        )),
        number => Error::not_found(format!(
            "Agent version {number}, which alias {} is routed to, does not exist.",
            alias.id
        ))
        .with_resource(&alias.arn),
    })?;
    let configurations = call.input[STATE]["knowledgeBaseConfigurations"].as_array();
    for (at, configuration) in configurations.into_iter().flatten().enumerate() {
        let place = format!("{STATE}.knowledgeBaseConfigurations[{at}]");
        configure(&mut definition, configuration, &place)?;
    }
    Ok(definition)
}

/// Has a look-up in a knowledge base give as many passages as a request says.
///
/// # Errors
/// `ValidationException` for a knowledge base that the agent has not, or what is not honoured.
pub(super) fn configure(
    definition: &mut AgentDefinition,
    configuration: &Value,
    place: &str,
) -> Result<()> {
    let id = &configuration["knowledgeBaseId"];
    let mut links = definition.knowledge_bases.iter_mut();
    let link = links.find(|link| *id == json!(link.id)).ok_or_else(|| {
        Error::validation(format!(
            "{place}.knowledgeBaseId: expected a knowledge base of the agent, got {id}"
        ))
    })?;
    let retrieval = configuration["retrievalConfiguration"].as_object();
    for (name, search) in retrieval.into_iter().flatten() {
        let unknown = search.as_object().into_iter().flatten();
        let mut unknown = unknown.filter(|(member, _)| *member != "numberOfResults");
        if name != "vectorSearchConfiguration" {
            return Err(Error::validation(format!(
                "{place}.retrievalConfiguration.{name} is not supported."
            )));
        }
        if let Some((member, _)) = unknown.next() {
            return Err(Error::validation(format!(
                "{place}.retrievalConfiguration.{name}.{member} is not supported in an agent's \
                 look-ups: of them, numberOfResults can be said."
            )));
        }
        if let Some(results) = search["numberOfResults"].as_u64() {
            link.results = results as usize;
        }
    }
    Ok(())
}

/// What every event of a trace says of the agent that it is of.
fn about(call: &Call, definition: &AgentDefinition) -> Value {
    let alias = call.text("agentAliasId").unwrap_or_default();
    let arn = AGENT_ALIASES.arn_of(&format!("{}/{alias}", definition.id));
    json!({
        "agentId": definition.id,
        "agentAliasId": alias,
        "agentVersion": definition.version,
        "sessionId": call.text("sessionId"),
        "callerChain": [{"agentAliasArn": arn}],
    })
}
