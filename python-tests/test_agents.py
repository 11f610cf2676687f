"""Agents: functions of this process, approvals, resumption elsewhere, replay, forks, rules."""

import asyncio
import dataclasses
import enum
import json
import os
import signal
import subprocess
import sys
import textwrap
import threading
import time

import outcrop
import pytest
from outcrop.errors import ConflictException, ThrottlingException, ValidationException

from conftest import FIXTURES

CALL = {"tool_uses": [{"name": "get_credit_limit", "input": {"user_id": "12345"}}]}


@outcrop.tool
def get_credit_limit(user_id: str) -> dict:
    """The credit limit of a user.

    Args:
        user_id: The id of the user,
            as it stands on the card.
    """
    return {"user": user_id, "limit": 5000}


def scripted(session, *rules, name="acme.agent-v1"):
    session.register_model(name, {"script": list(rules)}, replace=True)
    return name


def advisor(session, *rules, tools=(get_credit_limit,), confirm=(), **given):
    return session.create_agent(
        "advisor",
        model=scripted(session, *rules),
        instruction="Help.",
        action_groups=[outcrop.ActionGroup("accounts", list(tools), confirm=confirm)],
        **{"replace": True, **given},
    )


def test_a_function_of_this_process_is_called(own_session):
    agent = advisor(
        own_session,
        {"match": {"tool_result": {"content": {"contains": "5000"}}}, "answer": "The limit is 5000."},
        {"answer": CALL},
    )
    result = agent.invoke("What is the limit of 12345?", session_id="s1")
    assert (result.text, result.stop_reason, result.steps) == ("The limit is 5000.", "end_turn", 2)
    assert result.usage.total_tokens > 0 and result.pending == [] and str(result) == result.text
    kinds = [event.kind for event in result.trace]
    assert kinds.index("decision") < kinds.index("invocationInput") < kinds.index("observation")
    assert "get_credit_limit(user_id=\"12345\")" in repr(result.trace)
    assert "<script" not in result._repr_html_() and "http" not in result._repr_html_()
    replayed = agent.replay("s1")
    assert json.dumps(replayed._value) == json.dumps(result._value)
    early = agent.replay("s1", to_step=2)
    assert early.stop_reason == "interrupted" and list(early.trace) == list(result.trace)[: len(early.trace)]


def test_a_stream_tells_text_and_steps_and_ends_in_the_result(own_session):
    agent = advisor(own_session, {"match": {"tool_result": {}}, "answer": {"text": ["a ", "b"]}}, {"answer": CALL})
    events = list(agent.stream("?"))
    assert "".join(event for event in events if isinstance(event, str)) == "a b"
    assert isinstance(events[-1], outcrop.AgentResult)
    steps = [event for event in events if isinstance(event, outcrop.TraceEvent)]
    assert steps == list(events[-1].trace)


class Level(enum.Enum):
    LOW = "low"
    HIGH = "high"


@dataclasses.dataclass
class Address:
    street: str
    floor: int = 0


def test_schemas_come_from_types_and_arguments_come_as_them():
    seen = []

    @outcrop.tool(name="move")
    def moves(to: Address, level: Level, tags: list[str] | None = None, times: int = 1) -> str:
        """Moves a user."""
        seen.append((to, level, tags, times))
        return "done"

    schema = moves.input_schema
    assert moves.name == "move" and moves.description == "Moves a user."
    assert schema["required"] == ["to", "level"] and schema["additionalProperties"] is False
    assert schema["properties"]["level"] == {"enum": ["low", "high"]}
    assert schema["properties"]["times"] == {"type": "integer", "default": 1}
    assert moves._call({"to": {"street": "A"}, "level": "high"}) == "done"
    assert seen == [(Address("A"), Level.HIGH, None, 1)]
    described = get_credit_limit.input_schema["properties"]["user_id"]["description"]
    assert described == "The id of the user, as it stands on the card."
    assert get_credit_limit("7") == {"user": "7", "limit": 5000}
    with pytest.raises(ValidationException, match="type hint"):
        outcrop.tool(lambda x: x)
    with pytest.raises(ValidationException, match="by name"):

        @outcrop.tool
        def several(*numbers: int) -> None: ...


