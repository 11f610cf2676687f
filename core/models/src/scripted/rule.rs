//! The rules of a script, as they are read from JSON.

use std::time::Duration;

use outcrop_api::{Error, ErrorKind, Result, StopReason};
use serde_json::Value;

use super::matching::Match;
use crate::spec::place::Place;

/// Longest pause that a script may state, in milliseconds: one day.
const MAX_PAUSE: u64 = 86_400_000;

const STOP_REASONS: [(&str, StopReason); 9] = [
    ("end_turn", StopReason::EndTurn),
    ("tool_use", StopReason::ToolUse),
    ("max_tokens", StopReason::MaxTokens),
    ("stop_sequence", StopReason::StopSequence),
    ("guardrail_intervened", StopReason::GuardrailIntervened),
    ("content_filtered", StopReason::ContentFiltered),
    ("malformed_model_output", StopReason::MalformedModelOutput),
    ("malformed_tool_use", StopReason::MalformedToolUse),
    (
        "model_context_window_exceeded",
        StopReason::ModelContextWindowExceeded,
    ),
];

/// The errors that Bedrock's runtime declares for a model.
const FAULTS: [ErrorKind; 12] = [
    ErrorKind::AccessDeniedException,
    ErrorKind::ConflictException,
    ErrorKind::InternalServerException,
    ErrorKind::ModelErrorException,
    ErrorKind::ModelNotReadyException,
    ErrorKind::ModelStreamErrorException,
    ErrorKind::ModelTimeoutException,
    ErrorKind::ResourceNotFoundException,
    ErrorKind::ServiceQuotaExceededException,
    ErrorKind::ServiceUnavailableException,
    ErrorKind::ThrottlingException,
    ErrorKind::ValidationException,
];

/// The errors that carry more than a message, with the members in a script and on the wire.
const FAULT_MEMBERS: [(&str, &str, &[ErrorKind]); 3] = [
    (
        "original_status_code",
        "originalStatusCode",
        &[
            ErrorKind::ModelErrorException,
            ErrorKind::ModelStreamErrorException,
        ],
    ),
    (
        "original_message",
        "originalMessage",
        &[ErrorKind::ModelStreamErrorException],
    ),
    (
        "resource_name",
        "resourceName",
        &[ErrorKind::ModelErrorException],
    ),
];

/// One rule: which requests it is for, and what it answers.
#[derive(Clone, Debug)]
pub(super) struct Rule {
    pub matching: Match,
    /// The first match is answered by the first.
    pub answers: Vec<Answer>,
    pub then: Then,
    /// The rule's `match` as it was written, for messages.
    pub written: String,
}

/// What becomes of matches after the last answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Then {
    Refuse,
    RepeatLast,
    StartOver,
}

/// What a rule answers once.
#[derive(Clone, Debug, Default)]
pub(super) struct Answer {
    pub reasoning: Vec<String>,
    pub text: Vec<String>,
    pub tool_uses: Vec<ScriptedToolUse>,
    pub stop_reason: Option<StopReason>,
    pub usage: StatedUsage,
    /// Before the first event.
    pub delay: Duration,
    /// Between two deltas.
    pub delta_delay: Duration,
    pub fault: Option<Fault>,
}

#[derive(Clone, Debug)]
pub(super) struct ScriptedToolUse {
    pub id: Option<String>,
    pub name: String,
    /// An object, or the text that stands in place of one.
    pub input: Value,
}

/// The counts that a script states.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct StatedUsage {
    pub input: Option<usize>,
    pub output: Option<usize>,
    pub cache_read: Option<usize>,
    pub cache_write: Option<usize>,
}

/// What goes wrong.
#[derive(Clone, Debug)]
pub(super) struct Fault {
    /// `None`: no more is heard.
    pub error: Option<FaultError>,
    /// How many deltas come before it; `None` where the call fails before its stream begins.
    pub after_deltas: Option<usize>,
}

