"""What a call costs beside the model's work, in Python and in Node.

Across the border: `Session.home`, which reads a text that the core holds, beside an empty function
of the language. Through the desk: a conversation with a scripted model, which answers at once,
decided and recorded as every call is; natively, and through the AWS SDK beside the same SDK with a
transport that hands it a ready response. The two are timed by turns, so that what else the machine
does falls on both. As many calls as are timed go before them unseen: what is measured is a process that
has served for a moment, not one that has just started.
"""

import io
import json
import statistics
import subprocess
import tempfile
import time
import timeit
from pathlib import Path

import outcrop
from botocore.awsrequest import AWSResponse

HERE = Path(__file__).resolve().parent
HELLO = [{"role": "user", "content": [{"text": "Hello"}]}]
MODEL = "acme.instant-v1"
ROUNDS = 400
WARM = 400


def empty() -> None:
    """Does nothing."""


def nanoseconds(call) -> float:
    timer = timeit.Timer(call)
    number, _ = timer.autorange()
    return min(timer.repeat(5, number)) / number * 1e9


def by_turns(calls) -> list[float]:
    """The median microseconds of each call, one after the other, round by round."""
    times = [[] for _ in calls]
    for round_ in range(ROUNDS + WARM):
        for call, kept in zip(calls, times):
            started = time.perf_counter_ns()
            call()
            if round_ >= WARM:
                kept.append(time.perf_counter_ns() - started)
    return [statistics.median(kept) / 1000 for kept in times]


class Ready(io.BytesIO):
    """A response's body that is there already."""

    def stream(self, *_):
        yield self.read()


def stubbed(session, operation):
    """A client whose transport hands out what the session once answered."""
    client, real = session.client("bedrock-runtime"), session.client("bedrock-runtime")
    recorded = {}

    def record(response_dict, **_):
        raw = response_dict["body"]
        body = raw if isinstance(raw, bytes) else b"".join(raw.stream())
        recorded.update(headers=dict(response_dict["headers"]), body=body)
        if not isinstance(raw, bytes):
            response_dict["body"] = Ready(body)

    real.meta.events.register("before-parse.bedrock-runtime", record)
    operation(real)

    def ready(request, **_):
        return AWSResponse(request.url, 200, recorded["headers"], Ready(recorded["body"]))

    client.meta.events.unregister("before-send.bedrock-runtime", unique_id="outcrop")
    client.meta.events.register("before-send.bedrock-runtime", ready)
    return client


def sdk(session, name, operation) -> None:
    """One operation: the SDK on this process, and the SDK on a ready response."""
    client, stub = session.client("bedrock-runtime"), stubbed(session, operation)
    ours, theirs = by_turns([lambda: operation(client), lambda: operation(stub)])
    line = {
        "bench": f"overhead_boto3_{name}", "unit": "us/call", "outcrop": round(ours, 1),
        "stub_transport": round(theirs, 1), "ratio": round(ours / theirs, 3),
    }
    print(json.dumps(line), flush=True)


def converse(client):
    return client.converse(modelId=MODEL, messages=HELLO)


def converse_stream(client):
    return list(client.converse_stream(modelId=MODEL, messages=HELLO)["stream"])


def main() -> None:
    with tempfile.TemporaryDirectory() as home:
        with outcrop.Session(home=home, offline=True) as session:
            script = [{"answer": {"text": ["Good ", "morning", "."]}}]
            session.register_model(MODEL, {"script": script})
            model = session.model(MODEL)
            [conversed] = by_turns([lambda: model.converse("Hello")])
            line = {
                "bench": "overhead_python", "unit": "ns/call",
                "empty_function": round(nanoseconds(empty), 1),
                "home": round(nanoseconds(lambda: session.home), 1),
                "models": round(nanoseconds(session.models), 1),
                "converse": round(conversed * 1000),
            }
            print(json.dumps(line), flush=True)
            sdk(session, "converse", converse)
            sdk(session, "converse_stream", converse_stream)
        subprocess.run(["node", HERE / "overhead.mjs", home], check=True)


if __name__ == "__main__":
    main()