def test_pydantic_models_are_arguments():
    pydantic = pytest.importorskip("pydantic")

    class Order(pydantic.BaseModel):
        item: str
        count: int = pydantic.Field(ge=1)

    def order(order: Order) -> dict:
        return {"got": order.count}

    globals()["Order"] = Order
    made = outcrop.tool(order)
    assert made.input_schema["properties"]["order"]["properties"]["count"]["minimum"] == 1
    assert made._call({"order": {"item": "a", "count": 2}}) == {"got": 2}


@pytest.mark.parametrize("awaits", [False, True])
def test_models_and_dataclasses_come_and_go_through_an_agent(own_session, awaits):
    pydantic = pytest.importorskip("pydantic")

    class Line(pydantic.BaseModel):
        item: str
        count: int = pydantic.Field(ge=1)

    @dataclasses.dataclass
    class Receipt:
        total: int
        level: str

    # Hints are read where the function stands, and these types stand in the test alone.
    globals().update(Line=Line, Receipt=Receipt)
    seen = []

    @outcrop.tool
    def order(line: Line, to: Address, level: Level = Level.LOW) -> Receipt:
        """Orders."""
        seen.append((line, to, level))
        return Receipt(line.count, level.value)

    @outcrop.tool
    async def quote(line: Line) -> Line:
        """Tells a price."""
        await asyncio.sleep(0)
        seen.append(line)
        return line

    asked = [
        {"name": "order", "input": {"line": {"item": "pen", "count": 2}, "to": {"street": "Elm"}, "level": "high"}},
        {"name": "quote", "input": {"line": {"item": "ink", "count": 1}}},
        {"name": "order", "input": {"line": {"item": "pen", "count": 0}, "to": {"street": "Elm"}}},
    ]
    rules = [{"match": {"tool_result": {}}, "answer": "Done."}, {"answer": {"tool_uses": asked}}]
    agent = advisor(own_session, *rules, tools=[order, quote])
    result = asyncio.run(agent.ainvoke("?")) if awaits else agent.invoke("?")
    assert result.text == "Done."
    ordered = (Line(item="pen", count=2), Address("Elm"), Level.HIGH)
    assert len(seen) == 2 and ordered in seen and Line(item="ink", count=1) in seen
    outcomes = {event.detail["call"]["id"]: event.detail["outcome"] for event in result.trace if event.kind == "observation"}
    assert outcomes["1.1.1"] == {"returned": {"total": 2, "level": "high"}}
    assert outcomes["1.1.2"] == {"returned": {"item": "ink", "count": 1}}
    # What does not fit the schema never reaches the function: the model is told.
    assert "malformed" in outcomes["1.1.3"]


def test_async_functions_run_side_by_side(own_session):
    running = []

    @outcrop.tool
    async def wait(n: int) -> int:
        running.append(n)
        while len(running) < 2:
            await asyncio.sleep(0.005)
        return n

    both = {"tool_uses": [{"name": "wait", "input": {"n": 1}}, {"name": "wait", "input": {"n": 2}}]}
    rules = [{"match": {"tool_result": {}}, "answer": "Both."}, {"answer": both}]
    agent = advisor(own_session, *rules, tools=[wait])
    assert asyncio.run(asyncio.wait_for(agent.ainvoke("?"), 20)).text == "Both."
    running.clear()
    # Without a loop of the caller's own, too.
    assert agent.invoke("?").text == "Both."


def test_an_async_stream_and_twins(own_session):
    agent = advisor(own_session, {"match": {"tool_result": {}}, "answer": "Done."}, {"answer": CALL})

    async def all_of_it():
        events = [event async for event in agent.astream("?", session_id="s1")]
        replayed = await agent.areplay("s1")
        forked = await agent.afork("s1", new_session_id="s2")
        assert [info["name"] for info in await own_session.aagents()] == ["advisor"]
        found = await own_session.aagent("advisor")
        return events[-1], replayed, forked, found

    result, replayed, forked, found = asyncio.run(all_of_it())
    assert result.text == replayed.text == forked.text == "Done."
    assert found.id == agent.id


def test_a_function_that_fails_is_told_the_model(own_session):
    @outcrop.tool
    def broken(n: int) -> int:
        raise KeyError("no such account")

    rules = [
        {"match": {"tool_result": {"status": "error", "content": {"contains": "no such account"}}}, "answer": "Failed."},
        {"answer": {"tool_uses": [{"name": "broken", "input": {"n": 1}}]}},
    ]
    assert advisor(own_session, *rules, tools=[broken]).invoke("?").text == "Failed."


