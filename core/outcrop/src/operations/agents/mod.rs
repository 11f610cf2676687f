//! Agents: the same that a session makes natively, in the form of `bedrock-agent`.

pub(super) mod action_groups;
pub(super) mod agent;
pub(crate) mod aliases;
pub(super) mod collaborators;
mod control;
mod convert;
pub(super) mod inline;
pub(super) mod invoke;
mod invoke_events;
pub(super) mod knowledge_bases;
pub(super) mod memory;
mod native;
mod overrides;
mod parts;
pub(super) mod prepare;
mod team;
mod trace;
pub(super) mod versions;

use outcrop_api::{Error, Result};
use serde_json::{Map, Value};

use super::Call;
use crate::registry::{AGENT_VERSIONS, AGENTS, Resource, Resources};
use crate::session::Session;

pub(crate) use agent::forget;

/// The version that is worked on.
const DRAFT: &str = crate::agents::DRAFT;
/// Most of one page: the shapes of the answers hold no more.
const MAX_PAGE: usize = 10;
/// The member that says where an agent stands: `NOT_PREPARED` or `PREPARED`.
const STATUS: &str = "agentStatus";
/// The member that counts an agent's versions: a number is never used again.
const LAST_VERSION: &str = "lastVersion";

/// The agent that a call is about, with its parts.
///
/// # Errors
/// `ResourceNotFoundException`.
fn agent_of(call: &Call) -> Result<Resource> {
    let agent = find(&call.session, call.required("agentId")?)?;
    call.record.resource(&agent.arn);
    Ok(agent)
}

/// The agent by its id, with its parts.
///
/// # Errors
/// `ResourceNotFoundException`.
fn find(session: &Session, id: &str) -> Result<Resource> {
    native::adopted(session, session.resources(&AGENTS).get(id)?)
}

/// The draft of an agent or its version of that number.
///
/// # Errors
/// `ResourceNotFoundException`.
fn shown(session: &Session, agent: &Resource, version: &str) -> Result<Resource> {
    match version {
        DRAFT => Ok(agent.clone()),
        number => versions_of(session, &agent.id).get(number),
    }
}

fn versions_of(session: &Session, agent: &str) -> Resources {
    session.resources(&AGENT_VERSIONS).under(agent)
}

/// Changes an agent's draft, which is then to be prepared again.
///
/// # Errors
/// `ResourceNotFoundException`; those of `change`, after which it is as it was.
fn change<T>(
    call: &Call,
    change: impl FnOnce(&mut Resource) -> Result<T>,
) -> Result<(Resource, T)> {
    let agent = agent_of(call)?;
    let mut made = None;
    let changed = call.session.resources(&AGENTS).update(&agent.id, |agent| {
        let before = agent.clone();
        made = Some(change(agent)?);
        if *agent != before {
            agent.members.insert(STATUS.into(), "NOT_PREPARED".into());
        }
        Ok(())
    })?;
    let made = made.ok_or_else(|| Error::internal("an agent was not changed"))?;
    Ok((changed, made))
}

/// Those of `names` that a request gives, as they came.
fn given(input: &Value, names: &[&str]) -> Map<String, Value> {
    names
        .iter()
        .filter_map(|name| Some(((*name).to_string(), input.get(*name)?.clone())))
        .collect()
}

/// Copies those of `names` that are there and say something.
fn show(about: &mut Value, members: &Map<String, Value>, names: &[&str]) {
    for name in names {
        match members.get(*name) {
            None | Some(Value::Null) => {}
            Some(Value::String(text)) if text.is_empty() => {}
            Some(value) => about[*name] = value.clone(),
        }
    }
}
