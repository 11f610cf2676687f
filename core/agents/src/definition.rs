//! What an agent is made of.

use std::collections::BTreeMap;

use outcrop_api::{Error, InferenceConfig, Result};
use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::limits::{Limits, Price};
use crate::memory::MemorySettings;
use crate::schema;
use crate::toolbox::Toolbox;

/// An agent, as a turn runs it. A turn keeps the definition that it began with.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct AgentDefinition {
    /// Its id.
    pub id: String,
    /// Its name.
    pub name: String,
    /// `DRAFT`, or a number.
    pub version: String,
    /// The model that it asks: an id, an ARN, an alias.
    pub model: String,
    /// What it is told before every conversation.
    pub instruction: String,
    /// What it may call.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub action_groups: Vec<ActionGroup>,
    /// What it may look things up in.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub knowledge_bases: Vec<KnowledgeBaseLink>,
    /// Whom it may hand work to.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub collaborators: Vec<Collaborator>,
    /// How it finds the one to hand work to.
    #[serde(default, skip_serializing_if = "Collaboration::is_supervisor")]
    pub collaboration: Collaboration,
    /// Lengths and sampling of its model.
    #[serde(default)]
    pub inference_config: InferenceConfig,
    /// What one turn may use.
    #[serde(default)]
    pub limits: Limits,
    /// What its model's tokens cost.
    #[serde(default)]
    pub price: Price,
    /// How it remembers sessions that have ended; none where it does not.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub memory: Option<MemorySettings>,
    /// Seconds after which a session in which nobody speaks has ended; none where it stays.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub idle_session_seconds: Option<f64>,
}

/// A group of functions that an agent may call.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct ActionGroup {
    /// Its name, which no other group of the agent has.
    pub name: String,
    /// What it is for.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub description: String,
    /// Its functions.
    pub functions: Vec<Function>,
    /// Who runs them.
    #[serde(default)]
    pub execution: Execution,
    /// What the runtime calls, where it runs them.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub endpoint: Option<Endpoint>,
}

/// Who runs the functions of an action group.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "SCREAMING_SNAKE_CASE")]
pub enum Execution {
    /// The loop that drives the turn, in the caller's own language.
    #[default]
    Caller,
    /// Whoever the turn is handed back to: it is paused until the result is given.
    ReturnControl,
    /// The runtime, by the group's endpoint.
    Runtime,
}

/// What the runtime calls for the functions of an action group.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub enum Endpoint {
    /// The operations of an OpenAPI schema; of other functions, each by a POST of its arguments to
    /// its name.
    #[serde(rename_all = "camelCase")]
    Http {
        /// What stands before each path, such as `https://bank.example/v1`.
        url: String,
    },
    /// A Lambda function, as it is mapped where the agent runs.
    Lambda {
        /// Its ARN.
        arn: String,
    },
    /// The tools of an MCP server.
    Mcp {
        /// The server.
        server: McpServer,
        /// Of its tools, those that the group has, by their names there; all where it is empty.
        #[serde(default, skip_serializing_if = "Vec::is_empty")]
        tools: Vec<String>,
        /// Of those, the ones whose calls a person must approve, beside those that say of themselves
        /// that they destroy.
        #[serde(default, skip_serializing_if = "Vec::is_empty")]
        confirm: Vec<String>,
    },
}

/// An MCP server.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub enum McpServer {
    /// A process of this machine, over its standard input and output.
    Stdio {
        /// The program and its arguments. They are kept with the agent: no place for secrets.
        command: Vec<String>,
    },
    /// A server of streamable HTTP.
    Http {
        /// Its URL, such as `https://bank.example/mcp`.
        url: String,
    },
}

impl std::fmt::Display for McpServer {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Stdio { command } => write!(f, "{}", command.join(" ")),
            Self::Http { url } => write!(f, "{url}"),
        }
    }
}

/// A function that an agent may call.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Function {
    /// Its name: letters, digits, `_` and `-`, at most 64.
    pub name: String,
    /// What it does, for the model.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub description: String,
    /// JSON schema of its arguments, an object's.
    pub input_schema: Value,
    /// Whether a person must approve each call.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub require_confirmation: bool,
    /// Its place in an OpenAPI schema, where it comes from one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub api: Option<ApiOperation>,
    /// Its name at the MCP server that it is a tool of, where it is one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub mcp_tool: Option<String>,
}

/// The place of a function in an OpenAPI schema.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct ApiOperation {
    /// Its path, such as `/limits/{userId}`.
    pub path: String,
    /// Its HTTP method, in capitals.
    pub method: String,
    /// Of its arguments, those that are sent as headers.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub headers: Vec<String>,
    /// Of its arguments, those that belong to the request's body, by media type.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub body: BTreeMap<String, Vec<String>>,
}

