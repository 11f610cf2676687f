//! Which MCP servers may be reached, and the session of each agent with each of its servers.

use std::collections::{BTreeMap, HashMap};
use std::path::PathBuf;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use outcrop_agents::mcp::{self, ListedTool};
use outcrop_agents::{ActionGroup, AgentDefinition, Endpoint, Function, McpServer, Outcome};
use outcrop_api::{Error, ErrorKind, Result};
use outcrop_governance::{Decision, Effect, Principal, Request};
use serde::Deserialize;
use tokio::time::timeout;

use super::connection::Connection;
use crate::agents::endpoint::{Asked, Endpoints};
use crate::agents::{AgentRequest, HostAccess};
use crate::desk::request_id;
use crate::session::Session;

/// Longest that a server may take to be reached and to list its tools when an agent is made.
const REACHED: Duration = Duration::from_secs(60);
/// What the start of a command is called in the logs.
const START: &str = "StartCommand";

/// What a session knows of MCP servers. It is of the process: environments are written nowhere.
#[derive(Default)]
pub(crate) struct McpServers {
    commands: Mutex<BTreeMap<Vec<String>, CommandAccess>>,
    open: Mutex<HashMap<Key, Arc<Slot>>>,
}

/// How a command is started.
#[derive(Clone, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "camelCase", default, deny_unknown_fields)]
pub struct CommandAccess {
    /// Environment variables that it is given, beside `PATH`, `HOME` and the like: of the others of
    /// this process it has none. They are in no log and no trace.
    pub env: BTreeMap<String, String>,
    /// The folder that it is started in. Default: that of this process.
    pub cwd: Option<PathBuf>,
}

/// How a server is reached.
#[derive(Clone, PartialEq, Eq)]
pub(super) enum Access {
    Command(CommandAccess),
    Host(HostAccess),
}

/// Whose session with a server it is.
#[derive(Clone, PartialEq, Eq, Hash)]
struct Key {
    agent: String,
    group: String,
    server: McpServer,
}

/// The session with a server; none before it is first asked, and after it was lost.
#[derive(Default)]
struct Slot(tokio::sync::Mutex<Option<Arc<Connection>>>);

impl Session {
    /// Lets action groups start `command`, the program and all its arguments, as an MCP server, as
    /// long as this session is open; `None` forbids it again and ends what was started. No command
    /// is started that is not allowed; each start is a decision in the log.
    ///
    /// # Errors
    /// `ValidationException` for an empty command.
    pub fn allow_command(&self, command: &[String], access: Option<CommandAccess>) -> Result<()> {
        let named = shown(command);
        let record = self.open_own_record("AllowCommand", "command", &named)?;
        let allowed = self.mcp_servers().allow(command, access);
        record.close(allowed.as_ref().err())?;
        allowed
    }
}

impl McpServers {
    fn allow(&self, command: &[String], access: Option<CommandAccess>) -> Result<()> {
        if command.first().is_none_or(String::is_empty) {
            return Err(Error::validation(format!(
                "command: expected a program and its arguments, got {command:?}"
            )));
        }
        let mut commands = locked(&self.commands);
        match access {
            Some(access) => drop(commands.insert(command.to_vec(), access)),
            None => {
                commands.remove(command);
                let forbidden = McpServer::Stdio {
                    command: command.to_vec(),
                };
                locked(&self.open).retain(|key, _| key.server != forbidden);
            }
        }
        Ok(())
    }

    /// Ends every session.
    pub fn close(&self) {
        locked(&self.open).clear();
    }

    /// Ends the sessions with servers at hosts that `endpoints` does not allow.
    pub fn close_forbidden(&self, endpoints: &Endpoints) {
        locked(&self.open).retain(|key, _| match &key.server {
            McpServer::Http { url } => endpoints.access(url).is_ok(),
            McpServer::Stdio { .. } => true,
        });
    }

    fn slot(&self, key: &Key) -> Arc<Slot> {
        locked(&self.open).entry(key.clone()).or_default().clone()
    }

    /// The session that is open, if one is.
    async fn connected(&self, key: &Key) -> Option<Arc<Connection>> {
        let slot = locked(&self.open).get(key).cloned()?;
        let connection = slot.0.lock().await.clone();
        connection.filter(|connection| !connection.is_closed())
    }
}

/// Ends the sessions of the agent `name` with servers that are not those of `definition`.
pub(crate) fn close_other(session: &Session, name: &str, definition: Option<&AgentDefinition>) {
    let of_agent = |group: &ActionGroup, key: &Key| match &group.endpoint {
        Some(Endpoint::Mcp { server, .. }) => group.name == key.group && *server == key.server,
        _ => false,
    };
    locked(&session.mcp_servers().open).retain(|key, _| {
        let mut groups = definition.iter().flat_map(|one| &one.action_groups);
        key.agent != name || groups.any(|group| of_agent(group, key))
    });
}

/// The request with the functions of its MCP groups, as their servers list them.
///
/// # Errors
/// `ValidationException` that names the group and what is wrong; `AccessDeniedException` for a
/// server that is not allowed; `BadGatewayException` for one that does not answer.
pub(crate) async fn with_tools(
    session: &Session,
    mut request: AgentRequest,
) -> Result<AgentRequest> {
    for group in &mut request.action_groups {
        let Some(key) = key(&request.name, group) else {
            continue;
        };
        if !group.functions.is_empty() {
            return Err(Error::validation(format!(
                "actionGroups: {}: expected no functions beside those of the MCP server, got {}",
                group.name,
                group.functions.len()
            )));
        }
        group.functions = listed(group, reached(session, &key, REACHED)).await?;
    }
    Ok(request)
}

