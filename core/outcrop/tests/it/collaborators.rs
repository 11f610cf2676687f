//! Work that agents hand to each other: paused, resumed elsewhere, bounded, replayed, forked.

use outcrop::agent_turn::{
    ActionGroup, Answer, CallAnswer, Collaboration, Edit, Function, Limits, Outcome,
};
use outcrop::{Agent, AgentRequest, CollaboratorRequest, InvokeRequest, ResumeRequest, Session};
use serde_json::{Value, json};

use crate::agents::{block, run};
use crate::session;

fn function(name: &str, confirm: bool) -> Function {
    Function {
        name: name.into(),
        input_schema: json!({"type": "object", "properties": {"user": {"type": "string"}}}),
        require_confirmation: confirm,
        ..Function::default()
    }
}

fn uses(name: &str, input: Value) -> Value {
    json!({"answer": {"tool_uses": [{"name": name, "input": input}]}})
}

fn on(name: &str, answer: Value) -> Value {
    json!({"match": {"tool_result": {"name": name}}, "answer": answer})
}

/// An agent that answers by `script`, made anew or in the place of what there is.
fn agent(
    session: &Session,
    name: &str,
    script: Value,
    change: impl FnOnce(&mut AgentRequest),
) -> Agent {
    let model = format!("acme.{name}-v1");
    block(session.register_model(&model, json!({"script": script}), true, None)).unwrap();
    let mut request = AgentRequest {
        name: name.into(),
        model,
        instruction: "Help.".into(),
        replace: true,
        ..AgentRequest::default()
    };
    change(&mut request);
    block(session.create_agent(request)).unwrap()
}

fn collaborator(name: &str) -> CollaboratorRequest {
    CollaboratorRequest {
        agent: name.into(),
        instruction: format!("All about {name}."),
        ..CollaboratorRequest::default()
    }
}

/// An agent for accounts, which reads limits and mails, and a supervisor that asks it.
fn team(session: &Session) -> Agent {
    let accounts = json!([
        on("mail", json!("The limit is 5000, and they have mail.")),
        on(
            "limit",
            json!({"tool_uses": [{"name": "mail", "input": {"user": "12345"}}]})
        ),
        uses("limit", json!({"user": "12345"})),
    ]);
    agent(session, "accounts", accounts, |request| {
        request.action_groups = vec![ActionGroup {
            name: "bank".into(),
            functions: vec![function("limit", false), function("mail", true)],
            ..ActionGroup::default()
        }];
    });
    let script = json!([
        {"match": {"tool_result": {"name": "ask_accounts", "content": {"contains": "5000"}}},
         "answer": "They were told that it is 5000."},
        {"match": {"tool_result": {"name": "ask_accounts"}}, "answer": "It did not work."},
        uses("ask_accounts", json!({"message": "Read the limit of 12345 and mail it."})),
    ]);
    agent(session, "supervisor", script, |request| {
        request.collaborators = vec![collaborator("accounts")];
    })
}

fn invoke(agent: &Agent, input: &str, tool: &mut dyn FnMut(&Value) -> Outcome) -> Value {
    let request = InvokeRequest {
        input: input.into(),
        session_id: Some("s1".into()),
        ..InvokeRequest::default()
    };
    run(block(agent.invoke(request)).unwrap(), tool).unwrap().0
}

fn resume(agent: &Agent, session_id: &str, answers: Vec<Answer>) -> outcrop::Run {
    let request = ResumeRequest {
        session_id: session_id.into(),
        answers,
    };
    block(agent.resume(request)).unwrap()
}

fn approved(pending: &Value) -> Answer {
    Answer {
        call: pending["call"]["id"].as_str().unwrap().into(),
        answer: CallAnswer::Approved {},
        by: None,
    }
}

fn events<'a>(result: &'a Value, kind: &'a str) -> impl Iterator<Item = &'a Value> {
    let trace = result["trace"].as_array().unwrap().iter();
    trace.filter(move |event| event["event"].get(kind).is_some())
}

