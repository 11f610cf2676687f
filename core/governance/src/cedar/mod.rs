//! Cedar policies over the calls of agents: read and validated when they are put, asked before
//! every call.
//!
//! A call is an authorisation request. Its principal is the agent, acting for a user; its action is
//! the function (`Action::"accounts.sendEmail"`), `Action::"Retrieve"` or `Action::"Delegate"`; its
//! resource is the action group, the knowledge base or the collaborator. The context has its
//! arguments, where each of them comes from, and the session.

mod kind;
mod place;
mod policies;
mod request;
mod schema;

pub use policies::{AgentPolicies, PolicyText};
pub use request::{AgentCall, CallAction, CallResource};
pub use schema::{AgentSchema, FunctionSchema};

/// The name of the policy that a home begins with.
pub const DEFAULT_POLICY: &str = "default";

/// Its text.
pub const DEFAULT_POLICY_TEXT: &str = "\
// What an agent has, it may use. Put another text under this name, or delete it, and nothing is
// permitted but what other policies permit.
permit (principal, action, resource)
when { resource in principal };
";

#[cfg(test)]
mod tests;
