//! The record of one call, in the form of CloudTrail's events.

use outcrop_api::{Error, Usage};
use serde_json::{Map, Value, json};

use crate::caller::{ACCOUNT, Caller};
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

impl AuditRecord {
    /// The record as a CloudTrail event that ended at `time` (RFC 3339) after `latency_ms`.
    pub fn event(&self, time: &str, latency_ms: u64, outcome: Outcome<'_>) -> Value {
        let principal = &self.caller.principal;
        let mut identity = json!({
            "type": if principal.is_owner() { "Root" } else { "IAMUser" },
            "principalId": principal.access_key_id.as_deref().unwrap_or(ACCOUNT),
            "arn": principal.arn,
            "accountId": ACCOUNT,
        });
        if let Some(key) = &principal.access_key_id {
            identity["accessKeyId"] = json!(key);
        }
        let mut event = json!({
            "eventVersion": "1.11",
            "userIdentity": identity,
            "eventTime": time,
            "eventSource": "bedrock.amazonaws.com",
            "eventName": self.operation,
            "awsRegion": "local",
            "sourceIPAddress": self.caller.source,
            "userAgent": self.caller.user_agent,
            "requestParameters": self.request,
            "responseElements": self.response,
            "additionalEventData": self.additional(latency_ms, outcome),
            "requestID": self.request_id,
            "eventID": self.request_id,
            "readOnly": self.read_only,
            "resources": self.resources.iter().map(|arn| json!({"ARN": arn})).collect::<Vec<_>>(),
            "eventType": "AwsApiCall",
            "managementEvent": self.model.is_none(),
            "recipientAccountId": ACCOUNT,
            "eventCategory": if self.model.is_none() { "Management" } else { "Data" },
        });
        if let Outcome::Failure(error) = outcome {
            event["errorCode"] = json!(error.kind().name());
            event["errorMessage"] = json!(error.message());
        }
        event
    }

    /// What CloudTrail has no member for.
    fn additional(&self, latency_ms: u64, outcome: Outcome<'_>) -> Map<String, Value> {
        let mut data = self.facts.clone();
        data.insert("service".into(), json!(self.service));
        data.insert("outcome".into(), json!(outcome.name()));
        data.insert("latencyMs".into(), json!(latency_ms));
        data.insert("decision".into(), json!(self.decision));
        if let Some(model) = &self.model {
            data.insert("modelId".into(), json!(model));
        }
        if let Some(usage) = &self.usage {
            data.insert("inputTokenCount".into(), json!(usage.input_tokens));
            data.insert("outputTokenCount".into(), json!(usage.output_tokens));
            data.insert(
                "cacheReadInputTokenCount".into(),
                json!(usage.cache_read_input_tokens),
            );
        }
        data
    }
}
