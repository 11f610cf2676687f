"""Agents through boto3: the seed's request whole, and every kind of event held against the service model."""

import json
import pathlib
import subprocess
import sys
import textwrap

import outcrop
import pytest
from botocore.exceptions import ClientError, EventStreamError

QUESTION = (
    "What's the credit limit for user ID 12345? Then send them an email with the updated policy "
    "highlights."
)
USER = {"userId": {"type": "string", "required": True}}
FUNCTIONS = [
    {"name": "getCreditLimit", "description": "The credit limit of a user.", "parameters": USER},
    {
        "name": "sendEmail",
        "description": "Sends an email.",
        "requireConfirmation": "ENABLED",
        "parameters": {"to": {"type": "string", "required": True}, "text": {"type": "string", "required": True}},
    },
]
EMAIL = {"to": "user12345@bank.example", "text": "A limit may be raised once a year."}
SCRIPT = [
    {"match": {"tool_result": {"name": "sendEmail", "status": "success"}},
     "answer": "The limit of 12345 is 5000. A credit limit may be raised once a year [1]. The mail is sent."},
    {"match": {"tool_result": {"name": "getCreditLimit"}}, "answer": {"tool_uses": [{"name": "sendEmail", "input": EMAIL}]}},
    {"answer": {"text": "I look both up.", "tool_uses": [
        {"name": "search_policies", "input": {"query": "updated credit policy"}},
        {"name": "getCreditLimit", "input": {"userId": "12345"}},
    ]}},
]
GROUP = {
    "actionGroupName": "accounts",
    "actionGroupExecutor": {"customControl": "RETURN_CONTROL"},
    "functionSchema": {"functions": FUNCTIONS},
}


def knowledge(session):
    session.register_model("acme.words-v1", {"embeddings": {"dimensions": 128, "others": "hashed"}})
    policies = session.create_knowledge_base("policies", embedding_model="acme.words-v1")
    policies.add([outcrop.Document(id="credit-policy.md", text="A credit limit may be raised once a year.")])
    return policies


def made(agents, session, script=SCRIPT, model="acme.advisor-v1"):
    """The id of the advisor, made by Bedrock's operations."""
    session.register_model(model, {"script": script}, replace=True)
    agent = agents.create_agent(
        agentName="advisor", foundationModel=model, instruction="You advise the staff of a bank on credit limits.",
    )["agent"]["agentId"]
    agents.create_agent_action_group(agentId=agent, agentVersion="DRAFT", **GROUP)
    agents.associate_agent_knowledge_base(
        agentId=agent, agentVersion="DRAFT", knowledgeBaseId=knowledge(session).id, description="Policies."
    )
    agents.prepare_agent(agentId=agent)
    return agent


def told(answer):
    return list(answer["completion"])


def kinds(events):
    """The kinds of the trace's events, in order."""
    found = []
    for event in events:
        for kind, detail in event.get("trace", {}).get("trace", {}).items():
            found += [kind] if kind == "failureTrace" else [name for name in detail]
    return found


def returned(control, body=None, confirm=None):
    call = control["invocationInputs"][0]["functionInvocationInput"]
    result = {"actionGroup": call["actionGroup"], "function": call["function"]}
    if body is not None:
        result["responseBody"] = {"TEXT": {"body": body}}
    if confirm is not None:
        result["confirmationState"] = confirm
    return {"invocationId": control["invocationId"], "returnControlInvocationResults": [{"functionResult": result}]}


def control_of(events):
    (control,) = [event["returnControl"] for event in events if "returnControl" in event]
    return control


def test_the_seeds_request_through_boto3_and_in_another_process(own_session, bedrock):
    agents, runtime = bedrock("bedrock-agent"), bedrock("bedrock-agent-runtime")
    agent = made(agents, own_session)

    def ask(**given):
        return told(runtime.invoke_agent(
            agentId=agent, agentAliasId="TSTALIASID", sessionId="monday", enableTrace=True, **given
        ))

    first = ask(inputText=QUESTION)
    control = control_of(first)
    (call,) = control["invocationInputs"]
    assert call["functionInvocationInput"]["function"] == "getCreditLimit"
    assert call["functionInvocationInput"]["actionInvocationType"] == "RESULT"
    assert kinds(first) == [
        "modelInvocationInput", "modelInvocationOutput", "rationale", "invocationInput", "observation",
        "invocationInput",
    ]
    limit = json.dumps({"limit": 5000, "email": "user12345@bank.example"})
    second = ask(sessionState=returned(control, limit))
    control = control_of(second)
    asked = control["invocationInputs"][0]["functionInvocationInput"]
    assert (asked["function"], asked["actionInvocationType"]) == ("sendEmail", "USER_CONFIRMATION_AND_RESULT")
    assert {one["name"]: one["value"] for one in asked["parameters"]} == EMAIL

    # The approval, and the sending, in another process, with one changed line.
    program = textwrap.dedent(f"""
        import os, json
        os.environ["OUTCROP_HOME"] = {str(own_session.home)!r}
        import outcrop as boto3
        runtime = boto3.client("bedrock-agent-runtime")
        answer = runtime.invoke_agent(agentId={agent!r}, agentAliasId="TSTALIASID", sessionId="monday",
                                      sessionState=json.loads({json.dumps(returned(control, 'queued', 'CONFIRM'))!r}))
        for event in answer["completion"]:
            chunk = event["chunk"]
            references = [reference["location"]["customDocumentLocation"]["id"]
                          for citation in chunk["attribution"]["citations"]
                          for reference in citation["retrievedReferences"]]
            print(json.dumps([chunk["bytes"].decode(), references]))
    """)
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True)
    text, references = json.loads(done.stdout or "[null, null]")
    assert text == SCRIPT[0]["answer"], done.stderr
    assert references == ["credit-policy.md"]
    log = pathlib.Path(own_session.home, "logs", "decisions")
    lines = [json.loads(line) for file in sorted(log.rglob("*")) if file.is_file() for line in file.read_text().splitlines()]
    decided = [(line["action"], line["effect"], line["policies"]) for line in lines if "callId" in line]
    assert decided == [
        ("Retrieve:search_policies", "Allow", ["default"]),
        ("CallFunction:getCreditLimit", "Allow", ["default"]),
        ("CallFunction:sendEmail", "Allow", ["default"]),
    ]
    # It was sent once: the turn has ended, and nothing waits for another answer.
    with pytest.raises(ClientError, match="has ended"):
        ask(sessionState=returned(control, "queued", "CONFIRM"))


