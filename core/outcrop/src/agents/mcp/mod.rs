//! MCP servers as action groups: which may be reached, the sessions with them, and their calls.
//!
//! ```text
//! servers     what may be started; the session of each agent with each of its servers
//! connection  one session: its list of tools, its calls
//! child       a server that is a process, over its standard input and output
//! http        a server of streamable HTTP, over the client that other endpoints are called by
//! outcome     what a tool's result comes to
//! ```

mod child;
mod connection;
mod http;
mod outcome;
mod servers;

pub use servers::CommandAccess;
pub(crate) use servers::McpServers;
pub(super) use servers::{called, close_other, current, with_tools};

/// Most bytes of one message of a server.
const MAX_MESSAGE: usize = 8 << 20;
