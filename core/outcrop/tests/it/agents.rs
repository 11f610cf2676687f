//! Agents: turns that call, pause, are resumed, replayed and forked.

use outcrop::agent_turn::{ActionGroup, Answer, CallAnswer, Edit, Function, Outcome};
use outcrop::{
    Agent, AgentRequest, ErrorKind, InvokeRequest, PolicyRequest, ResumeRequest, Run, Session,
    governance, runtime,
};
use serde_json::{Value, json};

use crate::session;

pub(crate) fn block<T>(future: impl Future<Output = outcrop::Result<T>>) -> outcrop::Result<T> {
    runtime().unwrap().block_on(future)
}

fn function(name: &str, confirm: bool) -> Function {
    Function {
        name: name.into(),
        description: format!("Does {name}."),
        input_schema: json!({"type": "object", "properties": {"user": {"type": "string"}},
            "required": ["user"], "additionalProperties": false}),
        require_confirmation: confirm,
        ..Function::default()
    }
}

/// An agent whose model answers by `script`, with the functions `limit`, and `mail`, which must be
/// approved.
fn agent(session: &Session, script: Value) -> Agent {
    block(session.register_model("acme.agent-v1", json!({"script": script}), true, None)).unwrap();
    let request = AgentRequest {
        name: "advisor".into(),
        model: "acme.agent-v1".into(),
        instruction: "Help.".into(),
        action_groups: vec![ActionGroup {
            name: "accounts".into(),
            functions: vec![function("limit", false), function("mail", true)],
            ..ActionGroup::default()
        }],
        ..AgentRequest::default()
    };
    block(session.create_agent(request)).unwrap()
}

/// Runs a turn to its end or pause, answering each call with `tool`; the result and what was called.
pub(crate) fn run(
    run: Run,
    tool: &mut dyn FnMut(&Value) -> Outcome,
) -> outcrop::Result<(Value, Vec<Value>)> {
    let mut events = Vec::new();
    loop {
        let Some(batch) = block(run.next())? else {
            panic!("no result: {events:?}");
        };
        for event in serde_json::from_str::<Vec<Value>>(&batch).unwrap() {
            for call in event["calls"].as_array().into_iter().flatten() {
                assert!(run.give(call["id"].as_str().unwrap(), tool(call))?);
            }
            if let Some(result) = event.get("result") {
                return Ok((result.clone(), events));
            }
            events.push(event);
        }
    }
}

fn invoke(agent: &Agent, input: &str, tool: &mut dyn FnMut(&Value) -> Outcome) -> Value {
    let request = InvokeRequest {
        input: input.into(),
        session_id: Some("s1".into()),
        ..InvokeRequest::default()
    };
    run(block(agent.invoke(request)).unwrap(), tool).unwrap().0
}

fn kinds(result: &Value) -> Vec<String> {
    let trace = result["trace"].as_array().unwrap();
    let names = trace
        .iter()
        .map(|event| event["event"].as_object().unwrap().keys().next().unwrap());
    names.cloned().collect()
}

fn limit_then_mail() -> Value {
    json!([
        {"match": {"tool_result": {"name": "mail"}}, "answer": "Sent."},
        {"match": {"tool_result": {"name": "limit"}},
         "answer": {"text": "Now the mail.", "tool_uses": [{"name": "mail", "input": {"user": "12345"}}]}},
        {"answer": {"tool_uses": [{"name": "limit", "input": {"user": "12345"}}]}},
    ])
}

