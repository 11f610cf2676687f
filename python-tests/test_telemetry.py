"""OpenTelemetry spans of turns, model calls, tools and look-ups, by an exporter in memory."""

import asyncio
import json

import outcrop
import pytest
from opentelemetry import trace
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter

EXPORTER = InMemorySpanExporter()


@pytest.fixture
def spans(monkeypatch):
    """The spans that have ended, by name; the provider of a process can be set once."""
    monkeypatch.delenv("OTEL_INSTRUMENTATION_GENAI_CAPTURE_MESSAGE_CONTENT", raising=False)
    if not isinstance(trace.get_tracer_provider(), TracerProvider):
        provider = TracerProvider()
        provider.add_span_processor(SimpleSpanProcessor(EXPORTER))
        trace.set_tracer_provider(provider)
    EXPORTER.clear()
    return lambda: {span.name: span for span in EXPORTER.get_finished_spans()}


def advisor(session, name="advisor"):
    @outcrop.tool
    def get_limit(user: str) -> dict:
        with trace.get_tracer("the-bank").start_as_current_span("query of the bank"):
            return {"limit": 5000}

    @outcrop.tool
    async def broken(n: int) -> int:
        raise KeyError("no such account")

    session.register_model("acme.words-v1", {"embeddings": {"dimensions": 64, "others": "hashed"}})
    kb = session.create_knowledge_base("policies", embedding_model="acme.words-v1")
    kb.add([outcrop.Document(text="Cards are replaced within two days.", id="cards.md")])
    script = [
        {"match": {"tool_result": {"name": "get_limit"}}, "answer": "It is 5000."},
        {"answer": {"tool_uses": [
            {"name": "search_policies", "input": {"query": "a secret question"}},
            {"name": "get_limit", "input": {"user": "a-private-name"}},
            {"name": "broken", "input": {"n": 1}},
        ]}},
    ]
    session.register_model("acme.agent-v1", {"script": script}, replace=True)
    return session.create_agent(
        name, model="acme.agent-v1", knowledge_bases=[kb],
        action_groups=[outcrop.ActionGroup("accounts", [get_limit, broken])],
    )


