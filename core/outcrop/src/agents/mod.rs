//! Agents at the desk: kept in the home, driven step by step, each step recorded before the next.
//!
//! ```text
//! Session::create_agent, agent, agents, delete_agent
//! Session::put_policy, policies, delete_policy
//! Agent::invoke, resume     a Run: events for the caller, and calls that the caller's own loop runs
//! Agent::stop               ends a turn that is under way or paused
//! Agent::replay             what a session has told, from its facts; nothing is run
//! Agent::fork               another session with the same beginning
//! Agent::end                ends a session; its model sums it up where it has a memory
//! Agent::memory             what is kept of sessions that have ended; delete_memory
//! Session::allow_host       lets action groups call endpoints there; map_lambda
//! Session::allow_command    lets action groups start MCP servers
//! ```

mod agent;
mod drive;
mod endpoint;
mod http;
mod lambda;
mod mcp;
mod memory;
mod permission;
mod policies;
mod recorded;
mod request;
mod result;
mod run;
mod settling;
mod stored;

pub use agent::Agent;
pub(crate) use agent::forget;
pub(crate) use endpoint::Endpoints;
pub use endpoint::HostAccess;
pub use mcp::CommandAccess;
pub(crate) use mcp::McpServers;
pub use memory::KeptSession;
pub(crate) use memory::{Memories, delete_of as delete_memories};
pub(crate) use policies::ReadyPolicies;
pub use policies::{PolicyInfo, PolicyRequest};
pub use request::{AgentRequest, ApiSchema, CollaboratorRequest, InvokeRequest, ResumeRequest};
pub use result::{AgentInfo, AgentResult, StopReason};
pub use run::Run;
pub(crate) use settling::Settling;
pub(crate) use stored::{DRAFT, delete_definition, find_definition, put_definition};
