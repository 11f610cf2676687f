//! A call of an agent as Cedar's request: principal, action, resource, context.

use std::collections::{BTreeMap, HashMap};

use cedar_policy::{
    Context, Entities, Entity, EntityId, EntityUid, Request, RestrictedExpression as Expression,
};
use outcrop_api::{Error, Result};
use serde_json::Value;

use super::schema::{arguments_kind, type_name};

/// Sources that nobody but the user and who made the agent can write to.
const TRUSTED: [&str; 3] = ["user", "instruction", "session"];

/// A call that an agent asks to make for a user.
#[derive(Clone, Debug)]
pub struct AgentCall<'a> {
    /// The agent's id.
    pub agent_id: &'a str,
    /// Its name, by which policies know it.
    pub agent: &'a str,
    /// Its model.
    pub model: &'a str,
    /// The ARN of the user whom it acts for.
    pub user: &'a str,
    /// The session.
    pub session_id: &'a str,
    /// Its attributes.
    pub session_attributes: &'a BTreeMap<String, String>,
    /// What it asks to do.
    pub action: CallAction<'a>,
    /// Of what.
    pub resource: CallResource<'a>,
    /// The JSON schema of its arguments.
    pub schema: &'a Value,
    /// The arguments.
    pub arguments: &'a Value,
    /// The sources of each value in the arguments, by its place: `to`, `items[].id`.
    pub origins: &'a [(String, Vec<String>)],
    /// The kinds of text that the session has read: `function`, `document`, `agent`.
    pub read: &'a [String],
}

/// What a call asks to do.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum CallAction<'a> {
    /// To call the function `group.function`.
    Function(&'a str),
    /// To look something up.
    Retrieve,
    /// To hand work to another agent.
    Delegate,
}

/// Of what a call asks it, by name.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum CallResource<'a> {
    /// An action group.
    ActionGroup(&'a str),
    /// A knowledge base.
    KnowledgeBase(&'a str),
    /// A collaborator.
    Collaborator(&'a str),
}

impl AgentCall<'_> {
    /// The arguments of which no source is the user, the instruction or the session: what documents,
    /// tools, other agents or the model itself chose.
    pub fn tainted(&self) -> Vec<String> {
        let trusted =
            |sources: &[String]| sources.iter().any(|one| TRUSTED.contains(&one.as_str()));
        let whole = self.whole_origins().into_iter();
        whole
            .filter(|(_, sources)| !trusted(sources))
            .map(|(argument, _)| argument)
            .collect()
    }

    /// The principal, the action and the resource, as policies write them.
    ///
    /// # Errors
    /// `InternalServerException` where Cedar does not take them.
    pub fn names(&self) -> Result<[String; 3]> {
        let parts = [self.principal()?, self.action()?, self.resource()?];
        Ok(parts.map(|part| part.to_string()))
    }

    pub(super) fn request(&self, approved: bool) -> Result<Request> {
        let texts = |texts: &[String]| {
            let texts = texts.iter().cloned().map(Expression::new_string);
            Expression::new_set(texts)
        };
        let mut origins: BTreeMap<String, Vec<String>> = self.whole_origins();
        origins.extend(self.origins.iter().cloned());
        let origins = origins
            .into_iter()
            .map(|(place, sources)| (place, texts(&sources)));
        let arguments = arguments_kind(self.schema).value(self.arguments);
        let context = Context::from_pairs([
            ("approved".into(), Expression::new_bool(approved)),
            (
                "arguments".into(),
                match arguments {
                    Some(arguments) => arguments,
                    None => Expression::new_record([]).map_err(refused)?,
                },
            ),
            (
                "origins".into(),
                Expression::new_record(origins).map_err(refused)?,
            ),
            ("tainted".into(), texts(&self.tainted())),
            ("read".into(), texts(self.read)),
            (
                "session".into(),
                Expression::new_entity_uid(self.session()?),
            ),
        ]);
        let context = context.map_err(refused)?;
        Request::new(
            self.principal()?,
            self.action()?,
            self.resource()?,
            context,
            None,
        )
        .map_err(refused)
    }

    /// What the request's entities are.
    pub(super) fn entities(&self) -> Result<Entities> {
        let user = uid("User", self.user)?;
        let text = |text: &str| Expression::new_string(text.to_string());
        let agent = HashMap::from([
            ("id".to_string(), text(self.agent_id)),
            ("name".to_string(), text(self.agent)),
            ("model".to_string(), text(self.model)),
            ("user".to_string(), Expression::new_entity_uid(user.clone())),
        ]);
        let group = match self.action {
            CallAction::Function(_) => vec![uid("Action", "CallFunction")?],
            CallAction::Retrieve | CallAction::Delegate => Vec::new(),
        };
        let attributes = self.session_attributes.iter();
        let tags = attributes.map(|(name, value)| (name.clone(), text(value)));
        let none = HashMap::new;
        let entities = [
            Entity::new(self.principal()?, agent, [].into()),
            Entity::new(self.resource()?, none(), [self.principal()?].into()),
            Entity::new(self.action()?, none(), group.into_iter().collect()),
            Entity::new(user, none(), [].into()),
            Entity::new_with_tags(self.session()?, [], [], tags),
        ];
        let entities: std::result::Result<Vec<_>, _> = entities.into_iter().collect();
        Entities::from_entities(entities.map_err(refused)?, None).map_err(refused)
    }

    /// The sources that all values in an argument share, by argument; `model` where there are none.
    fn whole_origins(&self) -> BTreeMap<String, Vec<String>> {
        let arguments = self.arguments.as_object().into_iter().flatten();
        let whole = arguments.map(|(argument, _)| {
            let inside = self.origins.iter().filter(|(place, _)| {
                let rest = place.strip_prefix(argument.as_str());
                rest.is_some_and(|rest| rest.is_empty() || rest.starts_with(['.', '[']))
            });
            let mut lists = inside.map(|(_, sources)| sources);
            let mut common = lists.next().cloned().unwrap_or_default();
            for sources in lists {
                common.retain(|source| sources.contains(source));
            }
            if common.is_empty() {
                common.push("model".into());
            }
            (argument.clone(), common)
        });
        whole.collect()
    }

    fn principal(&self) -> Result<EntityUid> {
        uid("Agent", self.agent)
    }

    fn session(&self) -> Result<EntityUid> {
        uid("Session", self.session_id)
    }

    fn action(&self) -> Result<EntityUid> {
        uid(
            "Action",
            match self.action {
                CallAction::Function(name) => name,
                CallAction::Retrieve => "Retrieve",
                CallAction::Delegate => "Delegate",
            },
        )
    }

    fn resource(&self) -> Result<EntityUid> {
        match self.resource {
            CallResource::ActionGroup(name) => uid("ActionGroup", name),
            CallResource::KnowledgeBase(name) => uid("KnowledgeBase", name),
            CallResource::Collaborator(name) => uid("Collaborator", name),
        }
    }
}

fn uid(kind: &str, id: &str) -> Result<EntityUid> {
    Ok(EntityUid::from_type_name_and_id(
        type_name(kind)?,
        EntityId::new(id),
    ))
}

fn refused(error: impl std::fmt::Display) -> Error {
    Error::internal(format!("a call as Cedar's request: {error}"))
}
