//! From Bedrock's records to the definition that a turn runs.

use outcrop_agents::{
    ActionGroup, AgentDefinition, Collaboration, Collaborator, Endpoint, Execution, Function,
    KnowledgeBaseLink, openapi,
};
use outcrop_api::{Error, Result};
use outcrop_governance::Principal;
use serde_json::{Map, Value, json};

use super::parts::{ACTION_GROUPS, COLLABORATORS, KNOWLEDGE_BASES};
use super::{
    DRAFT, action_groups, aliases, collaborators, knowledge_bases, memory, native, overrides,
};
use crate::operations::Call;
use crate::registry::Resource;
use crate::session::Session;

/// What an agent's draft says, with all that it names looked up.
///
/// # Errors
/// `ValidationException` for what is missing or cannot be run; `ResourceNotFoundException` for a
/// knowledge base or a collaborator that is not there any more.
pub(super) fn definition(call: &Call, agent: &Resource) -> Result<AgentDefinition> {
    let needed = |name: &str| match agent.text(name) {
        "" => Err(Error::validation(format!(
            "Agent {} cannot be prepared: it has no {name}.",
            agent.id
        ))),
        text => Ok(text.to_string()),
    };
    let mut definition = AgentDefinition {
        id: agent.id.clone(),
        name: agent.name.clone().unwrap_or_default(),
        version: DRAFT.into(),
        model: needed("foundationModel")?,
        instruction: needed("instruction")?,
        ..native::kept(agent)?
    };
    call.model_of(&definition.model)?;
    let configuration = agent.members.get("promptOverrideConfiguration");
    if let Some(config) = overrides::inference_config(configuration.unwrap_or(&Value::Null))? {
        definition.inference_config = config;
    }
    let configuration = configuration.unwrap_or(&Value::Null);
    let remembers = agent.members.get("memoryConfiguration");
    let (remembers, native) = (remembers.unwrap_or(&Value::Null), definition.memory.take());
    definition.memory = memory::settings(remembers, configuration, native)?;
    if let Some(seconds) = agent.members.get("idleSessionTTLInSeconds") {
        definition.idle_session_seconds = seconds.as_f64();
    }
    for group in ACTION_GROUPS.all(agent)? {
        if action_groups::is_enabled(&group) && !action_groups::is_user_input(&group) {
            definition.action_groups.push(action_group(call, &group)?);
        }
    }
    for link in KNOWLEDGE_BASES.all(agent)? {
        if knowledge_bases::is_enabled(&link) {
            let base = crate::operations::knowledge_bases::open(call, &link.id)?;
            definition.knowledge_bases.push(KnowledgeBaseLink {
                id: link.id.clone(),
                name: base.name().to_string(),
                description: link.text("description").into(),
                results: native::results(&link),
            });
        }
    }
    definition.collaborators = team(&call.session, agent)?;
    definition.collaboration = match agent.text("agentCollaboration") {
        "SUPERVISOR_ROUTER" => Collaboration::SupervisorRouter,
        _ => Collaboration::Supervisor,
    };
    Ok(definition)
}

/// An action group as it is run.
fn action_group(call: &Call, group: &Resource) -> Result<ActionGroup> {
    if let Some(own) = native::group(group)? {
        return Ok(own);
    }
    let name = group.name.as_deref().unwrap_or_default();
    let members = Value::Object(group.members.clone());
    check_executor(&call.session, &members)
        .map_err(|error| Error::validation(format!("Action group {name}: {}", error.message())))?;
    described(&call.session, &call.principal, name, &members)
}

/// Refuses an executor that nothing of this machine stands for.
///
/// # Errors
/// `ValidationException` that names the Lambda function.
pub(super) fn check_executor(session: &Session, members: &Value) -> Result<()> {
    match members["actionGroupExecutor"]["lambda"].as_str() {
        None => Ok(()),
        Some(arn) => session.lambda(arn).map(drop),
    }
}

