//! Drives a turn: does what it needs next, and records what comes of it.

use std::collections::HashMap;
use std::future::ready;
use std::sync::Arc;
use std::time::{Duration, Instant};

use outcrop_agents::{
    AgentDefinition, Call, CallEnd, EndReason, Execution, Fact, ModelCall, ModelReply, Need,
    Outcome, Replied, SessionEnd, Step, Target, Turn,
};
use outcrop_api::{
    Citation, ContentBlock, ConverseRequest, Error, Gathered, Passage, Result, StreamEvent, Usage,
};
use outcrop_governance::{AgentRule, Principal};
use outcrop_knowledge as knowledge;
use outcrop_knowledge::Query;
use serde_json::json;
use tokio::task::JoinSet;
use tokio::time::{sleep_until, timeout};

use super::endpoint::Asked;
use super::mcp;
use super::permission::Asking;
use super::run::Open;
use super::settling::Settling;
use super::stored;
use crate::desk::Record;
use crate::feed::{FeedSender, to_json};
use crate::registry::AGENTS;
use crate::session::Session;

/// What a turn is driven with.
pub(super) struct Driver {
    pub session: Session,
    pub open: Arc<Open>,
    pub sender: FeedSender,
    /// The record of the call that drives it.
    pub record: Record,
    /// Whom the agent acts for.
    pub user: Principal,
    pub agent_id: String,
    pub session_id: String,
    pub request_id: String,
    /// The rules over its calls.
    pub rules: Vec<AgentRule>,
    /// The rules over the calls of those that it hands work to, by their ids.
    pub team_rules: HashMap<String, Vec<AgentRule>>,
    /// The error of the model, where it failed.
    pub failure: Option<Error>,
    /// Whether the session ends with the turn.
    pub ends: bool,
}

impl Driver {
    /// Drives the turn to its end or its next pause, and tells the result.
    pub async fn run(mut self) {
        let mut ended = self.steps().await;
        if ended.is_ok() && self.ends {
            ended = self.end_session().await;
        }
        let told = self.news().await;
        let result = self.open.with(|recorded| recorded.result());
        self.open.close();
        let closed = self
            .record
            .close(ended.as_ref().err().or(self.failure.as_ref()));
        let last = match (ended.and(told).and(closed), self.failure.take()) {
            (Err(error), _) | (Ok(()), Some(error)) => Err(error),
            (Ok(()), None) => result.and_then(|result| to_json(&json!({"result": result}))),
        };
        let _ = self.sender.send(last).await;
    }

    /// Ends the session, unless its turn is paused, and has it summed up where it has a memory.
    async fn end_session(&self) -> Result<()> {
        let mut recorded = self.open.take()?;
        let has_ended = recorded.conversation.turn.as_ref();
        if has_ended.is_some_and(|turn| turn.ending().is_some()) {
            if !recorded.conversation.is_closed {
                recorded.close_session(SessionEnd::Asked)?;
            }
            if let Some(memory) = recorded.conversation.memory.clone() {
                let settling = Settling {
                    session: &self.session,
                    record: &self.record,
                    agent_id: &self.agent_id,
                    key: &memory.key,
                };
                if let Some(failed) = settling.settle_own(&mut recorded).await? {
                    self.record.fact("summaryFailure", failed);
                }
            }
        }
        self.open.put(recorded);
        Ok(())
    }

