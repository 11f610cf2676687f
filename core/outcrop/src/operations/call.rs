//! One call of an operation, and its answer.

use outcrop_api::{BoxFuture, Error, Result};
use outcrop_governance::Principal;
use serde::Serialize;
use serde::de::DeserializeOwned;
use serde_json::{Map, Value};

use super::Operation;
use crate::customization::check_creators;
use crate::desk::Record;
use crate::session::Session;

/// One call of an operation, decided and recorded: what its handler works on.
pub struct Call {
    /// The session that is asked.
    pub session: Session,
    /// The row of the operation.
    pub operation: &'static Operation,
    /// The members of the request by their names in the service's model. A blob is base64 text, a
    /// time is RFC 3339. They have the form of the operation's shape.
    pub input: Value,
    /// The payload, where the request has one that is no JSON of members: an `InvokeModel` body.
    pub payload: Vec<u8>,
    /// Who asks.
    pub principal: Principal,
    /// The open record of the call: a handler tells it the model that ran and what it used.
    pub record: Record,
}

impl Call {
    /// The text of the member `name`, where it is given.
    pub fn text(&self, name: &str) -> Option<&str> {
        self.input.get(name).and_then(Value::as_str)
    }

    /// The text of the member `name`, which the operation's shape requires.
    ///
    /// # Errors
    /// `ValidationException` where it is absent.
    pub fn required(&self, name: &str) -> Result<&str> {
        self.text(name)
            .ok_or_else(|| Error::validation(format!("{name}: expected a text, got none")))
    }

    /// The whole number of the member `name`, where it is given.
    pub fn number(&self, name: &str) -> Option<u64> {
        self.input.get(name).and_then(Value::as_u64)
    }

    /// The name of the model that `name` leads to, for who asks.
    ///
    /// # Errors
    /// `ValidationException` in AWS's words where it leads to none; `AccessDeniedException` where it leads
    /// to a custom model of another principal's.
    pub(crate) fn model_of(&self, name: &str) -> Result<String> {
        let shelf = self.session.shelf();
        let resolution = shelf.runtime_resolution(name, self.principal.is_owner())?;
        check_creators(&self.session, &resolution, &self.principal)?;
        Ok(resolution.model)
    }

    /// Refuses members that this product does not honour, because `why`.
    ///
    /// # Errors
    /// `ValidationException` that names the first of them that the request has.
    pub fn refuse(&self, names: &[&str], why: &str) -> Result<()> {
        let given = names.iter().find(|name| self.input.get(**name).is_some());
        given.map_or(Ok(()), |name| {
            Err(Error::validation(format!(
                "{name} is not supported: {why}."
            )))
        })
    }

    /// The input as a value of type `T`.
    ///
    /// # Errors
    /// `ValidationException` that says what is wrong in it.
    pub fn parse<T: DeserializeOwned>(&self) -> Result<T> {
        T::deserialize(&self.input)
            .map_err(|error| Error::validation(error.to_string()).with_source(error))
    }
}

/// The events of a streamed answer. Dropping them stops the work within one engine step.
pub trait OperationEvents: Send {
    /// The next event: the name of its member in the stream's shape, and its value. An error is an
    /// exception in the stream, and its end.
    fn next(&mut self) -> BoxFuture<'_, Option<Result<(&'static str, Value)>>>;
}

/// What a handler answers.
#[derive(Default)]
pub struct Answer {
    /// The members of the response by their names in the service's model, save the payload and the
    /// stream. Absent members are absent, never null.
    pub output: Map<String, Value>,
    /// The payload, where the response has one that is no JSON of members.
    pub payload: Option<Vec<u8>>,
    /// The stream, where the operation answers with one.
    pub events: Option<Box<dyn OperationEvents>>,
}

impl Answer {
    /// An answer whose members are those of `output`.
    ///
    /// # Errors
    /// `InternalServerException` where it is no object.
    pub fn of(output: &impl Serialize) -> Result<Self> {
        match serde_json::to_value(output) {
            Ok(Value::Object(output)) => Ok(Self {
                output,
                ..Self::default()
            }),
            Ok(_) => Err(Error::internal("an operation's answer is no object")),
            Err(error) => Err(Error::internal(error.to_string()).with_source(error)),
        }
    }

    /// An answer that is a stream of events.
    pub fn stream(events: Box<dyn OperationEvents>) -> Self {
        Self {
            events: Some(events),
            ..Self::default()
        }
    }
}
