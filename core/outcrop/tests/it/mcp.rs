//! MCP servers as action groups, with a server of tests over both of its transports.

use std::io::{BufRead, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use outcrop::agent_turn::{
    ActionGroup, Answer, CallAnswer, Endpoint, Execution, Limits, McpServer,
};
use outcrop::{
    Agent, AgentRequest, CommandAccess, HostAccess, InvokeRequest, ResumeRequest, Session, runtime,
};
use serde_json::{Value, json};

use crate::agents::{block, run};
use crate::session;

/// The server, its log, and how it is reached.
struct Server {
    folder: tempfile::TempDir,
    server: McpServer,
    /// Where it was not started by the session.
    process: Option<Child>,
}

fn command(folder: &Path, more: &[&str]) -> Vec<String> {
    let script = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures/mcp_server.py");
    let log = folder.join("log");
    let mut command = vec!["python3".to_string()];
    command.extend([script, log].map(|path| path.to_string_lossy().into_owned()));
    command.extend(more.iter().map(|word| word.to_string()));
    command
}

impl Server {
    fn stdio(session: &Session, more: &[&str]) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let command = command(folder.path(), more);
        session
            .allow_command(&command, Some(CommandAccess::default()))
            .unwrap();
        Self {
            folder,
            server: McpServer::Stdio { command },
            process: None,
        }
    }

    fn http(session: &Session, form: &str) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let words = command(folder.path(), &["http", form]);
        let mut process = Command::new(&words[0])
            .args(&words[1..])
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let mut url = String::new();
        let mut lines = BufReader::new(process.stdout.take().unwrap());
        lines.read_line(&mut url).unwrap();
        let url = url.trim().to_string();
        let host = url.split('/').nth(2).unwrap();
        let access = HostAccess {
            headers: [("authorization".to_string(), "Bearer s3cret".to_string())].into(),
            private: false,
        };
        session.allow_host(host, Some(access)).unwrap();
        Self {
            folder,
            server: McpServer::Http { url },
            process: Some(process),
        }
    }

    /// What it was asked and has done, of the member `name`.
    fn log(&self, name: &str) -> Vec<Value> {
        let text = std::fs::read_to_string(self.folder.path().join("log")).unwrap_or_default();
        let entries = text
            .lines()
            .map(|line| serde_json::from_str::<Value>(line).unwrap());
        let members = entries.filter_map(|entry| entry.get(name).cloned());
        members.collect()
    }

    fn pids(&self) -> Vec<u64> {
        self.log("pid")
            .iter()
            .map(|pid| pid.as_u64().unwrap())
            .collect()
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        if let Some(process) = &mut self.process {
            let _ = process.kill();
            let _ = process.wait();
        }
    }
}

/// What an agent of one such server is asked with: it makes `calls`, one after the other.
fn request(session: &Session, server: &McpServer, calls: &[Value]) -> AgentRequest {
    let mut script: Vec<Value> = calls
        .iter()
        .enumerate()
        .map(|(at, call)| json!({"match": {"turn": at + 1}, "answer": {"tool_uses": [call]}}))
        .collect();
    script.push(json!({"answer": "Done."}));
    block(session.register_model("acme.mcp-v1", json!({"script": script}), true, None)).unwrap();
    AgentRequest {
        name: "clerk".into(),
        model: "acme.mcp-v1".into(),
        replace: true,
        action_groups: vec![ActionGroup {
            name: "bank".into(),
            execution: Execution::Runtime,
            endpoint: Some(Endpoint::Mcp {
                server: server.clone(),
                tools: Vec::new(),
                confirm: Vec::new(),
            }),
            ..ActionGroup::default()
        }],
        ..AgentRequest::default()
    }
}

fn invoke(agent: &Agent) -> Value {
    let request = InvokeRequest {
        input: "Do it.".into(),
        ..InvokeRequest::default()
    };
    let begun = block(agent.invoke(request)).unwrap();
    run(begun, &mut |_| panic!("it is not the caller's"))
        .unwrap()
        .0
}

fn call(name: &str, input: Value) -> Value {
    json!({"name": name, "input": input})
}

/// An agent of the server that makes these calls, and where its turn stands.
fn asked(session: &Session, server: &McpServer, calls: &[Value]) -> (Agent, Value) {
    let agent = block(session.create_agent(request(session, server, calls))).unwrap();
    let result = invoke(&agent);
    (agent, result)
}