def test_bounds_end_a_turn_and_say_which(own_session):
    agent = advisor(own_session, {"answer": {**CALL, "usage": {"output_tokens": 500}}}, max_steps=1)
    result = agent.invoke("?")
    assert (result.stop_reason, result.steps) == ("max_steps", 1)
    assert result.message == "1 model calls of at most 1"
    agent = advisor(own_session, {"answer": CALL}, max_cost=0.000001, price={"input": 3.0, "output": 15.0})
    result = agent.invoke("?")
    assert result.stop_reason == "cost_limit" and result.cost > 0.000001
    with pytest.raises(ValidationException, match="maxSteps: expected 1 or more"):
        advisor(own_session, {"answer": "x"}, max_steps=0)


def test_a_model_that_fails_is_its_error(own_session):
    agent = advisor(own_session, {"answer": {"fault": {"error": "ThrottlingException", "message": "busy"}}})
    with pytest.raises(ThrottlingException, match="busy"):
        agent.invoke("?", session_id="s1")
    assert agent.replay("s1").stop_reason == "model_failed"


def test_arguments_that_are_wrong_are_refused(own_session):
    with pytest.raises(ValidationException, match="action_groups\\[0\\]"):
        own_session.create_agent("a", model="m", action_groups=[get_credit_limit])
    with pytest.raises(ValidationException, match="confirm"):
        advisor(own_session, {"answer": "x"}, confirm=["other"])
    agent = advisor(own_session, {"answer": "x"})
    with pytest.raises(ConflictException, match="made otherwise"):
        advisor(own_session, {"answer": "x"}, max_steps=3, replace=False)
    with pytest.raises(ValidationException, match="sessionId"):
        agent.invoke("?", session_id="a b")
    with pytest.raises(ValidationException, match="input"):
        agent.invoke(" ")


MAIL = [
    {"match": {"tool_result": {"name": "send_email", "status": "success"}}, "answer": "Sent."},
    {"match": {"tool_result": {"name": "send_email", "status": "error"}}, "answer": "Not sent."},
    {"answer": {"tool_uses": [{"name": "send_email", "input": {"to": "a@b.example"}}]}},
]


def test_an_approval_is_asked_and_given_in_another_process(own_session, tmp_path):
    sent = tmp_path / "sent"

    @outcrop.tool
    def send_email(to: str) -> str:
        with open(sent, "a") as file:
            file.write(to + "\n")
        return "ok"

    agent = advisor(own_session, *MAIL, tools=[send_email], confirm=["send_email"])
    paused = agent.invoke("Mail a@b.example", session_id="s1")
    assert paused.stop_reason == "pending" and not sent.exists()
    (call,) = paused.pending
    assert (call.tool, call.arguments, call.asks) == ("send_email", {"to": "a@b.example"}, "USER_CONFIRMATION")
    with pytest.raises(ConflictException, match="has not ended"):
        agent.invoke("And again", session_id="s1")
    with pytest.raises(ValidationException, match="expected approve"):
        agent.resume(paused.pending)
    program = textwrap.dedent(
        f"""
        import outcrop
        session = outcrop.Session({own_session.home!r}, offline=True)
        @outcrop.tool
        def send_email(to: str) -> str:
            open({str(sent)!r}, "a").write(to + "\\n")
            return "ok"
        agent = session.agent("advisor", action_groups=[outcrop.ActionGroup("accounts", [send_email])])
        paused = agent.replay("s1")
        print(agent.resume(paused.pending, approve=True).text, end="")
        """
    )
    said = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True)
    assert said.stdout == "Sent.", said.stderr
    assert sent.read_text() == "a@b.example\n"
    with pytest.raises(ConflictException, match="has ended"):
        agent.resume(paused.pending, approve=True)
    refused = agent.invoke("Mail a@b.example", session_id="s2")
    result = agent.resume(refused.pending, approve=False, reason="not today")
    assert result.text == "Not sent." and "not today" in repr(result.trace)
    stopped = agent.invoke("Mail a@b.example", session_id="s3")
    assert agent.stop("s3").stop_reason == "stopped" and stopped.pending
    assert sent.read_text() == "a@b.example\n"


