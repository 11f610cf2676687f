//! Calls of operations, as every face makes them.

use outcrop::governance::Caller;
use outcrop::operations::{Operation, Service};
use outcrop::{Error, Session, runtime};
use serde_json::Value;

/// Calls the operation as the owner of the home; its members, or its error.
pub(crate) fn call(
    session: &Session,
    service: Service,
    name: &str,
    input: Value,
) -> Result<Value, Error> {
    let operation = Operation::find(service, name).unwrap();
    let called = session.call(Caller::in_process(), operation, input, Vec::new());
    let called = runtime().unwrap().block_on(called);
    called.answer.map(|answer| Value::Object(answer.output))
}

/// What an operation of `service` answers.
pub(crate) fn answer(session: &Session, service: Service, name: &str, input: Value) -> Value {
    call(session, service, name, input).unwrap_or_else(|error| panic!("{name}: {error}"))
}

/// The name of the error that an operation answers with.
pub(crate) fn refusal(session: &Session, service: Service, name: &str, input: Value) -> String {
    match call(session, service, name, input) {
        Err(error) => error.kind().name().to_string(),
        Ok(answer) => panic!("{name}: expected an error, got {answer}"),
    }
}
