//! What becomes of a turn by each fact.

use outcrop_api::StopReason;

use super::*;

impl Turn {
    /// Applies a fact to the turn.
    ///
    /// # Errors
    /// `ConflictException` where it is none that the turn waits for: the turn stays as it was.
    pub(crate) fn apply(&mut self, fact: &Fact, ended: &mut Ended) -> Result<()> {
        if self.ending().is_some() && !matches!(fact, Fact::Edited { .. }) {
            return Err(conflict("the turn has ended".into()));
        }
        for part in self.parts(fact) {
            match part {
                Part::Own(fact) => self.apply_own(&fact)?,
                Part::Within(call, fact) => self.apply_within(&call, &fact, ended)?,
            }
        }
        let settled = self.settle(ended);
        self.asked_model = Asked::default();
        settled
    }

    /// Applies what happened in the turn itself.
    fn apply_own(&mut self, fact: &Fact) -> Result<()> {
        match fact {
            Fact::Begun(_) => Err(conflict("the turn before has not ended".into())),
            Fact::Replied(replied) => self.replied(replied),
            Fact::Decided { verdicts } => self.decided(verdicts),
            Fact::Started { calls } => self.each(
                calls,
                &|call| call.status == Status::Ready {},
                "be ready",
                |_| Status::Started {},
            ),
            Fact::Ended(end) => self.ended(end),
            Fact::Answered { answers } => self.answered(answers),
            Fact::Lost { calls } => {
                let started = |call: &Call| call.status == Status::Started {};
                self.each(calls, &started, "have been started", |_| {
                    Status::Ended(Outcome::Unknown {})
                })?;
                self.go_on();
                Ok(())
            }
            Fact::Cited { text, citations } => self.cited(text, citations.clone()),
            Fact::Stopped { reason } => {
                self.end(EndReason::Stopped, reason.clone());
                Ok(())
            }
            Fact::Edited { edit } => self.edited(edit),
            Fact::Closed { .. } | Fact::Summarized { .. } => Err(conflict(
                "it is a fact of the session, not of a turn".into(),
            )),
            Fact::Within { call, .. } => Err(conflict(format!("call {call}: it is of no turn"))),
        }
    }

    fn replied(&mut self, replied: &Replied) -> Result<()> {
        let routes = self.phase == (Phase::Routing {});
        if !routes && self.phase != (Phase::Asking {}) {
            return Err(conflict("the model was not asked".into()));
        }
        if self.model_call()?.digest != replied.request {
            return Err(conflict(
                "the recorded reply is not one to what the turn asks the model".into(),
            ));
        }
        self.spent.steps += 1;
        self.spent.took_ms += replied.took_ms;
        let (content, stop_reason, usage) = match &replied.reply {
            ModelReply::Failed { name, message } => {
                self.end(EndReason::ModelFailed, format!("{name}: {message}"));
                return Ok(());
            }
            ModelReply::Answered {
                content,
                stop_reason,
                usage,
            } => (content, *stop_reason, usage),
        };
        self.spent.add_usage(usage);
        self.spent.cost += self.beginning.definition.price.of(usage);
        if routes {
            self.route(content);
            return Ok(());
        }
        let content = self.with_own_ids(content);
        let uses = content.iter().filter_map(|block| match block {
            ContentBlock::ToolUse(tool_use) => Some(tool_use.clone()),
            _ => None,
        });
        let uses: Vec<ToolUse> = uses.collect();
        if !content.is_empty() {
            let content = content.iter().map(sayable).collect();
            self.messages.push(Message {
                role: Role::Assistant,
                content,
            });
        }
        if !uses.is_empty() {
            return self.called(uses);
        }
        match stop_reason {
            StopReason::MalformedToolUse | StopReason::MalformedModelOutput => {
                self.say(vec![ContentBlock::Text(prompt::MALFORMED.into())]);
                self.ask();
            }
            _ => {
                let reason = match stop_reason {
                    StopReason::MaxTokens | StopReason::ModelContextWindowExceeded => {
                        EndReason::MaxTokens
                    }
                    _ => EndReason::EndTurn,
                };
                self.phase = match self.passages.is_empty() {
                    false => Phase::Citing { content, reason },
                    true => Phase::Done(Ending {
                        reason,
                        message: String::new(),
                        text: joined(&content),
                        citations: Vec::new(),
                    }),
                };
            }
        }
        Ok(())
    }

