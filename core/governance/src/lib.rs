//! Who may do what, who did what, what it cost.
//!
//! The desk asks here before each call and tells here of its end; nothing else does. A [`Caller`]
//! is who asks, a [`Policy`] decides, and a [`Trail`] keeps the decision and the record of the call.

mod access_key;
mod agent_rules;
mod audit;
mod caller;
mod cedar;
mod invocation_log;
mod meter;
mod policy;
mod quota;
mod tool_call;
mod trail;

pub use access_key::{AccessKey, AccessKeySummary, AccessKeys, NewAccessKey};
pub use agent_rules::{AgentRule, CallFacts, Requirement, decide_by_rules};
pub use audit::{AuditRecord, Outcome};
pub use caller::{ACCOUNT, Caller, Principal, REGION};
pub use cedar::{
    AgentCall, AgentPolicies, AgentSchema, CallAction, CallResource, DEFAULT_POLICY,
    DEFAULT_POLICY_TEXT, FunctionSchema, PolicyText,
};
pub use invocation_log::InvocationLog;
pub use meter::{Meter, Total};
pub use policy::{Decision, Effect, Policy, Request};
pub use quota::{Admission, Quota};
pub use tool_call::{CedarRequest, ToolCall, ToolCallKind};
pub use trail::Trail;
