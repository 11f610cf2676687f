//! From an error to what its operation may answer: a declared code, its status and its members.

use outcrop::api::{Error, ErrorKind};
use serde_json::{Map, Value};

use crate::service_model::{Kind, OperationModel, ServiceModel, Shape, ShapeId};

/// An error as the wire tells it.
#[derive(Debug, PartialEq)]
pub struct WireError {
    /// Its code, such as `ValidationException`.
    pub code: &'static str,
    /// The HTTP status that the service gives it.
    pub status: u16,
    /// Its members: the message, and those that its shape has.
    pub members: Map<String, Value>,
}

impl WireError {
    /// An error that no operation declares.
    pub fn plain(code: &'static str, status: u16, message: &str) -> Self {
        Self {
            code,
            status,
            members: Map::from_iter([("message".to_string(), message.into())]),
        }
    }

    fn of_shape(shape: &'static Shape, error: &Error) -> Self {
        let mut told = Self {
            code: shape.name,
            status: error.kind().http_status(),
            members: Map::new(),
        };
        let Kind::Structure(structure) = &shape.kind else {
            return told;
        };
        told.status = structure.error.unwrap_or(told.status);
        for member in &structure.members {
            let value = match (error.members().get(member.name), member.name) {
                (Some(value), _) => Some(value.clone()),
                (None, "message") => Some(error.message().into()),
                (None, "resourceName") => error.resource().map(Value::from),
                (None, _) => None,
            };
            told.members
                .extend(value.map(|value| (member.name.to_string(), value)));
        }
        told
    }
}

/// What `operation` answers for `error`: that error where the operation declares it, or else the
/// declared one that says the same to a caller who would try again.
pub fn wire_error(
    service: &'static ServiceModel,
    operation: &OperationModel,
    error: &Error,
) -> WireError {
    let kind = error.kind();
    if kind == ErrorKind::NotImplementedException {
        return WireError::plain(kind.name(), kind.http_status(), error.message());
    }
    let declared = |name: &str| {
        let mut shapes = operation.errors.iter().map(|id| service.shape(*id));
        shapes.find(|shape| shape.name == name)
    };
    match candidates(kind).find_map(declared) {
        Some(shape) => WireError::of_shape(shape, error),
        None => WireError::plain("InternalServerException", 500, error.message()),
    }
}

/// The member of the event stream `stream` that carries `error`, and the members of the exception.
pub fn stream_error(
    service: &'static ServiceModel,
    stream: ShapeId,
    error: &Error,
) -> Option<(&'static str, Map<String, Value>)> {
    let events = &service.structure(stream).members;
    candidates(error.kind()).find_map(|name| {
        let mut events = events.iter();
        let event = events.find(|event| service.shape(event.shape).name == name)?;
        let told = WireError::of_shape(service.shape(event.shape), error);
        Some((event.name, told.members))
    })
}

/// The codes that may stand for `kind`, the best first: itself, then those that tell a caller, and
/// an SDK's retries, the same; last the code of a fault of the caller or of the service.
fn candidates(kind: ErrorKind) -> impl Iterator<Item = &'static str> {
    use ErrorKind::*;
    let near: &[ErrorKind] = match kind {
        ConflictException => &[ResourceInUseException],
        ResourceInUseException => &[ConflictException],
        TooManyTagsException => &[ServiceQuotaExceededException],
        ThrottlingException => &[ServiceUnavailableException],
        ModelNotReadyException => &[ThrottlingException, ServiceUnavailableException],
        ModelErrorException => &[ModelStreamErrorException, DependencyFailedException],
        ModelStreamErrorException => &[ModelErrorException, DependencyFailedException],
        ModelTimeoutException => &[ModelErrorException, DependencyFailedException],
        DependencyFailedException => &[ModelErrorException, BadGatewayException],
        BadGatewayException => &[ServiceUnavailableException, DependencyFailedException],
        ServiceUnavailableException => &[BadGatewayException, ThrottlingException],
        _ => &[],
    };
    let last = match kind {
        AccessDeniedException
        | ResourceNotFoundException
        | ConflictException
        | ResourceInUseException
        | ServiceQuotaExceededException
        | TooManyTagsException => ValidationException,
        _ => InternalServerException,
    };
    let kinds = std::iter::once(kind).chain(near.iter().copied());
    kinds.chain([last]).map(ErrorKind::name)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use crate::service_model::{service, services};

    #[test]
    fn no_operation_ever_answers_a_code_that_it_does_not_declare() {
        for service in services() {
            for operation in &service.operations {
                let declared = |code: &str| {
                    let mut shapes = operation.errors.iter().map(|id| service.shape(*id));
                    shapes.any(|shape| shape.name == code)
                };
                for kind in ErrorKind::ALL {
                    let told = wire_error(service, operation, &Error::new(*kind, "no"));
                    let stated = *kind == ErrorKind::NotImplementedException;
                    assert!(
                        stated || declared(told.code),
                        "{}: {}",
                        operation.name,
                        told.code
                    );
                    assert_eq!(told.members["message"], "no");
                }
            }
        }
    }

    #[test]
    fn every_stream_has_an_exception_for_every_kind() {
        for service in services() {
            for operation in &service.operations {
                let output = service.structure(operation.output);
                let Some(stream) = output.payload.and_then(|name| output.member(name)) else {
                    continue;
                };
                if !service.structure(stream.shape).event_stream {
                    continue;
                }
                for kind in ErrorKind::ALL {
                    let told = stream_error(service, stream.shape, &Error::new(*kind, "no"));
                    assert!(told.is_some(), "{} {kind:?}", operation.name);
                }
            }
        }
    }

    #[test]
    fn a_status_is_the_services_own_and_members_are_those_of_the_shape() {
        let of = |name: &str, operation: &str, kind| {
            let service = service(name).unwrap();
            let error = Error::new(kind, "no")
                .with_resource("m")
                .with_member("originalStatusCode", 503)
                .with_member("madeUp", 1);
            wire_error(service, service.operation(operation).unwrap(), &error)
        };
        let conflict = of(
            "bedrock-agent",
            "CreateKnowledgeBase",
            ErrorKind::ConflictException,
        );
        assert_eq!((conflict.code, conflict.status), ("ConflictException", 409));
        let conflict = of(
            "bedrock",
            "CreateModelImportJob",
            ErrorKind::ConflictException,
        );
        assert_eq!((conflict.code, conflict.status), ("ConflictException", 400));
        let model = of(
            "bedrock-runtime",
            "Converse",
            ErrorKind::ModelErrorException,
        );
        assert_eq!(model.status, 424);
        let expected = serde_json::json!(
            {"message": "no", "originalStatusCode": 503, "resourceName": "m"}
        );
        assert_eq!(Value::Object(model.members), expected);
        let quota = of(
            "bedrock-agent",
            "GetKnowledgeBase",
            ErrorKind::ServiceQuotaExceededException,
        );
        assert_eq!(quota.code, "ValidationException");
    }
}
