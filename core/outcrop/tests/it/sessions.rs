//! Sessions, their invocations and steps, and tags.

use outcrop::Session;
use outcrop::operations::Service;
use serde_json::{Value, json};

use crate::operations::{answer, refusal};
use crate::session;

const RUNTIME: Service = Service::BedrockAgentRuntime;

fn ask(session: &Session, name: &str, input: Value) -> Value {
    answer(session, RUNTIME, name, input)
}

fn ids(list: &Value, member: &str) -> Vec<String> {
    let items = list.as_array().unwrap().iter();
    items
        .map(|item| item[member].as_str().unwrap().to_string())
        .collect()
}

#[test]
fn a_session_is_kept_step_by_step_across_homes_opened_again() {
    let home = tempfile::tempdir().unwrap();
    let first = session(&home);
    let made = ask(
        &first,
        "CreateSession",
        json!({"sessionMetadata": {"user": "u"}}),
    );
    let (id, arn) = (&made["sessionId"], &made["sessionArn"]);
    assert_eq!(made["sessionStatus"], "ACTIVE");
    let invocation = ask(
        &first,
        "CreateInvocation",
        json!({"sessionIdentifier": arn}),
    );
    let invocation = &invocation["invocationId"];
    let step = json!({
        "sessionIdentifier": id,
        "invocationIdentifier": invocation,
        "invocationStepTime": "2026-11-23T10:00:00Z",
        "payload": {"contentBlocks": [{"text": "Hello"}]},
    });
    let step = ask(&first, "PutInvocationStep", step)["invocationStepId"].clone();
    drop(first);

    let again = session(&home);
    let found = ask(&again, "GetSession", json!({"sessionIdentifier": id}));
    assert_eq!(found["sessionMetadata"], json!({"user": "u"}));
    let get = json!({"sessionIdentifier": id, "invocationIdentifier": invocation, "invocationStepId": step});
    let got = ask(&again, "GetInvocationStep", get);
    assert_eq!(
        got["invocationStep"]["payload"]["contentBlocks"][0]["text"],
        "Hello"
    );
    assert_eq!(
        got["invocationStep"]["invocationStepTime"],
        "2026-11-23T10:00:00Z"
    );
    let steps = ask(
        &again,
        "ListInvocationSteps",
        json!({"sessionIdentifier": id}),
    );
    assert_eq!(
        ids(&steps["invocationStepSummaries"], "invocationStepId"),
        [step.as_str().unwrap()]
    );
    let listed = ask(&again, "ListInvocations", json!({"sessionIdentifier": id}));
    assert_eq!(
        &listed["invocationSummaries"][0]["invocationId"],
        invocation
    );
}

#[test]
fn a_session_that_has_ended_takes_nothing_and_is_deleted_whole() {
    let home = tempfile::tempdir().unwrap();
    let session = session(&home);
    let made = ask(&session, "CreateSession", json!({}));
    let by_id = json!({"sessionIdentifier": made["sessionId"]});
    ask(&session, "CreateInvocation", by_id.clone());
    let refused = |name, input| refusal(&session, RUNTIME, name, input);
    assert_eq!(refused("DeleteSession", by_id.clone()), "ConflictException");
    let ended = ask(&session, "EndSession", by_id.clone());
    assert_eq!(ended["sessionStatus"], "ENDED");
    for name in ["CreateInvocation", "UpdateSession", "EndSession"] {
        assert_eq!(refused(name, by_id.clone()), "ConflictException", "{name}");
    }
    ask(&session, "DeleteSession", by_id.clone());
    assert_eq!(refused("GetSession", by_id), "ResourceNotFoundException");
    let sessions = ask(&session, "ListSessions", json!({}));
    assert_eq!(sessions["sessionSummaries"], json!([]));
    let key = json!({"encryptionKeyArn": "arn:aws:kms:local:000000000000:key/k"});
    assert_eq!(refused("CreateSession", key), "ValidationException");
}

#[test]
fn lists_go_on_where_they_ended_while_others_are_made() {
    let home = tempfile::tempdir().unwrap();
    let session = session(&home);
    let create = || {
        let made = ask(&session, "CreateSession", json!({}));
        made["sessionId"].as_str().unwrap().to_string()
    };
    let mut made: Vec<String> = (0..5).map(|_| create()).collect();
    made.reverse();
    let mut found = Vec::new();
    let mut input = json!({"maxResults": 2});
    loop {
        let page = ask(&session, "ListSessions", input.clone());
        found.extend(ids(&page["sessionSummaries"], "sessionId"));
        create();
        match page.get("nextToken") {
            Some(token) => input["nextToken"] = token.clone(),
            None => break,
        }
    }
    assert_eq!(found, made);
    input["nextToken"] = json!("00ff");
    assert_eq!(
        refusal(&session, RUNTIME, "ListSessions", input),
        "ValidationException"
    );
}

#[test]
fn tags_are_of_the_resource_that_the_arn_names_in_every_service() {
    let home = tempfile::tempdir().unwrap();
    let session = session(&home);
    let made = ask(
        &session,
        "CreateSession",
        json!({"tags": {"a": "1", "b": "2"}}),
    );
    let arn = &made["sessionArn"];
    ask(
        &session,
        "TagResource",
        json!({"resourceArn": arn, "tags": {"b": "3", "c": ""}}),
    );
    ask(
        &session,
        "UntagResource",
        json!({"resourceArn": arn, "tagKeys": ["a"]}),
    );
    let listed = |service| {
        answer(
            &session,
            service,
            "ListTagsForResource",
            json!({"resourceArn": arn, "resourceARN": arn}),
        )
    };
    assert_eq!(listed(RUNTIME)["tags"], json!({"b": "3", "c": ""}));
    assert_eq!(listed(Service::BedrockAgent), listed(RUNTIME));
    assert_eq!(
        listed(Service::Bedrock)["tags"],
        json!([{"key": "b", "value": "3"}, {"key": "c", "value": ""}])
    );
    let unknown = json!({"resourceArn": "arn:aws:bedrock:local:000000000000:prompt/AAAAAAAAAA"});
    assert_eq!(
        refusal(&session, RUNTIME, "ListTagsForResource", unknown),
        "ResourceNotFoundException"
    );
    let many: serde_json::Map<String, Value> =
        (0..199).map(|n| (format!("k{n}"), json!(""))).collect();
    let many = json!({"resourceArn": arn, "tags": many});
    assert_eq!(
        refusal(&session, RUNTIME, "TagResource", many),
        "ServiceQuotaExceededException"
    );
    assert_eq!(listed(RUNTIME)["tags"], json!({"b": "3", "c": ""}));
}
