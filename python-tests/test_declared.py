"""Models that are declared as data, and aliases."""

import http.server
import json
import threading
import time

import outcrop
import pytest
from outcrop.errors import (
    ConflictException,
    ModelStreamErrorException,
    ModelTimeoutException,
    ResourceNotFoundException,
    ThrottlingException,
    ValidationException,
)

from conftest import FIXTURES

HAIKU = "anthropic.claude-3-haiku-20240307-v1:0"

SCRIPT = {
    "script": [
        {
            "match": {"text": {"contains": "weather"}},
            "answer": {"text": "Let me look.", "tool_uses": [{"name": "sky", "input": {"at": "Oslo"}}]},
        },
        {"match": {"tool_result": {"name": "sky", "content": {"regex": "bl.e"}}}, "answer": "It is blue."},
        {"match": {"tag": {"case": "busy"}}, "answer": {"fault": {"error": "ThrottlingException"}}},
        {
            "match": {"text": "broken"},
            "answer": {"text": ["a", "b"], "fault": {"error": "ModelStreamErrorException", "after_deltas": 1}},
        },
        {"match": {"text": "stall"}, "answer": {"fault": {"stall": True}}},
        {"match": {"text": "stated"}, "answer": {"text": "x", "usage": {"input_tokens": 7, "output_tokens": 9}}},
        {"match": {"text": "twice"}, "answers": ["one", "two"]},
        {"match": {"text": "json"}, "answer": '{"a": 1}'},
    ]
}


@pytest.fixture
def scripted(own_session):
    own_session.register_model("acme.scripted-v1", SCRIPT)
    return own_session.model("acme.scripted-v1")


def test_a_script_runs_a_tool_turn(own_session, scripted):
    entry = {entry.id: entry for entry in own_session.models()}["acme.scripted-v1"]
    assert (entry.kind, entry.source, entry.available) == ("chat", "script", True)
    tools = [{"name": "sky", "description": "", "input_schema": {"type": "object"}}]
    messages = [{"role": "user", "content": "How is the weather?"}]
    reply = scripted.converse(messages, tools=tools)
    assert (reply.stop_reason, reply.text) == ("tool_use", "Let me look.")
    use = reply.tool_uses[0]
    assert (use.name, use.input) == ("sky", {"at": "Oslo"})
    result = {"toolResult": {"toolUseId": use.id, "content": [{"text": "blue"}]}}
    messages += [
        {"role": "assistant", "content": reply.content},
        {"role": "user", "content": [result]},
    ]
    assert scripted.converse(messages, tools=tools).text == "It is blue."


def test_faults_usage_and_sequences(scripted):
    with pytest.raises(ThrottlingException):
        scripted.converse("x", request_metadata={"case": "busy"})
    stream = scripted.stream("broken")
    assert next(iter(stream)) == "a"
    with pytest.raises(ModelStreamErrorException):
        next(iter(stream))
    started = time.monotonic()
    with pytest.raises(ModelTimeoutException):
        scripted.converse("stall", deadline=0.05)
    assert time.monotonic() - started < 5
    usage = scripted.converse("stated").usage
    assert (usage.input_tokens, usage.output_tokens) == (7, 9)
    assert [scripted.converse("twice").text for _ in range(2)] == ["one", "two"]
    with pytest.raises(ValidationException, match=r"script\[6\] has 2 answers"):
        scripted.converse("twice")
    assert scripted.converse("json", response_schema={"type": "object"}).parsed == {"a": 1}
    with pytest.raises(ValidationException, match=r"no rule .* \"unknown\".*script\[0\]"):
        scripted.converse("unknown")


