//! The operations of Bedrock's four services: one table, a row an operation.
//!
//! From the rows come the routes, the actions that the policy decides on, the names in the audit
//! log, the page of what is covered, and the check that every operation has a case. A row without
//! a handler is an operation that is not here: calling it is a `NotImplementedException`.

pub(crate) mod agents;
pub mod anthropic;
mod async_invokes;
mod bedrock_agent_runtime_table;
mod bedrock_agent_table;
mod bedrock_runtime_table;
mod bedrock_table;
mod call;
pub mod chat_completions;
mod converse;
mod custom_model_deployments;
mod custom_models;
mod foundation_models;
mod inference_profiles;
mod invocation_logging;
mod invoke;
pub(crate) mod knowledge_bases;
mod members;
mod model_customization_jobs;
mod model_import;
mod model_invocation_jobs;
mod prompt_routers;
mod prompts;
pub(crate) mod retrieval;
mod sessions;
mod tags;

use outcrop_api::{BoxFuture, Result};

pub use call::{Answer, Call, OperationEvents};
pub use members::Members;

/// One of Bedrock's four services.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Service {
    /// Models, jobs and guardrails.
    Bedrock,
    /// Running models.
    BedrockRuntime,
    /// Building knowledge bases, prompts, agents and flows.
    BedrockAgent,
    /// Asking knowledge bases, agents and flows.
    BedrockAgentRuntime,
}

impl Service {
    /// Every service.
    pub const ALL: [Service; 4] = [
        Self::Bedrock,
        Self::BedrockRuntime,
        Self::BedrockAgent,
        Self::BedrockAgentRuntime,
    ];

    /// The name that SDKs know it by.
    pub fn name(self) -> &'static str {
        match self {
            Self::Bedrock => "bedrock",
            Self::BedrockRuntime => "bedrock-runtime",
            Self::BedrockAgent => "bedrock-agent",
            Self::BedrockAgentRuntime => "bedrock-agent-runtime",
        }
    }
}

/// The kinds of jobs that operations start.
pub(crate) static JOBS: [&crate::jobs::JobKind; 5] = [
    &crate::customization::JOB,
    &custom_models::JOB,
    &model_import::JOB,
    &model_invocation_jobs::JOB,
    &async_invokes::JOB,
];

/// What answers an operation.
pub type Handler = fn(Call) -> BoxFuture<'static, Result<Answer>>;

/// A row of the table.
pub struct Operation {
    /// The service that it belongs to.
    pub service: Service,
    /// Its name, such as `Converse`.
    pub name: &'static str,
    /// Its HTTP method.
    pub method: &'static str,
    /// Its path, with labels such as `{modelId}`. A slash at its end counts.
    pub uri: &'static str,
    /// The HTTP status of success.
    pub status: u16,
    /// What answers it; none where it is not here.
    pub handler: Option<Handler>,
}

impl Operation {
    /// Every operation, service by service, by name.
    pub fn all() -> impl Iterator<Item = &'static Operation> {
        Service::ALL.into_iter().flat_map(Self::of)
    }

    /// The operations of `service`, by name.
    pub fn of(service: Service) -> &'static [Operation] {
        match service {
            Service::Bedrock => bedrock_table::ROWS,
            Service::BedrockRuntime => bedrock_runtime_table::ROWS,
            Service::BedrockAgent => bedrock_agent_table::ROWS,
            Service::BedrockAgentRuntime => bedrock_agent_runtime_table::ROWS,
        }
    }

    /// The operation of `service` by its name.
    pub fn find(service: Service, name: &str) -> Option<&'static Operation> {
        let rows = Self::of(service);
        let at = rows.binary_search_by(|row| row.name.cmp(name)).ok()?;
        rows.get(at)
    }

    /// Whether it changes nothing and runs no model.
    pub fn is_read_only(&self) -> bool {
        self.method == "GET"
            || ["Get", "List", "CountTokens"]
                .iter()
                .any(|verb| self.name.starts_with(verb))
    }

    /// Whether it begins on the thread that polls it, maybe an event loop's: it runs a model, and
    /// what is long of that is done elsewhere. The others read the home first, or compute.
    pub(crate) fn begins_at_once(&self) -> bool {
        self.service == Service::BedrockRuntime
            && (self.name.starts_with("Converse") || self.name.starts_with("InvokeModel"))
    }

    /// What a request of it is asked of: the value of its path's last label; empty where the path
    /// has none.
    pub(crate) fn resource_of<'a>(&self, input: &'a serde_json::Value) -> &'a str {
        let label = self.labels().last();
        label
            .and_then(|label| input[label].as_str())
            .unwrap_or_default()
    }

    /// The labels of its path, in order.
    pub fn labels(&self) -> impl Iterator<Item = &'static str> {
        self.uri
            .split('{')
            .skip(1)
            .filter_map(|part| part.split(['+', '}']).next())
    }
}

impl std::fmt::Debug for Operation {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}:{}", self.service.name(), self.name)
    }
}

/// The rows of one service. A handler is named behind its row's `=>`, or behind its `->` where all
/// that it does is to read and write the home: it is then a plain function of `&Call`.
macro_rules! operations {
    ($service:ident; $($name:ident, $method:ident $uri:literal $status:literal $(-> $stored:path)? $(=> $handler:path)?;)*) => {
        pub(super) static ROWS: &[super::Operation] = &[$(super::Operation {
            service: super::Service::$service,
            name: stringify!($name),
            method: stringify!($method),
            uri: $uri,
            status: $status,
            handler: super::handler!($(=> $handler)? $(-> $stored)?),
        },)*];
    };
}

/// A row's handler, where it has one.
macro_rules! handler {
    () => {
        None
    };
    (=> $handler:path) => {
        Some(|call| Box::pin($handler(call)))
    };
    (-> $stored:path) => {
        Some(|call| Box::pin(crate::session::blocking(move || $stored(&call))))
    };
}

use {handler, operations};

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn rows_are_sorted_and_found_by_name() {
        assert_eq!(Operation::all().count(), 240);
        for row in Operation::all() {
            let found = Operation::find(row.service, row.name).unwrap();
            assert!(std::ptr::eq(found, row), "{row:?}");
        }
        assert!(Operation::find(Service::Bedrock, "Converse").is_none());
    }

    #[test]
    fn labels_are_those_of_the_path() {
        let row = Operation::find(Service::BedrockAgent, "GetDataSource").unwrap();
        assert_eq!(
            row.labels().collect::<Vec<_>>(),
            ["knowledgeBaseId", "dataSourceId"]
        );
    }
}