/// The agent with the tools that its servers have now, where a session with them is open.
///
/// # Errors
/// As [`with_tools`].
pub(crate) async fn current(
    session: &Session,
    mut definition: AgentDefinition,
) -> Result<AgentDefinition> {
    let mut renews = false;
    for group in &mut definition.action_groups {
        let Some(key) = key(&definition.name, group) else {
            continue;
        };
        let Some(connection) = session.mcp_servers().connected(&key).await else {
            continue;
        };
        let now = listed(group, std::future::ready(Ok(connection))).await?;
        group.functions = mcp::renewed(&group.functions, now);
        renews = true;
    }
    if renews {
        definition.validate()?;
    }
    Ok(definition)
}

/// The functions of a group, of the tools that its server lists.
async fn listed(
    group: &ActionGroup,
    reached: impl Future<Output = Result<Arc<Connection>>>,
) -> Result<Vec<Function>> {
    let Some(Endpoint::Mcp { tools, confirm, .. }) = &group.endpoint else {
        return Ok(Vec::new());
    };
    let place = format!("actionGroups: {}", group.name);
    let came = timeout(REACHED, async { reached.await?.tools().await }).await;
    let came = came.unwrap_or_else(|_| {
        let seconds = REACHED.as_secs();
        let late = format!("tools/list: no answer within {seconds} seconds");
        Err(Error::new(ErrorKind::BadGatewayException, late))
    });
    let came = came.map_err(|error| {
        let message = format!("{place}: {}", error.message());
        Error::new(error.kind(), message).with_source(error)
    })?;
    mcp::functions(&place, came.to_vec(), tools, confirm)
}

/// Calls the tool that `asked` leads to; what came of it.
pub(crate) async fn called(session: &Session, asked: &Asked, server: &McpServer) -> Outcome {
    let limit = asked.limit;
    let key = Key {
        agent: asked.turn.agent_name.clone(),
        group: asked.group.clone(),
        server: server.clone(),
    };
    let call = async {
        let checked = async {
            let connection = reached(session, &key, limit).await?;
            let listed = connection.tools().await?;
            same(asked, &listed).map(|()| connection)
        };
        match checked.await {
            Ok(connection) => {
                let tool = asked.function.mcp_tool.as_deref().unwrap_or_default();
                connection.call(tool, &asked.arguments).await
            }
            Err(error) => Outcome::Failed {
                error: error.message().to_string(),
            },
        }
    };
    timeout(limit, call).await.unwrap_or(Outcome::TimedOut {
        seconds: limit.as_secs_f64(),
    })
}

/// Refuses a tool that is not what the model was told, and a person has approved.
fn same(asked: &Asked, listed: &[ListedTool]) -> Result<()> {
    let told = &asked.function;
    let name = told.mcp_tool.as_deref().unwrap_or_default();
    let now = listed.iter().find(|tool| tool.name == name);
    let is_same = now.is_some_and(|now| {
        now.description == told.description && now.input_schema == told.input_schema
    });
    if is_same {
        return Ok(());
    }
    let became = match now {
        Some(_) => "is not what it was when the turn began",
        None => "is not there any more",
    };
    Err(Error::validation(format!(
        "the MCP server's tool {name} {became}: it was not called"
    )))
}

/// The session with a server: the one that is open, or another where it was lost.
async fn reached(session: &Session, key: &Key, limit: Duration) -> Result<Arc<Connection>> {
    session.check()?;
    let access = match &key.server {
        McpServer::Stdio { command } => {
            let commands = locked(&session.mcp_servers().commands);
            commands.get(command).cloned().map(Access::Command)
        }
        McpServer::Http { url } => Some(Access::Host(session.endpoints().access(url)?)),
    };
    let slot = session.mcp_servers().slot(key);
    let mut open = slot.0.lock().await;
    let usable = open.take().filter(|connection| {
        !connection.is_closed() && access.as_ref() == Some(&connection.access)
    });
    let connection = match usable {
        Some(connection) => connection,
        None => Arc::new(begun(session, &key.server, access, limit).await?),
    };
    *open = Some(connection.clone());
    Ok(connection)
}

/// Begins a session. The start of a process is decided, and the decision kept, before it starts.
async fn begun(
    session: &Session,
    server: &McpServer,
    access: Option<Access>,
    limit: Duration,
) -> Result<Connection> {
    let Some(access) = access else {
        return Err(denied(session, server)?);
    };
    let McpServer::Stdio { command } = server else {
        return Connection::open(server, access, limit).await;
    };
    let record = session.open_own_record(START, "command", &shown(command))?;
    record.run(Connection::open(server, access, limit)).await
}

/// Keeps the decision that a command may not be started; the error that says so.
fn denied(session: &Session, server: &McpServer) -> Result<Error> {
    let McpServer::Stdio { command } = server else {
        return Err(Error::internal("the host was not looked up"));
    };
    let named = shown(command);
    let user = Principal::owner();
    let request = Request {
        principal: &user,
        action: &format!("outcrop:{START}"),
        resource: &named,
    };
    let decision = Decision::by_rule(Effect::Deny, "the session does not allow the command");
    let trail = session.desk().trail();
    trail.decided(&request_id(), &request, &decision)?;
    Ok(Error::new(
        ErrorKind::AccessDeniedException,
        format!("the command {named} is not allowed: allow it by allow_command({named})"),
    ))
}

/// Whose session a group's calls are made in; none for other groups.
fn key(agent: &str, group: &ActionGroup) -> Option<Key> {
    let Some(Endpoint::Mcp { server, .. }) = &group.endpoint else {
        return None;
    };
    Some(Key {
        agent: agent.to_string(),
        group: group.name.clone(),
        server: server.clone(),
    })
}

/// A command as a list of its words.
fn shown(command: &[String]) -> String {
    format!("{command:?}")
}

fn locked<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    // What is in it is put there whole.
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
