//! A session that is open for writing: its journal, the state that its facts make, and its trace.

use outcrop_agents::{CallEnd, Conversation, Entry, Event, Fact, Need, Status, TraceEvent, Turn};
use outcrop_api::{Error, Result};
use outcrop_store::{Home, Journal};

use super::drive::delegated;
use super::result::AgentResult;
use crate::registry::now;

/// The store's kind of the journals of agents' sessions.
const SESSIONS: &str = "agent-sessions";

/// Whose session it is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Name {
    pub agent_id: String,
    pub session_id: String,
}

impl Name {
    /// The session `session_id` of the agent.
    ///
    /// # Errors
    /// `ValidationException` for an id that is not of Bedrock's form.
    pub fn new(agent_id: &str, session_id: &str) -> Result<Self> {
        check_form("sessionId", session_id)?;
        Ok(Self {
            agent_id: agent_id.to_string(),
            session_id: session_id.to_string(),
        })
    }

    fn journal(&self) -> String {
        format!("{}.{}", self.agent_id, self.session_id)
    }

    /// The facts of the session, which is not opened.
    ///
    /// # Errors
    /// Those of the store.
    pub fn facts(&self, home: &Home) -> Result<Vec<Entry>> {
        Ok(home.read_journal(SESSIONS, &self.journal())?)
    }
}

/// Refuses an id that is not of Bedrock's form.
///
/// # Errors
/// `ValidationException` that names the member.
pub(super) fn check_form(member: &str, id: &str) -> Result<()> {
    let good = |c: char| c.is_ascii_alphanumeric() || "._:-".contains(c);
    match (2..=100).contains(&id.len()) && id.chars().all(good) {
        true => Ok(()),
        false => Err(Error::validation(format!(
            "{member}: expected 2 to 100 letters (a-z, A-Z), digits, '.', '_', ':' or '-', got {id:?}"
        ))),
    }
}

/// A session that is open: no other process, and no other call of this one, can write to it.
pub(crate) struct Recorded {
    name: Name,
    journal: Journal,
    pub conversation: Conversation,
    /// Every event of the last turn.
    trace: Vec<TraceEvent>,
    /// How many of them were told.
    told: usize,
}

impl Recorded {
    /// Opens the session, and makes its state of its facts.
    ///
    /// # Errors
    /// `ConflictException` where it is open elsewhere; `InternalServerException` where its journal
    /// is damaged.
    pub(super) fn open(home: &Home, name: Name) -> Result<Self> {
        let opened = home.journal::<Entry>(SESSIONS, &name.journal());
        let (journal, entries) = opened.map_err(|error| match error {
            outcrop_store::StoreError::Locked { .. } => Error::conflict(format!(
                "session {}: a turn of it is under way; wait for its end",
                name.session_id
            ))
            .with_resource(&name.session_id),
            other => other.into(),
        })?;
        let (conversation, trace) = replayed(&entries)?;
        let mut recorded = Self {
            name,
            journal,
            conversation,
            told: trace.len(),
            trace,
        };
        recorded.keep_last_turn();
        Ok(recorded)
    }

    /// Records a fact: once this returns, it has happened.
    ///
    /// # Errors
    /// `ConflictException` where it cannot follow, `InternalServerException` where it cannot be
    /// written: the session must then be opened anew.
    pub fn record(&mut self, fact: Fact) -> Result<()> {
        let begins = matches!(fact, Fact::Begun(_));
        let entry = Entry { time: now(), fact };
        let events = self.conversation.apply(&entry)?;
        self.journal.append(&entry)?;
        self.trace.extend(events);
        if begins {
            self.keep_last_turn();
        }
        Ok(())
    }

    /// Takes over a fact of another session as it is.
    ///
    /// # Errors
    /// As [`Recorded::record`].
    pub fn copy(&mut self, entry: &Entry) -> Result<()> {
        let events = self.conversation.apply(entry)?;
        self.journal.append(entry)?;
        self.trace.extend(events);
        Ok(())
    }

    /// Notes that what an earlier process had begun is lost.
    ///
    /// # Errors
    /// As [`Recorded::record`].
    pub fn lose_what_was_started(&mut self) -> Result<()> {
        let calls = self.conversation.turn.as_ref().map(Turn::started);
        match calls.filter(|calls| !calls.is_empty()) {
            Some(calls) => self.record(Fact::Lost { calls }),
            None => Ok(()),
        }
    }

