//! A session's handle of an agent.

use std::sync::Arc;

use outcrop_agents::{
    AgentDefinition, Answer, Beginning, CallAnswer, Conversation, Edit, Entry, Fact, Turn,
};
use outcrop_api::{Error, Result};
use outcrop_governance::Principal;

use super::drive::{Driver, returns_control};
use super::mcp;
use super::recorded::{Name, Recorded, replayed, result_of};
use super::request::{AgentRequest, InvokeRequest, ResumeRequest};
use super::result::{AgentInfo, AgentResult};
use super::run::{Open, Run};
use super::stored;
use crate::desk::{Record, request_id};
use crate::feed::Feed;
use crate::session::{Session, blocking};

/// An agent. Handles are cheap; its model is loaded when it is first asked.
#[derive(Clone)]
pub struct Agent {
    session: Session,
    definition: AgentDefinition,
    /// Who asks it, by an operation whose record is open; otherwise the owner does.
    caller: Option<(Principal, Record)>,
}

impl Session {
    /// Creates an agent. The same one again changes nothing; another one of its name takes its
    /// place where the request says so.
    ///
    /// # Errors
    /// `ValidationException` that names the member which is wrong; `ConflictException` where the
    /// name is taken; `ResourceNotFoundException` for a knowledge base or a collaborator that is not
    /// there.
    pub async fn create_agent(&self, request: AgentRequest) -> Result<Agent> {
        let record = self.open_record("CreateAgent", "agentName", &request.name)?;
        let session = self.clone();
        let work = async {
            let request = mcp::with_tools(&session, request).await?;
            let created = session.clone();
            let definition = blocking(move || stored::create(&created, request)).await?;
            mcp::close_other(&session, &definition.name, Some(&definition));
            Ok(definition)
        };
        Ok(Agent::new(self.clone(), record.run(work).await?))
    }

    /// The agent by its name, id or ARN.
    ///
    /// # Errors
    /// `ResourceNotFoundException` where there is none.
    pub async fn agent(&self, name_or_id: &str) -> Result<Agent> {
        self.check()?;
        let (session, name) = (self.clone(), name_or_id.to_string());
        let (_, definition) = blocking(move || stored::find(&session, &name)).await?;
        Ok(Agent::new(self.clone(), definition))
    }

    /// The agents of the home that are ready to be asked, the oldest first.
    ///
    /// # Errors
    /// An error that names the file where a record is damaged.
    pub async fn agents(&self) -> Result<Vec<AgentInfo>> {
        let session = self.clone();
        let work = blocking(move || stored::list(&session));
        self.open_record("ListAgents", "", "")?.run(work).await
    }

    /// Deletes an agent. The journals of its sessions stay.
    ///
    /// # Errors
    /// `ResourceNotFoundException` where there is none.
    pub async fn delete_agent(&self, name_or_id: &str) -> Result<()> {
        let record = self.open_record("DeleteAgent", "agentId", name_or_id)?;
        let (session, name) = (self.clone(), name_or_id.to_string());
        let work = async {
            let deleted = session.clone();
            let name = blocking(move || stored::delete(&deleted, &name)).await?;
            mcp::close_other(&session, &name, None);
            Ok(())
        };
        record.run(work).await
    }
}

impl Agent {
    pub(crate) fn new(session: Session, definition: AgentDefinition) -> Self {
        Self {
            session,
            definition,
            caller: None,
        }
    }

    /// The same, asked by the caller of an operation.
    pub(crate) fn asked_by(mut self, principal: Principal, record: Record) -> Self {
        self.caller = Some((principal, record));
        self
    }

    /// Its id.
    pub fn id(&self) -> &str {
        &self.definition.id
    }

    /// Its name.
    pub fn name(&self) -> &str {
        &self.definition.name
    }

    /// What it is made of.
    pub fn definition(&self) -> &AgentDefinition {
        &self.definition
    }