def test_a_declaration_returns_control(own_session):
    declared = {
        "name": "send_email",
        "description": "Sends.",
        "input_schema": {"type": "object", "properties": {"to": {"type": "string"}}, "required": ["to"]},
    }
    agent = advisor(own_session, *MAIL, tools=[declared])
    paused = agent.invoke("Mail a@b.example")
    (call,) = paused.pending
    assert call.asks == "RESULT"
    assert agent.resume(call, results={call.id: {"status": "queued"}}).text == "Sent."


TEN_STEPS = """
    import json, os, signal, sys
    import outcrop
    home, effects, at, when = sys.argv[1], sys.argv[2], int(sys.argv[3]), sys.argv[4]
    session = outcrop.Session(home, offline=True)
    @outcrop.tool
    def step(n: int) -> str:
        if n == at and when == "before":
            os.kill(os.getpid(), signal.SIGKILL)
        with open(effects, "a") as file:
            file.write(f"{n}\\n")
        if n == at and when == "after":
            os.kill(os.getpid(), signal.SIGKILL)
        return f"step {n} done"
    rules = [{"match": {"tool_result": {"content": {"equals": f"step {n} done"}}},
              "answer": {"tool_uses": [{"name": "step", "input": {"n": n + 1}}]}} for n in range(1, 10)]
    rules += [{"match": {"tool_result": {"content": {"equals": "step 10 done"}}}, "answer": "All done."},
              {"match": {"tool_result": {"content": {"contains": "not known"}}}, "answer": "One is not known."},
              {"answer": {"tool_uses": [{"name": "step", "input": {"n": 1}}]}}]
    session.register_model("acme.ten-v1", {"script": rules}, replace=True)
    agent = session.create_agent("ten", model="acme.ten-v1",
                                 action_groups=[outcrop.ActionGroup("work", [step])])
    if sys.argv[5] == "handed on":
        session.register_model("acme.boss-v1", {"script": [
            {"match": {"tool_result": {"content": {"contains": "One is not known."}}}, "answer": "It says: one is not known."},
            {"answer": {"tool_uses": [{"name": "ask_ten", "input": {"message": "Go."}}]}}]}, replace=True)
        agent = session.create_agent("boss", model="acme.boss-v1", collaborators=[agent])
    result = agent.resume("s1") if when == "resume" else agent.invoke("Go.", session_id="s1")
    print(json.dumps([result.text, [e.detail["call"]["arguments"]["n"] for e in result.trace
                                    if e.kind == "observation" and "unknown" in e.detail["outcome"]]]))
"""


@pytest.mark.parametrize("when", ["before", "after"])
def test_no_effect_runs_twice_and_none_is_lost_in_silence(tmp_path, when):
    """`kill -9` at each step of a ten-step run."""
    for at in range(1, 11):
        kill_and_resume(tmp_path / str(at), at, when, "alone", "One is not known.")


@pytest.mark.parametrize("when", ["before", "after"])
def test_no_effect_of_a_collaborator_runs_twice_or_is_lost(tmp_path, when):
    """`kill -9` at steps of the run that a supervisor has handed on."""
    for at in (1, 4, 10):
        told = "It says: one is not known."
        kill_and_resume(tmp_path / str(at), at, when, "handed on", told)


def kill_and_resume(folder, at, when, how, told):
    home, effects = folder / "home", folder / "effects"
    folder.mkdir()

    def run(when):
        program = textwrap.dedent(TEN_STEPS)
        arguments = [sys.executable, "-c", program, str(home), str(effects), str(at), when, how]
        return subprocess.run(arguments, capture_output=True, text=True)

    killed = run(when)
    assert killed.returncode == -signal.SIGKILL, killed.stderr
    resumed = run("resume")
    assert resumed.returncode == 0, resumed.stderr
    text, unknown = json.loads(resumed.stdout)
    # The one that was begun is reported as unknown, whether it had its effect or not.
    assert (text, unknown) == (told, [at])
    done = effects.read_text().split() if effects.exists() else []
    assert done == [str(n) for n in range(1, at + (when == "after"))]


