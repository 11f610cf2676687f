//! A thousand random turns: parallel calls, failures, malformed arguments, refusals, approvals,
//! look-ups, delegation down to agents that hand work on, lost processes and cancellations.

use std::collections::BTreeMap;

use fastrand::Rng;
use outcrop_agents::{
    ActionGroup, AgentDefinition, Answer, Beginning, Call, CallAnswer, CallEnd, Collaboration,
    Collaborator, Conversation, Effect, Endpoint, Entry, Execution, Fact, Function,
    KnowledgeBaseLink, Limits, ModelReply, Outcome, Price, Replied, Status, Step, TraceEvent, Turn,
    Verdict, digest,
};
use outcrop_api::{
    Citation, ContentBlock, ConverseRequest, Location, Passage, StopReason, ToolUse, Usage,
};
use serde_json::{Value, json};

/// Runs of the long form: `OUTCROP_AGENT_RUNS=100000`.
fn runs() -> u64 {
    let asked = std::env::var("OUTCROP_AGENT_RUNS").ok();
    asked.and_then(|runs| runs.parse().ok()).unwrap_or(1000)
}

/// The agents of a run, by their ids: each may hand work to others, and to those above it.
fn team(random: &mut Rng) -> BTreeMap<String, AgentDefinition> {
    let ids = ["AGENT00001", "AGENT00002", "AGENT00003"];
    let mut team = BTreeMap::new();
    let is_team = random.bool();
    for id in ids {
        let mut one = agent(random);
        one.id = id.into();
        one.name = format!("random{id}");
        if is_team {
            let others = ids.iter().filter(|other| **other != id);
            one.collaborators = others
                .map(|other| Collaborator {
                    agent_id: (*other).into(),
                    agent_version: "DRAFT".into(),
                    name: format!("helper{}", &other[9..]),
                    relays_history: random.bool(),
                    ..Collaborator::default()
                })
                .collect();
            one.collaboration = match random.u8(..3) {
                0 => Collaboration::SupervisorRouter,
                _ => Collaboration::Supervisor,
            };
        }
        team.insert(id.to_string(), one);
    }
    team
}

fn agent(random: &mut Rng) -> AgentDefinition {
    let function = |name: &str, confirm| Function {
        name: name.into(),
        input_schema: json!({"type": "object", "properties": {"n": {"type": "integer", "minimum": 0}},
            "required": ["n"], "additionalProperties": false}),
        require_confirmation: confirm,
        ..Function::default()
    };
    let group = |name: &str, functions, execution| ActionGroup {
        name: name.into(),
        functions,
        execution,
        ..ActionGroup::default()
    };
    AgentDefinition {
        id: "AGENT00001".into(),
        name: "random".into(),
        version: "DRAFT".into(),
        model: "m".into(),
        instruction: "Work.".into(),
        action_groups: vec![
            group(
                "here",
                vec![function("read", false), function("pay", true)],
                Execution::Caller,
            ),
            group(
                "there",
                vec![function("ship", random.bool())],
                Execution::ReturnControl,
            ),
            ActionGroup {
                endpoint: Some(Endpoint::Lambda {
                    arn: "arn:aws:lambda:us-east-1:1:function:f".into(),
                }),
                ..group("served", vec![function("fetch", false)], Execution::Runtime)
            },
        ],
        knowledge_bases: vec![KnowledgeBaseLink {
            id: "KB00000001".into(),
            name: "policies".into(),
            ..Default::default()
        }],
        limits: Limits {
            max_steps: random.usize(1..12),
            max_tokens: random.usize(200..3000),
            max_seconds: random.f64() * 20.0 + 0.1,
            max_cost: random.f64() * 0.01 + 0.001,
            max_calls: random.usize(1..5),
            max_result_chars: random.usize(5..200),
            ..Limits::default()
        },
        price: Price {
            input: 1.0,
            output: 5.0,
        },
        ..AgentDefinition::default()
    }
}

/// What a run keeps beside the state: the facts in their order, what was told, what was run.
struct Run {
    random: Rng,
    conversation: Conversation,
    entries: Vec<Entry>,
    trace: Vec<TraceEvent>,
    effects: BTreeMap<String, usize>,
    team: BTreeMap<String, AgentDefinition>,
    handed: usize,
}