def test_parallel_calls_a_denial_and_a_policy_are_told(own_session, bedrock):
    agents, runtime = bedrock("bedrock-agent"), bedrock("bedrock-agent-runtime")
    script = [
        {"match": {"tool_result": {"name": "sendEmail"}}, "answer": "Not sent."},
        {"answer": {"tool_uses": [
            {"name": "getCreditLimit", "input": {"userId": "1"}},
            {"name": "getCreditLimit", "input": {"userId": "2"}},
            {"name": "getCreditLimit", "input": {"user": "wrong"}},
            {"name": "sendEmail", "input": EMAIL},
        ]}},
    ]
    agent = made(agents, own_session, script)
    own_session.put_policy("never", 'forbid (principal, action == Action::"accounts.sendEmail", resource);', agent)
    given = {"agentId": agent, "agentAliasId": "TSTALIASID", "sessionId": "s1", "enableTrace": True}
    events = told(runtime.invoke_agent(inputText="Both.", **given))
    control = control_of(events)
    assert len(control["invocationInputs"]) == 2
    observed = [
        event["trace"]["trace"]["orchestrationTrace"]["observation"]
        for event in events
        if "observation" in event.get("trace", {}).get("trace", {}).get("orchestrationTrace", {})
    ]
    texts = [one["repromptResponse"]["text"] for one in observed if one["type"] == "REPROMPT"]
    assert any("policy never forbids it" in text for text in texts) and len(texts) == 2
    results = [
        {"functionResult": {"actionGroup": "accounts", "function": "getCreditLimit", "responseState": "FAILURE",
                            "responseBody": {"TEXT": {"body": "no such user"}}}}
    ] * 2
    state = {"invocationId": control["invocationId"], "returnControlInvocationResults": results}
    events = told(runtime.invoke_agent(sessionState=state, **given))
    assert events[-1]["chunk"]["bytes"] == b"Not sent."


def test_failures_are_events_and_errors(own_session, bedrock):
    agents, runtime = bedrock("bedrock-agent"), bedrock("bedrock-agent-runtime")
    fault = {"fault": {"error": "ThrottlingException", "message": "busy"}}
    agent = made(agents, own_session, [{"answer": fault}])
    answer = runtime.invoke_agent(
        agentId=agent, agentAliasId="TSTALIASID", sessionId="s1", inputText="?", enableTrace=True
    )
    events = []
    with pytest.raises(EventStreamError, match="busy"):
        for event in answer["completion"]:
            events.append(event)
    assert kinds(events)[-1] == "failureTrace"
    (failure,) = [event["trace"]["trace"]["failureTrace"] for event in events if "failureTrace" in event["trace"]["trace"]]
    assert "busy" in failure["failureReason"]


def test_an_inline_agents_events(own_session, bedrock):
    runtime = bedrock("bedrock-agent-runtime")
    own_session.register_model("acme.advisor-v1", {"script": SCRIPT})
    base = knowledge(own_session)

    def ask(**given):
        return told(runtime.invoke_inline_agent(
            foundationModel="acme.advisor-v1", instruction="You advise the staff of a bank on credit limits.",
            actionGroups=[GROUP], knowledgeBases=[{"knowledgeBaseId": base.id, "description": "Policies."}],
            sessionId="s1", enableTrace=True, **given,
        ))

    control = control_of(ask(inputText=QUESTION))
    control = control_of(ask(inlineSessionState=returned(control, "5000")))
    events = ask(inlineSessionState=returned(control, confirm="DENY"))
    assert "chunk" not in events[0] and kinds(events)
    own_session.register_model(
        "acme.advisor-v1", {"script": [{"answer": {"fault": {"error": "ModelErrorException", "message": "broken"}}}]},
        replace=True,
    )
    with pytest.raises(EventStreamError, match="broken"):
        told(runtime.invoke_inline_agent(
            foundationModel="acme.advisor-v1", instruction="You advise the staff of a bank on credit limits.",
            sessionId="s2", inputText="?", enableTrace=True,
        ))