def test_a_fork_takes_another_course(own_session):
    agent = advisor(
        own_session,
        {"match": {"tool_result": {"content": {"contains": "9000"}}}, "answer": "Nine."},
        {"match": {"tool_result": {"content": {"contains": "5000"}}}, "answer": "Five."},
        {"answer": CALL},
    )
    result = agent.invoke("?", session_id="s1")
    assert result.text == "Five."
    seen = next(event for event in result.trace if event.kind == "observation")
    edit = {"call": seen.detail["call"]["id"], "result": {"limit": 9000}}
    forked = agent.fork("s1", seen.step, edit=edit)
    assert agent.resume(forked.session_id).text == "Nine."
    assert agent.replay("s1").text == "Five."
    with pytest.raises(ValidationException, match="edit"):
        agent.fork("s1", edit={"what": 1})


def test_rules_bound_calls(own_session):
    paid = []

    @outcrop.tool
    def pay(to: str, amount: float) -> str:
        paid.append((to, amount))
        return f"paid {to}"

    def use(to, amount):
        return {"tool_uses": [{"name": "pay", "input": {"to": to, "amount": amount}}]}

    rules = [
        {"match": {"tool_result": {"content": {"contains": "at most 100"}}}, "answer": "Too much."},
        {"match": {"tool_result": {"content": {"contains": "must come from user"}}}, "answer": "Not that one."},
        {"match": {"tool_result": {}}, "answer": "Paid."},
        {"match": {"text": {"contains": "mallory"}}, "answer": use("eve", 1)},
        {"match": {"text": {"contains": "60"}}, "answer": use("bob", 60)},
    ]
    agent = advisor(
        own_session,
        *rules,
        tools=[pay],
        rules=[
            {"function": "accounts.pay", "require": {"sum_at_most": {"argument": "amount", "sum": 100}}},
            {"function": "accounts.pay", "require": {"from": {"arguments": ["to"], "sources": ["user"]}}},
        ],
    )
    assert agent.invoke("Pay 60 to bob", session_id="s1").text == "Paid."
    assert agent.invoke("Pay 60 to bob", session_id="s1").text == "Too much."
    assert agent.invoke("Pay mallory", session_id="s2").text == "Not that one."
    assert paid == [("bob", 60.0)]
    with pytest.raises(ValidationException, match="rules\\[0\\].function"):
        advisor(own_session, {"answer": "x"}, rules=[{"function": "pay", "require": "never"}])


def test_citations_of_look_ups_are_in_the_answer(own_session):
    vectors = {"embeddings": {"dimensions": 64, "others": "hashed"}}
    own_session.register_model("acme.words-v1", vectors)
    kb = own_session.create_knowledge_base("policies", embedding_model="acme.words-v1")
    kb.add([outcrop.Document(text="Cards are replaced within two days.", id="cards.md")])
    model = scripted(
        own_session,
        {"match": {"tool_result": {"name": "search_policies"}}, "answer": "Within two days [1]. I say so [7]."},
        {"answer": {"tool_uses": [{"name": "search_policies", "input": {"query": "card replaced"}}]}},
    )
    agent = own_session.create_agent("reader", model=model, knowledge_bases=[kb])
    result = agent.invoke("How fast is a card replaced?")
    (citation,) = result.citations
    assert citation.passages[0].text == "Cards are replaced within two days."
    assert result.text[citation.span.start : citation.span.end] == "Within two days [1]."


def test_five_hundred_sessions_run_beside_each_other(own_session):
    agent = advisor(own_session, {"match": {"tool_result": {}}, "answer": "Done."}, {"answer": CALL})

    async def all_of_them():
        turns = [agent.ainvoke("?", session_id=f"many-{n}") for n in range(500)]
        return await asyncio.gather(*turns)

    assert [result.text for result in asyncio.run(all_of_them())] == ["Done."] * 500


def test_the_example_of_the_page_runs(own_session, capsys, monkeypatch):
    page = (FIXTURES.parents[3] / "docs" / "agents.md").read_text(encoding="utf-8")
    code = page.split("```python\n")[1].split("```")[0]
    monkeypatch.setattr(outcrop, "Session", lambda: own_session)
    exec(code, {})
    assert capsys.readouterr().out == (
        "pending ['send_email']\nThe limit is 5000. They have mail.\n"
    )