def test_a_declaration_is_checked_kept_and_replaced(own_session, tmp_path):
    register = own_session.register_model
    with pytest.raises(ValidationException, match=r"^script\[0\].answer.delay_ms: expected a whole"):
        register("acme.a", {"script": [{"answer": {"text": "x", "delay_ms": "soon"}}]})
    with pytest.raises(ValidationException, match="spec: expected a dict"):
        register("acme.a", [])
    register("acme.a", {"script": [{"answer": "1"}]})
    register("acme.a", {"script": [{"answer": "1"}]})
    model = own_session.model("acme.a")
    with pytest.raises(ConflictException):
        register("acme.a", {"script": [{"answer": "2"}]})
    register("acme.a", {"script": [{"answer": "2"}]}, replace=True)
    with pytest.raises(ResourceNotFoundException, match="open it again"):
        model.converse("x")
    assert own_session.model("acme.a").converse("x").text == "2"
    with outcrop.Session(home=own_session.home, offline=True) as another:
        assert another.model("acme.a").converse("x").text == "2"
    own_session.unregister_model("acme.a")
    with pytest.raises(ResourceNotFoundException):
        own_session.model("acme.a")
    entry = register("acme.path", {"path": FIXTURES / "llama3"})
    assert entry.source == str((FIXTURES / "llama3").resolve())
    assert own_session.model("acme.path").generate("Hi", max_tokens=1).usage.output_tokens == 1


def test_aliases(own_session, scripted):
    own_session.alias(HAIKU, "acme.scripted-v1")
    assert own_session.aliases() == {HAIKU: "acme.scripted-v1"}
    arn = f"arn:aws:bedrock:us-east-1::foundation-model/{HAIKU}"
    for name in (HAIKU, f"us.{HAIKU}", arn):
        model = own_session.model(name)
        assert model.info.id == "acme.scripted-v1"
        assert model.converse("stated").text == "x"
    with pytest.raises(ValidationException, match="would stand for itself"):
        own_session.alias(HAIKU, f"us.{HAIKU}")
    own_session.alias(HAIKU, FIXTURES / "llama3")
    assert own_session.model(HAIKU).info.architecture == "llama"
    own_session.alias(HAIKU, None)
    assert own_session.aliases() == {}
    with pytest.raises(ResourceNotFoundException):
        own_session.model(HAIKU)


async def check_awaitable(session):
    await session.aregister_model("acme.a", {"script": [{"answer": "1"}]})
    await session.aalias(HAIKU, "acme.a")
    assert await session.aaliases() == {HAIKU: "acme.a"}
    assert (await (await session.amodel(HAIKU)).aconverse("x")).text == "1"
    await session.aalias(HAIKU, None)
    await session.aunregister_model("acme.a")


def test_awaitable_twins(own_session):
    import asyncio

    asyncio.run(check_awaitable(own_session))


def test_vectors_of_a_script_build_a_knowledge_base(own_session):
    own_session.register_model("acme.words-v1", {"embeddings": {"dimensions": 256, "others": "hashed"}})
    kb = own_session.create_knowledge_base("notes", embedding_model="acme.words-v1")
    kb.add([outcrop.Document(text="The sky is blue."), outcrop.Document(text="Taxes are due in May.")])
    assert kb.retrieve("When are taxes due?", k=1)[0].text == "Taxes are due in May."


class OpenAiHandler(http.server.BaseHTTPRequestHandler):
    """Streams one answer in OpenAI's form."""

    protocol_version = "HTTP/1.1"

    def do_POST(self):
        body = json.loads(self.rfile.read(int(self.headers["content-length"])))
        word = body["messages"][-1]["content"]
        chunks = [
            {"choices": [{"delta": {"content": word.upper()}}]},
            {"choices": [{"delta": {}, "finish_reason": "stop"}]},
            {"choices": [], "usage": {"prompt_tokens": 3, "completion_tokens": 1}},
        ]
        self.send_response(200)
        self.send_header("Connection", "close")
        self.end_headers()
        for chunk in chunks:
            self.wfile.write(f"data: {json.dumps(chunk)}\n\n".encode())
        self.close_connection = True

    def log_message(self, *_):
        pass


def test_a_server_of_openais_form(own_session):
    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), OpenAiHandler)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    try:
        base_url = f"http://127.0.0.1:{server.server_port}/v1"
        own_session.register_model("acme.remote", {"openai": {"base_url": base_url, "model": "m"}})
        reply = own_session.model("acme.remote").converse("hello")
        assert (reply.text, reply.usage.input_tokens) == ("HELLO", 3)
        with pytest.raises(ValidationException, match="^regex: "):
            own_session.model("acme.remote").converse("hello", regex="a")
    finally:
        server.shutdown()
