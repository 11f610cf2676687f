//! Collaborators: the agents that a supervisor may hand work to.

use outcrop_api::{Error, Result};
use serde_json::{Map, Value, json};

use super::parts::{COLLABORATORS, PartDraft};
use super::{aliases, given, show};
use crate::operations::{Answer, Call};
use crate::registry::{AGENTS, Resource};
use crate::session::Session;

/// Members of a collaborator that are kept and shown as they came.
const MEMBERS: [&str; 3] = [
    "agentDescriptor",
    "collaborationInstruction",
    "relayConversationHistory",
];

/// `AssociateAgentCollaborator`.
pub(in crate::operations) fn associate(call: &Call) -> Result<Answer> {
    let draft = PartDraft {
        id: None,
        name: Some(call.required("collaboratorName")?),
        members: members_of(call)?,
    };
    let (agent, collaborator) = COLLABORATORS.create(call, draft)?;
    Answer::of(&json!({"agentCollaborator": about(&agent, &collaborator, super::DRAFT)}))
}

/// `GetAgentCollaborator`.
pub(in crate::operations) fn get(call: &Call) -> Result<Answer> {
    let (agent, collaborator) = COLLABORATORS.get(call)?;
    let version = call.required("agentVersion")?;
    Answer::of(&json!({"agentCollaborator": about(&agent, &collaborator, version)}))
}

/// `UpdateAgentCollaborator`.
pub(in crate::operations) fn update(call: &Call) -> Result<Answer> {
    let members = members_of(call)?;
    let name = call.required("collaboratorName")?;
    let (agent, collaborator) = COLLABORATORS.update(call, |collaborator| {
        collaborator.name = Some(name.into());
        collaborator.members.extend(members);
        Ok(())
    })?;
    Answer::of(&json!({"agentCollaborator": about(&agent, &collaborator, super::DRAFT)}))
}

/// `DisassociateAgentCollaborator`.
pub(in crate::operations) fn disassociate(call: &Call) -> Result<Answer> {
    COLLABORATORS.delete(call, |_| Ok(()))?;
    Ok(Answer::default())
}

/// `ListAgentCollaborators`.
pub(in crate::operations) fn list(call: &Call) -> Result<Answer> {
    let version = call.required("agentVersion")?;
    COLLABORATORS.list(call, "agentCollaboratorSummaries", |agent, collaborator| {
        let mut summary = about(agent, collaborator, version);
        if let Some(members) = summary.as_object_mut() {
            members.shift_remove("clientToken");
        }
        summary
    })
}

/// The ARN of the alias of the agent that a collaborator stands for.
pub(super) fn alias_arn(collaborator: &Resource) -> &str {
    let descriptor = collaborator.members.get("agentDescriptor");
    let arn = descriptor.and_then(|descriptor| descriptor["aliasArn"].as_str());
    arn.unwrap_or_default()
}

/// The id of an agent whose draft may hand work to `agent`, where there is one.
///
/// # Errors
/// Those of the store.
pub(super) fn supervisor_of(session: &Session, agent: &Resource) -> Result<Option<String>> {
    for other in session.resources(&AGENTS).all()? {
        let other = super::native::adopted(session, other)?;
        let is_of = |collaborator: &Resource| {
            aliases::parse_arn(alias_arn(collaborator)).is_some_and(|(id, _)| id == agent.id)
        };
        if other.id != agent.id && COLLABORATORS.all(&other)?.iter().any(is_of) {
            return Ok(Some(other.id));
        }
    }
    Ok(None)
}

/// What a request says of a collaborator, checked beyond its shape.
fn members_of(call: &Call) -> Result<Map<String, Value>> {
    let arn = call.input["agentDescriptor"]["aliasArn"].as_str();
    let arn = arn.ok_or_else(|| {
        Error::validation("agentDescriptor.aliasArn: expected the ARN of an agent's alias")
    })?;
    let (agent, alias) = aliases::parse_arn(arn).ok_or_else(|| {
        Error::validation(format!(
            "agentDescriptor.aliasArn: expected the ARN of an agent's alias, got {arn}"
        ))
    })?;
    if agent == call.required("agentId")? {
        return Err(Error::validation(
            "agentDescriptor.aliasArn: an agent cannot be its own collaborator",
        ));
    }
    let of = super::find(&call.session, agent)?;
    aliases::find(&call.session, &of, alias)?;
    let mut members = given(&call.input, &MEMBERS);
    members
        .entry("relayConversationHistory")
        .or_insert_with(|| json!("DISABLED"));
    Ok(members)
}

fn about(agent: &Resource, collaborator: &Resource, version: &str) -> Value {
    let mut about = json!({
        "agentId": agent.id,
        "agentVersion": version,
        "collaboratorId": collaborator.id,
        "collaboratorName": collaborator.name,
        "createdAt": collaborator.created_at,
        "lastUpdatedAt": collaborator.updated_at,
    });
    show(&mut about, &collaborator.members, &MEMBERS);
    show(&mut about, &collaborator.members, &["clientToken"]);
    about
}