/// What came of the calls of a turn, in order.
fn outcomes(result: &Value) -> Vec<Value> {
    let trace = result["trace"].as_array().unwrap().iter();
    let told = trace.filter_map(|event| event["event"].get("observation"));
    told.map(|observation| observation["outcome"].clone())
        .collect()
}

/// Waits until something holds; bounded.
fn until(what: &str, holds: impl Fn() -> bool) {
    let began = Instant::now();
    while !holds() {
        assert!(began.elapsed() < Duration::from_secs(20), "{what}");
        std::thread::sleep(Duration::from_millis(20));
    }
}

fn is_running(pid: u64) -> bool {
    let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
    // The state stands after the name in brackets; a zombie runs no more.
    let state = stat
        .rsplit(") ")
        .next()
        .and_then(|rest| rest.chars().next());
    state.is_some_and(|state| state != 'Z')
}

fn servers(session: &Session) -> Vec<Server> {
    vec![
        Server::stdio(session, &[]),
        Server::http(session, "json"),
        Server::http(session, "sse"),
    ]
}

#[test]
fn tools_are_listed_called_and_told() {
    let home = tempfile::tempdir().unwrap();
    let session = session(&home);
    for server in servers(&session) {
        let calls = [
            call("limit", json!({"user": "12345"})),
            call("fail", json!({})),
            call("send_mail", json!({"to": "a@bank.example", "text": "5000"})),
            call("picture", json!({})),
            call("giant", json!({"chars": 40_000})),
            call("limit", json!({"account": "12345"})),
        ];
        let (agent, result) = asked(&session, &server.server, &calls);
        // All pages of the list.
        let functions = &agent.definition().action_groups[0].functions;
        assert_eq!(functions.len(), 15);
        assert_eq!(functions[0].description, "The limit of a user.");
        assert_eq!(functions[0].input_schema["required"], json!(["user"]));
        let confirmed: Vec<&str> = functions
            .iter()
            .filter(|function| function.require_confirmation)
            .map(|function| function.name.as_str())
            .collect();
        assert_eq!(confirmed, ["wipe"]);

        assert_eq!(result["text"], "Done.", "{result}");
        let came = outcomes(&result);
        assert_eq!(
            came[0],
            json!({"returned": {"user": "12345", "limit": 5000}})
        );
        assert_eq!(
            came[1],
            json!({"failed": {"error": "there is no such user"}})
        );
        assert_eq!(came[2], json!({"returned": "done"}));
        assert_eq!(came[3]["returned"]["mimeType"], "image/png");
        assert_eq!(came[4]["cut"]["chars"], 40_000);
        assert_eq!(came[4]["cut"]["text"].as_str().unwrap().len(), 25_000);
        assert!(
            came[5]["malformed"]["fault"]
                .as_str()
                .unwrap()
                .contains("user"),
            "{}",
            came[5]
        );
        // The arguments that did not fit came to nobody.
        assert_eq!(server.log("called").len(), 5);
        assert_eq!(server.log("called")[2], "send.mail");
        assert_eq!(server.log("began").len(), 1);

        // Each was decided before it was made.
        let decisions = session.desk().trail().decisions().unwrap();
        let decided = decisions
            .iter()
            .filter(|line| line["action"] == "CallFunction:limit");
        assert!(decided.count() > 0);
        let sessions = server.log("authorization");
        if matches!(server.server, McpServer::Http { .. }) {
            assert_eq!(sessions, ["Bearer s3cret"]);
        }
        assert!(!result.to_string().contains("s3cret"));
        block(session.delete_agent("clerk")).unwrap();
        if matches!(server.server, McpServer::Http { .. }) {
            until("the session is ended", || server.log("deleted").len() == 1);
        } else {
            until("the server ends", || !is_running(server.pids()[0]));
        }
    }
}