    /// What is known of it.
    ///
    /// # Errors
    /// `ResourceNotFoundException` where it was deleted.
    pub async fn info(&self) -> Result<AgentInfo> {
        let record = self.session.open_record("GetAgent", "agentId", self.id())?;
        let (session, id) = (self.session.clone(), self.id().to_string());
        let work = blocking(move || {
            let (agent, definition) = stored::find(&session, &id)?;
            Ok(stored::info(&agent, definition))
        });
        record.run(work).await
    }

    /// Begins a turn, and drives it.
    ///
    /// # Errors
    /// `ValidationException` for an empty input or a session id of the wrong form;
    /// `ConflictException` where the session's last turn has not ended, or is under way.
    pub async fn invoke(&self, request: InvokeRequest) -> Result<Run> {
        if request.input.trim().is_empty() {
            return Err(Error::validation(format!(
                "input: expected a text, got {:?}",
                request.input
            )));
        }
        let id = request.session_id.clone().unwrap_or_else(request_id);
        let beginning = Beginning {
            definition: mcp::current(&self.session, self.for_caller(request.runs.as_deref()))
                .await?,
            input: request.input,
            session_attributes: request.session_attributes,
            prompt_session_attributes: request.prompt_session_attributes,
            runs: request.runs,
        };
        let begin = Fact::Begun(Box::new(beginning));
        self.drive(id, move |recorded| recorded.record(begin)).await
    }

    /// Goes on with a turn that is paused, or whose process is gone. What that process had begun
    /// and not ended is told the model as unknown; it is not run again.
    ///
    /// # Errors
    /// `ResourceNotFoundException` where the session has no turn; `ConflictException` where the turn
    /// has ended, is under way elsewhere, or does not wait for one of the answers.
    pub async fn resume(&self, request: ResumeRequest) -> Result<Run> {
        self.answer(request.session_id, |_, _| Ok(request.answers))
            .await
    }

    /// Goes on with a turn by what `answers` says of where it stands.
    ///
    /// # Errors
    /// As [`Agent::resume`]; those of `answers`.
    pub(crate) async fn answer(
        &self,
        session_id: String,
        answers: impl FnOnce(&AgentResult, Option<&Turn>) -> Result<Vec<Answer>> + Send + 'static,
    ) -> Result<Run> {
        let by = match &self.caller {
            Some((principal, _)) => principal.arn.clone(),
            None => Principal::owner().arn,
        };
        let limit = self.definition.limits.max_result_chars;
        self.drive(session_id, move |recorded| {
            let turn = recorded.conversation.turn.as_ref();
            let answers = answers(&recorded.result()?, turn)?;
            recorded.lose_what_was_started()?;
            if answers.is_empty() {
                return Ok(());
            }
            let answers = answers.into_iter().map(|mut answer| {
                answer.by = Some(by.clone());
                if let CallAnswer::Result(outcome) = answer.answer {
                    answer.answer = CallAnswer::Result(outcome.bounded(limit));
                }
                answer
            });
            let answers = answers.collect();
            recorded.record(Fact::Answered { answers })
        })
        .await
    }

    /// Ends a turn that is paused, or whose process is gone. What that process had begun and not
    /// ended is told as unknown.
    ///
    /// # Errors
    /// As [`Agent::resume`].
    pub async fn stop(&self, session_id: String, reason: String) -> Result<Run> {
        self.drive(session_id, move |recorded| {
            recorded.result()?;
            recorded.record(Fact::Stopped { reason })
        })
        .await
    }

    /// What the session told up to the fact `to_step`, from its facts: nothing is run, and the
    /// events are the ones that were told, byte for byte.
    ///
    /// # Errors
    /// `ResourceNotFoundException` where there is no such session; `ValidationException` for a step
    /// that it has not.
    pub async fn replay(&self, session_id: &str, to_step: Option<usize>) -> Result<AgentResult> {
        let record = self
            .session
            .open_record("InvokeAgent", "agentId", self.id())?;
        let (session, name) = (self.session.clone(), Name::new(self.id(), session_id)?);
        let work = blocking(move || {
            let entries = name.facts(session.store())?;
            let (conversation, trace) = replayed(upto(&entries, to_step)?)?;
            result_of(&name, &conversation, &trace)
        });
        record.run(work).await
    }