    /// Hands the user's words to the collaborator that a reply names; plans where it names none.
    fn route(&mut self, content: &[ContentBlock]) {
        let Some(name) = routing::chosen(self.agent(), content) else {
            return self.ask();
        };
        let target = Target::Collaborator { name: name.clone() };
        let id = self.call_id(1);
        self.calls = vec![Call {
            tool_use_id: id.clone(),
            id,
            tool: Toolbox::name_of_collaborator(&name),
            status: match self.goes_round(&target) {
                Some(outcome) => Status::Ended(outcome),
                None => Status::Undecided {},
            },
            target: Some(target),
            arguments: routing::arguments(self),
        }];
        self.phase = Phase::Routed {};
        self.go_on();
    }

    /// The id of the call `at` of the model's latest reply.
    fn call_id(&self, at: usize) -> String {
        let over = self.chain().last().map(|last| format!("{}/", last.call));
        let over = over.unwrap_or_default();
        format!("{over}{}.{}.{at}", self.number, self.spent.steps)
    }

    /// The calls of a reply: read, checked, and those that can be run put to the policy.
    fn called(&mut self, uses: Vec<ToolUse>) -> Result<()> {
        let toolbox = Toolbox::of(self.agent())?;
        let limits = self.agent().limits.clone();
        let mut is_stuck = None;
        let mut calls = Vec::with_capacity(uses.len());
        for (at, tool_use) in uses.into_iter().enumerate() {
            let key = digest::of_json(&(&tool_use.name, &tool_use.input));
            let times = self.asked.entry(key).or_default();
            *times += 1;
            if *times > limits.max_repeats + REPEATS_PAST_REFUSAL {
                is_stuck = Some(format!(
                    "{} was asked for {times} times with the same arguments",
                    tool_use.name
                ));
            }
            let found = toolbox.find(&tool_use.name);
            let fault = match found {
                None => Some(format!(
                    "there is no tool {:?}; expected one of {}",
                    tool_use.name,
                    toolbox.names()
                )),
                Some(_) if at >= limits.max_calls => Some(format!(
                    "it is call {} of one reply, which may hold {}",
                    at + 1,
                    limits.max_calls
                )),
                Some((tool, _)) => schema::fault(&tool.input_schema, &tool_use.input),
            };
            let status = match fault {
                Some(fault) => Status::Ended(Outcome::Malformed { fault }),
                None if *times > limits.max_repeats => Status::Ended(Outcome::Repeated {
                    times: limits.max_repeats,
                }),
                None => match found.and_then(|(_, target)| self.goes_round(target)) {
                    Some(outcome) => Status::Ended(outcome),
                    None => Status::Undecided {},
                },
            };
            calls.push(Call {
                id: self.call_id(at + 1),
                tool_use_id: tool_use.tool_use_id,
                tool: tool_use.name,
                target: found.map(|(_, target)| target.clone()),
                arguments: tool_use.input,
                status,
            });
        }
        self.calls = calls;
        self.phase = Phase::Acting {};
        match is_stuck {
            Some(message) => self.end(EndReason::RepeatedCall, message),
            None => self.go_on(),
        }
        Ok(())
    }

    fn decided(&mut self, verdicts: &[Verdict]) -> Result<()> {
        let ids: Vec<String> = verdicts
            .iter()
            .map(|verdict| verdict.call.clone())
            .collect();
        let asked = self
            .calls
            .iter()
            .filter(|call| waits_for_policy(call))
            .map(|call| &call.id);
        if !asked.eq(ids.iter()) {
            return Err(conflict(format!(
                "the verdicts are of other calls than are undecided: {ids:?}"
            )));
        }
        let confirms: Vec<bool> = verdicts
            .iter()
            .map(|verdict| !self.is_approved(&verdict.call) && self.confirms(&verdict.call))
            .collect();
        let mut each = verdicts.iter().zip(confirms);
        self.each(&ids, &waits_for_policy, "be undecided", |call| {
            match each.next() {
                Some((verdict, confirms)) => match verdict.effect {
                    Effect::Approve if call.status == (Status::Approved {}) => Status::Ready {},
                    Effect::Deny => Status::Ended(Outcome::Denied {
                        rule: verdict.rule.clone(),
                    }),
                    Effect::Approve => Status::Waiting {
                        rule: verdict.rule.clone(),
                    },
                    Effect::Allow if confirms => Status::Waiting {
                        rule: "the action group requires confirmation of it".into(),
                    },
                    Effect::Allow => Status::Ready {},
                },
                None => Status::Undecided {},
            }
        })?;
        self.go_on();
        Ok(())
    }

    fn is_approved(&self, id: &str) -> bool {
        let call = self.calls.iter().find(|call| call.id == id);
        call.is_some_and(|call| call.status == Status::Approved {})
    }

