//! The memories of agents as the home keeps them: the summaries of sessions that have ended.

use chrono::{DateTime, Utc};
use outcrop_agents::{MemoryKey, digest};
use outcrop_api::{Error, ErrorKind, Result};
use outcrop_store::Home;
use serde::{Deserialize, Serialize};

use super::recorded::Recorded;
use crate::registry::now;

/// The store's kind of the memories, by agent, alias and a digest of whose they are.
const MEMORIES: &str = "agent-memories";

/// A memory: what is kept of each session, the oldest first.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct Memory {
    key: MemoryKey,
    sessions: Vec<KeptSession>,
}

/// A session that a memory keeps.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct KeptSession {
    /// Its id.
    pub session_id: String,
    /// The number of its first fact in the journal of that id.
    #[serde(default)]
    pub start: usize,
    /// When it began, RFC 3339.
    pub began: String,
    /// When it ended; none where it is open.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ended: Option<String>,
    /// When it is forgotten; none where it is open.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub expires: Option<String>,
    /// What it held; none where no summary was made yet.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub summary: Option<String>,
}

impl KeptSession {
    pub(super) fn is(&self, session_id: &str, start: usize) -> bool {
        self.session_id == session_id && self.start == start
    }

    fn has_expired(&self, at: DateTime<Utc>) -> bool {
        let expires = self.expires.as_deref();
        let expires = expires.and_then(|time| DateTime::parse_from_rfc3339(time).ok());
        expires.is_some_and(|expires| expires <= at)
    }
}

/// One memory of an agent.
pub(crate) struct Memories<'a> {
    home: &'a Home,
    id: String,
    key: &'a MemoryKey,
}

impl<'a> Memories<'a> {
    /// The memory `key` of the agent.
    pub fn of(home: &'a Home, agent_id: &str, key: &'a MemoryKey) -> Self {
        let owner = digest::of_json(&(&key.principal, &key.id));
        let id = format!("{}{}", prefix(agent_id, &key.alias_id), &owner[..32]);
        Self { home, id, key }
    }

    /// The sessions that it keeps, the oldest first.
    ///
    /// # Errors
    /// Those of the store.
    pub fn sessions(&self) -> Result<Vec<KeptSession>> {
        let memory: Option<Memory> = self.home.get_record(MEMORIES, &self.id)?;
        let mut sessions = memory.unwrap_or_default().sessions;
        let now = Utc::now();
        sessions.retain(|one| !one.has_expired(now));
        Ok(sessions)
    }

    /// Forgets the sessions that have ended, or the one of that id. Those that are open stay: they
    /// are summed up when they end.
    ///
    /// # Errors
    /// Those of the store. False where there was none.
    pub fn forget(&self, session_id: Option<&str>) -> Result<bool> {
        let is_meant = |one: &KeptSession| {
            one.ended.is_some() && session_id.is_none_or(|id| id == one.session_id)
        };
        if !self.sessions()?.iter().any(is_meant) {
            return Ok(false);
        }
        self.change(|sessions| sessions.retain(|one| !is_meant(one)))?;
        Ok(true)
    }

    /// Notes that a session begins, before it does.
    pub(super) fn begin(&self, session_id: &str, start: usize) -> Result<()> {
        self.change(|sessions| {
            sessions.retain(|one| !one.is(session_id, start));
            sessions.push(KeptSession {
                session_id: session_id.to_string(),
                start,
                began: now(),
                ..KeptSession::default()
            });
        })
    }

    pub(super) fn change(&self, change: impl FnOnce(&mut Vec<KeptSession>)) -> Result<()> {
        let now = Utc::now();
        self.home
            .update_record(MEMORIES, &self.id, |memory: Option<Memory>| {
                let mut memory = memory.unwrap_or_default();
                memory.key.clone_from(self.key);
                memory.sessions.retain(|one| !one.has_expired(now));
                change(&mut memory.sessions);
                memory
            })?;
        Ok(())
    }

    pub(super) fn change_one(
        &self,
        of: &KeptSession,
        change: impl FnOnce(&mut KeptSession),
    ) -> Result<()> {
        self.change(|sessions| {
            let one = sessions
                .iter_mut()
                .find(|one| one.is(&of.session_id, of.start));
            // One that was forgotten meanwhile stays so.
            if let Some(one) = one {
                change(one);
            }
        })
    }
}

fn prefix(agent_id: &str, alias_id: &str) -> String {
    format!("{agent_id}.{alias_id}.")
}

/// Forgets the sessions that have ended of every memory that `principal` has by an alias.
///
/// # Errors
/// Those of the store.
pub(crate) fn forget_all(
    home: &Home,
    agent_id: &str,
    alias_id: &str,
    principal: &str,
) -> Result<()> {
    for (_, memory) in of_prefix(home, &prefix(agent_id, alias_id))? {
        if memory.key.principal == principal {
            Memories::of(home, agent_id, &memory.key).forget(None)?;
        }
    }
    Ok(())
}

/// Lets go of every memory of an agent, or of its alias.
///
/// # Errors
/// Those of the store.
pub(crate) fn delete_of(home: &Home, agent_id: &str, alias_id: Option<&str>) -> Result<()> {
    let of = match alias_id {
        Some(alias) => prefix(agent_id, alias),
        None => format!("{agent_id}."),
    };
    for (id, _) in of_prefix(home, &of)? {
        home.delete_record(MEMORIES, &id)?;
    }
    Ok(())
}

fn of_prefix(home: &Home, prefix: &str) -> Result<Vec<(String, Memory)>> {
    let mut found = Vec::new();
    for id in home.list_record_ids(MEMORIES)? {
        if id.starts_with(prefix)
            && let Some(memory) = home.get_record(MEMORIES, &id)?
        {
            found.push((id, memory));
        }
    }
    Ok(found)
}

/// Refuses to go on with a session by what does not belong to its memory.
///
/// # Errors
/// `AccessDeniedException` where it is of another principal's, or was begun by another alias;
/// `ConflictException` where it began with another memory or with none.
pub(super) fn check_same(
    recorded: &Recorded,
    (alias_id, principal): (&str, &str),
    memory_id: Option<&str>,
) -> Result<()> {
    let id = recorded.session_id();
    let of = recorded
        .conversation
        .memory
        .as_ref()
        .map(|memory| &memory.key);
    match (of, memory_id) {
        (Some(of), _) if of.principal != principal || of.alias_id != alias_id => {
            let message = format!("Session {id} has a memory of another principal or alias.");
            Err(Error::new(ErrorKind::AccessDeniedException, message).with_resource(id))
        }
        (Some(of), Some(given)) if of.id != given => Err(Error::conflict(format!(
            "memoryId: session {id} began with the memory {:?}, got {given:?}: end it first, or use \
             another session.",
            of.id
        ))
        .with_resource(id)),
        (None, Some(given)) => Err(Error::conflict(format!(
            "memoryId: session {id} began without a memory, got {given:?}: end it first, or use \
             another session."
        ))
        .with_resource(id)),
        _ => Ok(()),
    }
}
