//! One session with an MCP server: its list of tools, its calls.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use outcrop_agents::mcp::{self, ListedTool};
use outcrop_agents::{McpServer, Outcome};
use outcrop_api::{Error, ErrorKind, Result};
use rmcp::model::{
    CallToolRequestParams, CallToolResponse, ClientCapabilities, ClientConfig, Implementation,
    PaginatedRequestParams, Tool,
};
use rmcp::service::{
    ClientCacheConfig, ClientInitializeError, NotificationContext, RunningService, ServiceError,
};
use rmcp::transport::streamable_http_client::StreamableHttpError;
use rmcp::{ClientHandler, RoleClient, ServiceExt};
use serde_json::Value;
use tokio::sync::{Mutex, oneshot};
use tokio::time::timeout;

use super::child::{self, Fault};
use super::http::{self, HttpFault};
use super::outcome::outcome;
use super::servers::Access;

/// A session with a server. Dropping it ends it, and the server where that is a process.
pub(super) struct Connection {
    service: RunningService<RoleClient, Listener>,
    /// How the server was reached: with another allowance it is another session.
    pub access: Access,
    /// Its tools; none before they are listed, and once it says that they changed.
    tools: Mutex<Option<Arc<Vec<ListedTool>>>>,
    fault: Fault,
    _alive: Option<oneshot::Sender<()>>,
}

/// What hears a server's own messages. It has nothing that a server may ask for.
struct Listener {
    /// Whether the server said that its tools changed.
    changed: AtomicBool,
}

impl ClientHandler for Listener {
    async fn on_tool_list_changed(&self, _context: NotificationContext<RoleClient>) {
        self.changed.store(true, Ordering::SeqCst);
    }

    fn get_info(&self) -> ClientConfig {
        let client = Implementation::new("outcrop", env!("CARGO_PKG_VERSION"));
        ClientConfig::new(ClientCapabilities::default(), client)
    }
}

impl Connection {
    /// Reaches `server` and begins a session, within `limit`.
    ///
    /// # Errors
    /// `BadGatewayException` that says what came instead.
    pub async fn open(server: &McpServer, access: Access, limit: Duration) -> Result<Self> {
        let listener = Listener {
            changed: AtomicBool::new(false),
        };
        let failed = |what: String| {
            Error::new(
                ErrorKind::BadGatewayException,
                format!("the MCP server {server}: {what}"),
            )
        };
        let late = || {
            format!(
                "no session with it began within {} seconds",
                limit.as_secs_f64()
            )
        };
        let fault = Fault::default();
        let (service, alive) = match (server, &access) {
            (McpServer::Stdio { command }, Access::Command(of)) => {
                let started = child::start(command, of, fault.clone())
                    .map_err(|error| failed(format!("it could not be started: {error}")))?;
                let served = listener.serve((started.stdout, started.stdin));
                let tail = started.tail;
                let service = match timeout(limit, served).await {
                    Ok(Ok(service)) => service,
                    Ok(Err(error)) => {
                        let said = said(&error);
                        return Err(failed(format!("{said}{}", tail.words())));
                    }
                    Err(_) => return Err(failed(format!("{}{}", late(), tail.words()))),
                };
                (service, Some(started.alive))
            }
            (McpServer::Http { url }, Access::Host(of)) => {
                let served = listener.serve(http::transport(url, of));
                match timeout(limit, served).await {
                    Ok(Ok(service)) => (service, None),
                    Ok(Err(error)) => return Err(failed(said(&error))),
                    Err(_) => return Err(failed(late())),
                }
            }
            _ => return Err(failed("it is reached otherwise".into())),
        };
        let peer = service.peer();
        peer.set_response_cache_config(ClientCacheConfig::disabled())
            .await;
        Ok(Self {
            service,
            access,
            tools: Mutex::default(),
            fault,
            _alive: alive,
        })
    }

    /// Whether it has ended.
    pub fn is_closed(&self) -> bool {
        self.service.is_transport_closed()
    }

