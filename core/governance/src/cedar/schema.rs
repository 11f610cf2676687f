//! What policies may say of an agent's calls: Cedar's schema, made of the agent's functions.

use std::collections::BTreeMap;
use std::str::FromStr;

use cedar_policy::{Schema, SchemaError};
use outcrop_api::{Error, Result};
use serde_json::{Map, Value, json};

use super::kind::{Kind, record};

/// What an agent has, as policies are validated against it.
#[derive(Clone, Debug, Default)]
pub struct AgentSchema {
    /// The agent's name.
    pub agent: String,
    /// Its functions.
    pub functions: Vec<FunctionSchema>,
}

/// A function of an agent.
#[derive(Clone, Debug)]
pub struct FunctionSchema {
    /// `group.function`.
    pub name: String,
    /// The JSON schema of its arguments.
    pub arguments: Value,
}

impl AgentSchema {
    /// Cedar's schema of the agent's calls.
    ///
    /// # Errors
    /// `InternalServerException` where Cedar does not take what was made.
    pub(super) fn cedar(&self) -> Result<Schema> {
        let mut actions = Map::new();
        actions.insert("CallFunction".into(), json!({}));
        actions.insert("Retrieve".into(), text_action("KnowledgeBase", "query"));
        actions.insert("Delegate".into(), text_action("Collaborator", "message"));
        for function in &self.functions {
            let mut action = action("ActionGroup", &function.arguments);
            action["memberOf"] = json!([{"id": "CallFunction"}]);
            actions.insert(function.name.clone(), action);
        }
        let of_agent = json!({"memberOfTypes": ["Agent"]});
        let agent = json!({
            "id": {"type": "String"},
            "name": {"type": "String"},
            "model": {"type": "String"},
            "user": {"type": "Entity", "name": "User"},
        });
        let schema = json!({"": {
            "entityTypes": {
                "User": {},
                "Agent": {"shape": {"type": "Record", "attributes": agent}},
                "ActionGroup": of_agent,
                "KnowledgeBase": of_agent,
                "Collaborator": of_agent,
                "Session": {"tags": {"type": "String"}},
            },
            "actions": actions,
        }});
        Schema::from_json_value(schema).map_err(|error: SchemaError| {
            Error::internal(format!(
                "the schema of agent {}'s calls: {error}",
                self.agent
            ))
        })
    }
}

/// A look-up or a delegation: one argument, a text.
fn text_action(resource: &str, argument: &str) -> Value {
    let arguments = json!({
        "type": "object", "properties": {argument: {"type": "string"}}, "required": [argument],
    });
    action(resource, &arguments)
}

fn action(resource: &str, arguments: &Value) -> Value {
    let kind = arguments_kind(arguments);
    let mut context = Map::new();
    context.insert("origins".into(), origins(arguments, &kind));
    context.insert("arguments".into(), kind.in_schema());
    context.insert("tainted".into(), texts());
    context.insert("read".into(), texts());
    context.insert(
        "session".into(),
        json!({"type": "Entity", "name": "Session"}),
    );
    context.insert("approved".into(), json!({"type": "Boolean"}));
    json!({"appliesTo": {
        "principalTypes": ["Agent"],
        "resourceTypes": [resource],
        "context": {"type": "Record", "attributes": context},
    }})
}

/// The arguments as a record; an empty one where the schema says nothing of them.
pub(super) fn arguments_kind(schema: &Value) -> Kind {
    match Kind::of(schema, schema) {
        Some((kind @ Kind::Record(_), _)) => kind,
        _ => Kind::Record(Default::default()),
    }
}

/// The sources of each argument, whether Cedar has its type or not, and of each value inside one, by
/// its place.
fn origins(schema: &Value, arguments: &Kind) -> Value {
    let required = schema["required"].as_array();
    let must = |name: &str| required.is_some_and(|all| all.iter().any(|one| one == name));
    let members = schema["properties"].as_object().into_iter().flatten();
    let mut places: BTreeMap<String, bool> = arguments.places("", true).into_iter().collect();
    places.extend(members.map(|(name, _)| (name.clone(), must(name))));
    record(places.into_iter().map(|(place, required)| {
        let mut texts = texts();
        texts["required"] = json!(required);
        (place, texts)
    }))
}

fn texts() -> Value {
    json!({"type": "Set", "element": {"type": "String"}})
}

/// The name of a type, which is known to be one.
pub(super) fn type_name(name: &str) -> Result<cedar_policy::EntityTypeName> {
    cedar_policy::EntityTypeName::from_str(name)
        .map_err(|error| Error::internal(format!("{name}: {error}")))
}