/// An action group with the functions that its members describe.
///
/// # Errors
/// `ValidationException` for a schema that is none, or a file of S3 that is not there.
pub(super) fn described(
    session: &Session,
    principal: &Principal,
    name: &str,
    members: &Value,
) -> Result<ActionGroup> {
    let text = |name: &str| members[name].as_str().unwrap_or_default();
    let functions = match (members.get("functionSchema"), members.get("apiSchema")) {
        (Some(schema), _) => functions(schema),
        (None, Some(schema)) => openapi::functions(&schema_text(session, principal, schema)?)
            .map_err(|error| {
                Error::validation(format!("Action group {name}: {}", error.message()))
            })?,
        (None, None) => Vec::new(),
    };
    let lambda = members["actionGroupExecutor"]["lambda"].as_str();
    Ok(ActionGroup {
        name: name.into(),
        description: text("description").into(),
        functions,
        execution: match lambda {
            Some(_) => Execution::Runtime,
            None => Execution::ReturnControl,
        },
        endpoint: lambda.map(|arn| Endpoint::Lambda { arn: arn.into() }),
    })
}

/// The text of an API schema, given inline or as an object of a mapped bucket.
fn schema_text(session: &Session, principal: &Principal, schema: &Value) -> Result<String> {
    if let Some(payload) = schema["payload"].as_str() {
        return Ok(payload.into());
    }
    let bucket = schema["s3"]["s3BucketName"].as_str().unwrap_or_default();
    let key = schema["s3"]["s3ObjectKey"].as_str().unwrap_or_default();
    let uri = format!("s3://{bucket}/{key}");
    let path = session.resolve_s3_uri(&uri, principal)?;
    std::fs::read_to_string(&path).map_err(|error| {
        Error::validation(format!("apiSchema.s3: {uri}: {error}")).with_source(error)
    })
}

/// The functions of Bedrock's function schema.
fn functions(schema: &Value) -> Vec<Function> {
    let functions = schema["functions"].as_array().into_iter().flatten();
    functions
        .map(|function| Function {
            name: function["name"].as_str().unwrap_or_default().into(),
            description: function["description"].as_str().unwrap_or_default().into(),
            input_schema: input_schema(&function["parameters"]),
            require_confirmation: function["requireConfirmation"] == "ENABLED",
            ..Function::default()
        })
        .collect()
}

fn input_schema(parameters: &Value) -> Value {
    let mut properties = Map::new();
    let mut required = Vec::new();
    for (name, parameter) in parameters.as_object().into_iter().flatten() {
        let mut property = json!({"type": parameter["type"]});
        if let Some(description) = parameter.get("description") {
            property["description"] = description.clone();
        }
        properties.insert(name.clone(), property);
        if parameter["required"] == json!(true) {
            required.push(name.clone());
        }
    }
    json!({
        "type": "object",
        "properties": properties,
        "required": required,
        "additionalProperties": false,
    })
}

/// The agent that the ARN of an alias leads to now, as the collaborator `name`.
///
/// # Errors
/// `ResourceNotFoundException`; `ValidationException` where it is not prepared.
pub(super) fn collaborator(session: &Session, arn: &str, name: &str) -> Result<Collaborator> {
    let (id, alias) = aliases::parse_arn(arn).ok_or_else(|| {
        Error::validation(format!("collaborator {name}: no alias has the ARN {arn:?}"))
    })?;
    let of = super::find(session, id)?;
    let alias = aliases::find(session, &of, alias)?;
    let version = aliases::version_of(&alias).unwrap_or_default();
    if crate::agents::find_definition(session, id, version)?.is_none() {
        return Err(Error::validation(format!(
            "Collaborator {name}: agent {id} is not prepared."
        )));
    }
    Ok(Collaborator {
        agent_id: id.into(),
        agent_version: version.into(),
        name: name.into(),
        alias_id: aliases::kept_id(&alias),
        ..Collaborator::default()
    })
}

/// The agents that a supervisor may hand work to, each by the version that its alias leads to now.
fn team(session: &Session, agent: &Resource) -> Result<Vec<Collaborator>> {
    let listed = COLLABORATORS.all(agent)?;
    let collaboration = agent.text("agentCollaboration");
    if !listed.is_empty() && !["SUPERVISOR", "SUPERVISOR_ROUTER"].contains(&collaboration) {
        return Err(Error::validation(format!(
            "Agent {} cannot be prepared: it has collaborators, and its agentCollaboration is not \
             SUPERVISOR or SUPERVISOR_ROUTER.",
            agent.id
        )));
    }
    let collaborators = listed.iter().map(|listed| {
        let name = listed.name.as_deref().unwrap_or_default();
        Ok(Collaborator {
            instruction: listed.text("collaborationInstruction").into(),
            relays_history: listed.text("relayConversationHistory") == "TO_COLLABORATOR",
            ..collaborator(session, collaborators::alias_arn(listed), name)?
        })
    });
    collaborators.collect()
}
