//! The turns of a conversation with documents, kept by `sessionId`.

use outcrop_api::{Error, Message, Result, Role};
use serde::{Deserialize, Serialize};

use crate::desk::request_id;
use crate::registry::now;
use crate::session::Session;

/// The store's kind of these records, by session.
const CONVERSATIONS: &str = "retrieve-and-generate-sessions";

/// A conversation as it is stored.
#[derive(Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Record {
    /// The knowledge base, or the kind of sources, that it is with.
    about: String,
    turns: Vec<Turn>,
    updated_at: String,
}

#[derive(Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Turn {
    question: String,
    answer: String,
}

/// A conversation that goes on.
#[derive(Clone)]
pub(crate) struct Conversation {
    session: Session,
    /// Its id.
    pub id: String,
    about: String,
    turns: Vec<Turn>,
}

impl Conversation {
    /// The conversation by its id, or a new one where no id is given.
    ///
    /// # Errors
    /// `ValidationException` for an id that is not known, or of a conversation about something else.
    pub fn open(session: &Session, id: Option<&str>, about: &str) -> Result<Self> {
        let Some(id) = id else {
            return Ok(Self::new(session, request_id(), about));
        };
        Self::find(session, id, about)?.ok_or_else(|| {
            let message = format!("Session with Id {id} is not valid. Please check and try again.");
            Error::validation(message).with_resource(id)
        })
    }

    /// The conversation by its id, which its caller has chosen; a new one where it is not known.
    ///
    /// # Errors
    /// `ValidationException` for the id of a conversation about something else.
    pub fn open_or_begin(session: &Session, id: &str, about: &str) -> Result<Self> {
        let found = Self::find(session, id, about)?;
        Ok(found.unwrap_or_else(|| Self::new(session, id.to_string(), about)))
    }

    fn new(session: &Session, id: String, about: &str) -> Self {
        Self {
            session: session.clone(),
            id,
            about: about.to_string(),
            turns: Vec::new(),
        }
    }

    fn find(session: &Session, id: &str, about: &str) -> Result<Option<Self>> {
        let stored: Option<Record> = session.store().get_record(CONVERSATIONS, id)?;
        match stored {
            None => Ok(None),
            Some(stored) if stored.about != about => Err(Error::validation(
                "Knowledge base configurations cannot be modified for an ongoing session.",
            )),
            Some(stored) => Ok(Some(Self {
                turns: stored.turns,
                ..Self::new(session, id.to_string(), about)
            })),
        }
    }

    /// The turns so far, as messages.
    pub fn messages(&self) -> Vec<Message> {
        let turn = |turn: &Turn| {
            [
                Message::text(Role::User, turn.question.clone()),
                Message::text(Role::Assistant, turn.answer.clone()),
            ]
        };
        self.turns.iter().flat_map(turn).collect()
    }

    /// Keeps a further turn.
    ///
    /// # Errors
    /// `InternalServerException` where the home cannot be written.
    pub fn keep(mut self, question: String, answer: &str) -> Result<()> {
        // A model cannot be shown an empty turn of its own.
        if answer.trim().is_empty() {
            return Ok(());
        }
        self.turns.push(Turn {
            question,
            answer: answer.to_string(),
        });
        let record = Record {
            about: self.about,
            turns: self.turns,
            updated_at: now(),
        };
        let store = self.session.store();
        store.put_record(CONVERSATIONS, &self.id, &record)?;
        Ok(())
    }
}