#[test]
fn a_function_runs_in_the_caller_and_the_answer_comes() {
    let home = tempfile::tempdir().unwrap();
    let session = session(&home);
    let agent = agent(
        &session,
        json!([
            {"match": {"tool_result": {"name": "limit", "content": {"contains": "5000"}}}, "answer": "It is 5000."},
            {"answer": {"tool_uses": [{"name": "limit", "input": {"user": "12345"}}]}},
        ]),
    );
    let mut calls = Vec::new();
    let result = invoke(&agent, "The limit of 12345?", &mut |call| {
        calls.push(call["arguments"].clone());
        Outcome::Returned(json!({"limit": 5000}))
    });
    assert_eq!(calls, [json!({"user": "12345"})]);
    assert_eq!(result["text"], "It is 5000.");
    assert_eq!(result["stopReason"], "end_turn");
    assert_eq!(result["spent"]["steps"], 2);
    let told = [
        "input",
        "modelInvocationInput",
        "modelInvocationOutput",
        "decision",
        "invocationInput",
        "observation",
        "modelInvocationInput",
        "modelInvocationOutput",
        "finalResponse",
    ];
    assert_eq!(kinds(&result), told);

    // The decision is in the log, and names the agent's session and the call.
    let decisions = session.desk().trail().decisions().unwrap();
    let decided = decisions
        .iter()
        .find(|line| line["action"] == "CallFunction:limit")
        .unwrap();
    assert_eq!(
        (&decided["effect"], &decided["callId"]),
        (&json!("Allow"), &json!("1.1.1"))
    );

    // The replay tells the same, byte for byte, and the next turn knows what was said.
    let replayed = block(agent.replay("s1", None)).unwrap();
    assert_eq!(
        serde_json::to_string(&replayed).unwrap(),
        result.to_string()
    );
    let result = invoke(&agent, "Again?", &mut |_| {
        Outcome::Returned(json!({"limit": 5000}))
    });
    assert_eq!(
        (&result["turn"], &result["text"]),
        (&json!(2), &json!("It is 5000."))
    );
}

#[test]
fn a_turn_pauses_for_approval_and_goes_on_in_another_session_of_the_home() {
    let home = tempfile::tempdir().unwrap();
    let first = session(&home);
    let agent = agent(&first, limit_then_mail());
    let mut called = Vec::new();
    let paused = invoke(&agent, "Mail 12345 the limit", &mut |call| {
        called.push(call["tool"].clone());
        Outcome::Returned(json!(5000))
    });
    assert_eq!(paused["stopReason"], "pending");
    assert_eq!(called, ["limit"]);
    let pending = &paused["pending"][0];
    assert_eq!(
        (&pending["asks"], &pending["call"]["tool"]),
        (&json!("USER_CONFIRMATION"), &json!("mail"))
    );
    drop((agent, first));

    let second = session(&home);
    let agent = block(second.agent("advisor")).unwrap();
    let again = InvokeRequest {
        input: "x".into(),
        session_id: Some("s1".into()),
        ..InvokeRequest::default()
    };
    let error = block(agent.invoke(again)).err().unwrap();
    assert_eq!(error.kind(), ErrorKind::ConflictException);
    let approve = |agent: &Agent, session_id: &str| {
        block(agent.resume(ResumeRequest {
            session_id: session_id.into(),
            answers: vec![Answer {
                call: pending["call"]["id"].as_str().unwrap().into(),
                answer: CallAnswer::Approved {},
                by: None,
            }],
        }))
    };
    let mut called = Vec::new();
    let (result, _) = run(approve(&agent, "s1").unwrap(), &mut |call| {
        called.push(call["tool"].clone());
        Outcome::Returned(json!("ok"))
    })
    .unwrap();
    assert_eq!(
        (&result["text"], called),
        (&json!("Sent."), vec![json!("mail")])
    );
    assert_eq!(
        approve(&agent, "s1").err().unwrap().kind(),
        ErrorKind::ConflictException
    );
}

#[test]
fn what_a_lost_process_had_begun_is_unknown_and_not_run_again() {
    let home = tempfile::tempdir().unwrap();
    let session = session(&home);
    let agent = agent(
        &session,
        json!([
            {"match": {"tool_result": {"name": "limit", "content": {"contains": "not known"}}}, "answer": "I do not know."},
            {"answer": {"tool_uses": [{"name": "limit", "input": {"user": "1"}}]}},
        ]),
    );
    let request = InvokeRequest {
        input: "?".into(),
        session_id: Some("s1".into()),
        ..InvokeRequest::default()
    };
    let begun = block(agent.invoke(request)).unwrap();
    while !block(begun.next()).unwrap().unwrap().contains("\"calls\"") {}
    // The session is this run's alone, until it is gone.
    let resume = || {
        block(agent.resume(ResumeRequest {
            session_id: "s1".into(),
            answers: vec![],
        }))
    };
    assert_eq!(resume().err().unwrap().kind(), ErrorKind::ConflictException);
    drop(begun);
    let (result, _) = run(resume().unwrap(), &mut |_| panic!("run twice")).unwrap();
    assert_eq!(result["text"], "I do not know.");
    assert!(result["trace"].to_string().contains("{\"unknown\":{}}"));
}