#[derive(Clone, Debug)]
pub(super) struct FaultError {
    kind: ErrorKind,
    message: String,
    members: Vec<(&'static str, Value)>,
}

impl FaultError {
    pub fn raise(&self) -> Error {
        let error = Error::new(self.kind, self.message.clone());
        let members = self.members.iter();
        members.fold(error, |error, (name, value)| {
            error.with_member(*name, value.clone())
        })
    }
}

impl Rule {
    pub fn read(place: &Place) -> Result<Self> {
        place.only(&["match", "answer", "answers", "then"])?;
        const THEN: [(&str, Then); 3] = [
            ("refuse", Then::Refuse),
            ("repeat_last", Then::RepeatLast),
            ("start_over", Then::StartOver),
        ];
        let (name, given) = place.one_of(&["answer", "answers"])?;
        let is_sequence = name == "answers";
        let answers = match is_sequence {
            true => given
                .items()?
                .iter()
                .map(Answer::read)
                .collect::<Result<_>>()?,
            false => vec![Answer::read(&given)?],
        };
        let then = match place.member("then") {
            Some(_) if !is_sequence => {
                return Err(Error::validation(format!(
                    "{}.then: expected none beside \"answer\", which answers every match; it is \
                     for \"answers\"",
                    place.path()
                )));
            }
            Some(then) => then.choice(&THEN)?,
            None if is_sequence => Then::Refuse,
            None => Then::RepeatLast,
        };
        Ok(Self {
            matching: place.optional("match", Match::read)?.unwrap_or_default(),
            answers,
            then,
            written: place
                .member("match")
                .map_or("every request".into(), |written| {
                    written.value().to_string()
                }),
        })
    }
}

impl Answer {
    fn read(place: &Place) -> Result<Self> {
        if let Ok(text) = place.text() {
            return Ok(Self {
                text: vec![text.into()],
                ..Self::default()
            });
        }
        place.only(&[
            "text",
            "reasoning",
            "tool_uses",
            "stop_reason",
            "usage",
            "delay_ms",
            "delta_delay_ms",
            "fault",
        ])?;
        let pause = |name| {
            let read = |pause: &Place| Ok(Duration::from_millis(pause.count(0..=MAX_PAUSE)?));
            Ok::<_, Error>(place.optional(name, read)?.unwrap_or_default())
        };
        let answer = Self {
            text: place.optional("text", Place::texts)?.unwrap_or_default(),
            reasoning: place
                .optional("reasoning", Place::texts)?
                .unwrap_or_default(),
            tool_uses: place.optional("tool_uses", tool_uses)?.unwrap_or_default(),
            stop_reason: place.optional("stop_reason", |at| at.choice(&STOP_REASONS))?,
            usage: place
                .optional("usage", StatedUsage::read)?
                .unwrap_or_default(),
            delay: pause("delay_ms")?,
            delta_delay: pause("delta_delay_ms")?,
            fault: None,
        };
        let deltas = answer.text.len();
        let fault = place.optional("fault", |fault| Fault::read(fault, deltas))?;
        let says = ["text", "reasoning", "tool_uses", "stop_reason", "fault"];
        if says.iter().all(|name| place.member(name).is_none()) {
            return Err(place.wrong(format!("at least one of {}", says.join(", "))));
        }
        Ok(Self { fault, ..answer })
    }
}

fn tool_uses(place: &Place) -> Result<Vec<ScriptedToolUse>> {
    place.items()?.iter().map(ScriptedToolUse::read).collect()
}

impl ScriptedToolUse {
    fn read(place: &Place) -> Result<Self> {
        place.only(&["name", "input", "input_text", "id"])?;
        let input = match (place.member("input"), place.member("input_text")) {
            (Some(input), None) if input.value().is_object() => input.value().clone(),
            (None, Some(text)) => match serde_json::from_str::<Value>(text.text()?) {
                Ok(Value::Object(_)) => {
                    return Err(text.wrong(
                        "text that is no JSON object, as a model that fails writes it; an object \
                         belongs in \"input\"",
                    ));
                }
                _ => text.value().clone(),
            },
            (None, None) => Value::Object(Default::default()),
            (Some(input), None) => return Err(input.wrong("an object")),
            (Some(_), Some(_)) => {
                return Err(place.wrong("one of input and input_text"));
            }
        };
        Ok(Self {
            id: place.optional("id", |id| Ok(id.name()?.to_string()))?,
            name: place.required("name")?.name()?.to_string(),
            input,
        })
    }

    /// Whether what stands in place of its arguments cannot be read.
    pub fn is_malformed(&self) -> bool {
        !self.input.is_object()
    }
}

impl StatedUsage {
    fn read(place: &Place) -> Result<Self> {
        place.only(&[
            "input_tokens",
            "output_tokens",
            "cache_read_input_tokens",
            "cache_write_input_tokens",
        ])?;
        let count = |name| {
            let read = |count: &Place| Ok(count.count(0..=u64::from(u32::MAX))? as usize);
            place.optional(name, read)
        };
        Ok(Self {
            input: count("input_tokens")?,
            output: count("output_tokens")?,
            cache_read: count("cache_read_input_tokens")?,
            cache_write: count("cache_write_input_tokens")?,
        })
    }
}

impl Fault {
    fn read(place: &Place, deltas: usize) -> Result<Self> {
        let members = FAULT_MEMBERS.map(|(name, ..)| name);
        place.only(&[&["error", "stall", "message", "after_deltas"], &members[..]].concat())?;
        let (what, value) = place.one_of(&["error", "stall"])?;
        let error = match what {
            "error" => Some(FaultError::read(place, &value)?),
            _ if value.value() != &Value::Bool(true) => return Err(value.wrong("true")),
            _ => None,
        };
        let beside = ["message"].into_iter().chain(members);
        if error.is_none()
            && let Some(name) = beside.into_iter().find(|name| place.member(name).is_some())
        {
            return Err(Error::validation(format!(
                "{}.{name}: expected none beside \"stall\", which says nothing",
                place.path()
            )));
        }
        let after = |after: &Place| Ok(after.count(0..=deltas as u64)? as usize);
        Ok(Self {
            after_deltas: match error {
                // A stall is a stream that has begun.
                None => Some(place.optional("after_deltas", after)?.unwrap_or(deltas)),
                Some(_) => place.optional("after_deltas", after)?,
            },
            error,
        })
    }
}

impl FaultError {
    fn read(place: &Place, name: &Place) -> Result<Self> {
        let kind = name.choice(&FAULTS.map(|kind| (kind.name(), kind)))?;
        let mut members = Vec::new();
        for (member, wire, kinds) in FAULT_MEMBERS {
            let Some(value) = place.member(member) else {
                continue;
            };
            if !kinds.contains(&kind) {
                let names: Vec<&str> = kinds.iter().map(|kind| kind.name()).collect();
                return Err(Error::validation(format!(
                    "{}: expected none for {}; it is a member of {}",
                    value.path(),
                    kind.name(),
                    names.join(" and ")
                )));
            }
            let value = match member {
                "original_status_code" => value.count(100..=599)?.into(),
                _ => value.text()?.into(),
            };
            members.push((wire, value));
        }
        let message = place.optional("message", |message| Ok(message.text()?.to_string()))?;
        Ok(Self {
            kind,
            message: message.unwrap_or_else(|| format!("{} by the script", kind.name())),
            members,
        })
    }
}
