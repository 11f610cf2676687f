//! Whether an agent may make its calls: each is decided, and the decision kept, before any is made.

use outcrop_agents::{Call, Target, Verdict, digest};
use outcrop_api::Result;
use outcrop_governance::{Decision, Effect, Principal, ToolCall, ToolCallKind};

use crate::registry::AGENTS;
use crate::session::Session;

/// Whose calls are decided.
pub(super) struct Asking<'a> {
    pub session: &'a Session,
    pub user: &'a Principal,
    pub agent_id: &'a str,
    pub session_id: &'a str,
    pub request_id: &'a str,
}

impl Asking<'_> {
    /// Decides `calls`, in order, and keeps each decision.
    ///
    /// # Errors
    /// `InternalServerException` where a decision cannot be kept.
    pub fn decide(&self, calls: &[Call]) -> Result<Vec<Verdict>> {
        let arn = AGENTS.arn_of(self.agent_id);
        calls
            .iter()
            .map(|call| {
                let sha256 = digest::of_json(&call.arguments);
                let (kind, action, resource) = what(call);
                let asked = ToolCall {
                    agent: &arn,
                    user: self.user,
                    kind,
                    action,
                    resource,
                    session_id: self.session_id,
                    call_id: &call.id,
                    arguments: &call.arguments,
                    arguments_sha256: &sha256,
                };
                let decision = decision(call);
                self.session
                    .desk()
                    .trail()
                    .decided_call(self.request_id, &asked, &decision)?;
                Ok(Verdict {
                    call: call.id.clone(),
                    effect: match decision.effect {
                        Effect::Allow => outcrop_agents::Effect::Allow,
                        Effect::Approve => outcrop_agents::Effect::Approve,
                        Effect::Deny => outcrop_agents::Effect::Deny,
                    },
                    rule: decision.rule.into_owned(),
                })
            })
            .collect()
    }
}

/// What the agent has is allowed, and nothing else.
fn decision(call: &Call) -> Decision {
    let rule = match &call.target {
        Some(Target::Function { action_group, .. }) => {
            format!("the agent's action group {action_group} has it")
        }
        Some(Target::KnowledgeBase { .. }) => "the agent has the knowledge base".into(),
        Some(Target::Collaborator { .. }) => "the agent has the collaborator".into(),
        None => {
            return Decision {
                effect: Effect::Deny,
                rule: "no rule allows it".into(),
            };
        }
    };
    Decision {
        effect: Effect::Allow,
        rule: rule.into(),
    }
}

fn what(call: &Call) -> (ToolCallKind, &str, &str) {
    match &call.target {
        Some(Target::Function {
            action_group,
            function,
            ..
        }) => (ToolCallKind::CallFunction, function, action_group),
        Some(Target::KnowledgeBase { id }) => (ToolCallKind::Retrieve, &call.tool, id),
        Some(Target::Collaborator { name }) => (ToolCallKind::Delegate, name, name),
        None => (ToolCallKind::CallFunction, &call.tool, ""),
    }
}
