//! A session's handle of an agent.

use std::sync::Arc;

use outcrop_agents::{
    AgentDefinition, Answer, Beginning, CallAnswer, Conversation, Edit, Entry, Fact, MemoryKey,
    Turn,
};
use outcrop_api::{Error, Result};
use outcrop_governance::{AgentRule, Principal};
use outcrop_store::Home;

use super::drive::{Driver, returns_control};
use super::mcp;
use super::memory::{KeptSession, Memories, check_same, forget_all};
use super::recorded::{Name, Recorded, check_form, replayed, result_of};
use super::request::{AgentRequest, InvokeRequest, ResumeRequest};
use super::result::{AgentInfo, AgentResult};
use super::run::{Open, Run};
use super::settling::Settling;
use super::stored;
use crate::desk::{Record, request_id};
use crate::feed::Feed;
use crate::operations::agents::aliases::TEST_ALIAS;
use crate::session::{Session, blocking};

/// An agent. Handles are cheap; its model is loaded when it is first asked.
#[derive(Clone)]
pub struct Agent {
    session: Session,
    definition: AgentDefinition,
    /// The id of the alias that it is asked by.
    alias_id: String,
    /// Who asks it, by an operation whose record is open; otherwise the owner does.
    caller: Option<(Principal, Record)>,
}

