//! What a turn needs next.

use std::sync::Arc;

use outcrop_api::{ContentBlock, Passage, Usage};
use serde::{Deserialize, Serialize};

use crate::asked::ModelCall;
use crate::call::Call;
use crate::definition::AgentDefinition;
use crate::delegation::Delegation;
use outcrop_api::Citation;

/// What a turn needs next. Whoever drives it does it, and applies the fact that comes of it.
#[derive(Clone, Debug, PartialEq)]
pub enum Step {
    /// Ask the model; then [`Fact::Replied`](crate::Fact::Replied).
    AskModel(Arc<ModelCall>),
    /// Have the policy decide these calls, those that a person has approved once more; then
    /// [`Fact::Decided`](crate::Fact::Decided).
    Authorize(Vec<Call>),
    /// Run these functions, side by side: [`Fact::Started`](crate::Fact::Started) before, then
    /// [`Fact::Ended`](crate::Fact::Ended) for each.
    CallTools(Vec<Call>),
    /// Call the endpoints of these functions, side by side: as with functions.
    CallEndpoints(Vec<Call>),
    /// Look these up: as with functions.
    LookUp(Vec<Call>),
    /// Hand this work to other agents: [`Turn::handed_over`](crate::Turn::handed_over) for each, or
    /// [`Fact::Started`](crate::Fact::Started) and [`Fact::Ended`](crate::Fact::Ended) where there
    /// is no such agent.
    Delegate(Vec<Call>),
    /// Wait for these, which are being run.
    Await(Vec<String>),
    /// Hand back to the caller, who answers with [`Fact::Answered`](crate::Fact::Answered): now or
    /// days later, in this process or in another.
    AskApproval(Vec<Pending>),
    /// Read the citations of the answer; then [`Fact::Cited`](crate::Fact::Cited).
    Cite {
        /// The answer's blocks.
        content: Vec<ContentBlock>,
        /// The passages of the turn's look-ups, as they are numbered from 1.
        passages: Vec<Passage>,
    },
    /// The turn has ended.
    Done(Ending),
}

/// What a turn, or one of its collaborators', needs next.
#[derive(Clone, Debug, PartialEq)]
pub struct Need {
    /// The calls that handed the work on, the outermost first; none where the turn itself needs it.
    pub within: Vec<String>,
    /// What is needed.
    pub step: Step,
}

/// What a paused turn waits for.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Pending {
    /// The call.
    pub call: Call,
    /// What is asked of the caller.
    pub asks: Asks,
    /// The delegations that it is within, the outermost first; none where it is the agent's own.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub within: Vec<Delegation>,
}

/// What is asked of the caller of a paused turn.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "SCREAMING_SNAKE_CASE")]
pub enum Asks {
    /// To run the call and give its result.
    Result,
    /// To approve it or not.
    UserConfirmation,
    /// To approve it or not, and where it is approved, to run it and give its result.
    UserConfirmationAndResult,
}

/// How a turn ended.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Ending {
    /// Why.
    pub reason: EndReason,
    /// What was wrong, where it ended before its answer.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub message: String,
    /// The answer.
    pub text: String,
    /// What the answer rests on.
    pub citations: Vec<Citation>,
}

/// Why a turn ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum EndReason {
    /// The model answered.
    EndTurn,
    /// Its reply was cut off by the model's own limit.
    MaxTokens,
    /// The turn reached its number of model calls.
    MaxSteps,
    /// The turn reached its number of tokens.
    TokenLimit,
    /// The turn reached its time.
    TimeLimit,
    /// The turn reached its cost.
    CostLimit,
    /// The model asked again and again for what it has.
    RepeatedCall,
    /// The model failed.
    ModelFailed,
    /// The caller stopped it.
    Stopped,
}

/// What a turn has used.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Spent {
    /// Model calls.
    pub steps: usize,
    /// Tokens.
    pub usage: Usage,
    /// Milliseconds of model calls, functions and look-ups.
    pub took_ms: u64,
    /// Dollars, by the agent's price.
    pub cost: f64,
}

impl Spent {
    /// Adds what another agent has used between `before` and `after`.
    pub(crate) fn add(&mut self, before: &Self, after: &Self) {
        self.steps += after.steps - before.steps;
        self.took_ms += after.took_ms - before.took_ms;
        self.cost += after.cost - before.cost;
        self.add_usage(&Usage {
            input_tokens: after.usage.input_tokens - before.usage.input_tokens,
            output_tokens: after.usage.output_tokens - before.usage.output_tokens,
            total_tokens: after.usage.total_tokens - before.usage.total_tokens,
            cache_read_input_tokens: after.usage.cache_read_input_tokens
                - before.usage.cache_read_input_tokens,
            cache_write_input_tokens: after.usage.cache_write_input_tokens
                - before.usage.cache_write_input_tokens,
        });
    }

    /// Adds the tokens of a model call.
    pub(crate) fn add_usage(&mut self, usage: &Usage) {
        self.usage.input_tokens += usage.input_tokens;
        self.usage.output_tokens += usage.output_tokens;
        self.usage.total_tokens += usage.total_tokens;
        self.usage.cache_read_input_tokens += usage.cache_read_input_tokens;
        self.usage.cache_write_input_tokens += usage.cache_write_input_tokens;
    }

    /// The limit of `agent` that is reached, with both numbers.
    pub(crate) fn reached(&self, agent: &AgentDefinition) -> Option<(EndReason, String)> {
        let limits = &agent.limits;
        if self.steps >= limits.max_steps {
            let message = format!("{} model calls of at most {}", self.steps, limits.max_steps);
            return Some((EndReason::MaxSteps, message));
        }
        if self.usage.total_tokens >= limits.max_tokens {
            let used = self.usage.total_tokens;
            return Some((
                EndReason::TokenLimit,
                format!("{used} tokens of at most {}", limits.max_tokens),
            ));
        }
        let seconds = self.took_ms as f64 / 1000.0;
        if seconds >= limits.max_seconds {
            return Some((
                EndReason::TimeLimit,
                format!("{seconds} seconds of at most {}", limits.max_seconds),
            ));
        }
        if self.cost >= limits.max_cost {
            let message = format!("{} dollars of at most {}", self.cost, limits.max_cost);
            return Some((EndReason::CostLimit, message));
        }
        None
    }
}
