//! Whether an agent may make its calls: each is decided, and the decision kept, before any is made.

use chrono::{DateTime, Utc};
use outcrop_agents::{Call, Conversation, Target, Turn, Verdict, digest, origins, read_from};
use outcrop_api::Result;
use outcrop_governance::{
    AgentRule, CallFacts, Decision, Effect, Principal, ToolCall, ToolCallKind, decide_by_rules,
};
use serde_json::Value;

use crate::registry::AGENTS;
use crate::session::Session;

/// Whose calls are decided.
pub(super) struct Asking<'a> {
    pub session: &'a Session,
    pub user: &'a Principal,
    pub agent_id: &'a str,
    /// The turn that they are of: the session's own, or that of an agent which was handed work.
    pub turn: &'a Turn,
    pub session_id: &'a str,
    pub request_id: &'a str,
    /// The session, as it is when the calls are asked for.
    pub conversation: &'a Conversation,
    /// The rules over the agent's calls.
    pub rules: &'a [AgentRule],
}

impl Asking<'_> {
    /// Decides `calls`, in order, and keeps each decision.
    ///
    /// # Errors
    /// `InternalServerException` where a decision cannot be kept.
    pub fn decide(&self, calls: &[Call]) -> Result<Vec<Verdict>> {
        let arn = AGENTS.arn_of(self.agent_id);
        let mut made = self.made();
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
                let decision = self.decision(call, &made)?;
                if decision.effect != Effect::Deny {
                    made.push((0.0, self.name_of(call), call.arguments.clone()));
                }
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

    /// What the agent has is allowed where its rules hold, and nothing else.
    fn decision(&self, call: &Call, made: &[(f64, String, Value)]) -> Result<Decision> {
        let rule = match &call.target {
            Some(Target::Function { action_group, .. }) => {
                format!("the agent's action group {action_group} has it")
            }
            Some(Target::KnowledgeBase { .. }) => "the agent has the knowledge base".into(),
            Some(Target::Collaborator { .. }) => "the agent has the collaborator".into(),
            None => {
                return Ok(Decision {
                    effect: Effect::Deny,
                    rule: "no rule allows it".into(),
                });
            }
        };
        let allowed = Decision {
            effect: Effect::Allow,
            rule: rule.into(),
        };
        if self.rules.is_empty() {
            return Ok(allowed);
        }
        let origins = origins(self.conversation, call)?;
        let origins: Vec<(String, Vec<String>)> = origins
            .into_iter()
            .map(|origin| (origin.argument, origin.sources))
            .collect();
        let read = read_from(self.conversation, call)?;
        let facts = CallFacts {
            function: &self.name_of(call),
            arguments: &call.arguments,
            origins: &origins,
            read: &read.iter().map(String::as_str).collect::<Vec<_>>(),
            made,
        };
        Ok(decide_by_rules(self.rules, &facts).unwrap_or(allowed))
    }

    /// The name that rules know a call by.
    fn name_of(&self, call: &Call) -> String {
        match &call.target {
            Some(Target::Function {
                action_group,
                function,
                ..
            }) => format!("{action_group}.{function}"),
            Some(Target::KnowledgeBase { id }) => {
                let mut links = self.turn.agent().knowledge_bases.iter();
                let link = links.find(|link| link.id == *id);
                format!("knowledge_bases.{}", link.map_or(id, |link| &link.name))
            }
            Some(Target::Collaborator { name }) => format!("collaborators.{name}"),
            None => call.tool.clone(),
        }
    }

    /// The functions that the session has run for the agent: seconds ago, name, arguments.
    fn made(&self) -> Vec<(f64, String, Value)> {
        let now = Utc::now();
        let own = match self.turn.chain().last() {
            Some(last) => &last.agent_id,
            None => "",
        };
        let ran = self.conversation.ran.iter().filter(|ran| ran.agent == own);
        let ran = ran.map(|ran| {
            // A time that cannot be read counts as now: a bound holds rather than not.
            let time = DateTime::parse_from_rfc3339(&ran.time).map(|time| time.to_utc());
            let ago = now.signed_duration_since(time.unwrap_or(now));
            let name = format!("{}.{}", ran.action_group, ran.function);
            (
                ago.num_milliseconds() as f64 / 1000.0,
                name,
                ran.arguments.clone(),
            )
        });
        ran.collect()
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
