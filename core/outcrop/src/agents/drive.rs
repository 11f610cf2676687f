//! Drives a turn: does what it needs next, and records what comes of it.

use std::future::ready;
use std::sync::Arc;
use std::time::{Duration, Instant};

use outcrop_agents::{Call, EndReason, Fact, ModelReply, Outcome, Replied, Step, Target, digest};
use outcrop_api::{
    Citation, ContentBlock, ConverseRequest, Error, Gathered, Passage, Result, StreamEvent, Usage,
};
use outcrop_governance::{AgentRule, Principal};
use outcrop_knowledge as knowledge;
use outcrop_knowledge::Query;
use serde_json::json;
use tokio::time::{sleep_until, timeout};

use super::permission::Asking;
use super::recorded::Recorded;
use super::run::Open;
use crate::desk::Record;
use crate::feed::{FeedSender, to_json};
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
    /// The error of the model, where it failed.
    pub failure: Option<Error>,
}

impl Driver {
    /// Drives the turn to its end or its next pause, and tells the result.
    pub async fn run(mut self) {
        let ended = self.steps().await;
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

    async fn steps(&mut self) -> Result<()> {
        loop {
            self.news().await?;
            let step = self.open.with(|recorded| recorded.next())?;
            match step {
                None | Some(Step::AskApproval(_)) => return Ok(()),
                Some(Step::Done(ending)) => {
                    if ending.reason != EndReason::ModelFailed {
                        self.failure = None;
                    }
                    return Ok(());
                }
                Some(Step::AskModel(request)) => self.ask(*request).await?,
                Some(Step::Authorize(calls)) => {
                    let verdicts = self.open.with(|recorded| {
                        let asking = Asking {
                            session: &self.session,
                            user: &self.user,
                            agent_id: &self.agent_id,
                            session_id: &self.session_id,
                            request_id: &self.request_id,
                            conversation: &recorded.conversation,
                            rules: &self.rules,
                        };
                        asking.decide(&calls)
                    })?;
                    self.record_fact(Fact::Decided { verdicts })?;
                }
                Some(Step::CallTools(calls)) => {
                    self.start(&calls)?;
                    self.news().await?;
                    self.tell(to_json(&json!({"calls": calls}))?).await?;
                }
                Some(Step::LookUp(calls)) => {
                    self.start(&calls)?;
                    for call in &calls {
                        self.look_up(call).await?;
                    }
                }
                Some(Step::Delegate(calls)) => {
                    self.start(&calls)?;
                    for call in &calls {
                        let error = "work cannot be handed to another agent yet".to_string();
                        self.end(&call.id, Outcome::Failed { error })?;
                    }
                }
                Some(Step::Await(calls)) => self.wait(calls).await?,
                Some(Step::Cite { content, passages }) => {
                    let (text, citations) = cited(&content, &passages);
                    self.record_fact(Fact::Cited { text, citations })?;
                }
            }
        }
    }

    /// Asks the model, telling what it says as it says it.
    async fn ask(&mut self, request: ConverseRequest) -> Result<()> {
        let asked = digest::of_json(&request);
        let model = self
            .open
            .with(|recorded| Ok(agent_of(recorded)?.model.clone()))?;
        let started = Instant::now();
        let reply = match self.converse(&model, request).await {
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
        self.record_fact(Fact::Replied(Replied {
            request: asked,
            reply,
            took_ms: started.elapsed().as_millis() as u64,
        }))
    }

    async fn converse(&self, model: &str, request: ConverseRequest) -> Result<ModelReply> {
        let chat = self.session.resolve(model).await?.chat()?;
        self.record.model(chat.id());
        let mut stream = chat.converse_stream(request).await?;
        let mut gathered = Gathered::default();
        while let Some(event) = stream.next().await {
            let event = event?;
            if let StreamEvent::TextDelta(delta) = &event {
                self.tell(to_json(&json!({"text": delta}))?).await?;
            }
            if let Some((stop_reason, usage)) = gathered.push(event) {
                self.record.usage(&usage);
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

    async fn look_up(&self, call: &Call) -> Result<()> {
        let limit = self.open.with(|recorded| call_time(recorded))?;
        let outcome = match timeout(limit, self.search(call)).await {
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

    async fn search(&self, call: &Call) -> Result<Outcome> {
        let Some(Target::KnowledgeBase { id }) = &call.target else {
            return Err(Error::internal(format!("call {} is no look-up", call.id)));
        };
        let (results, first) = self.open.with(|recorded| {
            let links = &agent_of(recorded)?.knowledge_bases;
            let results = links
                .iter()
                .find(|link| link.id == *id)
                .map_or(5, |link| link.results);
            let known = recorded
                .conversation
                .turn
                .as_ref()
                .map_or(0, |turn| turn.passages.len());
            Ok((results, known + 1))
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
        let limit = self.open.with(|recorded| call_time(recorded))?;
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

    fn start(&self, calls: &[Call]) -> Result<()> {
        let calls: Vec<String> = calls.iter().map(|call| call.id.clone()).collect();
        self.open.start(&calls);
        self.record_fact(Fact::Started { calls })
    }

    fn end(&self, call: &str, outcome: Outcome) -> Result<()> {
        let took_ms = self.open.took_ms(call);
        self.open
            .with(|recorded| recorded.end_call(call, outcome, took_ms))
            .map(drop)
    }

    fn record_fact(&self, fact: Fact) -> Result<()> {
        self.open.with(|recorded| recorded.record(fact))
    }

    /// Tells the events that the latest facts have made.
    async fn news(&self) -> Result<()> {
        for event in self.open.with(|recorded| Ok(recorded.news()))? {
            self.tell(to_json(&json!({"trace": event}))?).await?;
        }
        Ok(())
    }

    async fn tell(&self, event: String) -> Result<()> {
        let sent = self.sender.send(Ok(event)).await;
        sent.map_err(|_| Error::cancelled())
    }
}

fn agent_of(recorded: &Recorded) -> Result<&outcrop_agents::AgentDefinition> {
    let turn = recorded.conversation.turn.as_ref();
    turn.map(|turn| turn.agent())
        .ok_or_else(|| Error::internal("no turn of the session has begun"))
}

/// What one call may take: its own limit, within what the turn has left.
fn call_time(recorded: &Recorded) -> Result<Duration> {
    let limits = &agent_of(recorded)?.limits;
    let took = recorded
        .conversation
        .turn
        .as_ref()
        .map_or(0, |turn| turn.spent.took_ms);
    let left =
        Duration::from_secs_f64(limits.max_seconds).saturating_sub(Duration::from_millis(took));
    Ok(Duration::from_secs_f64(limits.max_call_seconds)
        .min(left)
        .max(Duration::from_millis(1)))
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