    async fn steps(&mut self) -> Result<()> {
        for turn in self.open.with(|recorded| Ok(recorded.team()))? {
            self.tell(turn).await?;
        }
        loop {
            self.news().await?;
            let Some(need) = self.open.with(|recorded| recorded.needs())? else {
                return Ok(());
            };
            let Need { within, step } = need;
            match step {
                Step::AskApproval(_) => return Ok(()),
                Step::Done(ending) => {
                    if ending.reason != EndReason::ModelFailed {
                        self.failure = None;
                    }
                    return Ok(());
                }
                Step::AskModel(call) => self.ask(&within, &call).await?,
                Step::Authorize(calls) => self.authorize(&within, &calls).await?,
                Step::CallTools(calls) => {
                    self.start(&within, &calls)?;
                    self.news().await?;
                    let agent = self.agent_id_of(&within)?;
                    let event = json!({"calls": calls, "agent": agent});
                    self.tell(to_json(&event)?).await?;
                }
                Step::CallEndpoints(calls) => self.call_endpoints(&within, &calls).await?,
                Step::LookUp(calls) => {
                    self.start(&within, &calls)?;
                    for call in &calls {
                        self.look_up(&within, call).await?;
                    }
                }
                Step::Delegate(calls) => {
                    for call in &calls {
                        self.hand_over(&within, call).await?;
                    }
                }
                Step::Await(calls) => self.wait(calls).await?,
                Step::Cite { content, passages } => {
                    let (text, citations) = cited(&content, &passages);
                    self.record_fact(&within, Fact::Cited { text, citations })?;
                }
            }
        }
    }

    /// Has the policy decide the calls of the agent that works `within`.
    async fn authorize(&mut self, within: &[String], calls: &[Call]) -> Result<()> {
        let agent = self.agent_id_of(within)?;
        if agent != self.agent_id && !self.team_rules.contains_key(&agent) {
            let (session, id) = (self.session.clone(), agent.clone());
            let rules = crate::session::blocking(move || stored::rules(&session, &id)).await?;
            self.team_rules.insert(agent.clone(), rules);
        }
        let rules = self.team_rules.get(&agent).unwrap_or(&self.rules);
        let verdicts = self.open.with(|recorded| {
            let asking = Asking {
                session: &self.session,
                user: &self.user,
                agent_id: &agent,
                turn: recorded.turn(within)?,
                session_id: &self.session_id,
                request_id: &self.request_id,
                conversation: &recorded.conversation,
                rules,
            };
            asking.decide(calls)
        })?;
        self.record_fact(within, Fact::Decided { verdicts })
    }

    /// Calls the endpoints of functions, side by side.
    async fn call_endpoints(&self, within: &[String], calls: &[Call]) -> Result<()> {
        self.start(within, calls)?;
        self.news().await?;
        let mut running = JoinSet::new();
        for call in calls {
            let asked = self.open.with(|recorded| {
                let turn = recorded.turn(within)?;
                Asked::of(turn, call, &self.session_id, call_time(turn))
            })?;
            let session = self.session.clone();
            running.spawn(asked.answered(session));
        }
        while let Some(ended) = running.join_next().await {
            let mut end = ended.map_err(|error| Error::internal(error.to_string()))?;
            end.took_ms = self.open.took_ms(&end.call);
            self.open.with(|recorded| recorded.end_call(end))?;
            self.news().await?;
        }
        Ok(())
    }

    /// Begins the turn of the agent that a call hands work to.
    async fn hand_over(&self, within: &[String], call: &Call) -> Result<()> {
        let (collaborator, runs) = self.open.with(|recorded| {
            let turn = recorded.turn(within)?;
            Ok((
                turn.collaborator(call).cloned(),
                turn.beginning.runs.clone(),
            ))
        })?;
        let session = self.session.clone();
        let work = move || match collaborator {
            Some(collaborator) => stored::definition_of(&session, collaborator),
            None => Err(Error::internal("the agent has no such collaborator")),
        };
        let found = crate::session::blocking(work).await;
        let current = async { mcp::current(&self.session, found?).await };
        let mut definition = match current.await {
            Ok(definition) => definition,
            Err(error) => {
                self.start(within, std::slice::from_ref(call))?;
                let error = error.message().to_string();
                return self.end(&call.id, Outcome::Failed { error });
            }
        };
        if let Some(runs) = &runs {
            let id = definition.id.clone();
            returns_control(&mut definition, |name| {
                runs.iter().any(|one| *one == format!("{id}/{name}"))
            });
        }
        self.record.resource(AGENTS.arn_of(&definition.id));
        let begun = self.open.with(|recorded| {
            let fact = recorded.turn(within)?.handed_over(call, definition);
            recorded.record(wrapped(within, fact))?;
            let mut path = within.to_vec();
            path.push(call.id.clone());
            recorded.turn(&path).map(delegated)
        })?;
        self.news().await?;
        self.tell(begun).await
    }

