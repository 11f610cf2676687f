//! The home's Cedar policies: put, listed, deleted, and made ready for the calls of an agent.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};

use outcrop_agents::AgentDefinition;
use outcrop_api::{Error, Result};
use outcrop_governance::{
    AgentPolicies, AgentSchema, DEFAULT_POLICY, DEFAULT_POLICY_TEXT, FunctionSchema, PolicyText,
};
use serde::{Deserialize, Serialize};

use super::stored;
use crate::registry::AGENTS;
use crate::session::{Session, blocking};

/// The store's kind of the policies that were put, by name.
const POLICIES: &str = "policies";
/// The store's kind of the policies that agents were made with, by the agent's id.
const OWN: &str = "agent-policies";
/// Agents whose policies are kept ready at most.
const READY: usize = 64;

/// What a policy is put with.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default, deny_unknown_fields)]
pub struct PolicyRequest {
    /// Its name: letters and digits, each of which may be followed by one `_` or `-`.
    pub name: String,
    /// One or several policies, in Cedar's language.
    pub text: String,
    /// The name or id of the agent that it is over. Default: every agent of the home.
    pub agent: Option<String>,
}

/// What is known of a policy.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct PolicyInfo {
    /// Its name.
    pub name: String,
    /// The policies, in Cedar's language.
    pub text: String,
    /// The name of the agent that it is over; none where it is over every agent.
    pub agent: Option<String>,
}

/// Policies that are ready to be asked, by the texts that they were made of.
#[derive(Default)]
pub(crate) struct ReadyPolicies(Mutex<HashMap<String, Ready>>);

type Ready = (Vec<PolicyText>, Arc<AgentPolicies>);

impl Session {
    /// Puts a policy, in place of any of its name. It holds from the next call on that any agent
    /// asks to make, in every process.
    ///
    /// # Errors
    /// `ValidationException` for a text that is no policy, with the line and the column, or that
    /// cannot be said of the calls of the agents that are there; `ResourceNotFoundException` for an
    /// agent that is not there.
    pub async fn put_policy(&self, request: PolicyRequest) -> Result<PolicyInfo> {
        let record = self.open_own_record("PutPolicy", "policyName", &request.name)?;
        let session = self.clone();
        record.run(blocking(move || put(&session, request))).await
    }

    /// The policies of the home: those that were put, and those that agents were made with.
    ///
    /// # Errors
    /// An error that names the file where a record is damaged.
    pub async fn policies(&self) -> Result<Vec<PolicyInfo>> {
        let session = self.clone();
        let work = blocking(move || list(&session));
        self.open_own_record("ListPolicies", "", "")?
            .run(work)
            .await
    }

    /// Deletes a policy. Without the one named `default`, nothing is permitted but what other
    /// policies permit.
    ///
    /// # Errors
    /// `ResourceNotFoundException` where there is none; `ValidationException` for one that an agent
    /// was made with.
    pub async fn delete_policy(&self, name: &str) -> Result<()> {
        let record = self.open_own_record("DeletePolicy", "policyName", name)?;
        let (session, name) = (self.clone(), name.to_string());
        record.run(blocking(move || delete(&session, &name))).await
    }
}

/// The policies over the calls of an agent, ready to be asked.
///
/// # Errors
/// Those of the store.
pub(super) fn ready(session: &Session, agent_id: &str) -> Result<Arc<AgentPolicies>> {
    let mut texts = put_texts(session)?;
    texts.retain(|text| text.agent.as_deref().is_none_or(|agent| agent == agent_id));
    texts.extend(own(session, agent_id)?);
    let cache = &session.ready_policies().0;
    let mut ready = cache.lock().unwrap_or_else(PoisonError::into_inner);
    if let Some((of, policies)) = ready.get(agent_id)
        && *of == texts
    {
        return Ok(policies.clone());
    }
    let policies = Arc::new(AgentPolicies::of(&texts)?);
    if ready.len() >= READY {
        ready.clear();
    }
    ready.insert(agent_id.to_string(), (texts, policies.clone()));
    Ok(policies)
}

/// Checks the policy that an agent is made with against what the agent has.
///
/// # Errors
/// As [`Session::put_policy`].
pub(super) fn validate_own(definition: &AgentDefinition, text: &str) -> Result<PolicyText> {
    let policy = PolicyText {
        name: own_name(&definition.name),
        text: text.to_string(),
        agent: None,
    };
    policy.validate(&[schema(definition)])?;
    Ok(policy)
}

/// The policy that an agent was made with.
///
/// # Errors
/// Those of the store.
pub(super) fn own(session: &Session, agent_id: &str) -> Result<Option<PolicyText>> {
    Ok(session.store().get_record(OWN, agent_id)?)
}