@pytest.mark.parametrize("awaits", [False, True])
def test_a_turn_is_a_span_with_its_calls_in_it(own_session, spans, awaits):
    agent = advisor(own_session)
    if awaits:
        result = asyncio.run(agent.ainvoke("?", session_id="s1"))
    else:
        result = agent.invoke("?", session_id="s1")
    seen = spans()
    turn = seen["invoke_agent advisor"]
    about = dict(turn.attributes)
    assert about["gen_ai.operation.name"] == "invoke_agent"
    assert about["gen_ai.provider.name"] == "outcrop"
    assert (about["gen_ai.agent.id"], about["gen_ai.agent.name"]) == (agent.id, "advisor")
    assert about["gen_ai.conversation.id"] == "s1"
    assert about["gen_ai.request.model"] == "acme.agent-v1"
    assert about["gen_ai.usage.input_tokens"] == result.usage.input_tokens
    assert about["gen_ai.usage.output_tokens"] == result.usage.output_tokens
    assert about["gen_ai.response.finish_reasons"] == ("end_turn",)
    decided = [dict(event.attributes) for event in turn.events if event.name == "outcrop.decision"]
    assert [one["gen_ai.tool.name"] for one in decided] == ["search_policies", "get_limit", "broken"]
    assert {one["outcrop.decision.effect"] for one in decided} == {"allow"}
    assert decided[0]["outcrop.decision.policies"] == ("default",)

    chats = [span for span in EXPORTER.get_finished_spans() if span.name == "chat acme.agent-v1"]
    assert [span.attributes["gen_ai.response.finish_reasons"] for span in chats] == [("tool_use",), ("end_turn",)]
    told = [event.detail for event in result.trace if event.kind == "modelInvocationOutput"]
    assert [span.attributes["gen_ai.usage.input_tokens"] for span in chats] == [
        one["usage"]["inputTokens"] for one in told
    ]
    # The times are those that the turn measured.
    assert [(span.end_time - span.start_time) // 1_000_000 for span in chats] == [one["tookMs"] for one in told]

    (base,) = own_session.knowledge_bases()
    look_up = seen[f"retrieval {base.id}"]
    assert look_up.attributes["gen_ai.data_source.id"] == base.id
    tool = seen["execute_tool get_limit"]
    assert tool.attributes["gen_ai.tool.name"] == "get_limit"
    assert tool.attributes["gen_ai.tool.type"] == "function"
    assert tool.attributes["gen_ai.tool.call.id"] == "1.1.2"
    # What a function does of its own is in its span.
    assert seen["query of the bank"].parent.span_id == tool.context.span_id
    failed = seen["execute_tool broken"]
    assert failed.attributes["error.type"] == "KeyError" and not failed.status.is_ok
    for span in [*chats, look_up, tool, failed]:
        assert span.parent.span_id == turn.context.span_id
        assert span.kind is trace.SpanKind.INTERNAL
    # What was said is in none of them.
    for span in EXPORTER.get_finished_spans():
        assert "secret" not in span.to_json() and "private" not in span.to_json()


def test_content_is_told_where_it_is_asked_for(own_session, spans, monkeypatch):
    monkeypatch.setenv("OTEL_INSTRUMENTATION_GENAI_CAPTURE_MESSAGE_CONTENT", "true")
    agent = advisor(own_session)
    agent.invoke("What is my limit?")
    seen = spans()
    said = json.loads(seen["invoke_agent advisor"].attributes["gen_ai.input.messages"])
    assert said == [{"role": "user", "parts": [{"type": "text", "content": "What is my limit?"}]}]
    answer = json.loads(seen["invoke_agent advisor"].attributes["gen_ai.output.messages"])
    assert answer[0]["parts"][0]["content"] == "It is 5000."
    asked = json.loads(seen["chat acme.agent-v1"].attributes["gen_ai.input.messages"])
    kinds = [part["type"] for message in asked for part in message["parts"]]
    assert kinds[:2] == ["text", "tool_call"] and "tool_call_response" in kinds
    arguments = seen["execute_tool get_limit"].attributes["gen_ai.tool.call.arguments"]
    assert json.loads(arguments) == {"user": "a-private-name"}
    assert "a secret question" in seen[f"retrieval {own_session.knowledge_bases()[0].id}"].attributes.values()


def test_a_failure_is_an_error_of_its_span(own_session, spans):
    fault = {"fault": {"error": "ThrottlingException", "message": "busy"}}
    own_session.register_model("acme.busy-v1", {"script": [{"answer": fault}]})
    agent = own_session.create_agent("busy", model="acme.busy-v1")
    with pytest.raises(outcrop.errors.ThrottlingException):
        agent.invoke("?")
    seen = spans()
    assert seen["chat acme.busy-v1"].attributes["error.type"] == "ThrottlingException"
    assert seen["invoke_agent busy"].attributes["error.type"] == "ThrottlingException"
    assert not seen["invoke_agent busy"].status.is_ok
    EXPORTER.clear()
    with pytest.raises(outcrop.errors.ThrottlingException):
        own_session.model("acme.busy-v1").converse("?")
    assert spans()["chat acme.busy-v1"].attributes["error.type"] == "ThrottlingException"


def test_a_models_own_calls_are_spans(own_session, spans):
    own_session.register_model("acme.chat-v1", {"script": [{"answer": {"text": ["a ", "b"]}}]})
    model = own_session.model("acme.chat-v1")

    def seen():
        (span,) = EXPORTER.get_finished_spans()
        EXPORTER.clear()
        assert span.name == "chat acme.chat-v1" and span.status.is_ok
        assert span.attributes["gen_ai.response.finish_reasons"] == ("end_turn",)
        assert span.attributes["gen_ai.usage.output_tokens"] > 0

    model.converse("?")
    seen()
    asyncio.run(model.aconverse("?"))
    seen()
    assert "".join(model.stream("?")) == "a b"
    seen()

    async def streamed():
        return [delta async for delta in model.astream("?")]

    assert "".join(asyncio.run(streamed())) == "a b"
    seen()
