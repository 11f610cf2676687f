//! Agents: what each is told, and the model that it asks.

use outcrop_api::{Error, Result};
use serde_json::{Map, Value, json};

use super::{
    DRAFT, LAST_VERSION, MAX_PAGE, STATUS, agent_of, aliases, change, collaborators, given, memory,
    overrides, show, versions, versions_of,
};
use crate::operations::{Answer, Call};
use crate::registry::{AGENTS, Draft, Page, Resource, read_tags};
use crate::session::Session;

/// What stands for the role of an agent that has none.
const OWNER_ROLE: &str = "arn:aws:iam::000000000000:role/outcrop";
/// Members of an agent that are kept and shown as they came.
const MEMBERS: [&str; 9] = [
    "description",
    "instruction",
    "foundationModel",
    "orchestrationType",
    "idleSessionTTLInSeconds",
    "agentResourceRoleArn",
    "promptOverrideConfiguration",
    "memoryConfiguration",
    "agentCollaboration",
];
/// What members are that a request leaves out.
const DEFAULTS: [(&str, &str); 3] = [
    ("orchestrationType", "DEFAULT"),
    ("agentResourceRoleArn", OWNER_ROLE),
    ("agentCollaboration", "DISABLED"),
];
/// Seconds that an idle session stays, where a request does not say.
pub(super) const IDLE_SESSION_TTL: u64 = 600;

/// `CreateAgent`.
pub(in crate::operations) fn create(call: &Call) -> Result<Answer> {
    let mut members = members_of(call)?;
    members.insert(STATUS.into(), json!("NOT_PREPARED"));
    let agent = call.session.resources(&AGENTS).create(Draft {
        name: Some(call.required("agentName")?),
        token: call.text("clientToken"),
        request: Some(&call.input),
        tags: read_tags(call.input.get("tags"))?,
        members,
        ..Draft::default()
    })?;
    call.record.resource(&agent.arn);
    Answer::of(&json!({"agent": whole(&agent)}))
}

/// `GetAgent`.
pub(in crate::operations) fn get(call: &Call) -> Result<Answer> {
    Answer::of(&json!({"agent": whole(&agent_of(call)?)}))
}

/// `UpdateAgent`: the draft becomes what the request says; its parts stay.
pub(in crate::operations) fn update(call: &Call) -> Result<Answer> {
    let members = members_of(call)?;
    let name = call.required("agentName")?;
    let (agent, ()) = change(call, |agent| {
        agent.name = Some(name.into());
        for name in MEMBERS {
            agent.members.shift_remove(name);
        }
        agent.members.extend(members);
        Ok(())
    })?;
    Answer::of(&json!({"agent": whole(&agent)}))
}

/// `ListAgents`.
pub(in crate::operations) fn list(call: &Call) -> Result<Answer> {
    let page = Page::of(call)?.at_most(MAX_PAGE);
    let listed = call.session.resources(&AGENTS).page(&page, |_| true)?;
    Answer::of(&listed.answer("agentSummaries", |agent| {
        let latest = agent.members.get(LAST_VERSION).and_then(Value::as_u64);
        let mut summary = json!({
            "agentId": agent.id,
            "agentName": agent.name,
            "agentStatus": agent.text(STATUS),
            "updatedAt": agent.updated_at,
            "latestAgentVersion": latest.map_or(DRAFT.to_string(), |number| number.to_string()),
        });
        show(&mut summary, &agent.members, &["description"]);
        summary
    }))
}

/// `DeleteAgent`, with its versions and aliases. Its sessions stay, as what happened in them does.
pub(in crate::operations) fn delete(call: &Call) -> Result<Answer> {
    let agent = agent_of(call)?;
    if call.input["skipResourceInUseCheck"] != json!(true) {
        let aliases = aliases::of(&call.session, &agent.id).all()?;
        if let Some(alias) = aliases.first() {
            return Err(Error::conflict(format!(
                "Agent {} is in use by its alias {}: delete its aliases first, or give \
                 skipResourceInUseCheck.",
                agent.id, alias.id
            )));
        }
        if let Some(supervisor) = collaborators::supervisor_of(&call.session, &agent)? {
            return Err(Error::conflict(format!(
                "Agent {} is in use as a collaborator of agent {supervisor}: disassociate it first, \
                 or give skipResourceInUseCheck.",
                agent.id
            )));
        }
    }
    forget(&call.session, &agent.id)?;
    call.session.resources(&AGENTS).delete(&agent.id)?;
    Answer::of(&json!({"agentId": agent.id, "agentStatus": "DELETING"}))
}

/// Lets go of an agent's versions and aliases, and of the definitions that they run.
///
/// # Errors
/// Those of the store.
pub(crate) fn forget(session: &Session, agent: &str) -> Result<()> {
    let aliases = aliases::of(session, agent);
    for alias in aliases.all()? {
        aliases.delete(&alias.id)?;
    }
    let versions = versions_of(session, agent);
    for version in versions.all()? {
        versions::remove(session, agent, &version.id)?;
    }
    crate::agents::delete_definition(session, agent, DRAFT)
}

/// What a request says an agent is made of, checked beyond its shape.
fn members_of(call: &Call) -> Result<Map<String, Value>> {
    call.refuse(
        &["customOrchestration"],
        "agents here are orchestrated by their own turn",
    )?;
    call.refuse(
        &["customerEncryptionKeyArn"],
        "agents are kept in the home without encryption",
    )?;
    if call.input["guardrailConfiguration"]["guardrailIdentifier"].is_string() {
        return Err(Error::validation(
            "guardrailConfiguration is not supported: there are no guardrails here.",
        ));
    }
    for (name, refused, why) in [(
        "orchestrationType",
        "CUSTOM_ORCHESTRATION",
        "agents here are orchestrated by their own turn",
    )] {
        if call.text(name) == Some(refused) {
            return Err(Error::validation(format!(
                "{name} {refused} is not supported: {why}."
            )));
        }
    }
    if let Some(model) = call.text("foundationModel") {
        call.model_of(model)?;
    }
    let overridden = &call.input["promptOverrideConfiguration"];
    overrides::inference_config(overridden)?;
    memory::settings(&call.input["memoryConfiguration"], overridden, None)?;
    let mut members = given(&call.input, &MEMBERS);
    for (name, default) in DEFAULTS {
        members.entry(name).or_insert_with(|| json!(default));
    }
    members
        .entry("idleSessionTTLInSeconds")
        .or_insert_with(|| json!(IDLE_SESSION_TTL));
    Ok(members)
}

/// What the operations on agents say of one.
fn whole(agent: &Resource) -> Value {
    let mut whole = about(agent);
    whole["agentVersion"] = json!(DRAFT);
    show(
        &mut whole,
        &agent.members,
        &["preparedAt", "orchestrationType"],
    );
    whole
}

/// What is said of an agent and of its versions alike.
pub(super) fn about(agent: &Resource) -> Value {
    let id = agent.parent.as_ref().unwrap_or(&agent.id);
    let mut about = json!({
        "agentId": id,
        "agentArn": AGENTS.arn_of(id),
        "agentName": versions::name_of(agent),
        "agentStatus": agent.text(STATUS),
        "idleSessionTTLInSeconds": IDLE_SESSION_TTL,
        "agentResourceRoleArn": OWNER_ROLE,
        "createdAt": agent.created_at,
        "updatedAt": agent.updated_at,
    });
    let of_all = MEMBERS.iter().filter(|name| **name != "orchestrationType");
    show(
        &mut about,
        &agent.members,
        &of_all.copied().collect::<Vec<_>>(),
    );
    about
}