/// Keeps the policy that an agent is made with, or that it is made with none.
///
/// # Errors
/// Those of the store.
pub(super) fn put_own(
    session: &Session,
    agent_id: &str,
    policy: Option<&PolicyText>,
) -> Result<()> {
    match policy {
        Some(policy) => session.store().put_record(OWN, agent_id, policy)?,
        None => drop(session.store().delete_record(OWN, agent_id)?),
    }
    Ok(())
}

/// Lets go of the policies that are over an agent alone.
///
/// # Errors
/// Those of the store.
pub(super) fn forget(session: &Session, agent_id: &str) -> Result<()> {
    put_own(session, agent_id, None)?;
    for text in session.store().list_records::<PolicyText>(POLICIES)? {
        if text.1.agent.as_deref() == Some(agent_id) {
            session.store().delete_record(POLICIES, &text.0)?;
        }
    }
    Ok(())
}

fn put(session: &Session, request: PolicyRequest) -> Result<PolicyInfo> {
    crate::knowledge_base::validate_name(&request.name)?;
    let agents = match &request.agent {
        Some(agent) => vec![stored::find(session, agent)?.1],
        None => stored::definitions(session)?,
    };
    let over = request.agent.is_some().then(|| &agents[..]);
    let policy = PolicyText {
        name: request.name,
        text: request.text,
        agent: over.and_then(<[_]>::first).map(|agent| agent.id.clone()),
    };
    let name = over.and_then(<[_]>::first).map(|agent| agent.name.clone());
    let schemas: Vec<AgentSchema> = agents.iter().map(schema).collect();
    policy.validate(&schemas)?;
    session
        .store()
        .put_record(POLICIES, &policy.name, &policy)?;
    Ok(PolicyInfo {
        name: policy.name,
        text: policy.text,
        agent: name,
    })
}

fn list(session: &Session) -> Result<Vec<PolicyInfo>> {
    let mut found = Vec::new();
    for text in put_texts(session)? {
        let agent = text.agent.map(|id| name_of(session, id)).transpose()?;
        found.push(PolicyInfo {
            name: text.name,
            text: text.text,
            agent,
        });
    }
    for (id, text) in session.store().list_records::<PolicyText>(OWN)? {
        found.push(PolicyInfo {
            name: text.name,
            text: text.text,
            agent: Some(name_of(session, id)?),
        });
    }
    Ok(found)
}

fn delete(session: &Session, name: &str) -> Result<()> {
    let texts = put_texts(session)?;
    if !texts.iter().any(|text| text.name == name) {
        if list(session)?.iter().any(|policy| policy.name == name) {
            return Err(Error::validation(format!(
                "policy {name} belongs to its agent: create the agent again without it"
            ))
            .with_resource(name));
        }
        return Err(Error::not_found(format!("Policy {name} does not exist.")).with_resource(name));
    }
    if name == DEFAULT_POLICY {
        // An empty text stands for its deletion: without a record, there is the one to begin with.
        let none = PolicyText {
            name: name.to_string(),
            text: String::new(),
            agent: None,
        };
        return Ok(session.store().put_record(POLICIES, name, &none)?);
    }
    session.store().delete_record(POLICIES, name)?;
    Ok(())
}

/// The policies that were put, and the one that a home begins with.
fn put_texts(session: &Session) -> Result<Vec<PolicyText>> {
    let records = session.store().list_records::<PolicyText>(POLICIES)?;
    let mut texts: Vec<PolicyText> = records.into_iter().map(|(_, text)| text).collect();
    match texts.iter().position(|text| text.name == DEFAULT_POLICY) {
        Some(at) if texts[at].text.is_empty() => drop(texts.remove(at)),
        Some(_) => {}
        None => texts.push(PolicyText {
            name: DEFAULT_POLICY.into(),
            text: DEFAULT_POLICY_TEXT.into(),
            agent: None,
        }),
    }
    Ok(texts)
}

/// The name of the agent, or its id where it is gone.
fn name_of(session: &Session, id: String) -> Result<String> {
    match session.resources(&AGENTS).find(&id) {
        Ok(agent) => Ok(agent.name.unwrap_or(id)),
        Err(error) if error.kind() == outcrop_api::ErrorKind::ResourceNotFoundException => Ok(id),
        Err(error) => Err(error),
    }
}

/// A name that no policy can be put under.
fn own_name(agent: &str) -> String {
    format!("agent.{agent}")
}

fn schema(definition: &AgentDefinition) -> AgentSchema {
    let groups = definition.action_groups.iter();
    let functions = groups.flat_map(|group| {
        group.functions.iter().map(|function| FunctionSchema {
            name: format!("{}.{}", group.name, function.name),
            arguments: function.input_schema.clone(),
        })
    });
    AgentSchema {
        agent: definition.name.clone(),
        functions: functions.collect(),
    }
}