    /// The server's tools, as it listed them last; listed anew where it said that they changed.
    ///
    /// # Errors
    /// `BadGatewayException` for a list that does not come or is no list; `ValidationException` for
    /// one that is longer than [`mcp::MAX_TOOLS`].
    pub async fn tools(&self) -> Result<Arc<Vec<ListedTool>>> {
        let mut known = self.tools.lock().await;
        // Marked before it is read: what changes meanwhile is read the next time.
        let changed = self.service.service().changed.swap(false, Ordering::SeqCst);
        if let Some(tools) = known.as_ref().filter(|_| !changed) {
            return Ok(tools.clone());
        }
        *known = None;
        let tools = Arc::new(self.list().await?);
        *known = Some(tools.clone());
        Ok(tools)
    }

    async fn list(&self) -> Result<Vec<ListedTool>> {
        let mut listed: Vec<ListedTool> = Vec::new();
        let mut page = PaginatedRequestParams::default();
        loop {
            let came = self.service.list_tools(Some(page.clone())).await;
            let came = came.map_err(|error| {
                let what = self.fault.get().unwrap_or_else(|| error.to_string());
                Error::new(
                    ErrorKind::BadGatewayException,
                    format!("tools/list: {what}"),
                )
            })?;
            listed.extend(came.tools.into_iter().map(tool));
            if listed.len() > mcp::MAX_TOOLS {
                return Err(Error::validation(format!(
                    "tools/list: {} tools and more, at most {} can be used",
                    listed.len(),
                    mcp::MAX_TOOLS
                )));
            }
            match came.next_cursor {
                None => return Ok(listed),
                same if same == page.cursor => {
                    let twice = format!("tools/list: the cursor {same:?} twice");
                    return Err(Error::new(ErrorKind::BadGatewayException, twice));
                }
                next => page.cursor = next,
            }
        }
    }

    /// Calls a tool. Dropping this tells the server that the call is cancelled.
    pub async fn call(&self, tool: &str, arguments: &Value) -> Outcome {
        let mut params = CallToolRequestParams::new(tool.to_string());
        if let Value::Object(arguments) = arguments {
            params = params.with_arguments(arguments.clone());
        }
        match self.service.call_tool_once(params).await {
            Ok(CallToolResponse::Complete(result)) => outcome(result),
            Ok(_) => failed("the server asks for more than a call's arguments".into()),
            Err(error) => self.lost(error),
        }
    }

    /// What a call comes to that was not answered.
    fn lost(&self, error: ServiceError) -> Outcome {
        if let Some(fault) = self.fault.get() {
            return failed(fault);
        }
        match &error {
            ServiceError::McpError(error) => {
                // What rmcp says of a stream that broke off has a code that no server has.
                let is_lost = error.data.as_ref().is_some_and(|data| {
                    data.get("io.modelcontextprotocol/transportClosed")
                        .is_some()
                });
                match is_lost {
                    true => Outcome::Unknown {},
                    false => failed(format!("{} (code {})", error.message, error.code.0)),
                }
            }
            ServiceError::TransportSend(cause) => {
                let cause = cause.error.downcast_ref::<StreamableHttpError<HttpFault>>();
                match cause {
                    Some(StreamableHttpError::Client(fault)) if fault.is_lost => {
                        Outcome::Unknown {}
                    }
                    Some(cause) => failed(cause.to_string()),
                    None => Outcome::Unknown {},
                }
            }
            ServiceError::TransportClosed => Outcome::Unknown {},
            other => failed(other.to_string()),
        }
    }
}

fn failed(error: String) -> Outcome {
    Outcome::Failed { error }
}

/// Why a session did not begin.
fn said(error: &ClientInitializeError) -> String {
    match error {
        ClientInitializeError::TransportError { error, .. } => error.error.to_string(),
        other => other.to_string(),
    }
}

fn tool(tool: Tool) -> ListedTool {
    let hints = tool.annotations.as_ref();
    let title = tool.title.clone().unwrap_or_default();
    ListedTool {
        name: tool.name.to_string(),
        description: tool.description.map_or(title, |text| text.to_string()),
        input_schema: Value::Object((*tool.input_schema).clone()),
        is_destructive: hints.is_some_and(|hints| {
            hints.destructive_hint == Some(true) && hints.read_only_hint != Some(true)
        }),
    }
}