impl Run {
    fn record(&mut self, fact: Fact) {
        let time = format!("2026-11-23T10:00:{:02}Z", self.entries.len() % 60);
        let entry = Entry { time, fact };
        let before = serde_json::to_string(&self.conversation).unwrap();
        self.trace.extend(self.conversation.apply(&entry).unwrap());
        assert_ne!(before, serde_json::to_string(&self.conversation).unwrap());
        self.entries.push(entry);
        // A process that reads the state goes on with what was written.
        let written = serde_json::to_string(&self.conversation).unwrap();
        let read: Conversation = serde_json::from_str(&written).unwrap();
        assert_eq!(read, self.conversation);
        self.conversation = read;
    }

    fn reply(&mut self, request: &ConverseRequest) -> ModelReply {
        let random = &mut self.random;
        if random.u8(..40) == 0 {
            return ModelReply::Failed {
                name: "ThrottlingException".into(),
                message: "busy".into(),
            };
        }
        let most = request.inference_config.max_tokens.unwrap();
        let usage = Usage::new(random.usize(1..200), random.usize(1..100).min(most));
        let mut content = Vec::new();
        if random.u8(..3) == 0 {
            content.push(ContentBlock::Text("helper2".into()));
        }
        if random.bool() {
            content.push(ContentBlock::Text("Words [1].".into()));
        }
        let calls = if random.u8(..4) == 0 {
            0
        } else {
            random.usize(1..4)
        };
        for at in 0..calls {
            let name = random
                .choice([
                    "read",
                    "pay",
                    "ship",
                    "fetch",
                    "search_policies",
                    "nothing",
                    "ask_helper1",
                    "ask_helper2",
                    "ask_helper3",
                ])
                .unwrap();
            let input = match (name, random.u8(..8)) {
                (_, 0) => Value::String("{\"n\": ".into()),
                (_, 1) => json!({"n": -1, "x": []}),
                ("search_policies", _) => json!({"query": "fees"}),
                (name, _) if name.starts_with("ask_") => json!({"message": "Help."}),
                _ => json!({"n": random.u8(..6)}),
            };
            // Ids that a model gives twice are its own affair.
            let tool_use_id = format!("t{}", at % 2);
            content.push(ContentBlock::ToolUse(ToolUse {
                tool_use_id,
                name: name.into(),
                input,
            }));
        }
        let stop_reason = match (calls, random.u8(..6)) {
            (0, 0) => StopReason::MalformedToolUse,
            (0, 1) => StopReason::MaxTokens,
            (0, _) => StopReason::EndTurn,
            _ => StopReason::ToolUse,
        };
        ModelReply::Answered {
            content,
            stop_reason,
            usage,
        }
    }

    fn outcome(&mut self, call: &Call) -> Outcome {
        *self.effects.entry(call.id.clone()).or_default() += 1;
        match self.random.u8(..6) {
            0 => Outcome::Failed {
                error: "no".repeat(self.random.usize(1..300)),
            },
            1 => Outcome::TimedOut { seconds: 1.5 },
            _ => Outcome::Returned(json!({"text": "y".repeat(self.random.usize(..300))})),
        }
    }

    /// The turn that needs something, and the calls that lead to it.
    fn at(&self) -> (Vec<String>, Step) {
        let need = self.turn(&[]).needs().unwrap();
        (need.within, need.step)
    }

    fn turn(&self, within: &[String]) -> &Turn {
        self.conversation
            .turn
            .as_ref()
            .unwrap()
            .within(within)
            .unwrap()
    }

    /// Records a fact of the agent that works `within`.
    fn record_within(&mut self, within: &[String], fact: Fact) {
        let fact = within.iter().rev().fold(fact, |fact, call| Fact::Within {
            call: call.clone(),
            fact: Box::new(fact),
        });
        self.record(fact);
    }

    fn begin(&mut self, definition: &AgentDefinition) {
        self.record(Fact::Begun(Box::new(Beginning {
            definition: definition.clone(),
            input: "Do it.".into(),
            ..Beginning::default()
        })));
    }

