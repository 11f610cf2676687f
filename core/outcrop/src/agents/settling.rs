//! Sessions of a memory come to their end: those that are idle are ended, those that have ended are
//! summed up.
//!
//! There is no server behind a memory that ends a session when its time is over. Whoever next asks
//! about the memory does, under the decision and the record of that call: who begins a session with
//! it, ends one, or reads it. What a kill or a failure leaves undone, the next call does.

use std::time::Instant;

use chrono::{DateTime, Days, Utc};
use outcrop_agents::{
    Fact, MemoryKey, MissingSummary, ModelReply, PastSession, Remembered, Replied, SessionEnd,
    digest,
};
use outcrop_api::{Error, ErrorKind, Result};

use super::drive::converse;
use super::memory::{KeptSession, Memories};
use super::recorded::{Name, Recorded};
use crate::desk::Record;
use crate::session::{Session, blocking};

/// Ends what is idle of a memory, and sums up what has ended.
pub(crate) struct Settling<'a> {
    pub session: &'a Session,
    /// The record of the call that asks.
    pub record: &'a Record,
    pub agent_id: &'a str,
    pub key: &'a MemoryKey,
}

/// How far a session is that a memory keeps without a summary.
enum State {
    /// It was noted, and then did not begin.
    NeverBegan,
    Open,
    Ended,
}

impl Settling<'_> {
    fn memories(&self) -> Memories<'_> {
        Memories::of(self.session.store(), self.agent_id, self.key)
    }

    /// Settles the memory, and gives the sessions that have ended and still have no summary. `own`
    /// is a session that its caller has open. After a failure of the model it is not asked again.
    ///
    /// # Errors
    /// Those of the store; `CancelledException`.
    pub async fn settle(&self, mut own: Option<&mut Recorded>) -> Result<Vec<MissingSummary>> {
        let mut missing: Vec<MissingSummary> = Vec::new();
        for kept in self.memories().sessions()? {
            if kept.summary.is_some() {
                continue;
            }
            let is_own = own.as_ref().is_some_and(|own| own.is(&kept.session_id));
            let failed = match (is_own, own.as_deref_mut()) {
                (true, Some(own)) => self.settle_one(own, &kept, missing.is_empty()).await?,
                _ => match self.open(&kept).await {
                    Ok(mut opened) => {
                        self.settle_one(&mut opened, &kept, missing.is_empty())
                            .await?
                    }
                    // A turn of it is under way: it is not idle, unless it is another one of its id.
                    Err(error) if error.kind() == ErrorKind::ConflictException => {
                        kept.ended.is_some().then(|| error.message().to_string())
                    }
                    Err(error) => Some(error.message().to_string()),
                },
            };
            missing.extend(failed.map(|reason| MissingSummary {
                session_id: kept.session_id.clone(),
                reason,
            }));
        }
        Ok(missing)
    }

    /// What a session reads when it begins, of at most `most` others, once the memory is settled.
    ///
    /// # Errors
    /// As [`Settling::settle`].
    pub(super) async fn recall(&self, own: &mut Recorded, most: usize) -> Result<Remembered> {
        let missing = self.settle(Some(own)).await?;
        let kept = self.memories().sessions()?.into_iter();
        let mut sessions: Vec<PastSession> = kept
            .filter_map(|one| {
                Some(PastSession {
                    summary: one.summary?,
                    session_id: one.session_id,
                    began: one.began,
                })
            })
            .collect();
        let older = sessions.len().saturating_sub(most);
        Ok(Remembered {
            key: self.key.clone(),
            sessions: sessions.split_off(older),
            older,
            missing,
        })
    }

    /// Sums up what has ended of the session that is open here; what is wrong where that fails.
    ///
    /// # Errors
    /// As [`Settling::settle`].
    pub(super) async fn settle_own(&self, own: &mut Recorded) -> Result<Option<String>> {
        for kept in self.memories().sessions()? {
            if kept.summary.is_none()
                && own.is(&kept.session_id)
                && let Some(failed) = self.settle_one(own, &kept, true).await?
            {
                return Ok(Some(failed));
            }
        }
        Ok(None)
    }

    async fn open(&self, kept: &KeptSession) -> Result<Recorded> {
        let (session, name) = (
            self.session.clone(),
            Name::new(self.agent_id, &kept.session_id)?,
        );
        blocking(move || Recorded::open(session.store(), name)).await
    }

    /// Ends a session where it is idle, and sums it up where it has ended and the model `may` be
    /// asked; says why there is no summary where it has ended.
    async fn settle_one(
        &self,
        recorded: &mut Recorded,
        kept: &KeptSession,
        may: bool,
    ) -> Result<Option<String>> {
        match self.state(recorded, kept)? {
            State::Open => return Ok(None),
            State::NeverBegan => {
                let of = |one: &KeptSession| one.is(&kept.session_id, kept.start);
                self.memories()
                    .change(|sessions| sessions.retain(|one| !of(one)))?;
                return Ok(None);
            }
            State::Ended => {}
        }
        note_end(&self.memories(), recorded, kept)?;
        let summary = match summary_of(recorded, kept.start) {
            Some(summary) => summary,
            None if !may => return Ok(Some("the model failed before it was asked for it".into())),
            None => match self.summarize(recorded, kept).await? {
                Ok(summary) => summary,
                Err(failed) => return Ok(Some(failed)),
            },
        };
        self.memories()
            .change_one(kept, |one| one.summary = Some(summary))?;
        Ok(None)
    }

    fn state(&self, recorded: &mut Recorded, kept: &KeptSession) -> Result<State> {
        let has_ended = |recorded: &Recorded| {
            let mut ended = recorded.conversation.ended.iter();
            ended.any(|one| one.start == kept.start && one.memory.key == *self.key)
        };
        if has_ended(recorded) {
            return Ok(State::Ended);
        }
        let conversation = &recorded.conversation;
        let memory = conversation.memory.as_ref();
        if conversation.began.0 != kept.start || memory.is_none_or(|one| one.key != *self.key) {
            return Ok(State::NeverBegan);
        }
        recorded.close_if_idle(Utc::now())?;
        Ok(match has_ended(recorded) {
            true => State::Ended,
            false => State::Open,
        })
    }

    /// Asks the model for the summary of a session that has ended, and records what comes.
    async fn summarize(
        &self,
        recorded: &mut Recorded,
        kept: &KeptSession,
    ) -> Result<std::result::Result<String, String>> {
        let mut ended = recorded.conversation.ended.iter();
        let ended = ended.find(|one| one.start == kept.start);
        let ended =
            ended.ok_or_else(|| Error::internal("a session that has ended is not there"))?;
        let (model, request) = (ended.model.clone(), ended.request()?);
        let asked = digest::of_json(&request);
        self.record
            .fact("summarizedSession", kept.session_id.as_str());
        let started = Instant::now();
        let reply = match converse(self.session, self.record, None, (&model, request)).await {
            Ok(reply) => reply,
            Err(error) if error.kind() == ErrorKind::CancelledException => return Err(error),
            Err(error) => ModelReply::Failed {
                name: error.kind().name().to_string(),
                message: error.message().to_string(),
            },
        };
        recorded.record(Fact::Summarized {
            start: kept.start,
            replied: Replied {
                request: asked,
                reply,
                took_ms: started.elapsed().as_millis() as u64,
            },
        })?;
        Ok(summary_of(recorded, kept.start).ok_or_else(|| {
            let failed = recorded.summary_failure();
            failed.unwrap_or_else(|| "the model gave no summary".into())
        }))
    }
}

