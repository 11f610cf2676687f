//! The one place that every call passes: identity, authorise, audit, quota, run, meter, close.

mod action;
mod bodies;
mod embed;
mod record;
mod watched;

use outcrop_api::{Error, ErrorKind, Result, Usage};
use outcrop_governance::{
    AuditRecord, Caller, Decision, Effect, Meter, Policy, Quota, Request, Trail,
};
use outcrop_store::Home;
use serde_json::{Map, Value};

use action::Action;
pub(crate) use bodies::{INVOCATION_LOGGING, SETTINGS, delivery};
pub use embed::Embedded;
pub use record::{Record, request_id};
pub(crate) use watched::watch_answer;

use crate::operations::{Answer, Call, Operation};
use crate::session::Session;
use bodies::Logging;

/// Calls that one session has in flight at most.
const MAX_IN_FLIGHT: usize = 10_000;

/// What stands before and behind every call of a session.
pub struct Desk {
    home: Home,
    policy: Policy,
    trail: Trail,
    quota: Quota,
    meter: Meter,
    logging: Logging,
}

/// A call that was answered, or refused.
pub struct Called {
    /// What `x-amzn-RequestId` tells.
    pub request_id: String,
    /// The model that ran, where one did: what an alias stands for, not the alias.
    pub model: Option<String>,
    /// Tokens that were read and made, where some were, before the first event of a stream.
    pub usage: Option<Usage>,
    /// From the call to the answer, or to its stream's beginning, in milliseconds.
    pub latency_ms: u64,
    /// The answer. Its stream, where it has one, is part of the call: the record is closed at its
    /// end.
    pub answer: Result<Answer>,
}

/// A call that asks to be let in.
pub(crate) struct Asked<'a> {
    pub caller: Caller,
    pub action: Action,
    pub request_id: &'a str,
    /// The members of the request.
    pub input: &'a Value,
    /// The id or ARN that it is asked of; empty where there is none yet.
    pub resource: &'a str,
}

impl Desk {
    pub(crate) fn new(home: &Home) -> Result<Self> {
        Ok(Self {
            home: home.clone(),
            policy: Policy::default(),
            trail: Trail::new(home)?,
            quota: Quota::new(MAX_IN_FLIGHT),
            meter: Meter::default(),
            logging: Logging::default(),
        })
    }

    /// The logs of decisions and calls.
    pub fn trail(&self) -> &Trail {
        &self.trail
    }

    /// What the session's calls have used, by model.
    pub fn meter(&self) -> &Meter {
        &self.meter
    }

    /// Opens the record of a call: decides it, keeps the decision, and takes a place among the
    /// calls in flight.
    ///
    /// # Errors
    /// `AccessDeniedException` where the policy does not allow it, `ThrottlingException` where too
    /// many calls are in flight, `InternalServerException` where the decision cannot be kept. A
    /// refusal is in the audit log.
    pub(crate) fn open(&self, asked: Asked<'_>) -> Result<Record> {
        let action = asked.action;
        let request = Request {
            principal: &asked.caller.principal,
            action: &action.qualified(),
            resource: asked.resource,
        };
        let decision = self.policy.decide(&request);
        self.trail.decided(asked.request_id, &request, &decision)?;
        let refusal = (decision.effect == Effect::Deny).then(|| denied(&request, &decision));
        let bodies = match refusal {
            Some(_) => None,
            None => self.logging.of(&self.home, action)?,
        };
        let record = Record::new(
            record_of(asked, decision, bodies.is_some()),
            bodies,
            self.trail.clone(),
            self.meter.clone(),
        );
        let admitted = match refusal {
            Some(error) => Err(error),
            None => self.quota.admit(),
        };
        match admitted {
            Ok(admission) => record.admitted(admission),
            Err(error) => {
                record.close(Some(&error))?;
                return Err(error);
            }
        }
        Ok(record)
    }
}

