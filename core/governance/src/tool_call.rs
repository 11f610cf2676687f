//! What an agent asks to do: one call of a function, a look-up or a delegation.

use std::collections::BTreeMap;

use serde::Serialize;

use crate::caller::Principal;
use crate::policy::Decision;

/// One call that an agent asks to make for a user.
#[derive(Clone, Debug)]
pub struct ToolCall<'a> {
    /// The agent's ARN: the principal.
    pub agent: &'a str,
    /// Whom it acts for.
    pub user: &'a Principal,
    /// What it asks to do: `CallFunction`, `Retrieve` or `Delegate`.
    pub kind: ToolCallKind,
    /// The function, the knowledge base or the collaborator.
    pub action: &'a str,
    /// The action group; for a look-up the knowledge base's id, for a delegation the agent's.
    pub resource: &'a str,
    /// The session that it belongs to.
    pub session_id: &'a str,
    /// The call's id in it.
    pub call_id: &'a str,
    /// SHA-256 of its arguments, by which a record names them: they may hold what no log should.
    pub arguments_sha256: &'a str,
    /// What Cedar was asked, where it was.
    pub request: Option<CedarRequest<'a>>,
}

/// What Cedar was asked, without the values of arguments.
#[derive(Clone, Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct CedarRequest<'a> {
    /// The principal, as policies write it.
    pub principal: String,
    /// The action.
    pub action: String,
    /// The resource.
    pub resource: String,
    /// The sources of each argument.
    pub origins: BTreeMap<&'a str, &'a [String]>,
    /// The arguments that nobody in charge chose.
    pub tainted: Vec<String>,
    /// The kinds of text that the session had read.
    pub read: &'a [String],
}

/// What an agent asks to do.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
pub enum ToolCallKind {
    /// To call a function of an action group.
    CallFunction,
    /// To look something up in a knowledge base.
    Retrieve,
    /// To hand work to another agent.
    Delegate,
}

/// A line of the decisions, for a call of an agent.
#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct DecidedCall<'a> {
    pub time: &'a str,
    #[serde(rename = "requestID")]
    pub request_id: &'a str,
    pub principal: &'a str,
    pub user: &'a str,
    pub action: String,
    pub resource: &'a str,
    #[serde(flatten)]
    pub decision: &'a Decision,
    pub session_id: &'a str,
    pub call_id: &'a str,
    #[serde(rename = "argumentsSHA256")]
    pub arguments_sha256: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub request: Option<&'a CedarRequest<'a>>,
}

impl<'a> DecidedCall<'a> {
    pub fn of(
        time: &'a str,
        request_id: &'a str,
        call: &'a ToolCall<'_>,
        decision: &'a Decision,
    ) -> Self {
        Self {
            time,
            request_id,
            principal: call.agent,
            user: &call.user.arn,
            action: format!("{:?}:{}", call.kind, call.action),
            resource: call.resource,
            decision,
            session_id: call.session_id,
            call_id: call.call_id,
            arguments_sha256: call.arguments_sha256,
            request: call.request.as_ref(),
        }
    }
}