    /// Drives the turn to its end.
    fn drive(&mut self) {
        for _ in 0..500 {
            let (within, step) = self.at();
            if !matches!(step, Step::Done(_)) && self.random.u8(..60) == 0 {
                self.record(Fact::Stopped {
                    reason: "enough".into(),
                });
                continue;
            }
            if self.step(&within, step) {
                return;
            }
        }
        panic!("the turn does not end");
    }

    fn step(&mut self, within: &[String], step: Step) -> bool {
        match step {
            Step::Done(_) => return true,
            Step::AskModel(request) => {
                let reply = self.reply(&request.request);
                // The digest is that of the request as JSON, whoever makes it.
                assert_eq!(request.digest, digest::of_json(&request.request));
                let request = request.digest.clone();
                let took_ms = self.random.u64(..3000);
                let replied = Fact::Replied(Replied {
                    request,
                    reply,
                    took_ms,
                });
                self.record_within(within, replied);
            }
            Step::Authorize(calls) => {
                let verdicts = calls.iter().map(|call| Verdict {
                    call: call.id.clone(),
                    effect: *self
                        .random
                        .choice(&[Effect::Allow, Effect::Allow, Effect::Approve, Effect::Deny])
                        .unwrap(),
                    rule: "chance".into(),
                    policies: Vec::new(),
                });
                let verdicts = verdicts.collect();
                self.record_within(within, Fact::Decided { verdicts });
            }
            Step::CallTools(calls) | Step::CallEndpoints(calls) => {
                self.start(within, &calls);
                for call in &calls {
                    if self.random.u8(..12) == 0 {
                        break;
                    }
                    // What ended the turn meanwhile ended the call.
                    if self.turn(&[]).call(&call.id).map(|call| &call.status)
                        != Some(&Status::Started {})
                    {
                        break;
                    }
                    let limit = self.turn(within).agent().limits.max_result_chars;
                    let outcome = self.outcome(call).bounded(limit);
                    self.end(call, outcome);
                }
            }
            Step::LookUp(calls) => {
                self.start(within, &calls);
                for call in &calls {
                    let first = self.turn(within).passages.len() + 1;
                    self.end(
                        call,
                        Outcome::Found {
                            first,
                            passages: vec![passage(first)],
                        },
                    );
                }
            }
            Step::Delegate(calls) => {
                for call in &calls {
                    let turn = self.turn(within);
                    let id = turn.collaborator(call).unwrap().agent_id.clone();
                    let fact = turn.handed_over(call, self.team[&id].clone());
                    self.record_within(within, fact);
                    self.handed += 1;
                }
            }
            Step::Await(calls) => self.record(Fact::Lost { calls }),
            Step::AskApproval(pending) => {
                let asked = self.random.choice(&pending).unwrap().clone();
                let result = Outcome::Returned(json!("done outside"));
                let answer = match (asked.asks, self.random.u8(..3)) {
                    (_, 0) => CallAnswer::Rejected {
                        reason: String::new(),
                    },
                    (outcrop_agents::Asks::UserConfirmation, _) => CallAnswer::Approved {},
                    _ => CallAnswer::Result(result),
                };
                self.record(Fact::Answered {
                    answers: vec![Answer {
                        call: asked.call.id,
                        answer,
                        by: None,
                    }],
                });
            }
            Step::Cite { content, .. } => {
                assert!(!content.is_empty() || self.conversation.turn.is_some());
                let passages = self.turn(within).passages.clone();
                let cited = Fact::Cited {
                    text: "Words [1].".into(),
                    citations: vec![Citation {
                        span: outcrop_api::Span { start: 0, end: 5 },
                        quotes: Vec::new(),
                        passages: passages.into_iter().take(1).collect(),
                    }],
                };
                self.record_within(within, cited);
            }
        }
        false
    }

    fn start(&mut self, within: &[String], calls: &[Call]) {
        let calls = calls.iter().map(|call| call.id.clone()).collect();
        self.record_within(within, Fact::Started { calls });
    }

    fn end(&mut self, call: &Call, outcome: Outcome) {
        let took_ms = self.random.u64(..2000);
        self.record(Fact::Ended(CallEnd::of(&call.id, outcome, took_ms)));
    }
}

