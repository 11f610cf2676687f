//! The knowledge bases that an agent may look things up in.

use outcrop_api::Result;
use serde_json::{Value, json};

use super::parts::{KNOWLEDGE_BASES, PartDraft};
use super::{given, show};
use crate::operations::{Answer, Call, knowledge_bases};
use crate::registry::Resource;

/// What an agent is told of a knowledge base.
const MEMBERS: [&str; 1] = ["description"];
/// Whether an agent may look things up in it.
const STATE: &str = "knowledgeBaseState";

/// `AssociateAgentKnowledgeBase`.
pub(in crate::operations) fn associate(call: &Call) -> Result<Answer> {
    let base = knowledge_bases::open(call, call.required("knowledgeBaseId")?)?;
    let mut members = given(&call.input, &MEMBERS);
    let state = call.text(STATE).unwrap_or("ENABLED");
    members.insert(STATE.into(), json!(state));
    let draft = PartDraft {
        id: Some(base.id()),
        name: None,
        members,
    };
    let (agent, link) = KNOWLEDGE_BASES.create(call, draft)?;
    whole(&agent, &link, super::DRAFT)
}

/// `GetAgentKnowledgeBase`.
pub(in crate::operations) fn get(call: &Call) -> Result<Answer> {
    let (agent, link) = KNOWLEDGE_BASES.get(call)?;
    whole(&agent, &link, call.required("agentVersion")?)
}

/// `UpdateAgentKnowledgeBase`: what the request leaves out stays.
pub(in crate::operations) fn update(call: &Call) -> Result<Answer> {
    let (agent, link) = KNOWLEDGE_BASES.update(call, |link| {
        link.members
            .extend(given(&call.input, &["description", STATE]));
        Ok(())
    })?;
    whole(&agent, &link, super::DRAFT)
}

/// `DisassociateAgentKnowledgeBase`.
pub(in crate::operations) fn disassociate(call: &Call) -> Result<Answer> {
    KNOWLEDGE_BASES.delete(call, |_| Ok(()))?;
    Ok(Answer::default())
}

/// `ListAgentKnowledgeBases`.
pub(in crate::operations) fn list(call: &Call) -> Result<Answer> {
    KNOWLEDGE_BASES.list(call, "agentKnowledgeBaseSummaries", |_, link| {
        let mut summary = json!({
            "knowledgeBaseId": link.id,
            "knowledgeBaseState": link.text(STATE),
            "updatedAt": link.updated_at,
        });
        show(&mut summary, &link.members, &MEMBERS);
        summary
    })
}

/// Whether an agent may look things up in it.
pub(super) fn is_enabled(link: &Resource) -> bool {
    link.text(STATE) != "DISABLED"
}

fn whole(agent: &Resource, link: &Resource, version: &str) -> Result<Answer> {
    let about: Value = json!({
        "agentId": agent.id,
        "agentVersion": version,
        "knowledgeBaseId": link.id,
        "description": link.text("description"),
        "knowledgeBaseState": link.text(STATE),
        "createdAt": link.created_at,
        "updatedAt": link.updated_at,
    });
    Answer::of(&json!({"agentKnowledgeBase": about}))
}
