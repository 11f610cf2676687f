//! The agents that one answer tells of: the one that was asked, and those that it hands work to.

use std::collections::BTreeMap;

use outcrop_agents::{AgentDefinition, Delegation, Turn};
use serde_json::{Value, json};

use super::aliases;
use crate::registry::AGENT_ALIASES;

/// What each of them is made of, and what an event says of it.
pub(super) struct Team {
    asked: AgentDefinition,
    /// The others, by the call that handed them their work.
    others: BTreeMap<String, AgentDefinition>,
}

impl Team {
    pub fn new(asked: AgentDefinition) -> Self {
        Self {
            asked,
            others: BTreeMap::new(),
        }
    }

    /// Those of a turn that is under way.
    pub fn at_work(turn: &Turn) -> Self {
        let mut team = Self::new(turn.agent().clone());
        for other in turn.team() {
            if let Some(last) = other.chain().last() {
                team.add(last.call.clone(), other.agent().clone());
            }
        }
        team
    }

    /// Adds the agent that the call `call` hands work to.
    pub fn add(&mut self, call: String, definition: AgentDefinition) {
        self.others.insert(call, definition);
    }

    /// The agent that works within those delegations.
    pub fn of(&self, within: &[Delegation]) -> &AgentDefinition {
        let last = within.last();
        let other = last.and_then(|last| self.others.get(&last.call));
        other.unwrap_or(&self.asked)
    }
}

/// What an event of a trace says of the agent that works within those delegations, where `about`
/// is what it says of the one that was asked.
pub(super) fn about(about: &Value, within: &[Delegation]) -> Value {
    let mut told = about.clone();
    let Some(last) = within.last() else {
        return told;
    };
    told["collaboratorName"] = json!(last.name);
    if about.get("agentId").is_some() {
        told["agentId"] = json!(last.agent_id);
        told["agentVersion"] = json!(last.agent_version);
        told["agentAliasId"] = json!(alias_id(last));
    }
    let chain = about["callerChain"].as_array().cloned();
    let chain = chain.into_iter().flatten().chain(
        within
            .iter()
            .filter_map(alias_arn)
            .map(|arn| json!({"agentAliasArn": arn})),
    );
    told["callerChain"] = chain.collect();
    told
}

/// The ARN of the alias that an agent asks its collaborator `name` by; none where it is kept nowhere.
pub(super) fn asked_by(definition: &AgentDefinition, name: &str) -> Option<String> {
    let mut collaborators = definition.collaborators.iter();
    let one = collaborators.find(|one| one.name == name)?;
    alias_arn(&Delegation {
        agent_id: one.agent_id.clone(),
        alias_id: one.alias_id.clone(),
        ..Delegation::default()
    })
}

fn alias_id(delegation: &Delegation) -> &str {
    match delegation.alias_id.as_str() {
        "" => aliases::TEST_ALIAS,
        id => id,
    }
}

/// The ARN of the alias that a collaborator is asked by; none where it is kept nowhere.
fn alias_arn(delegation: &Delegation) -> Option<String> {
    let is_kept = delegation
        .agent_id
        .chars()
        .all(|c| c.is_ascii_alphanumeric());
    is_kept.then(|| {
        let id = format!("{}/{}", delegation.agent_id, alias_id(delegation));
        AGENT_ALIASES.arn_of(&id)
    })
}
