//! `PrepareAgent`: checks an agent's draft whole, and makes it what runs.

use outcrop_agents::digest;
use outcrop_api::{Error, Result};
use serde_json::json;

use super::{DRAFT, STATUS, agent_of, convert, native};
use crate::agents;
use crate::operations::{Answer, Call};
use crate::registry::{AGENTS, Resource, now};

/// `PrepareAgent`. It is prepared when this returns.
pub(in crate::operations) fn prepare(call: &Call) -> Result<Answer> {
    let agent = agent_of(call)?;
    let definition = convert::definition(call, &agent)?;
    definition.validate()?;
    let digest = digest::of_json(&definition);
    let agents = call.session.resources(&AGENTS);
    // Until the agent says so, what it is prepared as is not what its parts say.
    let unprepared = agents.update(&agent.id, |agent| {
        agent.members.insert(STATUS.into(), json!("NOT_PREPARED"));
        Ok(())
    })?;
    let mut seen = agent;
    seen.members.insert(STATUS.into(), json!("NOT_PREPARED"));
    check_same(&unprepared, &seen)?;
    agents::put_definition(&call.session, &definition)?;
    let prepared_at = now();
    agents.update(&seen.id, |latest| {
        check_same(latest, &seen)?;
        latest.members.insert(STATUS.into(), json!("PREPARED"));
        latest
            .members
            .insert(native::PREPARED.into(), json!(digest));
        latest
            .members
            .insert("preparedAt".into(), json!(prepared_at));
        Ok(())
    })?;
    Answer::of(&json!({
        "agentId": seen.id,
        "agentStatus": "PREPARED",
        "agentVersion": DRAFT,
        "preparedAt": prepared_at,
    }))
}

/// Refuses to call an agent prepared that is not what was read.
fn check_same(latest: &Resource, seen: &Resource) -> Result<()> {
    match latest.members == seen.members && latest.name == seen.name {
        true => Ok(()),
        false => Err(Error::conflict(format!(
            "Agent {} was changed while it was prepared: prepare it again.",
            seen.id
        ))),
    }
}
