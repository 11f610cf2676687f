//! Agents that were made natively, in the form of Bedrock's records.
//!
//! An agent is one resource and one definition, whoever made it. What Bedrock's form cannot say of a
//! definition stays beside what it can, and is run as it was until it is changed here.

use outcrop_agents::{ActionGroup, AgentDefinition, Endpoint, Function, KnowledgeBaseLink, digest};
use outcrop_api::{Error, Result};
use serde::de::DeserializeOwned;
use serde_json::{Map, Value, json};

use super::parts::{ACTION_GROUPS, COLLABORATORS, KNOWLEDGE_BASES, PartDraft, Parts};
use super::{DRAFT, STATUS, aliases, memory};
use crate::agents;
use crate::registry::{AGENTS, Resource};
use crate::session::Session;

/// The member that has what was given natively.
const NATIVE: &str = "native";
/// The member that has the digest of the definition which an agent's parts were prepared as.
pub(super) const PREPARED: &str = "preparedDefinition";
/// The types that a parameter of Bedrock's function schema has.
const TYPES: [&str; 5] = ["string", "number", "integer", "boolean", "array"];

/// The agent with the parts of its definition, which it has not yet where it was made natively.
///
/// # Errors
/// Those of the store.
pub(super) fn adopted(session: &Session, agent: Resource) -> Result<Resource> {
    if agent.text(STATUS) != "PREPARED" {
        return Ok(agent);
    }
    let Some(definition) = agents::find_definition(session, &agent.id, DRAFT)? else {
        return Ok(agent);
    };
    let digest = digest::of_json(&definition);
    if agent.text(PREPARED) == digest {
        return Ok(agent);
    }
    session.resources(&AGENTS).update(&agent.id, |agent| {
        adopt(agent, &definition)?;
        agent.members.insert(PREPARED.into(), json!(digest));
        let prepared_at = agent.updated_at.clone();
        agent
            .members
            .insert("preparedAt".into(), json!(prepared_at));
        Ok(())
    })
}

fn adopt(agent: &mut Resource, definition: &AgentDefinition) -> Result<()> {
    let groups = definition.action_groups.iter().map(|group| PartDraft {
        id: None,
        name: Some(&group.name),
        members: group_members(group),
    });
    put(&ACTION_GROUPS, agent, groups.collect())?;
    let links = definition.knowledge_bases.iter().map(|link| PartDraft {
        id: Some(&link.id),
        name: None,
        members: link_members(link),
    });
    put(&KNOWLEDGE_BASES, agent, links.collect())?;
    let team = definition
        .collaborators
        .iter()
        .map(|collaborator| PartDraft {
            id: None,
            name: Some(&collaborator.name),
            members: Map::from_iter([
                (
                    "agentDescriptor".to_string(),
                    json!({"aliasArn": aliases::draft_arn(&collaborator.agent_id)}),
                ),
                (
                    "collaborationInstruction".to_string(),
                    json!(collaborator.instruction),
                ),
                (
                    "relayConversationHistory".to_string(),
                    json!(match collaborator.relays_history {
                        true => "TO_COLLABORATOR",
                        false => "DISABLED",
                    }),
                ),
            ]),
        });
    put(&COLLABORATORS, agent, team.collect())?;
    let collaboration = match definition.collaborators.is_empty() {
        true => json!("DISABLED"),
        false => json!(definition.collaboration),
    };
    agent
        .members
        .insert("agentCollaboration".into(), collaboration);
    if let Some(settings) = &definition.memory {
        let configuration = memory::configuration(settings);
        agent
            .members
            .insert("memoryConfiguration".into(), configuration);
    }
    // Bedrock's form has whole seconds within its bounds only.
    let seconds = definition.idle_session_seconds;
    if let Some(seconds) = seconds.filter(|s| (60.0..=5400.0).contains(s) && s.fract() == 0.0) {
        agent
            .members
            .insert("idleSessionTTLInSeconds".into(), json!(seconds as u64));
    }
    let beside = AgentDefinition {
        action_groups: Vec::new(),
        knowledge_bases: Vec::new(),
        collaborators: Vec::new(),
        ..definition.clone()
    };
    agent.members.insert(NATIVE.into(), json!(beside));
    Ok(())
}

/// Puts parts in the place of an agent's; one of the same name or id keeps its id.
fn put(parts: &Parts, agent: &mut Resource, drafts: Vec<PartDraft<'_>>) -> Result<()> {
    let before = parts.all(agent)?;
    let fresh = drafts.into_iter().map(|draft| {
        let mut part = Parts::fresh(draft);
        let same = before
            .iter()
            .find(|there| there.id == part.id || (part.name.is_some() && there.name == part.name));
        if let Some(same) = same {
            part.id.clone_from(&same.id);
            part.created_at.clone_from(&same.created_at);
        }
        part
    });
    parts.put(agent, &fresh.collect::<Vec<_>>())
}

