"""Conversations: replies, streams, tools and their arguments."""

import inspect
import json
import math
import re

import numpy as np
import pytest
from outcrop import requests
from outcrop.errors import ValidationException


def test_reply(llama):
    reply = llama.converse("What is the capital of France?", system="Be brief.", max_tokens=12)
    assert reply.text == "".join(block["text"] for block in reply.content)
    assert reply.usage.output_tokens <= 12
    prompt = llama.chat_prompt("What is the capital of France?", system="Be brief.")
    assert reply.usage.input_tokens == len(llama.tokenize(prompt, add_special=False))
    assert reply.usage.total_tokens == reply.usage.input_tokens + reply.usage.output_tokens
    assert reply.stop_reason in ("max_tokens", "end_turn")
    assert reply.tool_uses == []
    assert reply.latency_ms >= 0
    assert reply.cost is None
    again = [{"role": "user", "content": "Hi!"}, reply.message, {"role": "user", "content": "So?"}]
    assert llama.converse(again, max_tokens=3).usage.output_tokens == 3


def test_a_stream_is_the_reply(llama):
    reply = llama.converse("Tell me of rivers.", max_tokens=40, temperature=1.0, seed=3)
    stream = llama.stream("Tell me of rivers.", max_tokens=40, temperature=1.0, seed=3)
    assert stream.reply is None
    deltas = list(stream)
    assert len(deltas) > 1 and all(isinstance(delta, str) for delta in deltas)
    assert "".join(deltas) == reply.text == stream.reply.text
    assert stream.reply.usage.total_tokens == reply.usage.total_tokens
    assert stream.reply.stop_reason == reply.stop_reason
    assert list(stream) == []


def test_a_generated_stream_is_the_completion(llama):
    done = llama.generate("The river", max_tokens=20, temperature=1.0, seed=3)
    stream = llama.generate_stream("The river", max_tokens=20, temperature=1.0, seed=3)
    assert "".join(stream) == done.text
    assert stream.reply.ids == done.ids
    assert stream.reply.usage.total_tokens == done.usage.total_tokens


def test_logprobs(llama):
    done = llama.generate("The river", max_tokens=6, logprobs=3, temperature=1.5, seed=5)
    assert [entry.id for entry in done.logprobs] == done.ids
    ids = llama.tokenize("The river") + done.ids
    rows = llama.logits(ids[:-1])[-len(done.ids) :].astype("float64")
    for entry, row in zip(done.logprobs, rows):
        expected = row - row.max() - math.log(np.exp(row - row.max()).sum())
        assert abs(entry.logprob - expected[entry.id]) < 1e-4
        assert [other.id for other in entry.top] == list(np.argsort(-row, kind="stable")[:3])
        assert entry.top[0].logprob >= entry.top[1].logprob >= entry.top[2].logprob
        assert entry.text == llama.detokenize([entry.id], skip_special=False)
        assert 0 < entry.probability <= 1
    assert (
        done.logprobs
        == llama.generate(
            "The river", max_tokens=6, logprobs=3, temperature=1.5, seed=5, repetition_penalty=1.0
        ).logprobs
    )
    reply = llama.converse("Hi", max_tokens=4, logprobs=0)
    assert len(reply.logprobs) == 4 and all(entry.top == [] for entry in reply.logprobs)
    assert llama.converse("Hi", max_tokens=4).logprobs == []
    stream = llama.stream("Hi", max_tokens=4, logprobs=2)
    assert list(stream) and [entry.id for entry in stream.reply.logprobs] == [
        entry.id for entry in reply.logprobs
    ]
    table = done.logprobs._repr_html_()
    assert table.startswith("<table>") and "likeliest" in table and "%" in repr(done.logprobs)


def test_a_closed_stream_ends(llama):
    with llama.stream("Tell me of rivers.", max_tokens=500) as stream:
        next(stream)
    assert list(stream) == []
    assert stream.reply is None
    stream.close()


def test_stop_sequences_are_not_part_of_the_text(llama):
    whole = llama.generate("The river", max_tokens=30).text
    stop = whole[4:6]
    done = llama.generate("The river", max_tokens=30, stop=stop)
    assert done.stop_reason == "stop_sequence"
    assert done.text == whole[: whole.index(stop)]