#[test]
fn no_server_is_reached_that_is_not_allowed() {
    let home = tempfile::tempdir().unwrap();
    let session = session(&home);
    let server = Server::stdio(&session, &[]);
    let McpServer::Stdio { command } = &server.server else {
        panic!("it is a command");
    };
    session.allow_command(command, None).unwrap();
    // Another command line of the same program is another command.
    session
        .allow_command(&command[..2], Some(CommandAccess::default()))
        .unwrap();
    let error = block(session.create_agent(request(&session, &server.server, &[]))).unwrap_err();
    assert_eq!(error.kind(), outcrop::ErrorKind::AccessDeniedException);
    assert!(error.message().contains("allow_command"), "{error}");
    assert!(server.pids().is_empty());
    let url = "http://127.0.0.1:9/mcp".to_string();
    let error = block(session.create_agent(request(&session, &McpServer::Http { url }, &[])));
    assert!(error.unwrap_err().message().contains("is not allowed"));

    let access = CommandAccess {
        env: [("TOKEN".to_string(), "s3cret".to_string())].into(),
        cwd: Some(server.folder.path().into()),
    };
    session.allow_command(command, Some(access)).unwrap();
    let calls = [call("environment", json!({}))];
    let (agent, result) = asked(&session, &server.server, &calls);
    let environment = &outcomes(&result)[0]["returned"];
    assert_eq!(environment["TOKEN"], "s3cret");
    assert!(environment["PATH"].is_string());
    assert!(environment.get("CARGO_MANIFEST_DIR").is_none());
    // The start that was refused is decided as such, and so is the one that was not.
    let decisions = session.desk().trail().decisions().unwrap();
    let starts = decisions
        .iter()
        .filter(|line| line["action"] == "outcrop:StartCommand");
    let effects: Vec<&Value> = starts.map(|line| &line["effect"]).collect();
    assert_eq!(effects, ["Deny", "Allow"]);

    // Forbidden again, it ends, and the next call comes to nothing.
    session.allow_command(command, None).unwrap();
    until("the server ends", || !is_running(server.pids()[0]));
    let came = outcomes(&invoke(&agent));
    assert!(
        came[0]["failed"]["error"]
            .as_str()
            .unwrap()
            .contains("is not allowed")
    );
    assert!(
        session
            .allow_command(&[], Some(CommandAccess::default()))
            .is_err()
    );
}

#[test]
fn a_server_that_dies_is_reached_again_and_a_call_in_flight_is_unknown() {
    let home = tempfile::tempdir().unwrap();
    let session = session(&home);
    for server in servers(&session) {
        let is_stdio = matches!(server.server, McpServer::Stdio { .. });
        let lost = if is_stdio { "last" } else { "expire" };
        let calls = [
            call("die", json!({})),
            call("limit", json!({"user": "1"})),
            call(lost, json!({})),
            call("limit", json!({"user": "2"})),
            call("limit", json!({"user": "3"})),
        ];
        let (_agent, result) = asked(&session, &server.server, &calls);
        let came = outcomes(&result);
        assert_eq!(
            came[0],
            json!({"unknown": {}}),
            "{server}",
            server = server.server
        );
        assert_eq!(came[1]["returned"]["user"], "1");
        assert_eq!(came[2]["returned"], "done");
        // A server that is just ending may still be sent a call, and nobody knows what became of it.
        let is_reached = came[3]["returned"]["user"] == "2";
        assert!(is_reached || (is_stdio && came[3] == json!({"unknown": {}})));
        assert_eq!(came[4]["returned"]["user"], "3");
        // None was made twice.
        let made = if is_reached { 2 } else { 1 };
        let limits = vec!["limit"; made];
        assert_eq!(
            server.log("called"),
            [vec!["die", "limit", lost], limits].concat()
        );
    }
}

#[test]
fn a_slow_call_times_out_and_the_server_is_told() {
    let home = tempfile::tempdir().unwrap();
    let session = session(&home);
    for server in servers(&session) {
        let calls = [
            call("slow", json!({"seconds": 3600})),
            call("garbage", json!({})),
            call("limit", json!({"user": "1"})),
        ];
        let mut request = request(&session, &server.server, &calls);
        request.limits = Limits {
            max_call_seconds: 1.0,
            ..Limits::default()
        };
        let agent = block(session.create_agent(request)).unwrap();
        let came = outcomes(&invoke(&agent));
        assert_eq!(came[0], json!({"timedOut": {"seconds": 1.0}}));
        until("it is told of the cancelled call", || {
            !server.log("cancelled").is_empty()
        });
        assert!(came[1]["timedOut"].is_object() || came[1]["unknown"].is_object());
        assert_eq!(came[2]["returned"]["user"], "1");
    }
}

