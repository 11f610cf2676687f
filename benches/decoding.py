"""Prefill, decode and batched decode of random weights of real shapes, beside llama.cpp.

usage: decoding.py [SHAPE:QUANT | FILE.gguf ...]
default: qwen2.5-0.5b:Q8_0 qwen2.5-0.5b:Q4_0 llama-3.2-1b:Q8_0 llama-3.2-1b:Q4_K_M qwen3-moe-small:Q8_0

Two threads each, in turn, medians. Prefill is of 512 tokens that no cache has seen; decode is of
one and of eight sequences from a context of 128, in tokens a second of all sequences together.
`read_share` is the part of the read bandwidth, measured in the same run, that one sequence's decode
keeps busy with weights (of experts those that a token goes through): no engine that reads them for
every token passes 1.
llama.cpp runs in a process of its own: where it fails, its line says so.
"""

import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

THREADS, PROMPT, CONTEXT, STEPS, BATCH, ROUNDS = 2, 512, 128, 32, 8, 5
os.environ["OUTCROP_THREADS"] = str(THREADS)
DEFAULT = ["qwen2.5-0.5b:Q8_0", "qwen2.5-0.5b:Q4_0", "llama-3.2-1b:Q8_0", "llama-3.2-1b:Q4_K_M",
           "qwen3-moe-small:Q8_0"]
HERE = Path(__file__).resolve().parent


class Ours:
    """Outcrop, through its Python package."""

    def __init__(self, model) -> None:
        self.model = model
        self.fresh = 0

    def prompt(self, length: int, start: int) -> list[int]:
        return [300 + (start * 17 + i) % 5000 for i in range(length)]

    def prefill(self) -> float:
        self.fresh += 1
        ids = self.prompt(PROMPT, 1000 + self.fresh)
        started = time.perf_counter()
        self.model.generate(ids, max_tokens=1)
        return time.perf_counter() - started

    def decode(self, sequences: int) -> float:
        """Seconds of a step: what `STEPS` more tokens cost behind a prompt that the cache holds."""
        prompts = [self.prompt(CONTEXT, s) for s in range(sequences)]

        def seconds(tokens: int) -> tuple[float, int]:
            started = time.perf_counter()
            made = list(pool.map(lambda ids: self.model.generate(ids, max_tokens=tokens), prompts))
            return time.perf_counter() - started, min(m.usage.output_tokens for m in made)

        with ThreadPoolExecutor(sequences) as pool:
            seconds(1)
            (short, _), (long, made) = seconds(1), seconds(STEPS + 1)
        if made != STEPS + 1:
            raise RuntimeError(f"a sequence ended after {made} tokens; {STEPS + 1} were asked")
        return (long - short) / STEPS


class Theirs:
    """llama.cpp, in its own process."""

    def __init__(self, path: str) -> None:
        self.process = subprocess.Popen(
            [sys.executable, HERE / "llama_peer.py", path, str(THREADS)],
            stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
        )
        if self.process.stdout.readline().strip() != "ready":
            last = self.process.stderr.read().strip().splitlines()[-1:]
            raise RuntimeError(last[0] if last else f"ended with {self.process.wait()}")

    def ask(self, *words: object) -> float:
        print(*words, file=self.process.stdin, flush=True)
        return float(self.process.stdout.readline())

    def prefill(self) -> float:
        return self.ask("prefill", PROMPT)

    def decode(self, sequences: int) -> float:
        return self.ask("decode", sequences, CONTEXT, STEPS) / STEPS

    def close(self) -> None:
        self.process.stdin.close()
        self.process.wait()


def read_bandwidth() -> float:
    """Bytes a second that two threads read from memory, the best of some tries."""
    import numpy as np

    arrays = [np.ones(64 << 20, np.float32) for _ in range(THREADS)]
    best = 1e9
    with ThreadPoolExecutor(THREADS) as pool:
        for _ in range(6):
            started = time.perf_counter()
            list(pool.map(np.max, arrays))
            best = min(best, time.perf_counter() - started)
    return sum(a.nbytes for a in arrays) / best


def bytes_of_a_token(path: str) -> float:
    """Bytes of the weights that a token's decode reads."""
    from gguf import GGUFReader

    reader = GGUFReader(path)

    def count(name: str) -> int:
        found = [field for key, field in reader.fields.items() if key.endswith(name)]
        return int(found[0].parts[-1][0]) if found else 1

    share = count(".expert_used_count") / count(".expert_count")
    return sum(tensor.n_bytes * (share if "_exps" in tensor.name else 1) for tensor in reader.tensors)


def measure(name: str, path: str, session) -> None:
    ours, bandwidth = Ours(session.model(path)), read_bandwidth()
    try:
        theirs = Theirs(path)
    except RuntimeError as error:
        theirs, failed = None, str(error)
    for bench, amount, call in (
        (f"prefill_{PROMPT}", PROMPT, lambda engine: engine.prefill()),
        (f"decode_context_{CONTEXT}", 1, lambda engine: engine.decode(1)),
        (f"decode_{BATCH}_sequences", BATCH, lambda engine: engine.decode(BATCH)),
    ):
        engines = [ours] + [theirs] * (theirs is not None)
        times = [[call(engine) for engine in engines] for _ in range(ROUNDS)]
        medians = [statistics.median(column) for column in zip(*times)]
        line = {"bench": bench, "model": name, "unit": "tokens/s", "outcrop": round(amount / medians[0], 2)}
        if theirs is None:
            line |= {"llama.cpp": None, "ratio": None, "error": failed}
        else:
            line |= {"llama.cpp": round(amount / medians[1], 2), "ratio": round(medians[1] / medians[0], 3)}
        if bench.startswith("decode_context"):
            line["read_share"] = round(bytes_of_a_token(path) / medians[0] / bandwidth, 3)
        print(json.dumps(line | {"repetitions": ROUNDS, "threads": THREADS}), flush=True)
    if theirs:
        theirs.close()


def main() -> None:
    import outcrop
    from random_gguf import model_files

    for name, path in model_files(sys.argv[1:] or DEFAULT):
        with tempfile.TemporaryDirectory() as home, outcrop.Session(home=home, offline=True) as session:
            measure(name, str(path), session)


if __name__ == "__main__":
    main()