    /// Whether the function of a call requires confirmation.
    fn confirms(&self, id: &str) -> bool {
        let call = self.calls.iter().find(|call| call.id == id);
        let Some(Target::Function {
            action_group,
            function,
            ..
        }) = call.and_then(|call| call.target.as_ref())
        else {
            return false;
        };
        let groups = self
            .agent()
            .action_groups
            .iter()
            .filter(|group| group.name == *action_group);
        let mut functions = groups.flat_map(|group| &group.functions);
        functions.any(|f| f.name == *function && f.require_confirmation)
    }

    fn ended(&mut self, end: &CallEnd) -> Result<()> {
        let started = |call: &Call| call.status == Status::Started {};
        let outcome = end.outcome.clone();
        self.each(
            std::slice::from_ref(&end.call),
            &started,
            "have been started",
            |_| Status::Ended(outcome.clone()),
        )?;
        if let Outcome::Found { passages, .. } = &end.outcome {
            self.passages.extend(passages.iter().cloned());
        }
        self.spent.took_ms += end.took_ms;
        let beginning = &mut self.beginning;
        beginning
            .session_attributes
            .extend(end.session_attributes.clone());
        beginning
            .prompt_session_attributes
            .extend(end.prompt_session_attributes.clone());
        self.go_on();
        Ok(())
    }

    fn answered(&mut self, answers: &[Answer]) -> Result<()> {
        let open = |call: &Call| asks(call).is_some();
        for answer in answers {
            let call = self.calls.iter().find(|call| call.id == answer.call);
            let wanted = call
                .and_then(asks)
                .ok_or_else(|| conflict(format!("call {} waits for no answer", answer.call)))?;
            if wanted == Asks::Result && answer.answer == (CallAnswer::Approved {})
                || wanted == Asks::UserConfirmation
                    && matches!(answer.answer, CallAnswer::Result(_))
            {
                return Err(conflict(format!(
                    "call {} waits for {}",
                    answer.call,
                    if wanted == Asks::Result {
                        "a result"
                    } else {
                        "an approval or a refusal"
                    }
                )));
            }
        }
        let ids: Vec<String> = answers.iter().map(|answer| answer.call.clone()).collect();
        let mut each = answers.iter();
        self.each(&ids, &open, "wait for an answer", |_| {
            match each.next().map(|answer| &answer.answer) {
                Some(CallAnswer::Rejected { reason }) => Status::Ended(Outcome::Rejected {
                    reason: reason.clone(),
                }),
                Some(CallAnswer::Result(outcome)) => Status::Ended(outcome.clone()),
                Some(CallAnswer::Approved {}) | None => Status::Approved {},
            }
        })?;
        self.go_on();
        Ok(())
    }

    fn cited(&mut self, text: &str, citations: Vec<outcrop_api::Citation>) -> Result<()> {
        let Phase::Citing { reason, .. } = self.phase else {
            return Err(conflict("there is no answer to be cited".into()));
        };
        self.phase = Phase::Done(Ending {
            reason,
            message: String::new(),
            text: text.to_string(),
            citations,
        });
        Ok(())
    }

    fn edited(&mut self, edit: &Edit) -> Result<()> {
        match edit {
            Edit::Instruction(instruction) => {
                self.beginning
                    .definition
                    .instruction
                    .clone_from(instruction);
                Ok(())
            }
            Edit::Result { call, outcome } => {
                let ended = |call: &Call| call.outcome().is_some_and(Outcome::ran);
                let outcome = outcome.clone();
                self.each(std::slice::from_ref(call), &ended, "have been run", |_| {
                    Status::Ended(outcome.clone())
                })?;
                // The model has read the results already: it reads the edited one in their place.
                let reads = |block: &ContentBlock| matches!(block, ContentBlock::ToolResult(_));
                let last = self.messages.last();
                let has_read = last.is_some_and(|message| message.content.iter().any(reads));
                if self.phase == (Phase::Asking {}) && has_read {
                    self.messages.pop();
                    self.phase = Phase::Acting {};
                }
                self.go_on();
                Ok(())
            }
        }
    }

    /// Gives each of the calls `ids` the status that `next` says, where `holds` of all of them.
    fn each(
        &mut self,
        ids: &[String],
        holds: &dyn Fn(&Call) -> bool,
        expected: &str,
        mut next: impl FnMut(&Call) -> Status,
    ) -> Result<()> {
        for (at, id) in ids.iter().enumerate() {
            let call = self.calls.iter().find(|call| call.id == *id);
            if !call.is_some_and(holds) || ids[..at].contains(id) {
                return Err(conflict(format!(
                    "call {id}: expected it to {expected}, once"
                )));
            }
        }
        for id in ids {
            if let Some(call) = self.calls.iter_mut().find(|call| call.id == *id) {
                call.status = next(call);
            }
        }
        Ok(())
    }
}
