//! Aliases: the names that an agent is invoked by, each routed to one of its versions.

use outcrop_api::{Error, Result};
use serde_json::{Map, Value, json};

use super::{DRAFT, MAX_PAGE, agent_of, show, versions, versions_of};
use crate::agents::delete_memories;
use crate::operations::{Answer, Call};
use crate::registry::{AGENT_ALIASES, Draft, Kind, Page, Resource, Resources, now, read_tags};
use crate::session::Session;

/// The alias that every agent has, of its draft.
pub(crate) const TEST_ALIAS: &str = "TSTALIASID";
/// The name of that alias.
const TEST_ALIAS_NAME: &str = "AgentTestAlias";
/// Most events of its history that an alias shows.
const MAX_HISTORY: usize = 10;
/// The member that says where an alias leads.
const ROUTING: &str = "routingConfiguration";
/// The member that lists where it led, the latest first.
const HISTORY: &str = "agentAliasHistoryEvents";
/// Whether an alias can be invoked.
const INVOCATION: &str = "aliasInvocationState";

/// `CreateAgentAlias`: routed to a new version where the request names none.
pub(in crate::operations) fn create(call: &Call) -> Result<Answer> {
    let agent = agent_of(call)?;
    let name = call.required("agentAliasName")?;
    let token = call.text("clientToken");
    let all = of(&call.session, &agent.id);
    if let Some(made) = all.made(token, Some(&call.input))? {
        return whole(call, &agent, &made);
    }
    if name == TEST_ALIAS_NAME
        || all
            .all()?
            .iter()
            .any(|alias| alias.name.as_deref() == Some(name))
    {
        return Err(Error::conflict(format!(
            "Alias {name} of agent {} already exists.",
            agent.id
        )));
    }
    let version = asked_version(call, &agent)?;
    let mut members = Map::from_iter([
        (ROUTING.to_string(), routing(&version)),
        (INVOCATION.to_string(), json!("ACCEPT_INVOCATIONS")),
        (HISTORY.to_string(), json!([begun(&version)])),
    ]);
    if let Some(description) = call.text("description") {
        members.insert("description".into(), json!(description));
    }
    let alias = all.create(Draft {
        name: Some(name),
        token,
        request: Some(&call.input),
        tags: read_tags(call.input.get("tags"))?,
        members,
        ..Draft::default()
    })?;
    call.record.resource(&alias.arn);
    whole(call, &agent, &alias)
}

/// `GetAgentAlias`.
pub(in crate::operations) fn get(call: &Call) -> Result<Answer> {
    let agent = agent_of(call)?;
    let alias = find(&call.session, &agent, call.required("agentAliasId")?)?;
    whole(call, &agent, &alias)
}

/// `UpdateAgentAlias`: routed to a new version where the request names none.
pub(in crate::operations) fn update(call: &Call) -> Result<Answer> {
    let agent = agent_of(call)?;
    let id = changeable(call)?;
    let name = call.required("agentAliasName")?;
    let before = find(&call.session, &agent, id)?;
    let version = asked_version(call, &agent)?;
    let alias = of(&call.session, &agent.id).update(&before.id, |alias| {
        alias.name = Some(name.into());
        match call.text("description") {
            Some(text) => alias.members.insert("description".into(), json!(text)),
            None => alias.members.shift_remove("description"),
        };
        if let Some(state) = call.text(INVOCATION) {
            alias.members.insert(INVOCATION.into(), json!(state));
        }
        if version_of(alias) != Some(&version) {
            alias.members.insert(ROUTING.into(), routing(&version));
            let history = alias
                .members
                .get(HISTORY)
                .and_then(Value::as_array)
                .cloned();
            let mut history = history.unwrap_or_default();
            if let Some(last) = history.first_mut() {
                last["endDate"] = json!(now());
            }
            history.insert(0, begun(&version));
            history.truncate(MAX_HISTORY);
            alias.members.insert(HISTORY.into(), json!(history));
        }
        Ok(())
    })?;
    whole(call, &agent, &alias)
}

/// `DeleteAgentAlias`.
pub(in crate::operations) fn delete(call: &Call) -> Result<Answer> {
    let agent = agent_of(call)?;
    let id = changeable(call)?;
    let alias = of(&call.session, &agent.id).delete(id)?;
    delete_memories(call.session.store(), &agent.id, Some(&alias.id))?;
    Answer::of(&json!({
        "agentId": agent.id,
        "agentAliasId": alias.id,
        "agentAliasStatus": "DELETING",
    }))
}