    /// Makes another session that begins with the first `step` facts of this one, changed by
    /// `edit`; gives where it stands. [`Agent::resume`] goes on with it.
    ///
    /// # Errors
    /// As [`Agent::replay`]; `ConflictException` where there is a session of the new id, or the edit
    /// does not fit what the session is at.
    pub async fn fork(
        &self,
        session_id: &str,
        step: Option<usize>,
        edit: Option<Edit>,
        new_session_id: Option<String>,
    ) -> Result<AgentResult> {
        let record = self
            .session
            .open_record("InvokeAgent", "agentId", self.id())?;
        let from = Name::new(self.id(), session_id)?;
        let to = Name::new(self.id(), &new_session_id.unwrap_or_else(request_id))?;
        let session = self.session.clone();
        let work = blocking(move || {
            let entries = from.facts(session.store())?;
            let entries = upto(&entries, step)?;
            // An edit that does not fit must leave no session behind.
            let (mut tried, _) = replayed(entries)?;
            if let Some(edit) = &edit {
                try_edit(&mut tried, edit.clone())?;
            }
            let mut forked = Recorded::open(session.store(), to.clone())?;
            if forked.conversation.facts > 0 {
                return Err(
                    Error::conflict(format!("Session {} already exists.", to.session_id))
                        .with_resource(&to.session_id),
                );
            }
            for entry in entries {
                forked.copy(entry)?;
            }
            if let Some(edit) = edit {
                forked.record(Fact::Edited { edit })?;
            }
            forked.result()
        });
        record.run(work).await
    }

    /// Opens the session, has `begin` record what comes first, and drives its turn.
    async fn drive(
        &self,
        session_id: String,
        begin: impl FnOnce(&mut Recorded) -> Result<()> + Send + 'static,
    ) -> Result<Run> {
        let name = Name::new(self.id(), &session_id)?;
        let (user, record) = match &self.caller {
            Some(caller) => caller.clone(),
            None => {
                let open = self
                    .session
                    .open_record("InvokeAgent", "agentId", self.id());
                (Principal::owner(), open?)
            }
        };
        let (session, opened) = (self.session.clone(), name.clone());
        let begun = blocking(move || {
            let rules = stored::rules(&session, &opened.agent_id)?;
            let mut recorded = Recorded::open(session.store(), opened)?;
            begin(&mut recorded).map(|()| (recorded, rules))
        });
        let (recorded, rules) = match begun.await {
            Ok(begun) => begun,
            Err(error) => {
                record.close(Some(&error))?;
                return Err(error);
            }
        };
        let open = Arc::new(Open::new(recorded));
        let (session, driven) = (self.session.clone(), open.clone());
        let feed = Feed::fill(|sender| {
            Driver {
                session,
                open: driven,
                sender,
                request_id: record.request_id(),
                record,
                user,
                agent_id: name.agent_id,
                session_id: name.session_id,
                rules,
                team_rules: Default::default(),
                failure: None,
            }
            .run()
        })?;
        Ok(Run::new(feed, open))
    }

    /// The agent, pausing for those of its functions that the caller does not run.
    fn for_caller(&self, runs: Option<&[String]>) -> AgentDefinition {
        let mut definition = self.definition.clone();
        let Some(runs) = runs else {
            return definition;
        };
        returns_control(&mut definition, |name| runs.iter().any(|one| one == name));
        definition
    }
}

impl std::fmt::Debug for Agent {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Agent")
            .field("id", &self.id())
            .field("name", &self.name())
            .finish()
    }
}

/// The first `step` facts of a session.
fn upto(entries: &[Entry], step: Option<usize>) -> Result<&[Entry]> {
    let Some(step) = step else {
        return Ok(entries);
    };
    let some = entries.get(..step).filter(|some| !some.is_empty());
    some.ok_or_else(|| {
        Error::validation(format!("step: expected 1..={}, got {step}", entries.len()))
    })
}

fn try_edit(conversation: &mut Conversation, edit: Edit) -> Result<()> {
    let entry = Entry {
        time: crate::registry::now(),
        fact: Fact::Edited { edit },
    };
    conversation.apply(&entry).map(drop)
}