#[test]
fn a_pause_within_surfaces_with_its_path_and_goes_on_in_another_process() {
    let home = tempfile::tempdir().unwrap();
    let first = session(&home);
    let supervisor = team(&first);
    let mut called = Vec::new();
    let paused = invoke(&supervisor, "Tell 12345 their limit", &mut |call| {
        called.push(call["id"].clone());
        Outcome::Returned(json!(5000))
    });
    assert_eq!(called, ["1.1.1/1.1.1"]);
    assert_eq!(paused["stopReason"], "pending");
    let pending = paused["pending"][0].clone();
    assert_eq!(pending["call"]["id"], "1.1.1/1.2.1");
    assert_eq!(pending["within"][0]["name"], "accounts");
    drop((supervisor, first));

    let second = session(&home);
    let supervisor = block(second.agent("supervisor")).unwrap();
    let mut called = Vec::new();
    let resumed = resume(&supervisor, "s1", vec![approved(&pending)]);
    let (result, _) = run(resumed, &mut |call| {
        called.push(call["tool"].clone());
        Outcome::Returned(json!("sent"))
    })
    .unwrap();
    assert_eq!(called, ["mail"]);
    assert_eq!(result["text"], "They were told that it is 5000.");
    // What was used counts for all: two calls of the supervisor's model, three of the other's.
    assert_eq!(result["spent"]["steps"], 5);
    let within = result["trace"].as_array().unwrap().iter();
    let within = within.filter(|event| event["within"][0]["name"] == "accounts");
    assert!(within.count() > 8);
    let told: Vec<&Value> = events(&result, "observation").collect();
    let answered = &told.last().unwrap()["event"]["observation"];
    assert_eq!(answered["call"]["id"], "1.1.1");
    assert_eq!(
        answered["outcome"]["answered"]["text"],
        "The limit is 5000, and they have mail."
    );

    // Both agents' calls were decided, each as its own principal's.
    let decisions = second.desk().trail().decisions().unwrap();
    let of = |action: &str| {
        let found = decisions.iter().find(|line| line["action"] == action);
        found.unwrap()["principal"].as_str().unwrap().to_string()
    };
    assert_ne!(of("Delegate:accounts"), of("CallFunction:mail"));

    // A replay runs nothing and tells the same.
    let replayed = block(supervisor.replay("s1", None)).unwrap();
    assert_eq!(
        serde_json::to_string(&replayed).unwrap(),
        result.to_string()
    );
}

#[test]
fn what_a_lost_process_had_begun_within_is_unknown_and_a_stop_ends_all() {
    let home = tempfile::tempdir().unwrap();
    let session = session(&home);
    let supervisor = team(&session);
    let request = InvokeRequest {
        input: "?".into(),
        session_id: Some("s1".into()),
        ..InvokeRequest::default()
    };
    let begun = block(supervisor.invoke(request)).unwrap();
    while !block(begun.next()).unwrap().unwrap().contains("\"calls\"") {}
    drop(begun);
    let (paused, _) = run(resume(&supervisor, "s1", vec![]), &mut |_| {
        panic!("run twice")
    })
    .unwrap();
    assert!(paused["trace"].to_string().contains("{\"unknown\":{}}"));
    assert_eq!(paused["stopReason"], "pending");

    // A fork before the pause takes another course; the first session stays.
    let lost = events(&paused, "observation").next().unwrap()["step"].clone();
    let edit = Edit::Result {
        call: "1.1.1/1.1.1".into(),
        outcome: Outcome::Returned(json!(7)),
    };
    let step = lost.as_u64().map(|step| step as usize);
    let forked = block(supervisor.fork("s1", step, Some(edit), Some("s2".into()))).unwrap();
    assert_eq!(forked.session_id, "s2");
    let (again, _) = run(resume(&supervisor, "s2", vec![]), &mut |_| {
        panic!("nothing is run")
    })
    .unwrap();
    assert_eq!(again["pending"][0]["call"]["id"], "1.1.1/1.2.1");
    let answer = approved(&again["pending"][0]);
    let (result, _) = run(resume(&supervisor, "s2", vec![answer]), &mut |_| {
        Outcome::Returned(json!("sent"))
    })
    .unwrap();
    assert_eq!(result["text"], "They were told that it is 5000.");

    let stopped = block(supervisor.stop("s1".into(), "enough".into())).unwrap();
    let (stopped, _) = run(stopped, &mut |_| panic!("nothing is run")).unwrap();
    assert_eq!(stopped["stopReason"], "stopped");
}