    fn agent_id_of(&self, within: &[String]) -> Result<String> {
        self.open
            .with(|recorded| Ok(recorded.turn(within)?.agent().id.clone()))
    }

    /// Asks the model, telling what the session's own agent says as it says it.
    async fn ask(&mut self, within: &[String], call: &ModelCall) -> Result<()> {
        let model = self
            .open
            .with(|recorded| Ok(recorded.turn(within)?.agent().model.clone()))?;
        // What a router's model is asked first has no tools, and its reply is no answer.
        let is_told = self.open.with(|recorded| {
            let turn = recorded.turn(within)?;
            Ok(within.is_empty() && !turn.is_routing())
        })?;
        let started = Instant::now();
        let told = is_told.then_some(&self.sender);
        let reply = match converse(
            &self.session,
            &self.record,
            told,
            (&model, call.request.clone()),
        )
        .await
        {
            Ok(reply) => reply,
            Err(error) => {
                let reply = ModelReply::Failed {
                    name: error.kind().name().to_string(),
                    message: error.message().to_string(),
                };
                self.failure = Some(error);
                reply
            }
        };
        let replied = Fact::Replied(Replied {
            request: call.digest.clone(),
            reply,
            took_ms: started.elapsed().as_millis() as u64,
        });
        self.record_fact(within, replied)
    }

    async fn look_up(&self, within: &[String], call: &Call) -> Result<()> {
        let limit = self
            .open
            .with(|recorded| Ok(call_time(recorded.turn(within)?)))?;
        let outcome = match timeout(limit, self.search(within, call)).await {
            Ok(Ok(outcome)) => outcome,
            Ok(Err(error)) => Outcome::Failed {
                error: error.message().to_string(),
            },
            Err(_) => Outcome::TimedOut {
                seconds: limit.as_secs_f64(),
            },
        };
        self.end(&call.id, outcome)
    }

    async fn search(&self, within: &[String], call: &Call) -> Result<Outcome> {
        let Some(Target::KnowledgeBase { id }) = &call.target else {
            return Err(Error::internal(format!("call {} is no look-up", call.id)));
        };
        let (results, first) = self.open.with(|recorded| {
            let turn = recorded.turn(within)?;
            let mut links = turn.agent().knowledge_bases.iter();
            let link = links.find(|link| link.id == *id);
            let results = link.map_or(5, |link| link.results);
            Ok((results, turn.passages.len() + 1))
        })?;
        let (session, base) = (self.session.clone(), id.clone());
        let opened = crate::session::blocking(move || session.stored_base(&base));
        let base = opened.await?;
        let embedder = self
            .session
            .resolve(base.embedding_model())
            .await?
            .embedder()?;
        let query = call.arguments["query"].as_str().unwrap_or_default();
        let retrieved = base
            .search(ready(Ok(embedder)), Query::new(query, results))
            .await?;
        self.record.resource(base.id());
        self.record.usage(&Usage::new(retrieved.input_tokens, 0));
        Ok(Outcome::Found {
            first,
            passages: retrieved.into_passages(),
        })
    }

    /// Waits until a result is given, or the calls' time is over.
    async fn wait(&self, calls: Vec<String>) -> Result<()> {
        let limit = self
            .open
            .with(|recorded| Ok(call_time(recorded.turn(&[])?)))?;
        let took = calls
            .iter()
            .map(|call| self.open.took_ms(call))
            .max()
            .unwrap_or_default();
        let left = limit.saturating_sub(Duration::from_millis(took));
        tokio::select! {
            () = self.open.given.notified() => Ok(()),
            () = sleep_until(tokio::time::Instant::now() + left) => {
                for call in calls {
                    self.end(&call, Outcome::TimedOut { seconds: limit.as_secs_f64() })?;
                }
                Ok(())
            }
        }
    }

    fn start(&self, within: &[String], calls: &[Call]) -> Result<()> {
        let calls: Vec<String> = calls.iter().map(|call| call.id.clone()).collect();
        self.open.start(&calls);
        self.record_fact(within, Fact::Started { calls })
    }

