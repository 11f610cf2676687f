//! A chat model that is declared as data: rules that match a request and say what is answered.

mod count;
mod embeddings;
mod follows;
mod matching;
mod rerank;
mod rule;
mod stream;
mod written;

use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use outcrop_api::{
    BoxFuture, ChatModel, ConverseRequest, Error, EventStream, ModelInfo, ModelKind, Result,
};
use serde_json::Value;

pub(crate) use embeddings::{ScriptedEmbedder, ScriptedVectors};
pub(crate) use rerank::{ScriptedReranker, ScriptedScores};

use crate::spec::place::Place;
use matching::Asked;
use rule::{Answer, Rule, Then};
use stream::Scripted;

/// Most tokens of a request and its answer where a script does not say.
const DEFAULT_CONTEXT: u64 = 1 << 20;

/// A script: its rules in their order.
#[derive(Clone, Debug)]
pub(crate) struct Script {
    rules: Vec<Rule>,
    context_length: usize,
}

impl Script {
    /// Reads `{"script": [rule, …], "context_length"?: n}`.
    ///
    /// # Errors
    /// `ValidationException` that names the place.
    pub fn read(place: &Place) -> Result<Self> {
        place.only(&["script", "context_length"])?;
        let rules = place.required("script")?.items()?;
        let length = |at: &Place| at.count(1..=u64::from(u32::MAX));
        let context_length = place.optional("context_length", length)?;
        Ok(Self {
            rules: rules.iter().map(Rule::read).collect::<Result<_>>()?,
            context_length: context_length.unwrap_or(DEFAULT_CONTEXT) as usize,
        })
    }
}

/// A chat model that answers by a script.
pub(crate) struct ScriptedModel {
    id: String,
    script: Script,
    /// How often each rule has matched.
    matches: Vec<AtomicUsize>,
}

impl ScriptedModel {
    pub fn new(id: impl Into<String>, script: Script) -> Self {
        Self {
            id: id.into(),
            matches: script.rules.iter().map(|_| AtomicUsize::new(0)).collect(),
            script,
        }
    }

    /// What is known of it: it has no weights.
    pub fn info(&self) -> ModelInfo {
        info(&self.id, ModelKind::Chat, self.script.context_length, None)
    }

    /// Tokens of a request, as the script's model counts them.
    pub fn count_tokens(&self, request: &ConverseRequest) -> usize {
        count::request_tokens(request)
    }

    /// The answer to `request`, and its place in the script.
    fn answer(&self, request: &ConverseRequest) -> Result<(&Answer, String)> {
        let asked = Asked::read(request);
        let mut rules = self.script.rules.iter().enumerate();
        let Some((at, rule)) = rules.find(|(_, rule)| rule.matching.holds(&asked)) else {
            return Err(self.unmatched(&asked));
        };
        let matched = self.matches[at].fetch_add(1, Ordering::SeqCst);
        let count = rule.answers.len();
        let which = match rule.then {
            Then::StartOver => matched % count,
            Then::RepeatLast => matched.min(count - 1),
            Then::Refuse if matched < count => matched,
            Then::Refuse => {
                return Err(Error::validation(format!(
                    "model {}: script[{at}] has {count} answers and matches for the {}th time; \
                     the request has {asked}. Add an answer, or say \"then\": \"repeat_last\" or \
                     \"start_over\"",
                    self.id,
                    matched + 1
                ))
                .with_resource(&self.id));
            }
        };
        let place = match count {
            1 => format!("script[{at}].answer"),
            _ => format!("script[{at}].answers[{which}]"),
        };
        Ok((&rule.answers[which], place))
    }

    fn unmatched(&self, asked: &Asked) -> Error {
        let rules = self.script.rules.iter().enumerate();
        let rules: Vec<String> = rules
            .map(|(at, rule)| format!("script[{at}]: {}", rule.written))
            .collect();
        Error::validation(format!(
            "model {}: no rule of its script matches the request, which has {asked}; its rules are \
             {}",
            self.id,
            rules.join("; ")
        ))
        .with_resource(&self.id)
    }

    async fn start(&self, request: ConverseRequest) -> Result<Box<dyn EventStream>> {
        let deadline = request.scheduling.deadline_ms;
        let deadline = deadline.map(|ms| Instant::now() + Duration::from_millis(ms));
        follows::refuse_what_it_cannot(&request, &self.id)?;
        let input = count::request_tokens(&request);
        if input >= self.script.context_length {
            return Err(Error::validation(format!(
                "messages: expected at most {} tokens, which model {} holds with 1 of its answer, \
                 got {input}",
                self.script.context_length - 1,
                self.id
            ))
            .with_resource(&self.id));
        }
        let (answer, place) = self.answer(&request)?;
        let mut stream = match &answer.fault {
            Some(fault) if fault.after_deltas.is_none() => {
                let steps = [
                    written::Step::Wait(answer.delay),
                    fault
                        .error
                        .clone()
                        .map_or(written::Step::Stall, written::Step::Fail),
                ];
                Scripted::new(steps.into(), deadline)
            }
            _ => {
                follows::check(answer, &request, &place)?;
                let key = format!("{}/{place}", self.id);
                let steps = written::steps(answer, &request, input, &key);
                return Ok(Box::new(Scripted::new(steps, deadline)));
            }
        };
        // A call that fails before its first event.
        match stream.next().await {
            Some(Err(error)) => Err(error),
            _ => Err(Error::internal(format!("{place}: the fault did not arise"))),
        }
    }
}

impl ChatModel for ScriptedModel {
    fn id(&self) -> &str {
        &self.id
    }

    fn converse_stream(
        &self,
        request: ConverseRequest,
    ) -> BoxFuture<'_, Result<Box<dyn EventStream>>> {
        Box::pin(self.start(request))
    }
}

/// What is known of a model without weights.
fn info(id: &str, kind: ModelKind, context: usize, dimensions: Option<usize>) -> ModelInfo {
    ModelInfo {
        id: id.into(),
        kind,
        architecture: "scripted".into(),
        parameters: 0,
        quantization: "none".into(),
        context_length: context,
        dimensions,
        vocabulary: None,
        device: "cpu".into(),
        device_reason: None,
        bytes: 0,
    }
}

/// The error of a text that a script says nothing of.
fn unknown_text(id: &str, member: &str, text: &str, known: Vec<Value>) -> Error {
    let known: Vec<String> = known.iter().map(Value::to_string).collect();
    Error::validation(format!(
        "model {id}: none of its {member} is for the text {}; they are for {}",
        crate::spec::place::shown(&format!("{text:?}")),
        known.join(", ")
    ))
    .with_resource(id)
}