def test_generate_takes_text_or_ids(llama):
    import numpy

    ids = llama.tokenize("The river")
    expected = llama.generate("The river", max_tokens=5)
    for prompt in (ids, tuple(ids), numpy.array(ids)):
        assert llama.generate(prompt, max_tokens=5).ids == expected.ids


def request(*positional, **named):
    return json.loads(requests.converse_request(*positional, **named).json)


def test_messages_become_converse_messages():
    assert request("Hi")["messages"] == [{"role": "user", "content": [{"text": "Hi"}]}]
    blocks = [{"text": "a"}, {"searchResult": {"source": "s", "title": "t", "content": []}}]
    messages = [{"role": "user", "content": ["x", *blocks]}, {"role": "assistant", "content": "y"}]
    assert request(messages)["messages"] == [
        {"role": "user", "content": [{"text": "x"}, *blocks]},
        {"role": "assistant", "content": [{"text": "y"}]},
    ]


def test_chat_completion_messages_become_converse_messages():
    call = {"id": "c1", "type": "function", "function": {"name": "f", "arguments": '{"a": 1}'}}
    assert request(
        [
            {"role": "system", "content": "Be brief."},
            {"role": "user", "content": "Hi"},
            {"role": "assistant", "content": None, "tool_calls": [call]},
            {"role": "tool", "tool_call_id": "c1", "name": "f", "content": "3"},
        ],
        max_tokens=None,
    ) == {
        "system": "Be brief.",
        "messages": [
            {"role": "user", "content": [{"text": "Hi"}]},
            {
                "role": "assistant",
                "content": [{"toolUse": {"toolUseId": "c1", "name": "f", "input": {"a": 1}}}],
            },
            {
                "role": "user",
                "content": [{"toolResult": {"toolUseId": "c1", "content": [{"text": "3"}]}}],
            },
        ],
    }


SCHEMA = {"type": "object", "properties": {"city": {"type": "string"}}}


@pytest.mark.parametrize(
    "tool",
    [
        {"toolSpec": {"name": "w", "description": "d", "inputSchema": {"json": SCHEMA}}},
        {"name": "w", "description": "d", "input_schema": SCHEMA},
        {"name": "w", "description": "d", "inputSchema": {"json": SCHEMA}},
        {"type": "function", "function": {"name": "w", "description": "d", "parameters": SCHEMA}},
    ],
)
def test_tools_become_converse_tools(tool):
    made = request("Hi", tools=[tool], tool_choice="w")
    assert made["tools"] == [{"name": "w", "description": "d", "inputSchema": SCHEMA}]
    assert made["toolChoice"] == {"tool": {"name": "w"}}


def test_arguments_reach_the_request():
    made = request(
        "Hi", max_tokens=5, temperature=1, top_p=0.5, top_k=3, min_p=0.1, repetition_penalty=1.1,
        stop=["a", "b"], seed=7, reasoning=False, tool_choice="any", response_schema=SCHEMA,
        logprobs=4, adapter="tone", speculation="prompt_lookup", caller="ana", priority=-2,
        deadline=1.5,
    )  # fmt: skip
    assert made["inferenceConfig"] == {
        "maxTokens": 5, "temperature": 1.0, "topP": 0.5, "topK": 3, "minP": 0.1,
        "repetitionPenalty": 1.1, "seed": 7, "logprobs": 4, "stopSequences": ["a", "b"],
    }  # fmt: skip
    assert made["adapter"] == "tone" and made["speculation"] == "prompt_lookup"
    assert made["scheduling"] == {"caller": "ana", "priority": -2, "deadlineMs": 1500}
    assert made["templateVariables"] == {"enable_thinking": False}
    assert made["toolChoice"] == {"any": {}}
    assert made["outputFormat"] == {"jsonSchema": SCHEMA}


@pytest.mark.parametrize(
    ("named", "expected"),
    [
        ({"regex": "a+"}, {"regex": "a+"}),
        ({"regex": re.compile("a+")}, {"regex": "a+"}),
        ({"lark": "start: /a/"}, {"lark": "start: /a/"}),
        ({"quote": "one"}, {"quote": ["one"]}),
        ({"quote": ["one", "two"]}, {"quote": ["one", "two"]}),
        ({"response_schema": SCHEMA}, {"jsonSchema": SCHEMA}),
    ],
)
def test_formats_reach_the_request(named, expected):
    assert request("Hi", **named)["outputFormat"] == expected
    made = json.loads(requests.generate_request("Hi", **named).json)
    assert made["outputFormat"] == expected