/// The record of a call that was just decided.
fn record_of(asked: Asked<'_>, decision: Decision, keeps_bodies: bool) -> AuditRecord {
    AuditRecord {
        caller: asked.caller,
        service: asked.action.service,
        operation: asked.action.name,
        read_only: asked.action.is_read_only,
        request_id: asked.request_id.to_string(),
        decision,
        resources: match asked.resource {
            "" => Vec::new(),
            resource => vec![resource.to_string()],
        },
        model: None,
        usage: None,
        request: match keeps_bodies {
            true => asked.input.clone(),
            false => identifiers(asked.input),
        },
        response: None,
        facts: Map::new(),
    }
}

/// Of a request's members, those that only say what it is about.
fn identifiers(input: &Value) -> Value {
    let names = ["Id", "Identifier", "Arn"];
    let members = input.as_object().into_iter().flatten();
    members
        .filter(|(name, value)| value.is_string() && names.iter().any(|end| name.ends_with(end)))
        .map(|(name, value)| (name.clone(), value.clone()))
        .collect()
}

/// The members of a request beside its payload: as JSON where it is JSON, as most bodies are.
fn with_body(input: &Value, payload: &[u8]) -> Value {
    let text = || Value::String(String::from_utf8_lossy(payload).into_owned());
    let mut request = input.clone();
    request["body"] = serde_json::from_slice(payload).unwrap_or_else(|_| text());
    request
}

fn denied(request: &Request<'_>, decision: &Decision) -> Error {
    let resource = match request.resource {
        "" => "*",
        resource => resource,
    };
    Error::new(
        ErrorKind::AccessDeniedException,
        format!(
            "User: {} is not authorized to perform: {} on resource: {resource} because {}",
            request.principal.arn, request.action, decision.rule
        ),
    )
}

impl Session {
    /// Calls an operation as the desk does: decided, recorded, run, metered, closed. `input` has
    /// the form of the operation's shape, see [`Call::input`].
    pub async fn call(
        &self,
        caller: Caller,
        operation: &'static Operation,
        input: Value,
        payload: Vec<u8>,
    ) -> Called {
        if !operation.begins_at_once() {
            tokio::task::yield_now().await;
        }
        let request_id = record::request_id();
        let principal = caller.principal.clone();
        let asked = Asked {
            caller,
            action: operation.into(),
            request_id: &request_id,
            input: &input,
            resource: operation.resource_of(&input),
        };
        let record = match self.check().and_then(|()| self.desk().open(asked)) {
            Ok(record) => record,
            Err(error) => {
                return Called {
                    request_id,
                    model: None,
                    usage: None,
                    latency_ms: 0,
                    answer: Err(error),
                };
            }
        };
        if !payload.is_empty() {
            record.request(|| with_body(&input, &payload));
        }
        let call = Call {
            session: self.clone(),
            operation,
            input,
            payload,
            principal,
            record: record.clone(),
        };
        let answer = match operation.handler {
            Some(handler) => handler(call).await,
            None => Err(Error::not_implemented(format!(
                "{} of {} is not implemented here: docs/coverage.md lists the operations that are",
                operation.name,
                operation.service.name()
            ))),
        };
        Called {
            request_id,
            model: record.model_that_ran(),
            usage: record.usage_so_far(),
            latency_ms: record.elapsed_ms(),
            answer: watched::watch_operation(record, answer),
        }
    }

    /// Opens the record of a native call, which is Bedrock's operation `name` asked by the owner in
    /// this process. `member` is the member of the request that holds `resource`.
    ///
    /// # Errors
    /// As [`Desk::open`]; `ValidationException` where the session is closed.
    pub(crate) fn open_record(&self, name: &str, member: &str, resource: &str) -> Result<Record> {
        self.open_record_of(Caller::in_process(), Action::named(name)?, member, resource)
    }

    /// The same for what only a session has.
    pub(crate) fn open_own_record(
        &self,
        name: &'static str,
        member: &str,
        resource: &str,
    ) -> Result<Record> {
        self.open_record_of(Caller::in_process(), Action::own(name), member, resource)
    }

    /// The same asked by any caller.
    fn open_record_of(
        &self,
        caller: Caller,
        action: Action,
        member: &str,
        resource: &str,
    ) -> Result<Record> {
        self.check()?;
        let input = Value::Object(Map::from_iter([(member.to_string(), resource.into())]));
        self.desk().open(Asked {
            caller,
            action,
            request_id: &record::request_id(),
            input: &input,
            resource,
        })
    }
}