/// A knowledge base that an agent may look things up in.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct KnowledgeBaseLink {
    /// Its id.
    pub id: String,
    /// Its name.
    pub name: String,
    /// What it holds, for the model.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub description: String,
    /// Passages of one look-up. Default 5.
    #[serde(default = "default_results")]
    pub results: usize,
}

impl Default for KnowledgeBaseLink {
    fn default() -> Self {
        Self {
            id: String::new(),
            name: String::new(),
            description: String::new(),
            results: default_results(),
        }
    }
}

/// Passages of one look-up where an agent does not say.
pub fn default_results() -> usize {
    5
}

/// How an agent that has collaborators finds the one to hand work to.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "SCREAMING_SNAKE_CASE")]
pub enum Collaboration {
    /// It plans: its collaborators are callables of its model.
    #[default]
    Supervisor,
    /// Its model is asked first which one answers alone; where none does, it plans.
    SupervisorRouter,
}

impl Collaboration {
    fn is_supervisor(&self) -> bool {
        *self == Self::Supervisor
    }
}

/// An agent that another one may hand work to.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Collaborator {
    /// The agent's id.
    pub agent_id: String,
    /// The agent's version.
    pub agent_version: String,
    /// The name that the supervisor knows it by.
    pub name: String,
    /// When work is to be handed to it, for the model.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub instruction: String,
    /// The id of the alias that leads to the version; none where the draft is meant.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub alias_id: String,
    /// Whether it is told what the user and the supervisor have said before.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub relays_history: bool,
    /// What it is made of, where it is kept nowhere.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub definition: Option<Box<AgentDefinition>>,
}

impl AgentDefinition {
    /// Checks what the types do not say: names, schemas, limits.
    ///
    /// # Errors
    /// `ValidationException` that names the member, its value and what was expected.
    pub fn validate(&self) -> Result<()> {
        if self.model.is_empty() {
            return Err(Error::validation("model: expected a model's id, got \"\""));
        }
        self.limits.validate()?;
        self.price.validate()?;
        self.memory
            .as_ref()
            .map_or(Ok(()), MemorySettings::validate)?;
        if let Some(seconds) = self.idle_session_seconds
            && !(seconds > 0.0 && seconds <= 1e7)
        {
            return Err(Error::validation(format!(
                "idleSessionSeconds: expected above 0, at most 1e7, got {seconds}"
            )));
        }
        for (at, group) in self.action_groups.iter().enumerate() {
            let place = format!("actionGroups[{at}]");
            check_name(&format!("{place}.name"), &group.name, 100)?;
            if self.action_groups[..at]
                .iter()
                .any(|g| g.name == group.name)
            {
                return Err(Error::validation(format!(
                    "{place}.name: expected a name of its own, got {:?} again",
                    group.name
                )));
            }
            if (group.execution == Execution::Runtime) != group.endpoint.is_some() {
                return Err(Error::validation(format!(
                    "{place}.endpoint: expected one where the runtime runs the functions, and there \
                     only, got the execution {:?}",
                    group.execution
                )));
            }
            if let Some(Endpoint::Mcp { server, .. }) = &group.endpoint {
                check_server(&format!("{place}.endpoint"), server)?;
            }
            for (at, function) in group.functions.iter().enumerate() {
                let place = format!("{place}.functions[{at}]");
                check_name(&format!("{place}.name"), &function.name, 64)?;
                if group.functions[..at]
                    .iter()
                    .any(|f| f.name == function.name)
                {
                    return Err(Error::validation(format!(
                        "{place}.name: expected a name of its own, got {:?} again",
                        function.name
                    )));
                }
                schema::check(&format!("{place}.inputSchema"), &function.input_schema)?;
            }
        }
        for (at, link) in self.knowledge_bases.iter().enumerate() {
            if !(1..=100).contains(&link.results) {
                return Err(Error::validation(format!(
                    "knowledgeBases[{at}].results: expected 1..=100, got {}",
                    link.results
                )));
            }
        }
        Toolbox::of(self).map(drop)
    }
}

/// Refuses an MCP server that nothing can be asked of.
fn check_server(place: &str, server: &McpServer) -> Result<()> {
    match server {
        McpServer::Stdio { command } if command.first().is_none_or(String::is_empty) => {
            Err(Error::validation(format!(
                "{place}.command: expected a program and its arguments, got {command:?}"
            )))
        }
        McpServer::Http { url } if !url.starts_with("http://") && !url.starts_with("https://") => {
            Err(Error::validation(format!(
                "{place}.url: expected a URL such as https://bank.example/mcp, got {url:?}"
            )))
        }
        _ => Ok(()),
    }
}

/// Refuses a name that no model can call.
fn check_name(place: &str, name: &str, most: usize) -> Result<()> {
    let good = |c: char| c.is_ascii_alphanumeric() || c == '_' || c == '-';
    if (1..=most).contains(&name.len()) && name.chars().all(good) {
        return Ok(());
    }
    Err(Error::validation(format!(
        "{place}: expected 1 to {most} letters (a-z, A-Z), digits, '_' or '-', got {name:?}"
    )))
}