/// Notes in its memory that a session has ended, and when it is to be forgotten.
fn note_end(memories: &Memories<'_>, recorded: &Recorded, kept: &KeptSession) -> Result<()> {
    let mut ended = recorded.conversation.ended.iter();
    let Some(ended) = ended.find(|one| one.start == kept.start) else {
        return Ok(());
    };
    if kept.ended.is_some() {
        return Ok(());
    }
    let at =
        DateTime::parse_from_rfc3339(&ended.ended).map_or_else(|_| Utc::now(), |at| at.to_utc());
    let days = Days::new(u64::from(ended.settings.storage_days));
    let expires = at.checked_add_days(days).unwrap_or(at);
    memories.change_one(kept, |one| {
        one.ended = Some(ended.ended.clone());
        one.expires = Some(expires.to_rfc3339_opts(chrono::SecondsFormat::Millis, true));
    })
}

fn summary_of(recorded: &Recorded, start: usize) -> Option<String> {
    let mut ended = recorded.conversation.ended.iter();
    ended.find(|one| one.start == start)?.summary.clone()
}

impl Recorded {
    /// Ends the session that is open.
    ///
    /// # Errors
    /// As [`Recorded::record`].
    pub fn close_session(&mut self, reason: SessionEnd) -> Result<()> {
        self.record(Fact::Closed { reason })
    }

    /// Ends the session where its last turn has ended and nobody has spoken for longer than it
    /// stays. One that waits for an approval or a result is not idle.
    ///
    /// # Errors
    /// As [`Recorded::record`].
    pub fn close_if_idle(&mut self, now: DateTime<Utc>) -> Result<()> {
        let conversation = &self.conversation;
        let turn = conversation
            .turn
            .as_ref()
            .filter(|_| !conversation.is_closed);
        let Some(turn) = turn.filter(|turn| turn.ending().is_some()) else {
            return Ok(());
        };
        let last = DateTime::parse_from_rfc3339(&conversation.last);
        let (Some(stays), Ok(last)) = (turn.agent().idle_session_seconds, last) else {
            return Ok(());
        };
        let idle = now.signed_duration_since(last).num_milliseconds() as f64 / 1000.0;
        match idle > stays {
            true => self.close_session(SessionEnd::Idle),
            false => Ok(()),
        }
    }
}
