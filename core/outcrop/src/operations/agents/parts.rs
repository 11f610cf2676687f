//! The parts of an agent: its action groups, knowledge bases and collaborators.
//!
//! They stand in the record of their agent, so that one write changes an agent whole, and in that
//! of each version as they were when it was made.

use outcrop_api::{Error, Result};
use serde_json::{Map, Value, json};

use super::{MAX_PAGE, agent_of, change, shown};
use crate::operations::{Answer, Call};
use crate::registry::{IdForm, Page, Resource, Tags, now, request_digest};

/// One kind of parts.
pub(super) struct Parts {
    /// The member of an agent's record that has them.
    member: &'static str,
    /// What one is called in an error.
    noun: &'static str,
    /// The label of a path that names one.
    label: &'static str,
}

/// What an agent may call.
pub(super) static ACTION_GROUPS: Parts = Parts {
    member: "actionGroups",
    noun: "Action group",
    label: "actionGroupId",
};
/// What an agent may look things up in.
pub(super) static KNOWLEDGE_BASES: Parts = Parts {
    member: "knowledgeBases",
    noun: "Agent knowledge base",
    label: "knowledgeBaseId",
};
/// Whom an agent may hand work to.
pub(super) static COLLABORATORS: Parts = Parts {
    member: "collaborators",
    noun: "Agent collaborator",
    label: "collaboratorId",
};

/// The member of a part that tells the token which made it.
const TOKEN: &str = "clientToken";
/// The member of a part that tells the request which made it.
const REQUEST: &str = "requestDigest";

/// What a part is made with.
pub(super) struct PartDraft<'a> {
    /// Its id, where it is given.
    pub id: Option<&'a str>,
    /// Its name, which no other of its agent has.
    pub name: Option<&'a str>,
    /// What else it is.
    pub members: Map<String, Value>,
}

impl Parts {
    /// Those of an agent, or of a version of it, the oldest first.
    ///
    /// # Errors
    /// `InternalServerException` where its record is damaged.
    pub fn all(&self, agent: &Resource) -> Result<Vec<Resource>> {
        let Some(parts) = agent.members.get(self.member) else {
            return Ok(Vec::new());
        };
        serde_json::from_value(parts.clone()).map_err(|error| {
            Error::internal(format!("agent {}: {}: {error}", agent.id, self.member))
                .with_source(error)
        })
    }

    /// Puts `parts` in the place of an agent's.
    ///
    /// # Errors
    /// `InternalServerException` where they cannot be written as JSON.
    pub fn put(&self, agent: &mut Resource, parts: &[Resource]) -> Result<()> {
        let parts = serde_json::to_value(parts)
            .map_err(|error| Error::internal(error.to_string()).with_source(error))?;
        agent.members.insert(self.member.into(), parts);
        Ok(())
    }

    /// A part that is not in a record yet.
    pub fn fresh(draft: PartDraft<'_>) -> Resource {
        let time = now();
        Resource {
            id: draft.id.map_or_else(|| IdForm::Ten.fresh(), String::from),
            arn: String::new(),
            parent: None,
            name: draft.name.map(String::from),
            created_at: time.clone(),
            updated_at: time,
            tags: Tags::new(),
            members: draft.members,
        }
    }

    /// Adds one to the draft of a call's agent; where its token has made it before, that one.
    ///
    /// # Errors
    /// `ConflictException` where its id or name is taken, or its token came with another request.
    pub fn create(&self, call: &Call, mut draft: PartDraft<'_>) -> Result<(Resource, Resource)> {
        let digest = request_digest(&call.input);
        if let Some(token) = call.text(TOKEN) {
            draft.members.insert(TOKEN.into(), json!(token));
            draft.members.insert(REQUEST.into(), json!(digest));
        }
        change(call, |agent| {
            let mut parts = self.all(agent)?;
            let token = call.text(TOKEN);
            if let Some(made) = parts.iter().find(|part| {
                token.is_some() && part.members.get(TOKEN).and_then(Value::as_str) == token
            }) {
                return match made.text(REQUEST) == digest {
                    true => Ok(made.clone()),
                    false => Err(Error::conflict(
                        "The client token was used before in a request with other parameters.",
                    )),
                };
            }
            let part = Self::fresh(draft);
            self.check_free(parts.iter(), &part, agent)?;
            parts.push(part.clone());
            self.put(agent, &parts)?;
            Ok(part)
        })
    }

