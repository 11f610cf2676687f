//! What a call asks to do, as the policy and the logs name it.

use outcrop_api::{Error, Result};

use crate::operations::{Operation, Service};

/// An operation of Bedrock's, or one that only a session has.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Action {
    /// The service, such as `bedrock-runtime`; `outcrop` where Bedrock has no such operation.
    pub service: &'static str,
    /// Its name, such as `Converse`.
    pub name: &'static str,
    /// Whether it changes nothing and runs no model.
    pub is_read_only: bool,
}

impl Action {
    /// One that only a session has.
    pub const fn own(name: &'static str) -> Self {
        Self {
            service: "outcrop",
            name,
            is_read_only: false,
        }
    }

    /// Bedrock's operation of that name, whichever service it is of.
    ///
    /// # Errors
    /// `InternalServerException` where there is none.
    pub fn named(name: &str) -> Result<Self> {
        let found = Service::ALL
            .into_iter()
            .find_map(|service| Operation::find(service, name));
        found
            .map(Self::from)
            .ok_or_else(|| Error::internal(format!("{name} is no operation")))
    }

    /// What the policy decides on, such as `bedrock:InvokeModel`.
    pub fn qualified(self) -> String {
        match (self.service, self.name) {
            ("outcrop", name) => format!("outcrop:{name}"),
            (_, "Converse") => "bedrock:InvokeModel".into(),
            (_, "ConverseStream") => "bedrock:InvokeModelWithResponseStream".into(),
            (_, name) => format!("bedrock:{name}"),
        }
    }
}

impl From<&'static Operation> for Action {
    fn from(operation: &'static Operation) -> Self {
        Self {
            service: operation.service.name(),
            name: operation.name,
            is_read_only: operation.is_read_only(),
        }
    }
}
