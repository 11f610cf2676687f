//! What agents are made and asked with.

use std::collections::BTreeMap;

use outcrop_agents::{ActionGroup, Answer, Collaboration, Limits, MemorySettings, Price};
use outcrop_api::InferenceConfig;
use outcrop_governance::AgentRule;
use serde::{Deserialize, Serialize};

/// What an agent is created with.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default, deny_unknown_fields)]
pub struct AgentRequest {
    /// Its name: letters and digits, each of which may be followed by one `_` or `-`; at most 100
    /// of them.
    pub name: String,
    /// The model that it asks: an id, an ARN, an alias, a path.
    pub model: String,
    /// What it is told before every conversation.
    pub instruction: String,
    /// What it is for.
    pub description: Option<String>,
    /// What it may call.
    pub action_groups: Vec<ActionGroup>,
    /// The OpenAPI schemas that functions of those groups are read from, by the groups' names.
    pub api_schemas: BTreeMap<String, ApiSchema>,
    /// The knowledge bases, by name or id, that it may look things up in.
    pub knowledge_bases: Vec<String>,
    /// The agents that it may hand work to.
    pub collaborators: Vec<CollaboratorRequest>,
    /// How it finds the one to hand work to. Default: it plans.
    pub collaboration: Collaboration,
    /// Lengths and sampling of its model.
    pub inference_config: InferenceConfig,
    /// What its calls require beyond being in its action groups.
    pub rules: Vec<AgentRule>,
    /// Cedar policies over its calls, beside those of the home.
    pub policy: Option<String>,
    /// What one turn may use.
    pub limits: Limits,
    /// What its model's tokens cost.
    pub price: Price,
    /// How it remembers sessions that have ended. Default: not.
    pub memory: Option<MemorySettings>,
    /// Seconds after which a session in which nobody speaks has ended. Default: 600 where the agent
    /// has a memory; else a session stays.
    pub idle_session_seconds: Option<f64>,
    /// Whether it takes the place of another agent of its name.
    pub replace: bool,
}

/// What the functions of an action group are read from.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct ApiSchema {
    /// An OpenAPI 3 schema, JSON or YAML.
    pub schema: String,
    /// The functions whose calls a person must approve, beside those that the schema says it of.
    #[serde(default)]
    pub confirm: Vec<String>,
}

/// An agent that another one may hand work to.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct CollaboratorRequest {
    /// The agent's name or id.
    pub agent: String,
    /// The name that the supervisor knows it by. Default: its own.
    #[serde(default)]
    pub name: Option<String>,
    /// When work is to be handed to it, for the model.
    #[serde(default)]
    pub instruction: String,
    /// Whether it is told what the user and the supervisor have said before. Default: no.
    #[serde(default)]
    pub relays_history: bool,
}

/// What a turn begins with.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default, deny_unknown_fields)]
pub struct InvokeRequest {
    /// What the user says.
    pub input: String,
    /// The session that it belongs to, which is made where there is none. Default: a fresh one.
    pub session_id: Option<String>,
    /// Facts about the session, for tools and policies. They stay for later turns.
    pub session_attributes: BTreeMap<String, String>,
    /// Facts about this turn, which the model is told.
    pub prompt_session_attributes: BTreeMap<String, String>,
    /// The functions that the caller's own loop runs, by `group.function`; those of an agent that
    /// work is handed to by `agentId/group.function`. The turn is paused for the others. Default:
    /// all.
    pub runs: Option<Vec<String>>,
    /// The memory that the session reads when it begins, and that keeps its summary when it ends.
    /// Default: none, or the one that the session began with.
    pub memory_id: Option<String>,
    /// Whether the session ends with the turn; at once where there is no input.
    pub end_session: bool,
}

/// How a turn goes on that is paused, or whose process is gone.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default, deny_unknown_fields)]
pub struct ResumeRequest {
    /// The session.
    pub session_id: String,
    /// What is said of the calls that it was paused for.
    pub answers: Vec<Answer>,
}
