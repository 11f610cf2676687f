//! One agent turn as a state machine: prompt, tool use, return of control, trace.
//!
//! Nothing here does work: no model is asked, no function is run, nothing is read or written. A
//! [`Turn`] says by [`Turn::next`] what it needs; whoever drives it does that, records the [`Fact`]
//! that comes of it, and applies it to the [`Conversation`], which tells the events of its trace.
//! The state is a function of the facts, and so are the events: a session that is read back from
//! its facts goes on where it was, and a replay tells what was told, without running anything.

mod asked;
mod call;
mod conversation;
mod definition;
mod delegation;
pub mod digest;
mod fact;
mod limits;
pub mod mcp;
mod memory;
pub mod openapi;
mod origin;
mod prompt;
mod routing;
mod schema;
mod step;
mod toolbox;
mod trace;
pub mod tree;
mod turn;

pub use asked::ModelCall;
pub use call::{Call, Status};
pub use conversation::{Conversation, Ran};
pub use definition::{
    ActionGroup, AgentDefinition, ApiOperation, Collaboration, Collaborator, Endpoint, Execution,
    Function, KnowledgeBaseLink, McpServer, default_results,
};
pub use delegation::{Delegation, cited_passages};
pub use fact::{
    Answer, Beginning, CallAnswer, CallEnd, Edit, Effect, Entry, Fact, ModelReply, Outcome,
    Replied, Verdict,
};
pub use limits::{Limits, Price};
pub use memory::{
    EndedSession, MemoryKey, MemorySettings, MissingSummary, PastSession, Remembered, SessionEnd,
};
pub use origin::{Origin, origins, read_from};
pub use step::{Asks, EndReason, Ending, Need, Pending, Spent, Step};
pub use toolbox::Target;
pub use trace::{CallSummary, Event, TraceEvent};
pub use turn::Turn;