/// `ListAgentAliases`.
pub(in crate::operations) fn list(call: &Call) -> Result<Answer> {
    let agent = agent_of(call)?;
    let mut all = of(&call.session, &agent.id).all()?;
    all.insert(0, test_alias(&agent));
    let listed = Page::of(call)?.at_most(MAX_PAGE).of_all(all, |_| true);
    let versions = versions_of(&call.session, &agent.id).all()?;
    Answer::of(&listed.answer("agentAliasSummaries", |alias| {
        let mut summary = about(&agent, alias, &versions);
        if let Some(members) = summary.as_object_mut() {
            for name in ["agentId", "agentAliasArn", HISTORY] {
                members.shift_remove(name);
            }
        }
        summary
    }))
}

/// The aliases of an agent, save that of its draft.
pub(super) fn of(session: &Session, agent: &str) -> Resources {
    session.resources(&AGENT_ALIASES).under(agent)
}

/// The alias of an agent by its id; `TSTALIASID` is that of its draft.
///
/// # Errors
/// `ResourceNotFoundException`.
pub(super) fn find(session: &Session, agent: &Resource, id: &str) -> Result<Resource> {
    match id {
        TEST_ALIAS => Ok(test_alias(agent)),
        id => of(session, &agent.id).get(id),
    }
}

/// The version that an alias is routed to.
pub(super) fn version_of(alias: &Resource) -> Option<&str> {
    alias.members.get(ROUTING)?[0]["agentVersion"].as_str()
}

/// The ids of the agent and the alias in the ARN of an alias.
pub(super) fn parse_arn(arn: &str) -> Option<(&str, &str)> {
    let (kind, id) = Kind::of_arn(arn)?;
    let is_alias = std::ptr::eq(kind, &AGENT_ALIASES);
    id.split_once('/').filter(|_| is_alias)
}

/// The id by which a definition names an alias: none where it is that of the draft.
pub(super) fn kept_id(alias: &Resource) -> String {
    match alias.id.as_str() {
        TEST_ALIAS => String::new(),
        id => id.into(),
    }
}

/// The ARN of the alias of an agent's draft.
pub(super) fn draft_arn(agent: &str) -> String {
    AGENT_ALIASES.arn_of(&format!("{agent}/{TEST_ALIAS}"))
}

fn test_alias(agent: &Resource) -> Resource {
    Resource {
        id: TEST_ALIAS.into(),
        arn: draft_arn(&agent.id),
        parent: Some(agent.id.clone()),
        name: Some(TEST_ALIAS_NAME.into()),
        // As old as its agent, so that it stays at its place in a list.
        created_at: agent.created_at.clone(),
        updated_at: agent.created_at.clone(),
        tags: Default::default(),
        members: Map::from_iter([
            (ROUTING.to_string(), routing(DRAFT)),
            (INVOCATION.to_string(), json!("ACCEPT_INVOCATIONS")),
        ]),
    }
}

/// The id of the alias that a call changes.
fn changeable(call: &Call) -> Result<&str> {
    match call.required("agentAliasId")? {
        TEST_ALIAS => Err(Error::validation(format!(
            "agentAliasId: {TEST_ALIAS} is the alias of every agent's draft and cannot be changed"
        ))),
        id => Ok(id),
    }
}

/// The version that a request routes to, which is made where it names none.
fn asked_version(call: &Call, agent: &Resource) -> Result<String> {
    let route = &call.input[ROUTING][0];
    if route.get("provisionedThroughput").is_some() {
        return Err(Error::validation(
            "routingConfiguration.provisionedThroughput is not supported: models here run on this \
             machine.",
        ));
    }
    match route["agentVersion"].as_str() {
        Some(DRAFT) => Err(Error::validation(format!(
            "routingConfiguration.agentVersion: expected a numbered version, got DRAFT, whose alias \
             is {TEST_ALIAS}"
        ))),
        Some(number) => Ok(versions_of(&call.session, &agent.id).get(number)?.id),
        None => versions::freeze(&call.session, agent),
    }
}

fn routing(version: &str) -> Value {
    json!([{"agentVersion": version}])
}

fn begun(version: &str) -> Value {
    json!({ROUTING: routing(version), "startDate": now()})
}

/// What is said of an alias of an agent that has `versions`.
fn about(agent: &Resource, alias: &Resource, versions: &[Resource]) -> Value {
    let version = version_of(alias).unwrap_or_default();
    let leads = version == DRAFT || versions.iter().any(|there| there.id == version);
    let mut about = json!({
        "agentId": agent.id,
        "agentAliasId": alias.id,
        "agentAliasName": alias.name,
        "agentAliasArn": alias.arn,
        "agentAliasStatus": if leads { "PREPARED" } else { "DISSOCIATED" },
        "createdAt": alias.created_at,
        "updatedAt": alias.updated_at,
    });
    show(
        &mut about,
        &alias.members,
        &["description", ROUTING, INVOCATION, HISTORY],
    );
    about
}

fn whole(call: &Call, agent: &Resource, alias: &Resource) -> Result<Answer> {
    let versions = versions_of(&call.session, &agent.id).all()?;
    Answer::of(&json!({"agentAlias": about(agent, alias, &versions)}))
}