/// What an agent has from its native making beside its parts; what Bedrock's form says of it stands
/// before that.
///
/// # Errors
/// `InternalServerException` where the record is damaged.
pub(super) fn kept(agent: &Resource) -> Result<AgentDefinition> {
    match agent.members.get(NATIVE) {
        Some(native) => read(agent, native),
        None => Ok(AgentDefinition::default()),
    }
}

/// The action group that was given natively, where it was.
///
/// # Errors
/// `InternalServerException` where the record is damaged.
pub(super) fn group(part: &Resource) -> Result<Option<ActionGroup>> {
    let native = part.members.get(NATIVE);
    native.map(|native| read(part, native)).transpose()
}

/// Passages of one look-up.
pub(super) fn results(link: &Resource) -> usize {
    let native = link.members.get(NATIVE);
    let results = native.and_then(|native| native["results"].as_u64());
    results.map_or_else(outcrop_agents::default_results, |results| results as usize)
}

fn read<T: DeserializeOwned>(of: &Resource, value: &Value) -> Result<T> {
    serde_json::from_value(value.clone()).map_err(|error| {
        Error::internal(format!("record {}: {NATIVE}: {error}", of.id)).with_source(error)
    })
}

fn group_members(group: &ActionGroup) -> Map<String, Value> {
    let schema = match group.functions.iter().map(function).collect() {
        Some(functions) => ("functionSchema".to_string(), functions_value(functions)),
        None => (
            "apiSchema".to_string(),
            json!({"payload": api_schema(group).to_string()}),
        ),
    };
    let mut members = Map::from_iter([
        schema,
        (
            "actionGroupExecutor".to_string(),
            match &group.endpoint {
                Some(Endpoint::Lambda { arn }) => json!({ "lambda": arn }),
                _ => json!({"customControl": "RETURN_CONTROL"}),
            },
        ),
        ("actionGroupState".to_string(), json!("ENABLED")),
        (NATIVE.to_string(), json!(group)),
    ]);
    if !group.description.is_empty() {
        members.insert("description".into(), json!(group.description));
    }
    members
}

fn functions_value(functions: Vec<Value>) -> Value {
    json!({ "functions": functions })
}

/// A function in Bedrock's function schema; none where that cannot say all of its own.
fn function(function: &Function) -> Option<Value> {
    let schema = function.input_schema.as_object()?;
    let known = ["type", "properties", "required", "additionalProperties"];
    if function.api.is_some() || !schema.keys().all(|key| known.contains(&key.as_str())) {
        return None;
    }
    let required = schema.get("required").and_then(Value::as_array);
    let mut parameters = Map::new();
    let properties = schema.get("properties").and_then(Value::as_object);
    for (name, property) in properties.into_iter().flatten() {
        let said = ["type", "description", "title"];
        let property = property.as_object()?;
        let kind = property.get("type")?.as_str()?;
        if !TYPES.contains(&kind) || !property.keys().all(|key| said.contains(&key.as_str())) {
            return None;
        }
        let is_required = required.is_some_and(|all| all.contains(&json!(name)));
        let mut parameter = json!({"type": kind, "required": is_required});
        if let Some(description) = property.get("description") {
            parameter["description"] = description.clone();
        }
        parameters.insert(name.clone(), parameter);
    }
    let mut shown = json!({"name": function.name, "parameters": parameters});
    if !function.description.is_empty() {
        shown["description"] = json!(function.description);
    }
    shown["requireConfirmation"] = match function.require_confirmation {
        true => json!("ENABLED"),
        false => json!("DISABLED"),
    };
    Some(shown)
}

/// The functions of a group as an OpenAPI schema.
fn api_schema(group: &ActionGroup) -> Value {
    let mut paths = Map::new();
    for function in &group.functions {
        let mut operation = json!({
            "operationId": function.name,
            "description": function.description,
            "requestBody": {
                "required": true,
                "content": {"application/json": {"schema": function.input_schema}},
            },
            "responses": {"200": {"description": "What the function gives."}},
        });
        if function.require_confirmation {
            operation["x-requireConfirmation"] = json!("ENABLED");
        }
        paths.insert(format!("/{}", function.name), json!({"post": operation}));
    }
    json!({
        "openapi": "3.0.0",
        "info": {"title": group.name, "version": "1"},
        "paths": paths,
    })
}

fn link_members(link: &KnowledgeBaseLink) -> Map<String, Value> {
    Map::from_iter([
        ("description".to_string(), json!(link.description)),
        ("knowledgeBaseState".to_string(), json!("ENABLED")),
        (NATIVE.to_string(), json!({"results": link.results})),
    ])
}