def test_ctrl_c_ends_a_turn_and_it_can_be_resumed(own_session):
    agent = advisor(
        own_session,
        {"match": {"tool_result": {}}, "answer": "On."},
        {"match": {"text": "wait"}, "answers": [{"fault": {"stall": True}}, "Over."]},
    )
    # Where the tests run in a shell's background, the signal is ignored from the start.
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    timer = threading.Timer(0.3, os.kill, (os.getpid(), signal.SIGINT))
    timer.start()
    began = time.monotonic()
    try:
        with pytest.raises(KeyboardInterrupt):
            agent.invoke("wait", session_id="s1")
    finally:
        signal.signal(signal.SIGINT, before)
    assert time.monotonic() - began < 5
    assert agent.replay("s1").stop_reason == "interrupted"
    assert agent.resume("s1").text == "Over."


def test_collaborators_run_their_functions_here_and_pause_at_the_top(own_session):
    @outcrop.tool
    def send_mail(to: str) -> str:
        return f"sent to {to}"

    mail = {"tool_uses": [{"name": "send_mail", "input": {"to": "a@bank.example"}}]}
    clerk = own_session.create_agent(
        "clerk",
        model=scripted(
            own_session,
            {"match": {"tool_result": {"name": "send_mail"}}, "answer": "They have mail."},
            {"match": {"tool_result": {"name": "get_credit_limit"}}, "answer": mail},
            {"answer": CALL},
            name="acme.clerk-v1",
        ),
        action_groups=[
            outcrop.ActionGroup("accounts", [get_credit_limit, send_mail], confirm=["send_mail"])
        ],
    )
    boss = own_session.create_agent(
        "boss",
        model=scripted(
            own_session,
            {"match": {"tool_result": {"name": "ask_clerk"}}, "answer": "The clerk did it."},
            {"answer": {"tool_uses": [{"name": "ask_clerk", "input": {"message": "Do it."}}]}},
            name="acme.boss-v1",
        ),
        collaborators=[outcrop.Collaborator(clerk, "for limits and mail")],
    )
    paused = boss.invoke("Tell 12345 their limit", session_id="s1")
    assert [(call.tool, call.within) for call in paused.pending] == [("send_mail", ("clerk",))]
    result = boss.resume(paused.pending, approve=True)
    assert (result.text, result.steps) == ("The clerk did it.", 5)
    assert [event for event in result.trace if event.within == ("clerk",)]
    assert str(boss.replay("s1").trace) == str(result.trace)


def test_a_lambda_function_of_boto3s_agent_runs_in_this_process(own_session):
    arn = "arn:aws:lambda:us-east-1:123456789012:function:limits"
    seen = []

    def handler(event, context):
        seen.append(event)
        body = {"TEXT": {"body": json.dumps({"limit": 5000})}}
        names = {name: event[name] for name in ("actionGroup", "function")}
        response = {**names, "functionResponse": {"responseBody": body}}
        return {"messageVersion": "1.0", "response": response}

    model = scripted(
        own_session,
        {"match": {"tool_result": {"content": {"contains": "5000"}}}, "answer": "It is 5000."},
        {"answer": {"tool_uses": [{"name": "getLimit", "input": {"user": "12345"}}]}},
    )
    agents = own_session.client("bedrock-agent")
    agent = agents.create_agent(
        agentName="limits", foundationModel=model, instruction="You advise customers of a bank. " * 2
    )["agent"]["agentId"]
    agents.create_agent_action_group(
        agentId=agent,
        agentVersion="DRAFT",
        actionGroupName="limits",
        actionGroupExecutor={"lambda": arn},
        functionSchema={"functions": [{"name": "getLimit", "parameters": {
            "user": {"type": "string", "required": True}}}]},
    )
    with pytest.raises(agents.exceptions.ValidationException, match=arn):
        agents.prepare_agent(agentId=agent)
    own_session.map_lambda(arn, handler)
    agents.prepare_agent(agentId=agent)
    answer = own_session.client("bedrock-agent-runtime").invoke_agent(
        agentId=agent, agentAliasId="TSTALIASID", sessionId="s1", inputText="The limit of 12345?"
    )
    chunks = [event["chunk"]["bytes"] for event in answer["completion"] if "chunk" in event]
    assert b"".join(chunks) == b"It is 5000."
    assert seen[0]["parameters"] == [{"name": "user", "type": "string", "value": "12345"}]
    own_session.map_lambda(arn, None)


