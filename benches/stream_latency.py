"""How soon a token is seen by the caller after it was made, in Python, in Node and over HTTP.

A server of OpenAI's form, in a process of its own, writes each token with the time at which it is
made, on the clock of the machine that every process reads (CLOCK_MONOTONIC). The session streams it
as the answer of a remote model, and the caller takes the difference: it holds the way from the
server to the core too, so that it is an upper bound of what the core and the door add. The first
line tells what a bare client of the server sees.

    python benches/stream_latency.py [--tokens 300] [--pause 0.005]
"""

import argparse
import asyncio
import http.client
import json
import subprocess
import sys
import tempfile
import time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from multiprocessing import get_context
from pathlib import Path

import boto3
import outcrop

HERE = Path(__file__).resolve().parent
sys.path.insert(0, str(HERE.parent / "python-tests"))

import served as harness  # noqa: E402

MODEL = "acme.ticking-v1"
HELLO = [{"role": "user", "content": [{"text": "Hello"}]}]
USAGE = {"prompt_tokens": 1, "completion_tokens": 1, "total_tokens": 2}


class Ticking(BaseHTTPRequestHandler):
    """Streams the time, token by token."""

    protocol_version = "HTTP/1.1"
    tokens, pause = 300, 0.005

    def do_POST(self) -> None:
        self.rfile.read(int(self.headers["content-length"]))
        self.send_response(200)
        self.send_header("Content-Type", "text/event-stream")
        self.send_header("Transfer-Encoding", "chunked")
        self.end_headers()
        for _ in range(self.tokens):
            time.sleep(self.pause)
            self.chunk({"delta": {"content": f"{time.monotonic_ns()} "}})
        self.chunk({"delta": {}, "finish_reason": "stop"}, usage=USAGE)
        self.write("data: [DONE]\n\n")
        self.wfile.write(b"0\r\n\r\n")
        self.close_connection = True

    def chunk(self, choice: dict, **members: object) -> None:
        self.write(f"data: {json.dumps({'choices': [{'index': 0, **choice}], **members})}\n\n")

    def write(self, text: str) -> None:
        self.wfile.write(f"{len(text):x}\r\n{text}\r\n".encode())
        self.wfile.flush()

    def log_message(self, *_: object) -> None:
        """Nothing is told of a request."""


def tick(port, tokens: int, pause: float) -> None:
    Ticking.tokens, Ticking.pause = tokens, pause
    server = ThreadingHTTPServer(("127.0.0.1", 0), Ticking)
    port.put(server.server_port)
    server.serve_forever()


def report(face: str, delays: list[int]) -> None:
    """The delays of one face, given in nanoseconds."""
    kept = sorted(delays)
    at = {name: kept[int((len(kept) - 1) * share)] / 1e6
          for name, share in [("p50", 0.5), ("p95", 0.95), ("max", 1.0)]}
    line = {"bench": "stream_latency", "face": face, "unit": "ms", "tokens": len(kept)}
    print(json.dumps(line | {name: round(value, 3) for name, value in at.items()}), flush=True)


def delay(text: str) -> int:
    return time.monotonic_ns() - int(text)


def bare(port: int) -> list[int]:
    """What a client sees that only reads the socket."""
    connection = http.client.HTTPConnection("127.0.0.1", port)
    connection.request("POST", "/v1/chat/completions", "{}")
    response, delays = connection.getresponse(), []
    while line := response.readline():
        if b'"content"' in line:
            delays.append(delay(json.loads(line[6:])["choices"][0]["delta"]["content"]))
    return delays


def by_sdk(client) -> list[int]:
    events = client.converse_stream(modelId=MODEL, messages=HELLO)["stream"]
    deltas = (event.get("contentBlockDelta") for event in events)
    return [delay(delta["delta"]["text"]) for delta in deltas if delta]


async def awaited(model) -> list[int]:
    return [delay(text) async for text in model.stream("Hello")]


def main() -> None:
    options = argparse.ArgumentParser()
    options.add_argument("--tokens", type=int, default=300)
    options.add_argument("--pause", type=float, default=0.005)
    given = options.parse_args()
    context = get_context("spawn")
    told = context.Queue()
    ticking = context.Process(target=tick, args=(told, given.tokens, given.pause), daemon=True)
    ticking.start()
    port = told.get(timeout=30)
    spec = {"openai": {"base_url": f"http://127.0.0.1:{port}/v1", "model": "ticking"}}
    report("a bare client of the server", bare(port))
    with tempfile.TemporaryDirectory() as home:
        with outcrop.Session(home=home, offline=True) as session:
            session.register_model(MODEL, spec)
            model = session.model(MODEL)
            report("Model.stream", [delay(text) for text in model.stream("Hello")])
            report("Model.stream, asyncio", asyncio.run(awaited(model)))
            report("boto3 in the process", by_sdk(session.client("bedrock-runtime")))
        subprocess.run(["node", "--no-warnings", HERE / "stream_latency.mjs", home], check=True)
    with tempfile.TemporaryDirectory() as folder:
        harness.MODELS = {MODEL: spec}
        with harness.served(Path(folder) / "home") as server:
            key = server.key
            report("boto3 over HTTP", by_sdk(boto3.client(
                "bedrock-runtime", region_name="us-east-1", endpoint_url=server.url,
                aws_access_key_id=key["accessKeyId"],
                aws_secret_access_key=key["secretAccessKey"],
            )))


if __name__ == "__main__":
    main()
