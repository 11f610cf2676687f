//! Agents as the home keeps them: the resource, and the definition that is run.

use std::collections::BTreeMap;

use outcrop_agents::{ActionGroup, AgentDefinition, Collaborator, KnowledgeBaseLink, openapi};
use outcrop_api::{Error, Result};
use outcrop_governance::AgentRule;
use serde_json::{Map, json};

use super::memory;
use super::policies;
use super::request::{AgentRequest, ApiSchema};
use super::result::AgentInfo;
use crate::knowledge_base::validate_name;
use crate::operations;
use crate::registry::{AGENTS, Draft, Resource};
use crate::session::Session;

/// The store's kind of the definitions that are run, by agent and version.
const DEFINITIONS: &str = "agent-definitions";
/// The store's kind of the rules over an agent's calls, which hold for all its versions.
const RULES: &str = "agent-rules";
/// Seconds that an idle session stays of an agent that has a memory, where it does not say.
const IDLE_SESSION_SECONDS: f64 = 600.0;
/// The version that is worked on.
pub(crate) const DRAFT: &str = "DRAFT";

/// Keeps the agent that `request` asks for.
///
/// # Errors
/// As [`Session::create_agent`].
pub(super) fn create(session: &Session, request: AgentRequest) -> Result<AgentDefinition> {
    validate_name(&request.name)?;
    let replace = request.replace;
    let description = request.description.clone();
    let rules = request.rules.clone();
    for (at, rule) in rules.iter().enumerate() {
        rule.validate(&format!("rules[{at}]"))?;
    }
    let policy = request.policy.clone();
    let mut definition = read_request(session, request)?;
    definition.validate()?;
    let policy = policy.map(|text| policies::validate_own(&definition, &text));
    let policy = policy.transpose()?;
    let agents = session.resources(&AGENTS);
    let members = Map::from_iter([
        ("agentStatus".to_string(), json!("PREPARED")),
        ("foundationModel".to_string(), json!(definition.model)),
        ("instruction".to_string(), json!(definition.instruction)),
        ("description".to_string(), json!(description)),
    ]);
    let resource = match agents.find(&definition.name) {
        Ok(there) if there.name.as_deref() == Some(&definition.name) => {
            definition.id.clone_from(&there.id);
            let is_same = find_definition(session, &there.id, DRAFT)?.as_ref() == Some(&definition)
                && self::rules(session, &there.id)? == rules
                && policies::own(session, &there.id)? == policy;
            if is_same {
                return Ok(definition);
            }
            if !replace {
                return Err(Error::conflict(format!(
                    "agent {}: there is one of this name that is made otherwise; replace it, or \
                     choose another name",
                    definition.name
                ))
                .with_resource(&definition.name));
            }
            agents.update(&there.id, |agent| {
                agent.members.extend(members);
                Ok(())
            })?
        }
        _ => agents.create(Draft {
            name: Some(&definition.name),
            members,
            ..Draft::default()
        })?,
    };
    definition.id = resource.id;
    // What binds the agent stands before it.
    policies::put_own(session, &definition.id, policy.as_ref())?;
    session.store().put_record(RULES, &definition.id, &rules)?;
    put_definition(session, &definition)?;
    Ok(definition)
}

/// What a request says an agent is made of, with what it names looked up.
fn read_request(session: &Session, request: AgentRequest) -> Result<AgentDefinition> {
    let knowledge_bases = request.knowledge_bases.iter().map(|name| {
        let base = session.stored_base(name)?;
        Ok(KnowledgeBaseLink {
            id: base.id().to_string(),
            name: base.name().to_string(),
            description: base.info()?.description.unwrap_or_default(),
            ..KnowledgeBaseLink::default()
        })
    });
    let collaborators = request.collaborators.into_iter().map(|collaborator| {
        let agent = session.resources(&AGENTS).find(&collaborator.agent)?;
        let own = agent.name.unwrap_or_default();
        Ok(Collaborator {
            agent_id: agent.id,
            agent_version: DRAFT.into(),
            name: collaborator.name.unwrap_or(own),
            instruction: collaborator.instruction,
            relays_history: collaborator.relays_history,
            ..Collaborator::default()
        })
    });
    let groups = with_schemas(request.action_groups, &request.api_schemas)?;
    Ok(AgentDefinition {
        knowledge_bases: knowledge_bases.collect::<Result<_>>()?,
        collaborators: collaborators.collect::<Result<_>>()?,
        id: String::new(),
        name: request.name,
        version: DRAFT.into(),
        model: request.model,
        instruction: request.instruction,
        action_groups: groups,
        collaboration: request.collaboration,
        inference_config: request.inference_config,
        limits: request.limits,
        price: request.price,
        idle_session_seconds: request
            .idle_session_seconds
            .or_else(|| request.memory.is_some().then_some(IDLE_SESSION_SECONDS)),
        memory: request.memory,
    })
}