#[test]
fn the_whole_run_stays_within_the_supervisors_bounds() {
    let home = tempfile::tempdir().unwrap();
    let session = session(&home);
    agent(
        &session,
        "busy",
        json!([uses("limit", json!({"user": "1"}))]),
        |request| {
            request.action_groups = vec![ActionGroup {
                name: "bank".into(),
                functions: vec![function("limit", false)],
                ..ActionGroup::default()
            }];
            request.limits.max_repeats = 50;
            request.limits.max_steps = 50;
        },
    );
    let script = json!([uses("ask_busy", json!({"message": "Work."}))]);
    let supervisor = agent(&session, "supervisor", script, |request| {
        request.collaborators = vec![collaborator("busy")];
        request.limits = Limits {
            max_steps: 5,
            ..Limits::default()
        };
    });
    let mut runs = 0;
    let result = invoke(&supervisor, "?", &mut |_| {
        runs += 1;
        Outcome::Returned(json!(1))
    });
    assert_eq!(result["stopReason"], "max_steps");
    assert_eq!((&result["spent"]["steps"], runs), (&json!(5), 4));
    assert_eq!(events(&result, "failure").count(), 2);
}

#[test]
fn work_that_would_go_round_is_refused_and_the_model_is_told() {
    let home = tempfile::tempdir().unwrap();
    let session = session(&home);
    agent(&session, "ping", json!([{"answer": "x"}]), |_| {});
    let pong = json!([
        {"match": {"tool_result": {"content": {"contains": "is at work on this already"}}}, "answer": "I am asked by ping."},
        uses("ask_ping", json!({"message": "Over to you."})),
    ]);
    agent(&session, "pong", pong, |request| {
        request.collaborators = vec![collaborator("ping")];
    });
    let ping = json!([
        {"match": {"tool_result": {"name": "ask_pong", "content": {"contains": "I am asked by ping."}}}, "answer": "Bounded."},
        uses("ask_pong", json!({"message": "Over to you."})),
    ]);
    let ping = agent(&session, "ping", ping, |request| {
        request.collaborators = vec![collaborator("pong")];
    });
    let result = invoke(&ping, "?", &mut |_| panic!("nothing is run"));
    assert_eq!(result["text"], "Bounded.");
}

#[test]
fn a_router_hands_the_users_words_on_and_plans_where_nobody_fits() {
    let home = tempfile::tempdir().unwrap();
    let session = session(&home);
    let cards = json!([
        {"match": {"text": {"contains": "1234"}}, "answer": "Card 1234 is blocked."},
        {"answer": "Which card?"},
    ]);
    agent(&session, "cards", cards, |_| {});
    let router = json!([
        {"match": {"system": {"contains": "You decide which agent"}, "text": {"contains": "card"}}, "answer": "cards"},
        {"match": {"system": {"contains": "You decide which agent"}, "text": {"contains": "1234"}}, "answer": "cards"},
        {"match": {"system": {"contains": "You decide which agent"}}, "answer": "NONE"},
        {"answer": "I answer myself."},
    ]);
    let router = agent(&session, "router", router, |request| {
        request.collaborators = vec![collaborator("cards")];
        request.collaboration = Collaboration::SupervisorRouter;
    });
    let nothing: &mut dyn FnMut(&Value) -> Outcome = &mut |_| panic!("nothing is run");
    let result = invoke(&router, "Block my card", nothing);
    assert_eq!(result["text"], "Which card?");
    assert_eq!(result["spent"]["steps"], 2);
    // The collaborator knows its own part of the session.
    let result = invoke(&router, "It is 1234", nothing);
    assert_eq!(result["text"], "Card 1234 is blocked.");
    let result = invoke(&router, "Hello", nothing);
    assert!(
        ["I answer myself.", "Card 1234 is blocked."].contains(&result["text"].as_str().unwrap())
    );
    let replayed = block(router.replay("s1", None)).unwrap();
    assert_eq!(
        serde_json::to_string(&replayed).unwrap(),
        result.to_string()
    );
}
