//! The record of one call, in the form of CloudTrail's events.

use outcrop_api::{Error, Usage};
use serde::Serialize;
use serde_json::{Map, Value};

use crate::caller::{ACCOUNT, Caller, REGION};
use crate::policy::Decision;

/// How a call ended.
#[derive(Clone, Copy, Debug)]
pub enum Outcome<'a> {
    /// It did what was asked.
    Success,
    /// It failed.
    Failure(&'a Error),
    /// Its caller gave it up before its end.
    Cancelled,
}

impl Outcome<'_> {
    fn name(self) -> &'static str {
        match self {
            Self::Success => "Success",
            Self::Failure(_) => "Failure",
            Self::Cancelled => "Cancelled",
        }
    }
}

/// What is known of a call while it runs; written once, when it ends.
#[derive(Clone, Debug)]
pub struct AuditRecord {
    /// Who asked.
    pub caller: Caller,
    /// The service, such as `bedrock-runtime`.
    pub service: &'static str,
    /// The operation, such as `Converse`.
    pub operation: &'static str,
    /// Whether it changes nothing.
    pub read_only: bool,
    /// The id that the caller is told in `x-amzn-RequestId`.
    pub request_id: String,
    /// What was decided.
    pub decision: Decision,
    /// The ids and ARNs that the call was made of, and those it found.
    pub resources: Vec<String>,
    /// The model that ran, where one did.
    pub model: Option<String>,
    /// Tokens that were read and made, where some were.
    pub usage: Option<Usage>,
    /// What the call was asked with: its ids, and the rest where invocation logging is on.
    pub request: Value,
    /// What it answered, where invocation logging is on.
    pub response: Option<Value>,
    /// Further facts of the call, such as a router's choice.
    pub facts: Map<String, Value>,
}

/// A record as a CloudTrail event. Written in one go: a call leaves one, however short it is.
#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct Event<'a> {
    event_version: &'static str,
    user_identity: UserIdentity<'a>,
    event_time: &'a str,
    event_source: &'static str,
    event_name: &'static str,
    aws_region: &'static str,
    #[serde(rename = "sourceIPAddress")]
    source_ip_address: &'a str,
    user_agent: &'a str,
    request_parameters: &'a Value,
    response_elements: &'a Option<Value>,
    additional_event_data: Additional<'a>,
    #[serde(rename = "requestID")]
    request_id: &'a str,
    #[serde(rename = "eventID")]
    event_id: &'a str,
    read_only: bool,
    resources: Vec<Resource<'a>>,
    event_type: &'static str,
    management_event: bool,
    recipient_account_id: &'static str,
    event_category: &'static str,
    #[serde(skip_serializing_if = "Option::is_none")]
    error_code: Option<&'static str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    error_message: Option<&'a str>,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct UserIdentity<'a> {
    #[serde(rename = "type")]
    kind: &'static str,
    principal_id: &'a str,
    arn: &'a str,
    account_id: &'static str,
    #[serde(skip_serializing_if = "Option::is_none")]
    access_key_id: Option<&'a str>,
}

#[derive(Serialize)]
struct Resource<'a> {
    #[serde(rename = "ARN")]
    arn: &'a str,
}

/// What CloudTrail has no member for.
#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Additional<'a> {
    #[serde(flatten)]
    facts: &'a Map<String, Value>,
    service: &'static str,
    outcome: &'static str,
    latency_ms: u64,
    decision: &'a Decision,
    #[serde(skip_serializing_if = "Option::is_none")]
    model_id: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    input_token_count: Option<usize>,
    #[serde(skip_serializing_if = "Option::is_none")]
    output_token_count: Option<usize>,
    #[serde(skip_serializing_if = "Option::is_none")]
    cache_read_input_token_count: Option<usize>,
}

impl AuditRecord {
    /// The record of a call that ended at `time` (RFC 3339) after `latency_ms`.
    pub(crate) fn event<'a>(
        &'a self,
        time: &'a str,
        latency_ms: u64,
        outcome: Outcome<'a>,
    ) -> Event<'a> {
        let error = match outcome {
            Outcome::Failure(error) => Some(error),
            Outcome::Success | Outcome::Cancelled => None,
        };
        Event {
            event_version: "1.11",
            user_identity: self.user_identity(),
            event_time: time,
            event_source: "bedrock.amazonaws.com",
            event_name: self.operation,
            aws_region: REGION,
            source_ip_address: &self.caller.source,
            user_agent: &self.caller.user_agent,
            request_parameters: &self.request,
            response_elements: &self.response,
            additional_event_data: self.additional(latency_ms, outcome),
            request_id: &self.request_id,
            event_id: &self.request_id,
            read_only: self.read_only,
            resources: self.resources.iter().map(|arn| Resource { arn }).collect(),
            event_type: "AwsApiCall",
            management_event: self.model.is_none(),
            recipient_account_id: ACCOUNT,
            event_category: match self.model {
                Some(_) => "Data",
                None => "Management",
            },
            error_code: error.map(|error| error.kind().name()),
            error_message: error.map(Error::message),
        }
    }

    fn user_identity(&self) -> UserIdentity<'_> {
        let principal = &self.caller.principal;
        let key = principal.access_key_id.as_deref();
        UserIdentity {
            kind: match principal.is_owner() {
                true => "Root",
                false => "IAMUser",
            },
            principal_id: key.unwrap_or(ACCOUNT),
            arn: &principal.arn,
            account_id: ACCOUNT,
            access_key_id: key,
        }
    }

    fn additional(&self, latency_ms: u64, outcome: Outcome<'_>) -> Additional<'_> {
        let count = |of: fn(&Usage) -> usize| self.usage.as_ref().map(of);
        Additional {
            facts: &self.facts,
            service: self.service,
            outcome: outcome.name(),
            latency_ms,
            decision: &self.decision,
            model_id: self.model.as_deref(),
            input_token_count: count(|usage| usage.input_tokens),
            output_token_count: count(|usage| usage.output_tokens),
            cache_read_input_token_count: count(|usage| usage.cache_read_input_tokens),
        }
    }
}