def test_operations_at_a_url_are_called_where_the_session_allows_the_host(own_session):
    schema = json.dumps({"openapi": "3.0.0", "info": {"title": "t", "version": "1"}, "paths": {
        "/limits/{user}": {"get": {"operationId": "getLimit", "parameters": [
            {"name": "user", "in": "path", "required": True, "schema": {"type": "string"}}]}}}})
    agent = own_session.create_agent(
        "caller",
        model=scripted(
            own_session,
            {"match": {"tool_result": {"content": {"contains": "not allowed"}}}, "answer": "No."},
            {"match": {"tool_result": {"status": "error"}}, "answer": "It failed."},
            {"answer": {"tool_uses": [{"name": "getLimit", "input": {"user": "1"}}]}},
        ),
        action_groups=[
            outcrop.ActionGroup("bank", url="http://127.0.0.1:9", api_schema=schema)
        ],
    )
    assert agent.invoke("?").text == "No."
    own_session.allow_host("127.0.0.1:9", headers={"authorization": "Bearer x"})
    assert agent.invoke("?").text == "It failed."
    with pytest.raises(ValidationException, match="host"):
        own_session.allow_host("http://x")
    with pytest.raises(ValidationException, match="api_schema"):
        outcrop.ActionGroup("bank", api_schema=schema)._schema()


BUTLER = [
    {"match": {"text": {"regex": "has ended[\\s\\S]*I am Ada"}}, "answer": "Ada likes tea."},
    {"match": {"text": {"contains": "has ended"}}, "answer": "Somebody spoke."},
    {"match": {"system": {"contains": "likes tea"}, "text": {"contains": "drink"}}, "answer": "Tea, as ever."},
    {"match": {"text": {"contains": "drink"}}, "answer": "I do not know."},
    {"answer": "Hello."},
]


def butler(session, **options):
    session.register_model("acme.butler-v1", {"script": BUTLER}, replace=True)
    options = {"memory": True, "replace": True, **options}
    return session.create_agent("butler", model="acme.butler-v1", instruction="Serve.", **options)


def test_a_session_is_remembered_by_the_next_one(own_session):
    agent = butler(own_session)
    first = agent.invoke("I am Ada", "s1", memory_id="ada")
    assert (first.text, first.session_ended, first.summary) == ("Hello.", False, None)
    assert [(one.session_id, one.summary) for one in agent.memory("ada")] == [("s1", None)]
    ended = agent.invoke(session_id="s1", end_session=True)
    assert (ended.session_ended, ended.summary, ended.summary_failure) == (True, "Ada likes tea.", None)
    assert [event.kind for event in ended.trace][-2:] == ["modelInvocationOutput", "summary"]
    assert "Ada likes tea." in repr(ended.trace) and "Ada likes tea." in ended._repr_html_()
    assert json.dumps(agent.replay("s1")._value) == json.dumps(ended._value)
    assert agent.invoke("A drink?", "s2", memory_id="ada").text == "Tea, as ever."
    assert agent.invoke("A drink?", "s3", memory_id="bob", end_session=True).text == "I do not know."
    assert [one.summary for one in agent.memory("bob")] == ["Somebody spoke."]
    forked = agent.fork("s2", new_session_id="s4")
    assert agent.invoke("A drink?", "s4").text == forked.text == "Tea, as ever."
    agent.delete_memory("ada", "s1")
    assert agent.invoke("A drink?", "s5", memory_id="ada").text == "I do not know."
    with pytest.raises(outcrop.errors.ResourceNotFoundException, match="s1"):
        agent.delete_memory("ada", "s1")
    agent.delete_memory()
    assert agent.memory("bob") == []


def test_the_twins_of_memory(own_session):
    own_session.register_model("acme.butler-v1", {"script": BUTLER})
    agent = asyncio.run(
        own_session.acreate_agent(
            "butler", model="acme.butler-v1", instruction="Serve.", idle_session_ttl=30,
            memory={"storage_days": 3, "max_recent_sessions": 1, "template": "It has ended: $conversation$"},
        )
    )

    async def all_of_it():
        await agent.ainvoke("I am Ada", "s1", memory_id="ada", end_session=True)
        (kept,) = await agent.amemory("ada")
        await agent.adelete_memory("ada")
        return kept, await agent.amemory("ada")

    kept, left = asyncio.run(all_of_it())
    assert kept.summary == "Ada likes tea." and left == []
    assert kept.expires[:10] > kept.ended[:10] >= kept.began[:10]
    settings = agent.info["definition"]["memory"]
    assert (settings["storageDays"], settings["maxRecentSessions"]) == (3, 1)
    assert agent.info["definition"]["idleSessionSeconds"] == 30