fn passage(n: usize) -> Passage {
    Passage {
        id: n.to_string(),
        text: format!("Passage {n}."),
        score: 0.5,
        location: Location {
            document: "a.md".into(),
            uri: "file:///a.md".into(),
            page: None,
            last_page: None,
            start: 0,
            end: 10,
        },
        metadata: Default::default(),
    }
}

#[test]
fn replays_tell_the_same_bytes_and_no_run_exceeds_its_bounds() {
    let mut endings: BTreeMap<String, usize> = BTreeMap::new();
    let (mut handed, mut within) = (0, 0);
    for seed in 0..runs() {
        let mut random = Rng::with_seed(seed);
        let team = team(&mut random);
        let definition = team["AGENT00001"].clone();
        definition.validate().unwrap();
        let mut run = Run {
            random,
            conversation: Conversation::default(),
            entries: Vec::new(),
            trace: Vec::new(),
            effects: BTreeMap::new(),
            team,
            handed: 0,
        };
        for _ in 0..run.random.usize(1..4) {
            run.begin(&definition);
            run.drive();
            let turn = run.conversation.turn.as_ref().unwrap();
            let (spent, limits) = (turn.spent, &definition.limits);
            assert!(spent.steps <= limits.max_steps, "seed {seed}");
            // The last model call began within the bound, and made no more than was left of it.
            assert!(
                spent.usage.output_tokens <= limits.max_tokens,
                "seed {seed}"
            );
            let reason = turn.ending().unwrap().reason;
            *endings.entry(format!("{reason:?}")).or_default() += 1;
            check_messages(&turn.messages, seed);
        }
        handed += run.handed;
        within += run
            .trace
            .iter()
            .filter(|event| event.within.len() > 1)
            .count();
        assert!(
            run.effects.values().all(|times| *times == 1),
            "seed {seed}: {:?}",
            run.effects
        );

        // The facts as the journal holds them make the same state and tell the same events.
        let (mut replayed, mut trace) = (Conversation::default(), Vec::new());
        for entry in &run.entries {
            let written = serde_json::to_string(entry).unwrap();
            let read: Entry = serde_json::from_str(&written).unwrap();
            trace.extend(replayed.apply(&read).unwrap());
        }
        assert_eq!(replayed, run.conversation, "seed {seed}");
        assert_eq!(
            serde_json::to_string(&trace).unwrap(),
            serde_json::to_string(&run.trace).unwrap(),
            "seed {seed}"
        );

        // Any other reply than the recorded one's request is refused.
        let mut forged = run.entries.clone();
        if let Some(entry) = forged.iter_mut().find_map(|entry| match &mut entry.fact {
            Fact::Begun(beginning) => Some(beginning),
            _ => None,
        }) {
            entry.input.push('!');
        }
        let mut conversation = Conversation::default();
        let refused = forged
            .iter()
            .any(|entry| conversation.apply(entry).is_err());
        let asked = run
            .entries
            .iter()
            .any(|entry| matches!(entry.fact, Fact::Replied(_)));
        assert_eq!(refused, asked, "seed {seed}");
    }
    // Chance has been everywhere.
    assert!(handed > 200 && within > 50, "{handed} {within}");
    for reason in [
        "EndTurn",
        "MaxTokens",
        "MaxSteps",
        "TokenLimit",
        "TimeLimit",
        "CostLimit",
        "ModelFailed",
        "Stopped",
    ] {
        assert!(
            endings.contains_key(reason),
            "no run ended by {reason}: {endings:?}"
        );
    }
}

/// A conversation that every model reads: roles take turns, each call has its result behind it.
fn check_messages(messages: &[outcrop_api::Message], seed: u64) {
    for pair in messages.windows(2) {
        assert_ne!(pair[0].role, pair[1].role, "seed {seed}");
        let uses: Vec<&String> = pair[0]
            .content
            .iter()
            .filter_map(|block| match block {
                ContentBlock::ToolUse(tool_use) => Some(&tool_use.tool_use_id),
                _ => None,
            })
            .collect();
        let results: Vec<&String> = pair[1]
            .content
            .iter()
            .filter_map(|block| match block {
                ContentBlock::ToolResult(result) => Some(&result.tool_use_id),
                _ => None,
            })
            .collect();
        assert_eq!(uses, results, "seed {seed}");
    }
}
