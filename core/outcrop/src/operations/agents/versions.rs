//! The numbered versions of an agent, which stay as they were made.

use outcrop_api::{Error, Result};
use serde_json::{Value, json};

use super::{DRAFT, LAST_VERSION, MAX_PAGE, STATUS, agent, agent_of, aliases, show, versions_of};
use crate::agents;
use crate::operations::{Answer, Call};
use crate::registry::{AGENTS, Draft, Page, Resource};
use crate::session::Session;

/// The member of a version that has its agent's name.
const NAME: &str = "agentName";

/// `GetAgentVersion`.
pub(in crate::operations) fn get(call: &Call) -> Result<Answer> {
    let agent = agent_of(call)?;
    let version = versions_of(&call.session, &agent.id).get(call.required("agentVersion")?)?;
    let mut about = agent::about(&version);
    about["version"] = json!(version.id);
    Answer::of(&json!({"agentVersion": about}))
}

/// `ListAgentVersions`: the draft and the numbered ones.
pub(in crate::operations) fn list(call: &Call) -> Result<Answer> {
    let agent = agent_of(call)?;
    let mut all = versions_of(&call.session, &agent.id).all()?;
    // The draft is older than its versions, and stays at its place when it is changed.
    all.insert(0, agent.clone());
    let listed = Page::of(call)?.at_most(MAX_PAGE).of_all(all, |_| true);
    Answer::of(&listed.answer("agentVersionSummaries", |version| {
        let is_draft = version.parent.is_none();
        let mut summary = json!({
            "agentName": name_of(version),
            "agentStatus": version.text(STATUS),
            "agentVersion": if is_draft { DRAFT } else { &version.id },
            "createdAt": version.created_at,
            "updatedAt": version.updated_at,
        });
        show(&mut summary, &version.members, &["description"]);
        summary
    }))
}

/// `DeleteAgentVersion`: one that an alias routes to is in use.
pub(in crate::operations) fn delete(call: &Call) -> Result<Answer> {
    let agent = agent_of(call)?;
    let number = call.required("agentVersion")?;
    let version = versions_of(&call.session, &agent.id).get(number)?;
    if call.input["skipResourceInUseCheck"] != json!(true)
        && let Some(alias) = aliases::of(&call.session, &agent.id)
            .all()?
            .iter()
            .find(|alias| aliases::version_of(alias) == Some(number))
    {
        return Err(Error::conflict(format!(
            "Version {number} of agent {} is in use by its alias {}: route it to another version \
             first, or give skipResourceInUseCheck.",
            agent.id, alias.id
        )));
    }
    remove(&call.session, &agent.id, &version.id)?;
    Answer::of(&json!({
        "agentId": agent.id,
        "agentVersion": version.id,
        "agentStatus": "DELETING",
    }))
}

/// The name of an agent, or that which it had as its version was made.
pub(super) fn name_of(agent: &Resource) -> &str {
    agent.name.as_deref().unwrap_or_else(|| agent.text(NAME))
}

/// Deletes a version and the definition that it runs.
///
/// # Errors
/// Those of the store.
pub(super) fn remove(session: &Session, agent: &str, number: &str) -> Result<()> {
    versions_of(session, agent).delete(number)?;
    agents::delete_definition(session, agent, number)
}

/// Makes the next version of what an agent was prepared as.
///
/// # Errors
/// `ValidationException` where it is not prepared.
pub(super) fn freeze(session: &Session, agent: &Resource) -> Result<String> {
    let definition = agents::find_definition(session, &agent.id, DRAFT)?;
    let is_prepared = agent.text(STATUS) == "PREPARED";
    let Some(mut definition) = definition.filter(|_| is_prepared) else {
        return Err(Error::validation(format!(
            "Agent {} is not prepared: prepare it before a version of it is made.",
            agent.id
        )));
    };
    let mut number = 0;
    session.resources(&AGENTS).update(&agent.id, |agent| {
        let last = agent.members.get(LAST_VERSION).and_then(Value::as_u64);
        number = last.unwrap_or_default() + 1;
        agent.members.insert(LAST_VERSION.into(), json!(number));
        Ok(())
    })?;
    let number = number.to_string();
    let mut members = agent.members.clone();
    members.shift_remove(LAST_VERSION);
    // All versions share one name, so it is none that a registry keeps apart.
    members.insert(NAME.into(), json!(agent.name));
    definition.version.clone_from(&number);
    // What runs is there before anything says that it does.
    agents::put_definition(session, &definition)?;
    versions_of(session, &agent.id).create(Draft {
        id: Some(&number),
        members,
        ..Draft::default()
    })?;
    Ok(number)
}
