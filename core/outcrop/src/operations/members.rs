//! The members of a JSON object, of which none may be left unread.

use outcrop_api::{Error, Result};
use serde::de::DeserializeOwned;
use serde_json::{Map, Value};

/// An object that is read member by member. One that is `null` counts as absent.
pub struct Members {
    members: Map<String, Value>,
    /// Where the object stands in its request, with a point behind it.
    place: String,
}

impl Members {
    /// The members of the object at `place`, which is empty for the request itself.
    ///
    /// # Errors
    /// `ValidationException` where it is no object.
    pub fn of(value: Value, place: &str) -> Result<Self> {
        match value {
            Value::Object(mut members) => {
                members.retain(|_, value| !value.is_null());
                let point = if place.is_empty() { "" } else { "." };
                let place = format!("{place}{point}");
                Ok(Self { members, place })
            }
            other => {
                let place = if place.is_empty() { "body" } else { place };
                Err(Error::validation(format!(
                    "{place}: expected an object, got {other}"
                )))
            }
        }
    }

    /// Where the member `name` stands in the request.
    pub fn place(&self, name: &str) -> String {
        format!("{}{name}", self.place)
    }

    /// Takes the member `name`.
    pub fn take(&mut self, name: &str) -> Option<Value> {
        self.members.shift_remove(name)
    }

    /// Takes the member `name` as a `T`.
    ///
    /// # Errors
    /// `ValidationException` where it is something else.
    pub fn read<T: DeserializeOwned>(&mut self, name: &str) -> Result<Option<T>> {
        let Some(value) = self.take(name) else {
            return Ok(None);
        };
        let shown = value.to_string();
        serde_json::from_value(value).map(Some).map_err(|error| {
            Error::validation(format!("{}: {error}, got {shown}", self.place(name)))
        })
    }

    /// Takes the member `name`, which must be there.
    ///
    /// # Errors
    /// As [`Members::read`].
    pub fn required<T: DeserializeOwned>(&mut self, name: &str) -> Result<T> {
        self.read(name)?
            .ok_or_else(|| Error::validation(format!("{}: Field required", self.place(name))))
    }

    /// Takes a member that has an effect only at other values than `harmless`, which nothing here
    /// can honour.
    ///
    /// # Errors
    /// `ValidationException` where it has another value.
    pub fn only(&mut self, name: &str, harmless: &[Value]) -> Result<()> {
        match self.take(name) {
            Some(value) if !harmless.contains(&value) => Err(Error::validation(format!(
                "{}: {value} is not supported here",
                self.place(name)
            ))),
            _ => Ok(()),
        }
    }

    /// Ends the reading.
    ///
    /// # Errors
    /// `ValidationException` that names a member that was not read.
    pub fn end(self) -> Result<()> {
        match self.members.keys().next() {
            Some(name) => Err(Error::validation(format!(
                "{}: Extra inputs are not permitted: this field is not supported here",
                self.place(name)
            ))),
            None => Ok(()),
        }
    }
}
