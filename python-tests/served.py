"""A server in a process of its own, with a key and models that answer by a script."""

import contextlib
import json
import os
import shlex
import signal
import subprocess
import sys
from pathlib import Path

# Another build of the command line may be tested by the same tests.
COMMAND = shlex.split(
    os.environ.get("OUTCROP_COMMAND", f"{shlex.quote(sys.executable)} -m outcrop")
)

CHAT = "acme.scripted-v1"
SLOW = "acme.slow-v1"
EMBEDDER = "acme.vectors-v1"
LLAMA = "acme.llama-v1"
FIXTURES = Path(__file__).resolve().parents[1] / "core" / "inference" / "tests" / "fixtures"

MODELS = {
    LLAMA: {"path": str(FIXTURES / "llama3")},
    CHAT: {
        "script": [
            {
                "match": {"text": {"contains": "weather"}},
                "answer": {
                    "text": ["Let me see."],
                    "tool_uses": [{"id": "call_1", "name": "weather", "input": {"city": "Bern"}}],
                },
            },
            {"match": {"tool_result": {"id": "call_1"}}, "answer": {"text": ["It is ", "sunny."]}},
            {
                "match": {"text": {"contains": "think"}},
                "answer": {"reasoning": ["Hm. "], "text": ["Done."]},
            },
            {
                "match": {"text": {"contains": "break"}},
                "answer": {
                    "text": ["One ", "two"],
                    "fault": {
                        "error": "ModelStreamErrorException",
                        "message": "it broke",
                        "after_deltas": 1,
                    },
                },
            },
            {
                "match": {"text": {"contains": "throttle"}},
                "answer": {"fault": {"error": "ThrottlingException", "message": "later"}},
            },
            {
                "answer": {
                    "text": ["Hello", " there", "!"],
                    "usage": {"input_tokens": 7, "output_tokens": 3},
                }
            },
        ]
    },
    SLOW: {
        "script": [{"answer": {"text": [f"word{at} " for at in range(400)], "delta_delay_ms": 5}}]
    },
    EMBEDDER: {
        "embeddings": {
            "dimensions": 3,
            "vectors": [{"text": "a", "vector": [1, 0, 0]}],
            "others": "hashed",
        }
    },
}


class Served:
    def __init__(self, process, url, key):
        self.process, self.url, self.key = process, url, key

    def stop(self, how=signal.SIGTERM):
        self.process.send_signal(how)
        return self.process.wait(60)

    def memory(self):
        """Resident bytes."""
        with open(f"/proc/{self.process.pid}/statm", encoding="ascii") as file:
            return int(file.read().split()[1]) * os.sysconf("SC_PAGE_SIZE")


def command(home, *words):
    done = subprocess.run(
        [*COMMAND, *words, "--home", str(home), "--json"],
        check=True,
        capture_output=True,
        text=True,
        timeout=120,
    )
    return [json.loads(line) for line in done.stdout.splitlines()]


@contextlib.contextmanager
def served(home, *options):
    for name, spec in MODELS.items():
        file = home.parent / "model.json"
        file.write_text(json.dumps(spec), encoding="utf-8")
        command(home, "models", "register", name, str(file))
    [key] = command(home, "keys", "create", "--name", "tests")
    process = subprocess.Popen(
        [*COMMAND, "serve", "--home", str(home), "--port", "0", "--json", *options],
        stdout=subprocess.PIPE,
        text=True,
    )
    try:
        yield Served(process, json.loads(process.stdout.readline())["url"], key)
    finally:
        process.kill()
        process.wait()