#[test]
fn a_turn_that_is_dropped_cancels_its_call() {
    let home = tempfile::tempdir().unwrap();
    let session = session(&home);
    for (at, server) in servers(&session).into_iter().enumerate() {
        let name = format!("turn-{at}");
        let calls = [call("slow", json!({"seconds": 3600}))];
        let agent = block(session.create_agent(request(&session, &server.server, &calls))).unwrap();
        let request = InvokeRequest {
            input: "Do it.".into(),
            session_id: Some(name.clone()),
            ..InvokeRequest::default()
        };
        let begun = block(agent.invoke(request)).unwrap();
        let told = runtime()
            .unwrap()
            .spawn(async move { while let Ok(Some(_)) = begun.next().await {} });
        until("the call is made", || server.log("called") == ["slow"]);
        told.abort();
        until("it is told", || server.log("cancelled").len() == 1);
        // The call had begun: it is told as unknown, and not made again.
        let resumed = block(agent.resume(ResumeRequest {
            session_id: name.clone(),
            ..ResumeRequest::default()
        }));
        let result = run(resumed.unwrap(), &mut |_| panic!("it is not the caller's"))
            .unwrap()
            .0;
        assert_eq!(outcomes(&result)[0], json!({"unknown": {}}));
        assert_eq!(server.log("called"), ["slow"]);
        // A replay and a fork reach nobody.
        let began = server.log("began").len();
        block(agent.replay(&name, None)).unwrap();
        block(agent.fork(&name, None, None, None)).unwrap();
        assert_eq!(server.log("began").len(), began);
        assert_eq!(server.log("called"), ["slow"]);
    }
}

#[test]
fn a_list_that_changes_is_read_again_and_what_is_new_waits_for_a_person() {
    let home = tempfile::tempdir().unwrap();
    let session = session(&home);
    for server in [Server::stdio(&session, &[]), Server::http(&session, "sse")] {
        let calls = [
            call("grow", json!({})),
            call("turn", json!({})),
            call("limit", json!({"user": "1"})),
            call("extra", json!({})),
        ];
        let (agent, result) = asked(&session, &server.server, &calls);
        let came = outcomes(&result);
        // What changed since the turn began is not called; what came since is not known in it.
        let fault = came[2]["failed"]["error"].as_str().unwrap();
        assert!(fault.contains("limit is not what it was"), "{fault}");
        assert!(came[3]["malformed"].is_object(), "{}", came[3]);
        assert_eq!(server.log("called"), ["grow", "turn"]);

        let result = invoke(&agent);
        assert_eq!(result["pending"][0]["call"]["tool"], "limit");
        let paused = ResumeRequest {
            session_id: result["sessionId"].as_str().unwrap().into(),
            answers: vec![Answer {
                call: result["pending"][0]["call"]["id"].as_str().unwrap().into(),
                answer: CallAnswer::Approved {},
                by: None,
            }],
        };
        let resumed = block(agent.resume(paused)).unwrap();
        let result = run(resumed, &mut |_| panic!("it is not the caller's"))
            .unwrap()
            .0;
        assert_eq!(outcomes(&result)[2]["returned"]["user"], "1");
        assert_eq!(result["pending"][0]["call"]["tool"], "extra");
        // Who makes the agent again accepts what there is.
        let agent = block(session.create_agent(request(&session, &server.server, &calls))).unwrap();
        let functions = &agent.definition().action_groups[0].functions;
        assert_eq!(functions[0].description, "Mails the limit to everybody.");
        assert!(!functions[0].require_confirmation);
    }
}

#[test]
fn what_is_longer_than_a_message_may_be_is_a_failure() {
    let home = tempfile::tempdir().unwrap();
    let session = session(&home);
    for server in servers(&session) {
        let calls = [
            call("giant", json!({"chars": 9_000_000})),
            call("limit", json!({"user": "1"})),
        ];
        let (_agent, result) = asked(&session, &server.server, &calls);
        let came = outcomes(&result);
        assert!(came[0].to_string().contains("8388608 bytes"), "{}", came[0]);
        assert_eq!(came[1]["returned"]["user"], "1");
    }
}

#[test]
fn a_closed_session_leaves_no_process() {
    let home = tempfile::tempdir().unwrap();
    let session = session(&home);
    let server = Server::stdio(&session, &["stubborn"]);
    let (_agent, result) = asked(
        &session,
        &server.server,
        &[call("limit", json!({"user": "1"}))],
    );
    assert_eq!(result["text"], "Done.");
    let child = server.log("child")[0].as_u64().unwrap();
    let pid = server.pids()[0];
    assert!(is_running(pid) && is_running(child));
    session.close();
    until("the server and what it started end", || {
        !is_running(pid) && !is_running(child)
    });
}
