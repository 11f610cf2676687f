//! The two logs of the home: what was decided, and what was done.

use chrono::{SecondsFormat, Utc};
use outcrop_api::Result;
use outcrop_store::{Home, Log};
use serde::Serialize;
use serde_json::Value;

use crate::audit::{AuditRecord, Outcome};
use crate::invocation_log::InvocationLog;
use crate::policy::{Decision, Request};
use crate::tool_call::{DecidedCall, ToolCall};

/// The logs `decisions` and `audit` of a home: JSON lines. Clones are the same logs.
///
/// A decision is in its log before the call that it allows begins. The record of a call is one
/// line, written when the call ends.
#[derive(Clone, Debug)]
pub struct Trail {
    decisions: Log,
    audit: Log,
}

/// A line of the decisions.
#[derive(Serialize)]
struct Decided<'a> {
    time: &'a str,
    #[serde(rename = "requestID")]
    request_id: &'a str,
    principal: &'a str,
    action: &'a str,
    resource: &'a str,
    #[serde(flatten)]
    decision: &'a Decision,
}

impl Trail {
    /// The logs of `home`.
    ///
    /// # Errors
    /// As [`Home::log`].
    pub fn new(home: &Home) -> Result<Self> {
        Ok(Self {
            decisions: home.log("decisions")?,
            audit: home.log("audit")?,
        })
    }

    /// Keeps a decision.
    ///
    /// # Errors
    /// `InternalServerException` where it cannot be written: the call must then not be made.
    pub fn decided(
        &self,
        request_id: &str,
        request: &Request<'_>,
        decision: &Decision,
    ) -> Result<()> {
        let now = rfc3339();
        let line = Decided {
            time: &now,
            request_id,
            principal: &request.principal.arn,
            action: request.action,
            resource: request.resource,
            decision,
        };
        Ok(self.decisions.append(day(&now), &line)?)
    }

    /// Keeps a decision on a call of an agent.
    ///
    /// # Errors
    /// `InternalServerException` where it cannot be written: the call must then not be made.
    pub fn decided_call(
        &self,
        request_id: &str,
        call: &ToolCall<'_>,
        decision: &Decision,
    ) -> Result<()> {
        let now = rfc3339();
        let line = DecidedCall::of(&now, request_id, call, decision);
        Ok(self.decisions.append(day(&now), &line)?)
    }

    /// Keeps the record of a call that ended after `latency_ms`, in `invocations` too where there
    /// is such a log.
    ///
    /// # Errors
    /// `InternalServerException` where it cannot be written.
    pub fn ended(
        &self,
        record: &AuditRecord,
        latency_ms: u64,
        outcome: Outcome<'_>,
        invocations: Option<&InvocationLog>,
    ) -> Result<()> {
        let now = rfc3339();
        let event = record.event(&now, latency_ms, outcome);
        self.audit.append(day(&now), &event)?;
        invocations.map_or(Ok(()), |log| log.keep(record, outcome))
    }

    /// The records of calls, the oldest first.
    ///
    /// # Errors
    /// `InternalServerException` where the log cannot be read.
    pub fn calls(&self) -> Result<Vec<Value>> {
        events(&self.audit)
    }

    /// The decisions, the oldest first.
    ///
    /// # Errors
    /// As [`Trail::calls`].
    pub fn decisions(&self) -> Result<Vec<Value>> {
        events(&self.decisions)
    }
}

fn events(log: &Log) -> Result<Vec<Value>> {
    let lines = log.lines()?;
    Ok(lines
        .iter()
        .filter_map(|line| serde_json::from_str(line).ok())
        .collect())
}

/// Now, as RFC 3339 in UTC with milliseconds.
fn rfc3339() -> String {
    Utc::now().to_rfc3339_opts(SecondsFormat::Millis, true)
}

/// The day of such a time.
fn day(time: &str) -> &str {
    time.split('T').next().unwrap_or(time)
}
