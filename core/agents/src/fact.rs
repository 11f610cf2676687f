//! What happened in a session: the facts that its state, its trace and a replay are made of.

use std::collections::BTreeMap;

use outcrop_api::{Citation, ContentBlock, Passage, StopReason, Usage};
use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::definition::AgentDefinition;
use crate::memory::{Remembered, SessionEnd};
use crate::step::EndReason;

/// One fact, with the time when it was recorded.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Entry {
    /// RFC 3339 in UTC with milliseconds.
    pub time: String,
    /// What happened.
    pub fact: Fact,
}

/// What happened.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum Fact {
    /// A turn began.
    Begun(Box<Beginning>),
    /// The model answered, or failed.
    Replied(Replied),
    /// The policy decided calls.
    Decided {
        /// One for each call that was undecided, or that a person has approved, in order.
        verdicts: Vec<Verdict>,
    },
    /// Calls are being run from now on: what they do may have happened from here.
    Started {
        /// Their ids.
        calls: Vec<String>,
    },
    /// A call ended.
    Ended(CallEnd),
    /// A person, or a program outside, answered what the turn was paused for.
    Answered {
        /// One for each call that is answered.
        answers: Vec<Answer>,
    },
    /// The process that ran calls is gone: whether they had their effect is not known.
    Lost {
        /// Their ids.
        calls: Vec<String>,
    },
    /// The citations of the answer were read and checked.
    Cited {
        /// The answer's text.
        text: String,
        /// What it rests on, in order of the text.
        citations: Vec<Citation>,
    },
    /// The turn was stopped by its caller.
    Stopped {
        /// Why.
        reason: String,
    },
    /// Something happened in the turn of a collaborator, or it began.
    Within {
        /// The id of the call that handed it the work.
        call: String,
        /// What happened there.
        fact: Box<Fact>,
    },
    /// The session ended: what is said next begins another one of its id.
    Closed {
        /// Why.
        reason: SessionEnd,
    },
    /// The model was asked to sum up a session that has ended.
    Summarized {
        /// The number of that session's first fact.
        start: usize,
        /// What came.
        replied: Replied,
    },
    /// A person changed the course of the session, which is a fork of another one.
    Edited {
        /// What was changed.
        edit: Edit,
    },
}

/// The beginning of a turn.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Beginning {
    /// The agent as it is for this turn.
    pub definition: AgentDefinition,
    /// What the user says.
    pub input: String,
    /// Facts about the session, for tools and policies. They stay for later turns.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub session_attributes: BTreeMap<String, String>,
    /// Facts about this turn, which the model is told.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub prompt_session_attributes: BTreeMap<String, String>,
    /// The functions of collaborators that the caller's own loop runs, by
    /// `agentId/group.function`; none where it runs all.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub runs: Option<Vec<String>>,
    /// What was read of earlier sessions, where it begins one that has a memory.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub memory: Option<Remembered>,
}

/// What came of a model call.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Replied {
    /// SHA-256 of the request's JSON, in hexadecimal.
    pub request: String,
    /// What came.
    pub reply: ModelReply,
    /// Milliseconds that it took.
    pub took_ms: u64,
}

/// A model's reply, or its failure.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum ModelReply {
    /// It answered.
    #[serde(rename_all = "camelCase")]
    Answered {
        /// The assistant's blocks.
        content: Vec<ContentBlock>,
        /// Why it ended.
        stop_reason: StopReason,
        /// Tokens read and made.
        usage: Usage,
    },
    /// It failed.
    Failed {
        /// The error's name, such as `ThrottlingException`.
        name: String,
        /// What was wrong.
        message: String,
    },
}

/// What the policy says of one call.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Verdict {
    /// The call's id.
    pub call: String,
    /// What is to become of it.
    pub effect: Effect,
    /// The rule that decided.
    pub rule: String,
    /// The ids of the Cedar policies that decided.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub policies: Vec<String>,
}

/// What is to become of a call.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum Effect {
    /// It may be made.
    Allow,
    /// It may be made once a person has approved it.
    Approve,
    /// It may not be made.
    Deny,
}

/// The end of a call.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct CallEnd {
    /// Its id.
    pub call: String,
    /// What came of it.
    pub outcome: Outcome,
    /// Milliseconds that it took.
    #[serde(default)]
    pub took_ms: u64,
    /// Facts about the session that it gave.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub session_attributes: BTreeMap<String, String>,
    /// Facts about the turn that it gave, which the model is told.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub prompt_session_attributes: BTreeMap<String, String>,
}

/// What came of a call.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum Outcome {
    /// The function gave this back.
    Returned(Value),
    /// More than the agent's limit came back: this is its beginning.
    Cut {
        /// What was kept.
        text: String,
        /// Characters that came.
        chars: usize,
        /// SHA-256 of all of it, in hexadecimal.
        sha256: String,
    },
    /// It failed.
    Failed {
        /// What was wrong.
        error: String,
    },
    /// It took longer than it may. What it does may still happen.
    TimedOut {
        /// Seconds that it had.
        seconds: f64,
    },
    /// What ran it was lost before it answered: whether it had its effect is not known.
    Unknown {},
    /// The policy does not allow it: nothing was run.
    Denied {
        /// The rule that decided.
        rule: String,
    },
    /// A person refused it: nothing was run.
    Rejected {
        /// What they said.
        reason: String,
    },
    /// The model asked in a form that cannot be run: nothing was run.
    Malformed {
        /// What was wrong.
        fault: String,
    },
    /// The same call was made before: it was not run again.
    Repeated {
        /// How often it was run.
        times: usize,
    },
    /// Another agent answered. The passages that it rests on are numbered from `first` in the turn.
    Answered {
        /// The name that its supervisor knows it by.
        agent: String,
        /// Its answer.
        text: String,
        /// What the answer rests on.
        citations: Vec<Citation>,
        /// The number of the first passage.
        first: usize,
        /// Why it ended.
        reason: EndReason,
    },
    /// A look-up found these passages. They are numbered from `first` in the turn.
    Found {
        /// The number of the first.
        first: usize,
        /// The passages, best first.
        passages: Vec<Passage>,
    },
}

/// An answer from outside to what a turn was paused for.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Answer {
    /// The call's id.
    pub call: String,
    /// What is said of it.
    pub answer: CallAnswer,
    /// Who says it: the ARN of a principal.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub by: Option<String>,
}

/// What is said of a call from outside.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum CallAnswer {
    /// It may be made.
    Approved {},
    /// It may not.
    Rejected {
        /// Why, for the model.
        reason: String,
    },
    /// It was made outside, and this came of it.
    Result(Outcome),
}

/// What a person changes in a fork.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum Edit {
    /// What the agent is told before every conversation.
    Instruction(String),
    /// What came of a call.
    Result {
        /// The call's id.
        call: String,
        /// What came of it, now.
        outcome: Outcome,
    },
}