def test_all_calls_show_their_arguments(llama):
    shown = inspect.signature(requests.converse_request).parameters
    for call in (llama.converse, llama.aconverse, llama.stream, llama.astream):
        assert dict(inspect.signature(call).parameters) == dict(shown), call
    shown = inspect.signature(requests.generate_request).parameters
    streams = (llama.generate_stream, llama.agenerate_stream)
    for call in (llama.generate, llama.agenerate, *streams):
        assert dict(inspect.signature(call).parameters) == dict(shown), call


@pytest.mark.parametrize(
    ("named", "message"),
    [
        ({"messages": 5}, "messages: expected a str or a list of messages, got 5 (int)"),
        ({"messages": ["Hi"]}, "messages[0]: expected {"),
        ({"messages": [{"role": "user"}]}, "messages[0]: missing member `content`"),
        ({"messages": [{"role": "user", "content": 3}]}, "messages[0].content: expected"),
        ({"messages": [{"role": "user", "content": [{"image": 1}]}]}, "messages[0].content[0]: "),
        ({"messages": [{"role": "robot", "content": "x"}]}, "messages[0]: unknown variant `robot`"),
        (
            {"messages": [{"role": "user", "content": "x", "n": 1}]},
            "messages[0]: unknown field `n`",
        ),
        ({"messages": "\ud800"}, "messages: expected Unicode text"),
        ({"messages": []}, "messages"),
        ({"temperature": "hot"}, "temperature: expected a number, got 'hot' (str)"),
        ({"temperature": float("nan")}, "temperature: expected a finite number, got nan"),
        ({"temperature": -1.7}, "temperature: expected 0 or more, got -1.7"),
        ({"top_p": 1.5}, "top_p"),
        ({"max_tokens": 0}, "max_tokens"),
        ({"max_tokens": 1.5}, "max_tokens: expected a whole number, got 1.5 (float)"),
        ({"max_tokens": 100_000}, "2048"),
        ({"seed": -1}, "seed: expected 0 or more"),
        ({"stop": [""]}, "stop"),
        ({"stop": [1]}, "stop[0]: expected a str, got 1 (int)"),
        ({"tools": {"name": "x"}}, "tools: expected a list of tools"),
        ({"tools": [{"name": "x"}]}, "tools[0].input_schema: expected a JSON schema"),
        ({"tools": [{"input_schema": {}}]}, "tools[0].name: expected a str"),
        ({"tool_choice": "x"}, "tool_choice: expected one of 'auto', 'any', got 'x'"),
        ({"reasoning": "high"}, "reasoning: expected True, False or None"),
        ({"system": 1}, "system: expected a str"),
        ({"response_schema": "s"}, "response_schema: expected a JSON schema"),
        ({"response_schema": int}, "response_schema: expected a JSON schema, a dataclass or"),
        ({"response_schema": {}, "regex": "a"}, "response_schema, regex: expected at most one of"),
        ({"regex": 1}, "regex: expected a str, got 1 (int)"),
        ({"regex": re.compile("a", re.I)}, "regex: expected a pattern without flags"),
        ({"regex": re.compile(b"a")}, "regex: expected a str"),
        ({"quote": [1]}, "quote[0]: expected a str"),
        ({"speculation": "fast"}, "speculation: expected one of 'off', 'prompt_lookup', 'draft'"),
        ({"priority": 1 << 31}, "priority: expected -2^31 to 2^31 - 1, got 2147483648"),
        ({"deadline": -1}, "deadline: expected seconds, 0 or more, got -1 (int)"),
        ({"caller": 7}, "caller: expected a str"),
        ({"adapter": 5}, "adapter: expected a str"),
        ({"logprobs": 21}, "logprobs"),
    ],
)
def test_a_wrong_argument_is_named(llama, named, message):
    named = {"messages": "Hi", **named}
    for call in (llama.converse, llama.stream):
        with pytest.raises(ValidationException) as raised:
            call(**named)
        assert message in str(raised.value)
        assert isinstance(raised.value, ValueError)


def test_an_unknown_argument_is_a_type_error(llama):
    with pytest.raises(TypeError, match="temprature"):
        llama.converse("Hi", temprature=1)
