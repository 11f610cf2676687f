"""The server under load: 200 streams at once from real SDK clients for a minute, among slow readers
and half-open sockets. Prints one line of JSON; fails where a stream fails or memory grows.

    python benches/serve_load.py [--seconds 60] [--streams 200]
"""

import argparse
import http.client
import json
import socket
import statistics
import sys
import tempfile
import threading
import time
from pathlib import Path

import anthropic
import boto3
import openai
from botocore.config import Config

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "python-tests"))

import served as harness  # noqa: E402

STEADY, WIDE = "acme.steady-v1", "acme.wide-v1"
WORDS = 30
MODELS = {
    STEADY: {"script": [{"answer": {"text": ["word "] * WORDS, "delta_delay_ms": 100}}]},
    WIDE: {"script": [{"answer": {"text": ["x" * 4096] * 500}}]},
}


def clients(server):
    """Ways to stream one answer, each giving the number of its deltas."""
    key, ask = server.key, {"role": "user", "content": "Hi"}
    aws = boto3.client(
        "bedrock-runtime",
        region_name="us-east-1",
        endpoint_url=server.url,
        aws_access_key_id=key["accessKeyId"],
        aws_secret_access_key=key["secretAccessKey"],
        config=Config(max_pool_connections=1000, retries={"total_max_attempts": 1}),
    )
    gpt = openai.OpenAI(
        base_url=f"{server.url}/v1", api_key=key["bearerToken"], max_retries=0, timeout=120
    )
    claude = anthropic.Anthropic(
        base_url=server.url, api_key=key["bearerToken"], max_retries=0, timeout=120
    )

    def by_boto3():
        messages = [{"role": "user", "content": [{"text": "Hi"}]}]
        events = aws.converse_stream(modelId=STEADY, messages=messages)["stream"]
        return sum("contentBlockDelta" in event for event in events)

    def by_openai():
        chunks = gpt.chat.completions.create(model=STEADY, messages=[ask], stream=True)
        return sum(bool(chunk.choices[0].delta.content) for chunk in chunks)

    def by_anthropic():
        with claude.messages.stream(model=STEADY, max_tokens=999, messages=[ask]) as stream:
            return sum(1 for _ in stream.text_stream)

    return [by_boto3, by_boto3, by_openai, by_anthropic]


def neighbours(server, until):
    """Half-open sockets, and readers that hardly read; each is replaced when the server ends it."""
    port = int(server.url.rsplit(":", 1)[1])
    ended = []

    def half_open():
        while time.monotonic() < until:
            with socket.create_connection(("127.0.0.1", port)) as opened:
                opened.sendall(b"POST /model/x/converse HTTP/1.1\r\nHost: x\r\n")
                opened.settimeout(max(0.1, until - time.monotonic()))
                try:
                    opened.recv(1)
                    ended.append("half-open")
                except TimeoutError:
                    return

    def slow_reader():
        body = json.dumps({"messages": [{"role": "user", "content": [{"text": "Hi"}]}]})
        headers = {"Authorization": f"Bearer {server.key['bearerToken']}"}
        while time.monotonic() < until:
            reader = http.client.HTTPConnection("127.0.0.1", port)
            reader.sock = socket.socket()
            reader.sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
            reader.sock.connect(("127.0.0.1", port))
            reader.request("POST", f"/model/{WIDE}/converse-stream", body, headers)
            try:
                answer = reader.getresponse()
                while time.monotonic() < until and answer.read(64):
                    time.sleep(1)
            except (OSError, http.client.HTTPException):
                ended.append("slow")
            reader.close()

    threads = [threading.Thread(target=half_open) for _ in range(20)]
    threads += [threading.Thread(target=slow_reader) for _ in range(10)]
    return threads, ended


def run(server, seconds, streams):
    until = time.monotonic() + seconds
    failures, whole, memory = [], [], []
    ways = clients(server)

    def one(way):
        while time.monotonic() < until:
            try:
                whole.append(way())
            except Exception as error:
                failures.append(f"{way.__name__}: {type(error).__name__}: {error}")

    bad, ended = neighbours(server, until)
    threads = [threading.Thread(target=one, args=(ways[at % len(ways)],)) for at in range(streams)]
    for thread in bad + threads:
        thread.start()
    while time.monotonic() < until:
        memory.append(server.memory())
        time.sleep(0.5)
    for thread in bad + threads:
        thread.join()
    third = len(memory) // 3
    early, late = statistics.mean(memory[third : 2 * third]), statistics.mean(memory[2 * third :])
    return {
        "bench": "serve_load",
        "streams": streams,
        "seconds": seconds,
        "answers": len(whole),
        "cut_short": sum(deltas != WORDS for deltas in whole),
        "failures": failures[:5],
        "neighbours_ended": len(ended),
        "memory_mb": [round(each / 1e6, 1) for each in (memory[0], early, late, max(memory))],
        "memory_growth": round(late / early - 1, 4),
    }


def main():
    options = argparse.ArgumentParser(description=__doc__)
    options.add_argument("--seconds", type=float, default=60)
    options.add_argument("--streams", type=int, default=200)
    given = options.parse_args()
    harness.MODELS.update(MODELS)
    with tempfile.TemporaryDirectory() as folder:
        with harness.served(Path(folder) / "home") as server:
            result = run(server, given.seconds, given.streams)
    print(json.dumps(result))
    is_sound = not result["failures"] and not result["cut_short"] and result["memory_growth"] < 0.05
    return 0 if is_sound else 1


if __name__ == "__main__":
    sys.exit(main())
