//! The turns of a conversation with documents, kept by `sessionId`.

use outcrop_api::{Error, Message, Result, Role};
use serde::{Deserialize, Serialize};
use serde_json::Value;

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
pub(super) struct Conversation {
    session: Session,
    /// Its id.
    pub id: String,
    about: String,
    turns: Vec<Turn>,
}

impl Conversation {
    /// The conversation by its id, or a new one where there is none.
    ///
    /// # Errors
    /// `ValidationException` for an id that is not known, or of a conversation about something else.
    pub fn open(session: &Session, id: Option<&str>, about: &str) -> Result<Self> {
        let conversation = |id: String, turns| Self {
            session: session.clone(),
            id,
            about: about.to_string(),
            turns,
        };
        let Some(id) = id else {
            return Ok(conversation(request_id(), Vec::new()));
        };
        let stored: Option<Record> = session.store().get_record(CONVERSATIONS, id)?;
        match stored {
            None => Err(Error::validation(format!(
                "Session with Id {id} is not valid. Please check and try again."
            ))
            .with_resource(id)),
            Some(stored) if stored.about != about => Err(Error::validation(
                "Knowledge base configurations cannot be modified for an ongoing session.",
            )),
            Some(stored) => Ok(conversation(id.to_string(), stored.turns)),
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

/// What a conversation is about, by the configuration that a request has.
pub(super) fn about(configuration: &Value) -> String {
    match configuration["knowledgeBaseConfiguration"]["knowledgeBaseId"].as_str() {
        Some(id) => id.to_string(),
        None => "EXTERNAL_SOURCES".to_string(),
    }
}