#[test]
fn a_fork_takes_another_course_and_the_first_stays() {
    let home = tempfile::tempdir().unwrap();
    let session = session(&home);
    let agent = agent(
        &session,
        json!([
            {"match": {"tool_result": {"content": {"contains": "7"}}}, "answer": "Seven."},
            {"match": {"tool_result": {"content": {"contains": "5"}}}, "answer": "Five."},
            {"answer": {"tool_uses": [{"name": "limit", "input": {"user": "1"}}]}},
        ]),
    );
    let result = invoke(&agent, "?", &mut |_| Outcome::Returned(json!(5)));
    assert_eq!(result["text"], "Five.");
    let observed = result["trace"]
        .as_array()
        .unwrap()
        .iter()
        .find(|e| e["event"].get("observation").is_some());
    let step = observed.unwrap()["step"].as_u64().unwrap() as usize;
    let edit = Edit::Result {
        call: "1.1.1".into(),
        outcome: Outcome::Returned(json!(7)),
    };
    let forked = block(agent.fork("s1", Some(step), Some(edit), Some("s2".into()))).unwrap();
    assert_eq!(forked.session_id, "s2");
    let resumed = block(agent.resume(ResumeRequest {
        session_id: "s2".into(),
        answers: vec![],
    }))
    .unwrap();
    let (result, _) = run(resumed, &mut |_| panic!("nothing is run")).unwrap();
    assert_eq!(result["text"], "Seven.");
    let first = block(agent.replay("s1", None)).unwrap();
    assert_eq!(first.text, "Five.");
    let error = block(agent.fork("s1", Some(99), None, None)).unwrap_err();
    assert!(
        error.message().starts_with("step: expected 1..="),
        "{error}"
    );
}

#[test]
fn bounds_malformed_calls_repeats_and_failures_are_told_as_what_they_are() {
    let home = tempfile::tempdir().unwrap();
    let session = session(&home);
    // A malformed call is mended.
    let agent1 = agent(
        &session,
        json!([
            {"match": {"tool_result": {"name": "limit", "status": "success"}}, "answer": "Fine."},
            {"match": {"tool_result": {"content": {"contains": "user: it is required"}}},
             "answer": {"tool_uses": [{"name": "limit", "input": {"user": "1"}}]}},
            {"answer": {"tool_uses": [{"name": "limit", "input": {}}, {"name": "nothing", "input": {}}]}},
        ]),
    );
    let mut runs = 0;
    let result = invoke(&agent1, "?", &mut |_| {
        runs += 1;
        Outcome::Returned(json!(1))
    });
    assert_eq!((&result["text"], runs), (&json!("Fine."), 1));
    // The same call again and again is run twice, and then ends the turn.
    let stuck = agent(
        &session,
        json!([{"answer": {"tool_uses": [{"name": "limit", "input": {"user": "1"}}]}}]),
    );
    let mut runs = 0;
    let result = invoke(&stuck, "?", &mut |_| {
        runs += 1;
        Outcome::Failed { error: "no".into() }
    });
    assert_eq!((&result["stopReason"], runs), (&json!("repeated_call"), 2));
    // A model that fails is the error, and the session goes on with the next turn.
    let failing = agent(
        &session,
        json!([
            {"match": {"text": {"contains": "go"}}, "answer": "Well."},
            {"answer": {"fault": {"error": "ThrottlingException", "message": "busy"}}},
        ]),
    );
    let request = |input: &str| InvokeRequest {
        input: input.into(),
        session_id: Some("s1".into()),
        ..InvokeRequest::default()
    };
    let error = run(
        block(failing.invoke(request("fail"))).unwrap(),
        &mut |_| panic!(),
    )
    .unwrap_err();
    assert_eq!(error.kind(), ErrorKind::ThrottlingException);
    let (result, _) = run(
        block(failing.invoke(request("go"))).unwrap(),
        &mut |_| panic!(),
    )
    .unwrap_or_else(|e| panic!("{e}"));
    assert_eq!(result["stopReason"], "end_turn");
}

/// The decision of the log on `action`, the last one.
fn decision(session: &Session, action: &str) -> Value {
    let decisions = session.desk().trail().decisions().unwrap();
    let mut found = decisions.into_iter().rev();
    found.find(|line| line["action"] == action).unwrap()
}