/// The groups with the functions that their OpenAPI schemas describe.
fn with_schemas(
    mut groups: Vec<ActionGroup>,
    schemas: &BTreeMap<String, ApiSchema>,
) -> Result<Vec<ActionGroup>> {
    for (name, read) in schemas {
        let group = groups.iter_mut().find(|group| group.name == *name);
        let group = group.ok_or_else(|| {
            Error::validation(format!("apiSchemas: {name}: there is no such action group"))
        })?;
        let place = |error: &Error| format!("actionGroups: {name}: {}", error.message());
        group.functions =
            openapi::functions(&read.schema).map_err(|error| Error::validation(place(&error)))?;
        for confirmed in &read.confirm {
            let function = group
                .functions
                .iter_mut()
                .find(|one| one.name == *confirmed);
            let function = function.ok_or_else(|| {
                Error::validation(format!(
                    "actionGroups: {name}: confirm: expected names of its functions, got {confirmed:?}"
                ))
            })?;
            function.require_confirmation = true;
        }
    }
    Ok(groups)
}

/// Keeps a definition as the one that its agent's version runs.
///
/// # Errors
/// Those of the store.
pub(crate) fn put_definition(session: &Session, definition: &AgentDefinition) -> Result<()> {
    let id = format!("{}.{}", definition.id, definition.version);
    Ok(session.store().put_record(DEFINITIONS, &id, definition)?)
}

/// The definition that a version of an agent runs; none where it was never prepared.
///
/// # Errors
/// Those of the store.
pub(crate) fn find_definition(
    session: &Session,
    id: &str,
    version: &str,
) -> Result<Option<AgentDefinition>> {
    Ok(session
        .store()
        .get_record(DEFINITIONS, &format!("{id}.{version}"))?)
}

/// What a collaborator is made of.
///
/// # Errors
/// `ResourceNotFoundException` where its version is not there any more.
pub(super) fn definition_of(
    session: &Session,
    collaborator: Collaborator,
) -> Result<AgentDefinition> {
    if let Some(definition) = collaborator.definition {
        return Ok(*definition);
    }
    let (id, version) = (&collaborator.agent_id, &collaborator.agent_version);
    find_definition(session, id, version)?.ok_or_else(|| {
        Error::not_found(format!(
            "the agent {} ({id}, version {version}) does not exist",
            collaborator.name
        ))
        .with_resource(id)
    })
}

/// Lets go of the definition that a version of an agent runs; with the draft, of the rules and
/// policies over its calls.
///
/// # Errors
/// Those of the store.
pub(crate) fn delete_definition(session: &Session, id: &str, version: &str) -> Result<()> {
    session
        .store()
        .delete_record(DEFINITIONS, &format!("{id}.{version}"))?;
    if version == DRAFT {
        session.store().delete_record(RULES, id)?;
        memory::delete_of(session.store(), id, None)?;
        policies::forget(session, id)?;
    }
    Ok(())
}

/// The rules over the calls of an agent.
///
/// # Errors
/// Those of the store.
pub(crate) fn rules(session: &Session, id: &str) -> Result<Vec<AgentRule>> {
    let rules = session.store().get_record(RULES, id)?;
    Ok(rules.unwrap_or_default())
}

/// The agent by its name, id or ARN, with its definition.
///
/// # Errors
/// `ResourceNotFoundException` where there is none, `ValidationException` where it is not prepared.
pub(super) fn find(session: &Session, name_or_id: &str) -> Result<(Resource, AgentDefinition)> {
    let agent = session.resources(&AGENTS).find(name_or_id)?;
    let definition = find_definition(session, &agent.id, DRAFT)?.ok_or_else(|| {
        Error::validation(format!(
            "Agent {} is not prepared: prepare it before it is used.",
            agent.id
        ))
    })?;
    Ok((agent, definition))
}

/// The agents of the home.
///
/// # Errors
/// Those of the store.
pub(super) fn list(session: &Session) -> Result<Vec<AgentInfo>> {
    let mut found = Vec::new();
    for agent in session.resources(&AGENTS).all()? {
        if let Some(definition) = find_definition(session, &agent.id, DRAFT)? {
            found.push(info(&agent, definition));
        }
    }
    Ok(found)
}

/// The drafts of the agents of the home that are prepared.
///
/// # Errors
/// Those of the store.
pub(super) fn definitions(session: &Session) -> Result<Vec<AgentDefinition>> {
    let infos = list(session)?.into_iter();
    Ok(infos.map(|info| info.definition).collect())
}

/// Deletes an agent; its name. Its sessions stay, as what happened in them does.
///
/// # Errors
/// `ResourceNotFoundException` where there is none.
pub(super) fn delete(session: &Session, name_or_id: &str) -> Result<String> {
    let agents = session.resources(&AGENTS);
    let agent = agents.find(name_or_id)?;
    operations::agents::forget(session, &agent.id)?;
    agents.delete(&agent.id)?;
    Ok(agent.name.unwrap_or_default())
}

pub(super) fn info(agent: &Resource, definition: AgentDefinition) -> AgentInfo {
    let description = agent.text("description");
    AgentInfo {
        id: agent.id.clone(),
        arn: agent.arn.clone(),
        name: definition.name.clone(),
        description: (!description.is_empty()).then(|| description.to_string()),
        created_at: agent.created_at.clone(),
        definition,
    }
}
