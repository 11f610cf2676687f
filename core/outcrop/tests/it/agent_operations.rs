//! Agents by `bedrock-agent`, those that were made natively among them.

use outcrop::agent_turn::{ActionGroup, Execution, Function};
use outcrop::operations::Service;
use outcrop::{AgentRequest, CollaboratorRequest, Session, runtime};
use serde_json::{Value, json};

use crate::operations::{answer, call};
use crate::session;

const AGENT: Service = Service::BedrockAgent;

fn ask(session: &Session, name: &str, input: Value) -> Value {
    answer(session, AGENT, name, input)
}

fn function(name: &str, input_schema: Value) -> Function {
    Function {
        name: name.into(),
        description: format!("Does {name}."),
        input_schema,
        require_confirmation: true,
        ..Function::default()
    }
}

fn group(name: &str, schema: Value) -> ActionGroup {
    ActionGroup {
        name: name.into(),
        functions: vec![function(name, schema)],
        ..ActionGroup::default()
    }
}

/// A native agent with a plain group, one that no function schema can say, and a collaborator.
fn native(session: &Session) -> outcrop::Agent {
    let runtime = runtime().unwrap();
    let script = json!({"script": [{"answer": "ok"}]});
    let model = session.register_model("acme.agent-v1", script, true, None);
    runtime.block_on(model).unwrap();
    let clerk = AgentRequest {
        name: "clerk".into(),
        model: "acme.agent-v1".into(),
        instruction: "Look limits up.".into(),
        ..AgentRequest::default()
    };
    runtime.block_on(session.create_agent(clerk)).unwrap();
    let plain =
        json!({"type": "object", "properties": {"to": {"type": "string"}}, "required": ["to"]});
    let nested = json!({"type": "object", "properties": {"who": {"type": "object", "properties": {
        "id": {"type": "integer"}}}}, "required": ["who"]});
    let mut request = AgentRequest {
        name: "advisor".into(),
        model: "acme.agent-v1".into(),
        instruction: "Help.".into(),
        action_groups: vec![group("mail", plain), group("limits", nested)],
        collaborators: vec![CollaboratorRequest {
            agent: "clerk".into(),
            name: None,
            instruction: "for limits".into(),
            ..CollaboratorRequest::default()
        }],
        ..AgentRequest::default()
    };
    request.limits.max_steps = 7;
    runtime.block_on(session.create_agent(request)).unwrap()
}

#[test]
fn a_native_agent_is_one_of_bedrocks_and_stays_as_it_was_made() {
    let home = tempfile::tempdir().unwrap();
    let session = session(&home);
    let made = native(&session);
    let id = made.id();
    let listed = ask(&session, "ListAgents", json!({}));
    assert_eq!(listed["agentSummaries"][0]["agentId"], id);
    let draft = json!({"agentId": id, "agentVersion": "DRAFT"});
    let groups = ask(&session, "ListAgentActionGroups", draft.clone());
    let groups = groups["actionGroupSummaries"].as_array().unwrap().clone();
    let mut shown = Value::Null;
    for group in &groups {
        let input = json!({"agentId": id, "agentVersion": "DRAFT",
            "actionGroupId": group["actionGroupId"]});
        let whole = ask(&session, "GetAgentActionGroup", input)["agentActionGroup"].take();
        shown[group["actionGroupName"].as_str().unwrap()] = whole;
    }
    let function = &shown["mail"]["functionSchema"]["functions"][0];
    assert_eq!(
        function["parameters"]["to"],
        json!({"type": "string", "required": true})
    );
    assert_eq!(function["requireConfirmation"], "ENABLED");
    let payload = shown["limits"]["apiSchema"]["payload"].as_str().unwrap();
    assert!(payload.contains(r#""id":{"type":"integer"}"#), "{payload}");
    let team = ask(&session, "ListAgentCollaborators", draft.clone());
    assert_eq!(
        team["agentCollaboratorSummaries"][0]["collaboratorName"],
        "clerk"
    );

    // Prepared again, and frozen, it runs what it ran: nothing was lost in Bedrock's form.
    ask(&session, "PrepareAgent", json!({"agentId": id}));
    let again = runtime()
        .unwrap()
        .block_on(session.agent("advisor"))
        .unwrap();
    assert_eq!(again.definition(), made.definition());
    // The same request changes nothing, and no part gets another id.
    native(&session);
    let after = ask(&session, "ListAgentActionGroups", draft);
    assert_eq!(after["actionGroupSummaries"], json!(groups));
}

#[test]
fn what_is_changed_by_bedrock_runs_once_it_is_prepared() {
    let home = tempfile::tempdir().unwrap();
    let session = session(&home);
    let id = native(&session).id().to_string();
    let draft = json!({"agentId": id, "agentVersion": "DRAFT"});
    let groups = ask(&session, "ListAgentActionGroups", draft);
    let mail = groups["actionGroupSummaries"].as_array().unwrap().iter();
    let mail = mail
        .clone()
        .find(|group| group["actionGroupName"] == "mail")
        .unwrap();
    ask(
        &session,
        "UpdateAgentActionGroup",
        json!({"agentId": id, "agentVersion": "DRAFT", "actionGroupId": mail["actionGroupId"],
            "actionGroupName": "post", "actionGroupExecutor": {"customControl": "RETURN_CONTROL"},
            "functionSchema": {"functions": [{"name": "send", "parameters": {
                "copies": {"type": "array"}}}]}}),
    );
    let definition = || {
        let agent = runtime()
            .unwrap()
            .block_on(session.agent("advisor"))
            .unwrap();
        agent.definition().clone()
    };
    assert_eq!(definition().action_groups[0].name, "mail");
    ask(&session, "PrepareAgent", json!({"agentId": id}));
    let prepared = definition();
    assert_eq!(prepared.limits.max_steps, 7);
    let post = prepared
        .action_groups
        .iter()
        .find(|group| group.name == "post")
        .unwrap();
    assert_eq!(post.execution, Execution::ReturnControl);
    let function = &post.functions[0];
    assert_eq!(function.name, "send");
    assert_eq!(
        function.input_schema,
        json!({"type": "object", "properties": {"copies": {"type": "array"}}, "required": [],
            "additionalProperties": false})
    );
    // Deleted natively, it leaves no version and no alias behind.
    ask(
        &session,
        "CreateAgentAlias",
        json!({"agentId": id, "agentAliasName": "live"}),
    );
    runtime()
        .unwrap()
        .block_on(session.delete_agent("advisor"))
        .unwrap();
    assert!(call(&session, AGENT, "ListAgentVersions", json!({"agentId": id})).is_err());
    let kinds = ["agent-versions", "agent-aliases", "agent-definitions"];
    for kind in kinds {
        let folder = home.path().join("records").join(kind);
        let left = std::fs::read_dir(&folder).unwrap().flatten();
        let of_it = left.filter(|entry| entry.file_name().to_string_lossy().contains(&id));
        assert_eq!(of_it.count(), 0, "{kind}");
    }
}