#[test]
fn cedar_policies_decide_calls_and_each_decision_names_them() {
    let home = tempfile::tempdir().unwrap();
    let session = session(&home);
    let script = json!([
        {"match": {"tool_result": {"name": "limit"}}, "answer": "Done."},
        {"answer": {"tool_uses": [{"name": "limit", "input": {"user": "12345"}}]}},
    ]);
    let agent = agent(&session, script);
    let ask = |id: &str| {
        let request = InvokeRequest {
            input: "The limit of 12345?".into(),
            session_id: Some(id.into()),
            session_attributes: [("role".to_string(), "clerk".to_string())].into(),
            ..InvokeRequest::default()
        };
        let mut ran = 0;
        let result = run(block(agent.invoke(request)).unwrap(), &mut |_| {
            ran += 1;
            Outcome::Returned(json!(5000))
        });
        (result.unwrap().0, ran)
    };
    let put = |name: &str, text: &str, agent: Option<&str>| {
        block(session.put_policy(PolicyRequest {
            name: name.into(),
            text: text.into(),
            agent: agent.map(str::to_string),
        }))
    };
    assert_eq!(ask("s1").1, 1);
    let line = decision(&session, "CallFunction:limit");
    assert_eq!(
        (&line["effect"], &line["policies"]),
        (&json!("Allow"), &json!(["default"]))
    );
    assert_eq!(
        line["request"],
        json!({"principal": "Agent::\"advisor\"", "action": "Action::\"accounts.limit\"",
            "resource": "ActionGroup::\"accounts\"", "origins": {"user": ["user"]},
            "tainted": [], "read": []})
    );

    // A policy over another agent is none over this one; one over it holds from the next call on.
    let managers = r#"@reason("managers only") forbid (principal, action == Action::"accounts.limit", resource)
        unless { context.session.hasTag("role") && context.session.getTag("role") == "manager" };"#;
    let error = put("managers", managers, Some("nobody")).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::ResourceNotFoundException);
    let info = put("managers", managers, Some("advisor")).unwrap();
    assert_eq!(info.agent.as_deref(), Some("advisor"));
    let (result, ran) = ask("s2");
    assert_eq!(ran, 0);
    let told = result.to_string();
    assert!(
        told.contains("policy managers forbids it: managers only"),
        "{told}"
    );
    assert_eq!(
        decision(&session, "CallFunction:limit")["policies"],
        json!(["managers"])
    );
    // Putting it was decided too.
    assert_eq!(
        decision(&session, "outcrop:PutPolicy")["resource"],
        "managers"
    );

    block(session.delete_policy("managers")).unwrap();
    let until = r#"forbid (principal, action, resource == ActionGroup::"accounts") unless { context.approved };"#;
    put("until", until, None).unwrap();
    let (result, ran) = ask("s3");
    assert_eq!((&result["stopReason"], ran), (&json!("pending"), 0));
    block(session.delete_policy("until")).unwrap();

    // Without the policy that a home begins with, nothing is permitted.
    block(session.delete_policy("default")).unwrap();
    assert_eq!(ask("s4").1, 0);
    assert_eq!(
        decision(&session, "CallFunction:limit")["rule"],
        "no policy permits it"
    );
    put("default", governance::DEFAULT_POLICY_TEXT, None).unwrap();
    assert_eq!(ask("s5").1, 1);
    let error = block(session.delete_policy("managers")).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::ResourceNotFoundException);
}

#[test]
fn a_policy_is_refused_with_its_place_and_an_agent_is_made_with_its_own() {
    let home = tempfile::tempdir().unwrap();
    let session = session(&home);
    let request = |policy: &str| AgentRequest {
        name: "teller".into(),
        model: "acme.none-v1".into(),
        action_groups: vec![ActionGroup {
            name: "accounts".into(),
            functions: vec![function("limit", false)],
            ..ActionGroup::default()
        }],
        policy: Some(policy.into()),
        replace: true,
        ..AgentRequest::default()
    };
    let wrong = "forbid (principal, action == Action::\"accounts.limit\", resource)\nwhen { context.arguments.usr == \"x\" };";
    let error = block(session.create_agent(request(wrong))).unwrap_err();
    assert!(
        error
            .message()
            .starts_with("policy agent.teller: line 2, column 8: "),
        "{error}"
    );
    assert!(block(session.agent("teller")).is_err());
    block(session.create_agent(request(&wrong.replace("usr", "user")))).unwrap();
    let names = |session: &Session| -> Vec<String> {
        let policies = block(session.policies()).unwrap();
        policies.into_iter().map(|policy| policy.name).collect()
    };
    assert_eq!(names(&session), ["default", "agent.teller"]);
    let error = block(session.delete_policy("agent.teller")).unwrap_err();
    assert!(error.message().contains("belongs to its agent"), "{error}");
    block(session.delete_agent("teller")).unwrap();
    assert_eq!(names(&session), ["default"]);
}

