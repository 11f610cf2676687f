//! The error of every public call: a kind with AWS's name, and a message with what was wrong.

use std::fmt;

use serde_json::{Map, Value};

/// The result of a public call.
pub type Result<T> = std::result::Result<T, Error>;

macro_rules! error_kinds {
    ($($(#[$doc:meta])* $kind:ident, $status:literal, $retryable:literal;)*) => {
        /// What went wrong, by the name that AWS gives it.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
        pub enum ErrorKind { $($(#[$doc])* $kind,)* }

        impl ErrorKind {
            /// Every kind, in the order of the table.
            pub const ALL: &[ErrorKind] = &[$(ErrorKind::$kind,)*];

            /// The name on the wire, in Python's `outcrop.errors` and in a JavaScript error's `name`.
            pub fn name(self) -> &'static str {
                match self { $(ErrorKind::$kind => stringify!($kind),)* }
            }

            /// The HTTP status that Bedrock answers with.
            pub fn http_status(self) -> u16 {
                match self { $(ErrorKind::$kind => $status,)* }
            }

            /// Whether the same call may succeed when it is made again.
            pub fn is_retryable(self) -> bool {
                match self { $(ErrorKind::$kind => $retryable,)* }
            }
        }
    };
}

error_kinds! {
    /// A field of the request is wrong: the message names it, the value and what was expected.
    ValidationException, 400, false;
    /// The policy does not allow the call.
    AccessDeniedException, 403, false;
    /// Nothing is there by that id, ARN or path.
    ResourceNotFoundException, 404, false;
    /// The resource exists already, or changed under the call.
    ConflictException, 409, false;
    /// A stated limit of the account is used up.
    ServiceQuotaExceededException, 400, false;
    /// The engine's queue is full.
    ThrottlingException, 429, true;
    /// The model is still being loaded or fetched.
    ModelNotReadyException, 429, true;
    /// The model took longer than the caller allows.
    ModelTimeoutException, 408, false;
    /// The model failed: its files are damaged, or it is not of a known architecture.
    ModelErrorException, 424, false;
    /// The model failed in the middle of its stream.
    ModelStreamErrorException, 424, false;
    /// A service that the call rests on, such as a remote model, cannot be reached now.
    ServiceUnavailableException, 503, true;
    /// Something that the call rests on failed.
    DependencyFailedException, 424, false;
    /// Something that the call rests on answered what cannot be used.
    BadGatewayException, 502, true;
    /// The resource is in use and cannot be changed now.
    ResourceInUseException, 400, false;
    /// A resource would have more tags than it may.
    TooManyTagsException, 400, false;
    /// The operation is one of Bedrock's that is not here.
    NotImplementedException, 501, false;
    /// The caller gave the call up: it ended within one engine step.
    CancelledException, 499, false;
    /// A fault of Outcrop or of the machine under it, such as a full disk.
    InternalServerException, 500, false;
}

/// An error with its kind, a message for people, the resource it concerns and its cause.
#[derive(Debug)]
pub struct Error {
    kind: ErrorKind,
    message: String,
    resource: Option<String>,
    /// Boxed, as most errors have none: every `Result` is as large as its error.
    members: Box<Map<String, Value>>,
    source: Option<Box<dyn std::error::Error + Send + Sync>>,
}

impl Error {
    /// An error of `kind`. The message names the field or file, what was expected and what came.
    pub fn new(kind: ErrorKind, message: impl Into<String>) -> Self {
        Self {
            kind,
            message: message.into(),
            resource: None,
            members: Box::default(),
            source: None,
        }
    }

    /// A [`ErrorKind::ValidationException`].
    pub fn validation(message: impl Into<String>) -> Self {
        Self::new(ErrorKind::ValidationException, message)
    }

    /// A [`ErrorKind::ResourceNotFoundException`].
    pub fn not_found(message: impl Into<String>) -> Self {
        Self::new(ErrorKind::ResourceNotFoundException, message)
    }

    /// A [`ErrorKind::ConflictException`].
    pub fn conflict(message: impl Into<String>) -> Self {
        Self::new(ErrorKind::ConflictException, message)
    }

    /// A [`ErrorKind::ModelErrorException`].
    pub fn model(message: impl Into<String>) -> Self {
        Self::new(ErrorKind::ModelErrorException, message)
    }

    /// A [`ErrorKind::InternalServerException`].
    pub fn internal(message: impl Into<String>) -> Self {
        Self::new(ErrorKind::InternalServerException, message)
    }

    /// A [`ErrorKind::NotImplementedException`].
    pub fn not_implemented(message: impl Into<String>) -> Self {
        Self::new(ErrorKind::NotImplementedException, message)
    }

    /// A [`ErrorKind::CancelledException`].
    pub fn cancelled() -> Self {
        Self::new(
            ErrorKind::CancelledException,
            "the call was cancelled by its caller",
        )
    }

    /// The same error, naming the resource (an id, an ARN or a path) that it concerns.
    #[must_use]
    pub fn with_resource(mut self, resource: impl Into<String>) -> Self {
        self.resource = Some(resource.into());
        self
    }

    /// The same error with a further member of its shape, such as `originalStatusCode`.
    #[must_use]
    pub fn with_member(mut self, name: impl Into<String>, value: impl Into<Value>) -> Self {
        self.members.insert(name.into(), value.into());
        self
    }

    /// The same error, keeping what caused it.
    #[must_use]
    pub fn with_source(
        mut self,
        source: impl Into<Box<dyn std::error::Error + Send + Sync>>,
    ) -> Self {
        self.source = Some(source.into());
        self
    }

    /// What went wrong, by AWS's name.
    pub fn kind(&self) -> ErrorKind {
        self.kind
    }

    /// What was wrong, with the value, and what would be right.
    pub fn message(&self) -> &str {
        &self.message
    }

    /// Further members of its shape, by the names that AWS gives them.
    pub fn members(&self) -> &Map<String, Value> {
        &self.members
    }

    /// The id, ARN or path that the error concerns, where there is one.
    pub fn resource(&self) -> Option<&str> {
        self.resource.as_deref()
    }
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.message)
    }
}

impl std::error::Error for Error {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        self.source.as_deref().map(|s| s as _)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_unique_and_end_as_aws_names_do() {
        let mut names: Vec<_> = ErrorKind::ALL.iter().map(|k| k.name()).collect();
        assert!(names.iter().all(|n| n.ends_with("Exception")));
        names.sort_unstable();
        names.dedup();
        assert_eq!(names.len(), ErrorKind::ALL.len());
    }
}