    fn end(&self, call: &str, outcome: Outcome) -> Result<()> {
        let took_ms = self.open.took_ms(call);
        self.open
            .with(|recorded| recorded.end_call(CallEnd::of(call, outcome, took_ms)))
            .map(drop)
    }

    /// Records a fact of the agent that works `within`.
    fn record_fact(&self, within: &[String], fact: Fact) -> Result<()> {
        self.open
            .with(|recorded| recorded.record(wrapped(within, fact)))
    }

    /// Tells the events that the latest facts have made.
    async fn news(&self) -> Result<()> {
        for event in self.open.with(|recorded| Ok(recorded.news()))? {
            self.tell(to_json(&json!({"trace": event}))?).await?;
        }
        Ok(())
    }

    async fn tell(&self, event: String) -> Result<()> {
        tell(&self.sender, event).await
    }
}

/// Asks a model under the decision of the call that `record` is of, telling what it says to `told`.
///
/// # Errors
/// Those of the model.
pub(super) async fn converse(
    session: &Session,
    record: &Record,
    told: Option<&FeedSender>,
    (model, request): (&str, ConverseRequest),
) -> Result<ModelReply> {
    let chat = session.resolve(model).await?.chat()?;
    record.model(chat.id());
    let mut stream = chat.converse_stream(request).await?;
    let mut gathered = Gathered::default();
    while let Some(event) = stream.next().await {
        let event = event?;
        if let (StreamEvent::TextDelta(delta), Some(sender)) = (&event, told) {
            tell(sender, to_json(&json!({"text": delta}))?).await?;
        }
        if let Some((stop_reason, usage)) = gathered.push(event) {
            record.usage(&usage);
            let content = gathered.content().to_vec();
            return Ok(ModelReply::Answered {
                content,
                stop_reason,
                usage,
            });
        }
    }
    Err(Error::internal(format!(
        "model {model}: the stream ended without an end event"
    )))
}

async fn tell(sender: &FeedSender, event: String) -> Result<()> {
    let sent = sender.send(Ok(event)).await;
    sent.map_err(|_| Error::cancelled())
}

/// The fact of the session's turn that says `fact` of the agent which works `within`.
fn wrapped(within: &[String], fact: Fact) -> Fact {
    within.iter().rev().fold(fact, |fact, call| Fact::Within {
        call: call.clone(),
        fact: Box::new(fact),
    })
}

/// What one call may take: its own limit, within what the turn has left.
fn call_time(turn: &Turn) -> Duration {
    Duration::from_secs_f64(turn.agent().limits.max_call_seconds)
        .min(Duration::from_millis(turn.ms_left()))
        .max(Duration::from_millis(1))
}

/// Hands the calls of those groups back whose functions the caller does not all run.
pub(super) fn returns_control(definition: &mut AgentDefinition, runs: impl Fn(&str) -> bool) {
    for group in &mut definition.action_groups {
        let name = &group.name;
        let mut functions = group.functions.iter();
        let all = functions.all(|function| runs(&format!("{name}.{}", function.name)));
        if group.execution == Execution::Caller && !all {
            group.execution = Execution::ReturnControl;
        }
    }
}

/// The event that tells what an agent is made of that work was handed to.
pub(super) fn delegated(turn: &Turn) -> String {
    let call = turn.chain().last().map(|last| &last.call);
    json!({"delegated": {"call": call, "definition": turn.agent()}}).to_string()
}

/// The text of an answer and what it rests on, among the passages that the turn has looked up.
fn cited(content: &[ContentBlock], passages: &[Passage]) -> (String, Vec<Citation>) {
    let texts: Vec<Option<String>> = passages
        .iter()
        .map(|passage| Some(passage.text.clone()))
        .collect();
    let (text, cited) = knowledge::cite(content, &texts);
    let citations = cited.into_iter().map(|cited| Citation {
        span: cited.span,
        quotes: cited.quotes,
        passages: cited
            .passages
            .iter()
            .filter_map(|&at| passages.get(at).cloned())
            .collect(),
    });
    (text, citations.collect())
}