#[test]
fn an_approved_call_is_decided_again() {
    let home = tempfile::tempdir().unwrap();
    let session = session(&home);
    let script = json!([
        {"match": {"tool_result": {"name": "mail", "status": "error", "content": {"contains": "not permitted"}}}, "answer": "I may not."},
        {"match": {"tool_result": {"name": "mail"}}, "answer": "Sent."},
        {"answer": {"tool_uses": [{"name": "mail", "input": {"user": "12345"}}]}},
    ]);
    let made = agent(&session, script.clone());
    let paused = |id: &str| {
        let request = InvokeRequest {
            input: "Mail 12345".into(),
            session_id: Some(id.into()),
            ..InvokeRequest::default()
        };
        let paused = run(block(made.invoke(request)).unwrap(), &mut |_| panic!());
        paused.unwrap().0["pending"][0]["call"]["id"].clone()
    };
    let approve = |agent: &Agent, id: &str, call: &Value| {
        let mut sent = 0;
        let answers = vec![Answer {
            call: call.as_str().unwrap().into(),
            answer: CallAnswer::Approved {},
            by: None,
        }];
        let request = ResumeRequest {
            session_id: id.into(),
            answers,
        };
        let result = run(block(agent.resume(request)).unwrap(), &mut |_| {
            sent += 1;
            Outcome::Returned(json!("ok"))
        });
        (result.unwrap().0, sent)
    };
    let effects = |result: &Value| -> Vec<Value> {
        let events = result["trace"].as_array().unwrap().iter();
        let decided = events.filter_map(|event| event["event"].get("decision"));
        decided.map(|one| one["effect"].clone()).collect()
    };
    // As it was: it is decided, recorded, and run.
    let call = paused("s1");
    let before = session.desk().trail().decisions().unwrap().len();
    let (result, sent) = approve(&made, "s1", &call);
    assert_eq!((&result["text"], sent), (&json!("Sent."), 1));
    assert_eq!(effects(&result), ["allow", "allow"]);
    let decisions = session.desk().trail().decisions().unwrap();
    let mail = decisions[before..]
        .iter()
        .find(|one| one["action"] == "CallFunction:mail");
    assert_eq!(mail.unwrap()["effect"], "Allow");
    let replayed = serde_json::to_value(block(made.replay("s1", None)).unwrap()).unwrap();
    assert_eq!(replayed, result);

    // A policy came meanwhile: the approval is none any more, and the model is told.
    let call = paused("s2");
    block(session.put_policy(PolicyRequest {
        name: "closed".into(),
        text: r#"forbid (principal, action == Action::"accounts.mail", resource);"#.into(),
        agent: Some("advisor".into()),
    }))
    .unwrap();
    let (result, sent) = approve(&made, "s2", &call);
    assert_eq!((&result["text"], sent), (&json!("I may not."), 0));
    assert_eq!(effects(&result), ["allow", "deny"]);
    assert_eq!(
        decision(&session, "CallFunction:mail")["policies"],
        json!(["closed"])
    );
    block(session.delete_policy("closed")).unwrap();

    // What is forbidden only until it is approved is approved now.
    block(session.put_policy(PolicyRequest {
        name: "until".into(),
        text: "forbid (principal, action, resource) unless { context.approved };".into(),
        agent: None,
    }))
    .unwrap();
    let call = paused("s3");
    assert_eq!(approve(&made, "s3", &call).1, 1);
    block(session.delete_policy("until")).unwrap();

    // A rule came meanwhile, by which none is left.
    let call = paused("s4");
    let request: AgentRequest = serde_json::from_value(json!({
        "name": "advisor", "model": "acme.agent-v1", "instruction": "Help.", "replace": true,
        "actionGroups": [{"name": "accounts", "functions": [function("limit", false), function("mail", true)]}],
        "rules": [{"function": "accounts.mail", "require": {"never": {}}}],
    }))
    .unwrap();
    let stricter = block(session.create_agent(request)).unwrap();
    assert_eq!(approve(&stricter, "s4", &call).1, 0);
}
