//! `InvokeInlineAgent`: one turn of an agent that the request itself describes.

use outcrop_agents::{
    AgentDefinition, Collaboration, Collaborator, KnowledgeBaseLink, default_results,
};
use outcrop_api::{Error, Result};
use serde_json::{Value, json};

use super::invoke::{check, configure, turn};
use super::{DRAFT, action_groups, convert, overrides};
use crate::operations::{Answer, Call, knowledge_bases};
use crate::session::blocking;

/// What stands for the id of an agent that is kept nowhere: its sessions and its decisions go by it.
const ID: &str = "INLINEAGNT";
/// The member of a request that has the session's state.
const STATE: &str = "inlineSessionState";

/// `InvokeInlineAgent`.
pub(in crate::operations) async fn invoke(call: Call) -> Result<Answer> {
    check(&call, STATE)?;
    let (call, definition) = blocking(move || {
        let definition = definition(&call)?;
        Ok((call, definition))
    })
    .await?;
    let traced = json!({"sessionId": call.text("sessionId")});
    turn(&call, definition, STATE, traced).await
}

/// The agent that a request describes.
fn definition(call: &Call) -> Result<AgentDefinition> {
    let definition = described(call, &call.input, ID)?;
    definition.validate()?;
    Ok(definition)
}

/// The agent that `asked`, the request or one of its collaborators, describes.
fn described(call: &Call, asked: &Value, id: &str) -> Result<AgentDefinition> {
    refuse_what_is_not_honoured(asked)?;
    let text = |name: &str| asked[name].as_str().unwrap_or_default();
    let model = needed(asked, "foundationModel")?;
    call.model_of(model)?;
    let mut definition = AgentDefinition {
        id: id.into(),
        name: match text("agentName") {
            "" => "inline".into(),
            name => name.into(),
        },
        version: DRAFT.into(),
        model: model.into(),
        instruction: needed(asked, "instruction")?.into(),
        ..AgentDefinition::default()
    };
    if let Some(seconds) = asked["idleSessionTTLInSeconds"].as_f64() {
        definition.idle_session_seconds = Some(seconds);
    } else if id == ID {
        definition.idle_session_seconds = Some(super::agent::IDLE_SESSION_TTL as f64);
    }
    if let Some(config) = overrides::inference_config(&asked["promptOverrideConfiguration"])? {
        definition.inference_config = config;
    }
    for group in list(asked, "actionGroups") {
        let name = group["actionGroupName"].as_str().unwrap_or_default();
        convert::check_executor(&call.session, group).map_err(|error| {
            Error::validation(format!("Action group {name}: {}", error.message()))
        })?;
        definition
            .action_groups
            .extend(action_groups::described(call, name, group)?);
    }
    for (at, link) in list(asked, "knowledgeBases").enumerate() {
        let id = link["knowledgeBaseId"].as_str().unwrap_or_default();
        let base = knowledge_bases::open(call, id)?;
        definition.knowledge_bases.push(KnowledgeBaseLink {
            id: base.id().to_string(),
            name: base.name().to_string(),
            description: link["description"].as_str().unwrap_or_default().into(),
            results: default_results(),
        });
        configure(&mut definition, link, &format!("knowledgeBases[{at}]"))?;
    }
    definition.collaborators = collaborators(call, asked, id)?;
    definition.collaboration = match text("agentCollaboration") {
        "SUPERVISOR_ROUTER" => Collaboration::SupervisorRouter,
        _ => Collaboration::Supervisor,
    };
    Ok(definition)
}

/// The agents that `asked` may hand work to: agents of this home by their alias, and agents that
/// the request itself describes by their name.
fn collaborators(call: &Call, asked: &Value, id: &str) -> Result<Vec<Collaborator>> {
    let configurations = list(asked, "collaboratorConfigurations");
    let collaborators = configurations.map(|configuration| {
        let text = |name: &str| configuration[name].as_str().unwrap_or_default();
        let name = text("collaboratorName");
        let found = match text("agentAliasArn") {
            "" => here(call, name, id)?,
            arn => convert::collaborator(&call.session, arn, name)?,
        };
        Ok(Collaborator {
            instruction: text("collaboratorInstruction").into(),
            relays_history: text("relayConversationHistory") == "TO_COLLABORATOR",
            ..found
        })
    });
    let collaborators: Vec<Collaborator> = collaborators.collect::<Result<_>>()?;
    if !collaborators.is_empty() && !asked["agentCollaboration"].as_str().is_some_and(supervises) {
        return Err(Error::validation(
            "agentCollaboration: expected SUPERVISOR or SUPERVISOR_ROUTER with \
             collaboratorConfigurations.",
        ));
    }
    Ok(collaborators)
}

/// The collaborator that the request describes by the name `name`.
fn here(call: &Call, name: &str, over: &str) -> Result<Collaborator> {
    let id = format!("{over}/{name}");
    // An agent that is described cannot stand above itself.
    if over.split('/').any(|above| above == name) {
        return Err(Error::validation(format!(
            "collaborators: {name} is its own collaborator"
        )));
    }
    let mut described_here = list(&call.input, "collaborators");
    let found = described_here.find(|one| one["agentName"] == json!(name));
    let found = found.ok_or_else(|| {
        Error::validation(format!(
            "collaboratorConfigurations: {name}: expected an agentAliasArn, or the agentName of one \
             of collaborators"
        ))
    })?;
    let definition = described(call, found, &id)?;
    definition.validate()?;
    Ok(Collaborator {
        agent_id: id,
        agent_version: DRAFT.into(),
        name: name.into(),
        definition: Some(Box::new(definition)),
        ..Collaborator::default()
    })
}

fn supervises(collaboration: &str) -> bool {
    ["SUPERVISOR", "SUPERVISOR_ROUTER"].contains(&collaboration)
}

fn needed<'a>(asked: &'a Value, name: &str) -> Result<&'a str> {
    let text = asked[name].as_str().filter(|text| !text.is_empty());
    text.ok_or_else(|| Error::validation(format!("{name}: expected a text, got none")))
}

fn list<'a>(asked: &'a Value, name: &str) -> impl Iterator<Item = &'a Value> {
    asked[name].as_array().into_iter().flatten()
}

fn refuse_what_is_not_honoured(asked: &Value) -> Result<()> {
    for (name, why) in [
        (
            "customOrchestration",
            "agents here are orchestrated by their own turn",
        ),
        (
            "customerEncryptionKeyArn",
            "sessions are kept in the home without encryption",
        ),
        ("guardrailConfiguration", "there are no guardrails here"),
    ] {
        if asked.get(name).is_some_and(|given| !given.is_null()) {
            return Err(Error::validation(format!(
                "{name} is not supported: {why}."
            )));
        }
    }
    let orchestration = asked["orchestrationType"].as_str();
    if let Some(other) = orchestration.filter(|given| *given != "DEFAULT") {
        return Err(Error::validation(format!(
            "orchestrationType {other} is not supported for an inline agent: expected DEFAULT."
        )));
    }
    Ok(())
}
