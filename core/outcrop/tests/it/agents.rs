//! Agents: turns that call, pause, are resumed, replayed and forked.

use outcrop::agent_turn::{ActionGroup, Answer, CallAnswer, Edit, Function, Outcome};
use outcrop::{
    Agent, AgentRequest, ErrorKind, InvokeRequest, ResumeRequest, Run, Session, runtime,
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
        api: None,
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
