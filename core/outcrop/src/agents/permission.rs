//! Whether an agent may make its calls: each is decided, and the decision kept, before any is made.

use chrono::{DateTime, Utc};
use outcrop_agents::{
    Call, Conversation, Status, Target, Turn, Verdict, digest, origins, read_from,
};
use outcrop_api::Result;
use outcrop_governance::{
    AgentCall, AgentPolicies, AgentRule, CallAction, CallFacts, CallResource, CedarRequest,
    Decision, Effect, Principal, ToolCall, ToolCallKind, decide_by_rules,
};
use serde_json::{Value, json};

use super::policies;
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

/// A call that leads somewhere, with what its decision is made of.
struct Traced<'a> {
    call: &'a Call,
    target: &'a Target,
    /// The name that rules know it by.
    name: &'a str,
    origins: Vec<(String, Vec<String>)>,
    read: Vec<String>,
}

impl Asking<'_> {
    /// Decides `calls`, in order, and keeps each decision.
    ///
    /// # Errors
    /// `InternalServerException` where a decision cannot be kept; those of the store.
    pub fn decide(&self, calls: &[Call]) -> Result<Vec<Verdict>> {
        let arn = AGENTS.arn_of(self.agent_id);
        // A policy that is put while a turn is under way holds for its next call.
        let policies = policies::ready(self.session, self.agent_id)?;
        let mut made = self.made();
        calls
            .iter()
            .map(|call| {
                let name = self.name_of(call);
                let traced = self.traced(call, &name)?;
                let decision = self.decision(traced.as_ref(), &policies, &made)?;
                if decision.effect != Effect::Deny {
                    made.push((0.0, name.clone(), call.arguments.clone()));
                }
                let request = traced.as_ref().map(|call| self.asked(call)).transpose()?;
                self.keep(&arn, call, request, &decision)?;
                Ok(Verdict {
                    call: call.id.clone(),
                    effect: match decision.effect {
                        Effect::Allow => outcrop_agents::Effect::Allow,
                        Effect::Approve => outcrop_agents::Effect::Approve,
                        Effect::Deny => outcrop_agents::Effect::Deny,
                    },
                    rule: decision.rule.into_owned(),
                    policies: decision.policies,
                })
            })
            .collect()
    }

    /// What the agent has is allowed where its policies permit it and its rules hold, and nothing
    /// else.
    fn decision(
        &self,
        call: Option<&Traced<'_>>,
        policies: &AgentPolicies,
        made: &[(f64, String, Value)],
    ) -> Result<Decision> {
        let Some(call) = call else {
            return Ok(Decision::by_rule(Effect::Deny, "no rule allows it"));
        };
        let is_approved = call.call.status == Status::Approved {};
        let mut decision = self.with_agent_call(call, |call| match is_approved {
            true => policies.decide_approved(call),
            false => policies.decide(call),
        })?;
        if decision.effect == Effect::Allow {
            decision.rule = has(call.target).into();
        }
        if decision.effect == Effect::Deny || self.rules.is_empty() {
            return Ok(decision);
        }
        let read: Vec<&str> = call.read.iter().map(String::as_str).collect();
        let facts = CallFacts {
            function: call.name,
            arguments: &call.call.arguments,
            origins: &call.origins,
            read: &read,
            made,
        };
        Ok(match decide_by_rules(self.rules, &facts) {
            // A rule that asks for an approval has it.
            Some(by_rule) if is_approved && by_rule.effect == Effect::Approve => Decision {
                effect: Effect::Allow,
                policies: decision.policies,
                rule: format!("{}, and a person has approved it", by_rule.rule).into(),
            },
            Some(by_rule) if by_rule.effect == Effect::Deny || decision.effect == Effect::Allow => {
                Decision {
                    policies: decision.policies,
                    ..by_rule
                }
            }
            _ => decision,
        })
    }

    /// The call with where its arguments come from; none where it leads nowhere.
    fn traced<'a>(&self, call: &'a Call, name: &'a str) -> Result<Option<Traced<'a>>> {
        let Some(target) = &call.target else {
            return Ok(None);
        };
        let origins = origins(self.conversation, call)?.into_iter();
        Ok(Some(Traced {
            call,
            target,
            name,
            origins: origins.map(|one| (one.argument, one.sources)).collect(),
            read: read_from(self.conversation, call)?,
        }))
    }

    /// What Cedar is asked of a call.
    fn with_agent_call<T>(
        &self,
        traced: &Traced<'_>,
        ask: impl FnOnce(&AgentCall<'_>) -> Result<T>,
    ) -> Result<T> {
        let agent = self.turn.agent();
        let of_function = || {
            let groups = agent.action_groups.iter();
            let functions = groups.flat_map(|group| {
                let of_group = move |function: &&outcrop_agents::Function| {
                    traced.name == format!("{}.{}", group.name, function.name)
                };
                group.functions.iter().filter(of_group)
            });
            functions.map(|function| &function.input_schema).next()
        };
        let text = |argument: &str| {
            json!({"type": "object", "properties": {argument: {"type": "string"}},
                "required": [argument]})
        };
        let (action, resource, schema) = match traced.target {
            Target::Function { action_group, .. } => (
                CallAction::Function(traced.name),
                CallResource::ActionGroup(action_group),
                of_function().cloned().unwrap_or_default(),
            ),
            Target::KnowledgeBase { .. } => {
                let name = traced
                    .name
                    .strip_prefix("knowledge_bases.")
                    .unwrap_or_default();
                let resource = CallResource::KnowledgeBase(name);
                (CallAction::Retrieve, resource, text("query"))
            }
            Target::Collaborator { name } => {
                let resource = CallResource::Collaborator(name);
                (CallAction::Delegate, resource, text("message"))
            }
        };
        ask(&AgentCall {
            agent_id: self.agent_id,
            agent: &agent.name,
            model: &agent.model,
            user: &self.user.arn,
            session_id: self.session_id,
            session_attributes: &self.conversation.session_attributes,
            action,
            resource,
            schema: &schema,
            arguments: &traced.call.arguments,
            origins: &traced.origins,
            read: &traced.read,
        })
    }

    fn asked<'a>(&self, traced: &'a Traced<'_>) -> Result<CedarRequest<'a>> {
        let (names, tainted) =
            self.with_agent_call(traced, |call| Ok((call.names()?, call.tainted())))?;
        let [principal, action, resource] = names;
        let origins = traced.origins.iter();
        Ok(CedarRequest {
            principal,
            action,
            resource,
            origins: origins
                .map(|(place, sources)| (place.as_str(), &sources[..]))
                .collect(),
            tainted,
            read: &traced.read,
        })
    }

    /// Has the decision in the log.
    fn keep(
        &self,
        arn: &str,
        call: &Call,
        request: Option<CedarRequest<'_>>,
        decision: &Decision,
    ) -> Result<()> {
        let sha256 = digest::of_json(&call.arguments);
        let (kind, action, resource) = what(call);
        let asked = ToolCall {
            agent: arn,
            user: self.user,
            kind,
            action,
            resource,
            session_id: self.session_id,
            call_id: &call.id,
            arguments_sha256: &sha256,
            request,
        };
        let trail = self.session.desk().trail();
        trail.decided_call(self.request_id, &asked, decision)
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

/// Why an agent has what a call leads to.
fn has(target: &Target) -> String {
    match target {
        Target::Function { action_group, .. } => {
            format!("the agent's action group {action_group} has it")
        }
        Target::KnowledgeBase { .. } => "the agent has the knowledge base".into(),
        Target::Collaborator { .. } => "the agent has the collaborator".into(),
    }
}