    /// The one that a call is about, of the agent's version that it names; both.
    ///
    /// # Errors
    /// `ResourceNotFoundException`.
    pub fn get(&self, call: &Call) -> Result<(Resource, Resource)> {
        let agent = agent_of(call)?;
        let shown = shown(&call.session, &agent, call.required("agentVersion")?)?;
        let id = call.required(self.label)?;
        let part = self.all(&shown)?.into_iter().find(|part| part.id == id);
        Ok((agent, part.ok_or_else(|| self.not_found(&shown, id))?))
    }

    /// Changes the one that a call is about.
    ///
    /// # Errors
    /// `ResourceNotFoundException`; `ConflictException` where its new name is taken.
    pub fn update(
        &self,
        call: &Call,
        edit: impl FnOnce(&mut Resource) -> Result<()>,
    ) -> Result<(Resource, Resource)> {
        let id = call.required(self.label)?;
        change(call, |agent| {
            let mut parts = self.all(agent)?;
            let at = parts.iter().position(|part| part.id == id);
            let at = at.ok_or_else(|| self.not_found(agent, id))?;
            let mut part = parts[at].clone();
            edit(&mut part)?;
            if part != parts[at] {
                part.updated_at = now();
                let others = parts[..at].iter().chain(&parts[at + 1..]);
                self.check_free(others, &part, agent)?;
                parts[at] = part.clone();
                self.put(agent, &parts)?;
            }
            Ok(part)
        })
    }

    /// Takes away the one that a call is about, unless `check` refuses.
    ///
    /// # Errors
    /// `ResourceNotFoundException`; those of `check`.
    pub fn delete(&self, call: &Call, check: impl FnOnce(&Resource) -> Result<()>) -> Result<()> {
        let id = call.required(self.label)?;
        let (_, ()) = change(call, |agent| {
            let mut parts = self.all(agent)?;
            let at = parts.iter().position(|part| part.id == id);
            let at = at.ok_or_else(|| self.not_found(agent, id))?;
            check(&parts.remove(at))?;
            self.put(agent, &parts)
        })?;
        Ok(())
    }

    /// A page of those of the agent's version that a call names.
    ///
    /// # Errors
    /// `ResourceNotFoundException`.
    pub fn list(
        &self,
        call: &Call,
        member: &str,
        summary: impl Fn(&Resource, &Resource) -> Value,
    ) -> Result<Answer> {
        let agent = agent_of(call)?;
        let shown = shown(&call.session, &agent, call.required("agentVersion")?)?;
        let page = Page::of(call)?.at_most(MAX_PAGE);
        let listed = page.of_all(self.all(&shown)?, |_| true);
        Answer::of(&listed.answer(member, |part| summary(&agent, part)))
    }

    /// Refuses a part whose id or name one of `others` has.
    fn check_free<'a>(
        &self,
        mut others: impl Iterator<Item = &'a Resource>,
        part: &Resource,
        agent: &Resource,
    ) -> Result<()> {
        let taken = others
            .find(|other| other.id == part.id || (part.name.is_some() && other.name == part.name));
        match taken {
            None => Ok(()),
            Some(_) => Err(Error::conflict(format!(
                "{} {} of agent {} already exists.",
                self.noun,
                part.name.as_ref().unwrap_or(&part.id),
                agent.id
            ))),
        }
    }

    fn not_found(&self, agent: &Resource, id: &str) -> Error {
        let of = agent.parent.as_ref().unwrap_or(&agent.id);
        Error::not_found(format!("{} {id} of agent {of} does not exist.", self.noun))
            .with_resource(id)
    }
}