    /// What its turn needs next, or one that it handed work to; none where no turn has begun.
    ///
    /// # Errors
    /// As [`outcrop_agents::Turn::needs`].
    pub fn needs(&self) -> Result<Option<Need>> {
        let turn = self.conversation.turn.as_ref();
        turn.map(Turn::needs).transpose()
    }

    /// The turn that the calls `within` lead to from the session's own.
    ///
    /// # Errors
    /// `InternalServerException` where there is none.
    pub fn turn(&self, within: &[String]) -> Result<&Turn> {
        let turn = self.conversation.turn.as_ref();
        turn.and_then(|turn| turn.within(within))
            .ok_or_else(|| Error::internal("no turn of the session has begun"))
    }

    /// What tells of the agents that work was handed to and that are at it.
    pub fn team(&self) -> Vec<String> {
        let turn = self.conversation.turn.iter();
        turn.flat_map(|turn| turn.team()).map(delegated).collect()
    }

    /// Ends a call that is being run; false where it has ended before, by its time.
    ///
    /// # Errors
    /// As [`Recorded::record`].
    pub fn end_call(&mut self, mut end: CallEnd) -> Result<bool> {
        let turn = self.conversation.turn.as_ref();
        let asked = turn.and_then(|turn| turn.call(&end.call));
        let is_open = asked.is_some_and(|call| call.status == Status::Started {});
        if is_open {
            let turns = turn.map(|turn| turn.down_to(&end.call));
            let turn = turns.and_then(|turns| turns.last().copied());
            let limit = turn.map(|turn| turn.agent().limits.max_result_chars);
            end.outcome = end.outcome.bounded(limit.unwrap_or(usize::MAX));
            self.record(Fact::Ended(end))?;
        }
        Ok(is_open)
    }

    /// Its id.
    pub fn session_id(&self) -> &str {
        &self.name.session_id
    }

    /// Whether it is the one of that id.
    pub fn is(&self, session_id: &str) -> bool {
        self.name.session_id == session_id
    }

    /// Why the summary that was asked for last was not made, where it was not.
    pub fn summary_failure(&self) -> Option<String> {
        summary_failure(&self.trace)
    }

    /// The events that were not told yet.
    pub fn news(&mut self) -> Vec<TraceEvent> {
        let news = self.trace.get(self.told..).unwrap_or_default().to_vec();
        self.told = self.trace.len();
        news
    }

    /// Where its turn stands.
    ///
    /// # Errors
    /// `ResourceNotFoundException` where no turn has begun.
    pub fn result(&self) -> Result<AgentResult> {
        result_of(&self.name, &self.conversation, &self.trace)
    }

    fn keep_last_turn(&mut self) {
        let number = self
            .conversation
            .turn
            .as_ref()
            .map_or(0, |turn| turn.number);
        let before = self
            .trace
            .iter()
            .filter(|event| event.turn < number)
            .count();
        self.trace.drain(..before);
        self.told = self.told.saturating_sub(before);
    }
}

/// Where the last turn of a session stands.
///
/// # Errors
/// `ResourceNotFoundException` where no turn has begun.
pub(super) fn result_of(
    name: &Name,
    conversation: &Conversation,
    trace: &[TraceEvent],
) -> Result<AgentResult> {
    let result = AgentResult::of(&name.agent_id, &name.session_id, conversation, trace)?;
    result.ok_or_else(|| {
        Error::not_found(format!("Session {} does not exist.", name.session_id))
            .with_resource(&name.session_id)
    })
}

/// The state and the events that facts make: nothing is run.
///
/// # Errors
/// `InternalServerException` that names the fact which does not follow from those before it.
pub(super) fn replayed(entries: &[Entry]) -> Result<(Conversation, Vec<TraceEvent>)> {
    let mut conversation = Conversation::default();
    let mut trace = Vec::new();
    for (at, entry) in entries.iter().enumerate() {
        let events = conversation.apply(entry).map_err(|error| {
            Error::internal(format!(
                "step {} of the session: {}",
                at + 1,
                error.message()
            ))
            .with_source(error)
        })?;
        trace.extend(events);
    }
    Ok((conversation, trace))
}

/// Why the summary that was asked for last was not made, where it was not.
pub(super) fn summary_failure(trace: &[TraceEvent]) -> Option<String> {
    let last = trace.iter().rev().find_map(|event| match &event.event {
        Event::Summary { .. } => Some(None),
        Event::SummaryFailure { message } => Some(Some(message.clone())),
        _ => None,
    });
    last.flatten()
}
