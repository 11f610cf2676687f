"""Streams of boto3: each event when it is made, no faster than they are read, ended by `close`."""

import gc
import os
import time

import outcrop
import pytest

from conftest import FIXTURES

HELLO = [{"role": "user", "content": [{"text": "Hello"}]}]
#: Streams opened and dropped by default. The figure of the project is with 10,000.
STREAMS = int(os.environ.get("OUTCROP_STREAMS", "300"))


def deltas(stream):
    for event in stream:
        if "contentBlockDelta" in event:
            yield event["contentBlockDelta"]["delta"]["text"]


def test_each_event_comes_when_it_is_made(bedrock, scripted):
    words = [f"word{n} " for n in range(12)]
    model = scripted([{"answer": {"text": words, "delta_delay_ms": 50}}])
    stream = bedrock().converse_stream(modelId=model, messages=HELLO)["stream"]
    times = []
    for _ in deltas(stream):
        times.append(time.monotonic())
    assert len(times) == len(words)
    # Each is seen 50 ms after the one before, not in one lump at the end.
    gaps = [after - before for before, after in zip(times, times[1:])]
    assert sorted(gaps)[len(gaps) // 2] > 0.04
    assert times[-1] - times[0] > 0.4


@pytest.fixture
def llama_stream(bedrock, own_session):
    """A long answer of a real model, and the engine's statistics."""
    own_session.register_model("acme.llama-v1", {"path": str(FIXTURES / "llama3")})
    model = own_session.model("acme.llama-v1")

    def start(client=None, tokens=1500):
        client = client or bedrock()
        return client.converse_stream(
            modelId="acme.llama-v1", messages=HELLO, inferenceConfig={"maxTokens": tokens}
        )["stream"]

    return start, lambda: model.stats


def idle_within(stats, seconds):
    """Waits until the engine runs nothing."""
    until = time.monotonic() + seconds
    while stats().running:
        assert time.monotonic() < until, "the engine runs on"
        time.sleep(0.001)


@pytest.mark.parametrize("how", ["close", "drop"])
def test_the_engine_stops_within_a_step(llama_stream, how):
    start, stats = llama_stream
    stream = start()
    reading = deltas(stream)
    next(reading)
    assert stats().running == 1
    if how == "close":
        stream.close()
    else:
        del reading, stream
        # A stream of botocore holds itself: the collector frees it, in its own time.
        gc.collect()
    told = stats().steps
    idle_within(stats, 1)
    # From when it was told: the step that was running, and one that began while it was told.
    assert stats().steps - told <= 2


def test_nothing_is_asked_for_ahead_of_its_reader(bedrock, scripted):
    model = scripted([{"answer": {"text": ["word "] * 6, "delta_delay_ms": 100}}])
    reading = deltas(bedrock().converse_stream(modelId=model, messages=HELLO)["stream"])
    next(reading)
    time.sleep(0.5)
    asked = time.monotonic()
    assert len(list(reading)) == 5
    # Had four of them been made in the meantime, they would all be here at once.
    assert time.monotonic() - asked > 0.35


def resident():
    with open("/proc/self/statm", encoding="ascii") as statm:
        return int(statm.read().split()[1]) * os.sysconf("SC_PAGE_SIZE")


@pytest.mark.skipif(not os.path.exists("/proc/self/statm"), reason="needs /proc")
def test_streams_that_are_dropped_leave_nothing_behind(own_session, scripted):
    model = scripted([{"answer": {"text": ["word "] * 200}}])
    client = own_session.client("bedrock-runtime")

    def drop(count):
        for n in range(count):
            stream = client.converse_stream(modelId=model, messages=HELLO)["stream"]
            next(deltas(stream))
            if n % 2:
                stream.close()
        gc.collect()

    def growth():
        before = resident()
        drop(STREAMS)
        return resident() - before

    drop(max(50, STREAMS // 10))
    # A stream that stayed would hold tens of kilobytes, in each round; what else the process does, not.
    grown = min(growth() for _ in range(3))
    assert grown < 4 * 2**20 + 200 * STREAMS, f"{grown} bytes after {STREAMS} streams"
    assert isinstance(own_session, outcrop.Session)