def test_wrong_memories_are_refused(own_session):
    plain = butler(own_session, memory=None)
    with pytest.raises(ValidationException, match="has no memory"):
        plain.invoke("Hello", "s1", memory_id="ada")
    with pytest.raises(ValidationException, match="memory: expected True or a dict"):
        butler(own_session, memory={"days": 3})
    with pytest.raises(ValidationException, match="storageDays: expected 0..=365, got 366"):
        butler(own_session, memory={"storage_days": 366})
    with pytest.raises(ValidationException, match=r"\$conversation\$"):
        butler(own_session, memory={"template": "Sum it up."})
    agent = butler(own_session)
    agent.invoke("Hello", "s1", memory_id="ada")
    with pytest.raises(ConflictException, match="began with the memory"):
        agent.invoke("Hello", "s1", memory_id="bob")
    with pytest.raises(ValidationException, match="memoryId"):
        agent.invoke("Hello", "s2", memory_id="a b")
    with pytest.raises(outcrop.errors.ResourceNotFoundException):
        agent.invoke(session_id="s9", end_session=True)
    with pytest.raises(ValidationException, match="input"):
        agent.invoke("", "s1")


KILLED_WHILE_SUMMING_UP = """
    import os, signal, sys, threading, time
    import outcrop
    session = outcrop.Session(sys.argv[1], offline=True)
    agent = session.agent("butler")
    def kill():
        # The session has ended, and the model is at its summary.
        path = os.path.join(sys.argv[1], "journals", "agent-sessions", f"{agent.id}.s1.jsonl")
        while '"closed"' not in open(path).read():
            time.sleep(0.01)
        os.kill(os.getpid(), signal.SIGKILL)
    threading.Thread(target=kill).start()
    agent.invoke(session_id="s1", end_session=True)
"""


def test_kill_9_while_a_summary_is_made_loses_nothing(own_session):
    agent = butler(own_session)
    agent.invoke("I am Ada", "s1", memory_id="ada")
    slow = [{**BUTLER[0], "answer": {"text": "Too late.", "delay_ms": 60_000}}, *BUTLER[1:]]
    own_session.register_model("acme.butler-v1", {"script": slow}, replace=True)
    program = textwrap.dedent(KILLED_WHILE_SUMMING_UP)
    killed = subprocess.run([sys.executable, "-c", program, own_session.home], capture_output=True, text=True)
    assert killed.returncode == -signal.SIGKILL, killed.stderr
    assert agent.replay("s1").session_ended
    own_session.register_model("acme.butler-v1", {"script": BUTLER}, replace=True)
    assert agent.invoke("A drink?", "s2", memory_id="ada").text == "Tea, as ever."
    (event,) = [event for event in agent.replay("s2").trace if event.kind == "memoryRead"]
    assert [one["sessionId"] for one in event.detail["memory"]["sessions"]] == ["s1"]
    # Ended once, summed up once.
    kinds = [event.kind for event in agent.replay("s1").trace]
    assert (kinds.count("sessionEnded"), kinds.count("summary")) == (1, 1)


def test_an_approved_call_is_decided_again(own_session):
    sent = []

    @outcrop.tool
    def send_email(to: str) -> str:
        sent.append(to)
        return "ok"

    agent = advisor(own_session, *MAIL, tools=[send_email], confirm=["send_email"])
    paused = agent.invoke("Mail a@b.example", session_id="s1")
    own_session.put_policy(
        "closed", 'forbid (principal, action == Action::"accounts.send_email", resource);'
    )
    result = agent.resume(paused.pending, approve=True)
    assert (result.text, sent) == ("Not sent.", [])
    effects = [event.detail["effect"] for event in result.trace if event.kind == "decision"]
    assert effects == ["allow", "deny"]
    own_session.delete_policy("closed")
    paused = agent.invoke("Mail a@b.example", session_id="s2")
    assert agent.resume(paused.pending, approve=True).text == "Sent." and sent == ["a@b.example"]