/// A session that is open for a call.
struct Opening {
    recorded: Recorded,
    /// The rules over the agent's calls.
    rules: Vec<AgentRule>,
    user: Principal,
    record: Record,
    /// Whether the session ends with the turn.
    ends: bool,
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
            alias_id: TEST_ALIAS.into(),
            caller: None,
        }
    }

    /// The same, asked by the caller of an operation, by an alias.
    pub(crate) fn asked_by(mut self, principal: Principal, record: Record, alias_id: &str) -> Self {
        self.caller = Some((principal, record));
        self.alias_id = alias_id.into();
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
    /// `ValidationException` for an empty input, a session id of the wrong form, or a memory id where
    /// the agent has no memory; `ConflictException` where the session's last turn has not ended, is
    /// under way, or began with another memory; `AccessDeniedException` where its memory is of another
    /// principal's.
    pub async fn invoke(&self, request: InvokeRequest) -> Result<Run> {
        if request.input.trim().is_empty() {
            return match (request.end_session, request.session_id) {
                (true, Some(session_id)) => self.end(session_id, request.memory_id).await,
                _ => Err(Error::validation(format!(
                    "input: expected a text, got {:?}",
                    request.input
                ))),
            };
        }
        self.check_memory_id(request.memory_id.as_deref())?;
        let id = request.session_id.clone().unwrap_or_else(request_id);
        let mut opening = self.open(&id).await?;
        opening.ends = request.end_session;
        let begun = self.begin(&mut opening, request).await;
        self.start(opening, begun)
    }

    /// Records the beginning of a turn, with what a session that begins with it reads.
    async fn begin(&self, opening: &mut Opening, request: InvokeRequest) -> Result<()> {
        let Opening {
            recorded, record, ..
        } = opening;
        recorded.close_if_idle(chrono::Utc::now())?;
        let is_first = recorded.conversation.starts_session();
        let key = request.memory_id.as_deref().map(|id| self.memory_key(id));
        let memory = match (is_first, &key, &self.definition.memory) {
            (true, Some(key), Some(settings)) => {
                let settling = self.settling(record, key);
                let most = settings.max_recent_sessions;
                Some(settling.recall(recorded, most).await?)
            }
            (true, ..) => None,
            (false, ..) => {
                let memory_id = request.memory_id.as_deref();
                check_same(recorded, (&self.alias_id, &self.principal()), memory_id)?;
                None
            }
        };
        let begin = Fact::Begun(Box::new(Beginning {
            definition: mcp::current(&self.session, self.for_caller(request.runs.as_deref()))
                .await?,
            input: request.input,
            session_attributes: request.session_attributes,
            prompt_session_attributes: request.prompt_session_attributes,
            runs: request.runs,
            memory,
        }));
        if let Some(key) = key.filter(|_| is_first) {
            // Before the session begins: one that is killed then is found.
            let memories = Memories::of(self.session.store(), self.id(), &key);
            memories.begin(recorded.session_id(), recorded.conversation.facts + 1)?;
        }
        recorded.record(begin)
    }

    /// Ends a session: a turn that is paused is stopped. Where it has a memory, its model sums up
    /// what it held; a failure of that is told in the result, and what is missing is made with the
    /// next call that asks about the memory. Ending it again tries that at once.
    ///
    /// # Errors
    /// `ResourceNotFoundException` where there is no such session; as [`Agent::invoke`].
    pub async fn end(&self, session_id: String, memory_id: Option<String>) -> Result<Run> {
        self.check_memory_id(memory_id.as_deref())?;
        let mut opening = self.open(&session_id).await?;
        opening.ends = true;
        let recorded = &mut opening.recorded;
        let stopped = recorded.result().and_then(|_| {
            check_same(
                recorded,
                (&self.alias_id, &self.principal()),
                memory_id.as_deref(),
            )?;
            let turn = recorded.conversation.turn.as_ref();
            match turn.is_some_and(|turn| turn.ending().is_none()) {
                true => recorded.record(Fact::Stopped {
                    reason: "the session was ended".into(),
                }),
                false => Ok(()),
            }
        });
        self.start(opening, stopped)
    }

    /// What is kept of the sessions that had the memory, the latest first: those that are idle are
    /// ended, and those that have ended are summed up, before it is read.
    ///
    /// # Errors
    /// `ValidationException` for an id of the wrong form; those of the store.
    pub async fn memory(&self, memory_id: &str) -> Result<Vec<KeptSession>> {
        let record = self
            .session
            .open_record("GetAgentMemory", "agentId", self.id())?;
        let key = self.memory_key(memory_id);
        let read = async {
            check_form("memoryId", memory_id)?;
            self.settling(&record, &key).settle(None).await?;
            let mut sessions = Memories::of(self.session.store(), self.id(), &key).sessions()?;
            sessions.reverse();
            Ok(sessions)
        };
        record.clone().run(read).await
    }

    /// Forgets what is kept of sessions that have ended: of one session of a memory, of a memory, or
    /// of every memory. What happened in the sessions stays in their journals.
    ///
    /// # Errors
    /// `ResourceNotFoundException` where nothing is kept of the memory or the session;
    /// `ValidationException` for a session without its memory.
    pub async fn delete_memory(
        &self,
        memory_id: Option<String>,
        session_id: Option<String>,
    ) -> Result<()> {
        let record = self
            .session
            .open_record("DeleteAgentMemory", "agentId", self.id())?;
        let of = (self.id().to_string(), self.memory_key(""));
        let session = self.session.clone();
        let work = blocking(move || forget(session.store(), of, memory_id, session_id));
        record.run(work).await
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
        answers: impl FnOnce(&AgentResult, Option<&Turn>) -> Result<Vec<Answer>>,
    ) -> Result<Run> {
        let mut opening = self.open(&session_id).await?;
        let answered = self.record_answers(&mut opening.recorded, answers);
        self.start(opening, answered)
    }

    fn record_answers(
        &self,
        recorded: &mut Recorded,
        answers: impl FnOnce(&AgentResult, Option<&Turn>) -> Result<Vec<Answer>>,
    ) -> Result<()> {
        check_same(recorded, (&self.alias_id, &self.principal()), None)?;
        let turn = recorded.conversation.turn.as_ref();
        let answers = answers(&recorded.result()?, turn)?;
        recorded.lose_what_was_started()?;
        if answers.is_empty() {
            return Ok(());
        }
        let (by, limit) = (self.principal(), self.definition.limits.max_result_chars);
        let answers = answers.into_iter().map(|mut answer| {
            answer.by = Some(by.clone());
            if let CallAnswer::Result(outcome) = answer.answer {
                answer.answer = CallAnswer::Result(outcome.bounded(limit));
            }
            answer
        });
        let answers = answers.collect();
        recorded.record(Fact::Answered { answers })
    }

    /// Ends a turn that is paused, or whose process is gone. What that process had begun and not
    /// ended is told as unknown.
    ///
    /// # Errors
    /// As [`Agent::resume`].
    pub async fn stop(&self, session_id: String, reason: String) -> Result<Run> {
        let mut opening = self.open(&session_id).await?;
        let recorded = &mut opening.recorded;
        let stopped = recorded
            .result()
            .and_then(|_| recorded.record(Fact::Stopped { reason }));
        self.start(opening, stopped)
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

    /// Opens the session for a call, whose record is open from now on.
    async fn open(&self, session_id: &str) -> Result<Opening> {
        let name = Name::new(self.id(), session_id)?;
        let (user, record) = match &self.caller {
            Some(caller) => caller.clone(),
            None => {
                let open = self
                    .session
                    .open_record("InvokeAgent", "agentId", self.id());
                (Principal::owner(), open?)
            }
        };
        let session = self.session.clone();
        let opened = blocking(move || {
            let rules = stored::rules(&session, &name.agent_id)?;
            Recorded::open(session.store(), name).map(|recorded| (recorded, rules))
        });
        match opened.await {
            Ok((recorded, rules)) => Ok(Opening {
                recorded,
                rules,
                user,
                record,
                ends: false,
            }),
            Err(error) => {
                record.close(Some(&error))?;
                Err(error)
            }
        }
    }

    /// Drives the turn of a session by what was recorded first, unless that failed.
    fn start(&self, opening: Opening, begun: Result<()>) -> Result<Run> {
        let record = opening.record;
        if let Err(error) = begun {
            record.close(Some(&error))?;
            return Err(error);
        }
        let session_id = opening.recorded.session_id().to_string();
        let open = Arc::new(Open::new(opening.recorded));
        let (session, driven) = (self.session.clone(), open.clone());
        let agent_id = self.id().to_string();
        let feed = Feed::fill(|sender| {
            Driver {
                session,
                open: driven,
                sender,
                request_id: record.request_id(),
                record,
                user: opening.user,
                agent_id,
                session_id,
                rules: opening.rules,
                team_rules: Default::default(),
                failure: None,
                ends: opening.ends,
            }
            .run()
        })?;
        Ok(Run::new(feed, open))
    }

    fn check_memory_id(&self, memory_id: Option<&str>) -> Result<()> {
        let Some(id) = memory_id else {
            return Ok(());
        };
        check_form("memoryId", id)?;
        match self.definition.memory {
            Some(_) => Ok(()),
            None => Err(Error::validation(format!(
                "memoryId: agent {} has no memory, got {id:?}: create it with one",
                self.name()
            ))),
        }
    }

    fn principal(&self) -> String {
        match &self.caller {
            Some((principal, _)) => principal.arn.clone(),
            None => Principal::owner().arn,
        }
    }

    fn memory_key(&self, id: &str) -> MemoryKey {
        MemoryKey {
            id: id.to_string(),
            alias_id: self.alias_id.clone(),
            principal: self.principal(),
        }
    }

    fn settling<'a>(&'a self, record: &'a Record, key: &'a MemoryKey) -> Settling<'a> {
        Settling {
            session: &self.session,
            record,
            agent_id: self.id(),
            key,
        }
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

/// Forgets what the call means of the memories of an agent that are the key's owner's.
///
/// # Errors
/// As [`Agent::delete_memory`].
pub(crate) fn forget(
    home: &Home,
    (agent_id, mut key): (String, MemoryKey),
    memory_id: Option<String>,
    session_id: Option<String>,
) -> Result<()> {
    let Some(memory_id) = memory_id else {
        return match session_id {
            None => forget_all(home, &agent_id, &key.alias_id, &key.principal),
            Some(id) => Err(Error::validation(format!(
                "sessionId: expected it with the memoryId that it belongs to, got {id:?} alone"
            ))),
        };
    };
    check_form("memoryId", &memory_id)?;
    key.id.clone_from(&memory_id);
    let memories = Memories::of(home, &agent_id, &key);
    if memories.forget(session_id.as_deref())? {
        return Ok(());
    }
    let of = session_id.map_or(String::new(), |id| format!("session {id} in "));
    Err(
        Error::not_found(format!("Nothing is kept of {of}memory {memory_id}."))
            .with_resource(memory_id),
    )
}

fn try_edit(conversation: &mut Conversation, edit: Edit) -> Result<()> {
    let entry = Entry {
        time: crate::registry::now(),
        fact: Fact::Edited { edit },
    };
    conversation.apply(&entry).map(drop)
}
