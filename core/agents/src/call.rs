//! A call that the model asked for, from the request to its outcome.

use std::collections::BTreeMap;

use outcrop_api::{Passage, ToolResult, ToolResultContent, ToolResultStatus};
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use crate::delegation::{cited_passages, is_cut_off};
use crate::fact::{CallEnd, Outcome};
use crate::toolbox::Target;
use crate::turn::Turn;

/// A call that the model asked for.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Call {
    /// Its id, unique in its session: turn, model call and place, such as `1.2.1`. That of a
    /// collaborator's call has the id of the delegation before it: `1.2.1/1.1.1`.
    pub id: String,
    /// The model's own id of it.
    pub tool_use_id: String,
    /// The name that the model called.
    pub tool: String,
    /// What it leads to; none where the agent has no such tool.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub target: Option<Target>,
    /// The arguments.
    pub arguments: Value,
    /// How far it is.
    pub status: Status,
}

/// How far a call is.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum Status {
    /// The policy has not decided it.
    Undecided {},
    /// A person has to approve it.
    Waiting {
        /// The rule that asks for it.
        rule: String,
    },
    /// A person has approved it. The policy decides it once more: what it rests on may have changed
    /// since it was asked for.
    Approved {},
    /// It may be run.
    Ready {},
    /// It is being run.
    Started {},
    /// Another agent works on it.
    Working(Box<Turn>),
    /// It has ended.
    Ended(Outcome),
}

impl Call {
    /// What came of it, where it has ended.
    pub fn outcome(&self) -> Option<&Outcome> {
        match &self.status {
            Status::Ended(outcome) => Some(outcome),
            _ => None,
        }
    }

    /// The turn of the agent that works on it.
    pub fn working(&self) -> Option<&Turn> {
        match &self.status {
            Status::Working(turn) => Some(turn),
            _ => None,
        }
    }
}

impl CallEnd {
    /// The end of the call `call` with what came of it.
    pub fn of(call: &str, outcome: Outcome, took_ms: u64) -> Self {
        Self {
            call: call.to_string(),
            outcome,
            took_ms,
            session_attributes: BTreeMap::new(),
            prompt_session_attributes: BTreeMap::new(),
        }
    }
}

impl Outcome {
    /// `outcome`, bounded to `limit` characters with a mark of what was cut.
    #[must_use]
    pub fn bounded(self, limit: usize) -> Self {
        match self {
            Self::Returned(value) => {
                let text = value
                    .as_str()
                    .map_or_else(|| value.to_string(), str::to_string);
                match cut(&text, limit) {
                    None => Self::Returned(value),
                    Some(kept) => Self::Cut {
                        text: kept.to_string(),
                        chars: text.chars().count(),
                        sha256: crate::digest::of_bytes(text.as_bytes()),
                    },
                }
            }
            Self::Failed { error } => Self::Failed {
                error: match cut(&error, limit) {
                    None => error,
                    Some(kept) => format!("{kept}{}", mark(limit, error.chars().count())),
                },
            },
            other => other,
        }
    }

    /// Whether what was asked for was done.
    pub fn succeeded(&self) -> bool {
        matches!(
            self,
            Self::Returned(_) | Self::Cut { .. } | Self::Found { .. } | Self::Answered { .. }
        )
    }

    /// Whether something may have been run for it.
    pub fn ran(&self) -> bool {
        !matches!(
            self,
            Self::Denied { .. }
                | Self::Rejected { .. }
                | Self::Malformed { .. }
                | Self::Repeated { .. }
        )
    }

    /// The result as the model reads it, of another agent's answer at most `limit` characters.
    pub(crate) fn for_model(&self, tool_use_id: &str, limit: usize) -> ToolResult {
        let status = match self.succeeded() {
            true => ToolResultStatus::Success,
            false => ToolResultStatus::Error,
        };
        ToolResult {
            tool_use_id: tool_use_id.to_string(),
            content: vec![self.content(limit)],
            status: Some(status),
        }
    }

    fn content(&self, limit: usize) -> ToolResultContent {
        let text = match self {
            Self::Returned(Value::String(text)) => text.clone(),
            Self::Returned(value) => return ToolResultContent::Json(value.clone()),
            Self::Cut { text, chars, .. } => {
                format!("{text}{}", mark(text.chars().count(), *chars))
            }
            Self::Found { first, passages } => {
                return ToolResultContent::Json(json!({"passages": numbered(*first, passages)}));
            }
            Self::Answered {
                agent,
                text,
                citations,
                first,
                reason,
            } => {
                let answer = match cut(text, limit) {
                    None => text.clone(),
                    Some(kept) => format!("{kept}{}", mark(limit, text.chars().count())),
                };
                let mut told = json!({"agent": agent, "answer": answer});
                if is_cut_off(*reason) {
                    told["note"] = json!("The answer was cut off by the limit of its model.");
                }
                if !citations.is_empty() {
                    told["passages"] = json!(numbered(*first, &cited_passages(citations)));
                }
                return ToolResultContent::Json(told);
            }
            other => other.words(),
        };
        ToolResultContent::Text(text)
    }

    /// Why nothing came, for the model and for people.
    pub fn words(&self) -> String {
        match self {
            Self::Failed { error } => format!("The call failed: {error}"),
            Self::TimedOut { seconds } => format!(
                "The call was not finished within {seconds} seconds. Whether it had its effect is not known."
            ),
            Self::Unknown {} => {
                "The call was begun, and what ran it was lost before it answered. Whether it had \
                 its effect is not known. It was not run again."
                    .into()
            }
            Self::Denied { rule } => format!("The call is not permitted: {rule}. It was not run."),
            Self::Rejected { reason } if reason.is_empty() => {
                "A person refused the call. It was not run.".into()
            }
            Self::Rejected { reason } => {
                format!("A person refused the call: {reason}. It was not run.")
            }
            Self::Malformed { fault } => {
                format!("The call could not be read: {fault}. It was not run.")
            }
            Self::Repeated { times } => format!(
                "The same call with the same arguments was made {times} times before. It was not \
                 run again: use what it gave."
            ),
            Self::Returned(_) | Self::Cut { .. } | Self::Found { .. } | Self::Answered { .. } => {
                String::new()
            }
        }
    }
}

/// Passages as a model reads them, numbered from `first`.
fn numbered(first: usize, passages: &[Passage]) -> Vec<Value> {
    let numbered = passages.iter().enumerate().map(|(at, passage)| {
        json!({
            "number": first + at,
            "source": passage.location.document,
            "text": passage.text,
        })
    });
    numbered.collect()
}

/// The beginning of `text`, where it is longer than `limit` characters.
fn cut(text: &str, limit: usize) -> Option<&str> {
    if text.len() <= limit {
        return None;
    }
    text.char_indices().nth(limit).map(|(end, _)| &text[..end])
}

fn mark(kept: usize, chars: usize) -> String {
    format!("\n[cut here: {kept} of {chars} characters, the agent's limit of one result]")
}
