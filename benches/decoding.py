"""Prefill and decode tokens a second on random weights of real shapes, beside llama.cpp.

usage: decoding.py [SHAPE:QUANT ...]      default: qwen3-0.6b:Q8_0 llama-3.2-1b:Q8_0 llama-3.2-1b:Q4_K_M

Two threads each. Prefill is of 512 tokens; decode is of one sequence from a context of 128.
llama.cpp runs in a process of its own: where it fails, its line says so.
"""

import json
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path

THREADS, PROMPT, CONTEXT, STEPS = 2, 512, 128, 32
os.environ["OUTCROP_THREADS"] = str(THREADS)
DEFAULT = ["qwen3-0.6b:Q8_0", "llama-3.2-1b:Q8_0", "llama-3.2-1b:Q4_K_M"]
PEER = """
import sys, time
import llama_cpp
import numpy as np
path, threads, prompt, context, steps, rounds = sys.argv[1], *map(int, sys.argv[2:])
model = llama_cpp.Llama(path, n_ctx=1024, n_batch=512, n_ubatch=512, n_threads=threads, n_threads_batch=threads, verbose=False)
ids = [300 + i % 5000 for i in range(prompt)]
best = {"prefill": 1e9, "decode": 1e9}
for _ in range(rounds):
    model.reset(); model._ctx.kv_cache_clear()
    started = time.perf_counter(); model.eval(ids); best["prefill"] = min(best["prefill"], time.perf_counter() - started)
    model.reset(); model._ctx.kv_cache_clear(); model.eval(ids[:context])
    started = time.perf_counter()
    for i in range(steps): model.eval([300 + i])
    best["decode"] = min(best["decode"], time.perf_counter() - started)
print(prompt / best["prefill"], steps / best["decode"])
"""


def peer(path: Path, rounds: int) -> tuple[float, float] | str:
    """Tokens a second of prefill and decode, or why there are none."""
    arguments = [path, THREADS, PROMPT, CONTEXT, STEPS, rounds]
    ended = subprocess.run(
        [sys.executable, "-c", PEER, *map(str, arguments)], capture_output=True, text=True, check=False
    )
    if ended.returncode:
        last = ended.stderr.strip().splitlines()[-1:] or [f"ended with {ended.returncode}"]
        return last[0]
    prefill, decode = ended.stdout.split()[-2:]
    return float(prefill), float(decode)


def ours(path: Path, rounds: int, home: Path) -> tuple[float, float]:
    import outcrop

    ids = [300 + i % 5000 for i in range(PROMPT)]
    best = {"prefill": 1e9, "decode": 1e9}
    with outcrop.Session(home=home, offline=True) as session:
        model = session.model(str(path))
        for _ in range(rounds):
            started = time.perf_counter()
            model.generate(ids, max_tokens=1)
            best["prefill"] = min(best["prefill"], time.perf_counter() - started)
            # One token costs the prefill; what more tokens cost is decode steps.
            started = time.perf_counter()
            model.generate(ids[:CONTEXT], max_tokens=1)
            first = time.perf_counter() - started
            started = time.perf_counter()
            made = model.generate(ids[:CONTEXT], max_tokens=STEPS + 1).usage.output_tokens
            decode = (time.perf_counter() - started - first) / max(made - 1, 1) * STEPS
            best["decode"] = min(best["decode"], decode)
    return PROMPT / best["prefill"], STEPS / best["decode"]


def main() -> None:
    from random_gguf import write

    with tempfile.TemporaryDirectory() as temporary:
        for name in sys.argv[1:] or DEFAULT:
            shape, quant = name.split(":")
            path = Path(temporary) / f"{shape}-{quant}.gguf"
            write(str(path), shape, quant)
            mine, theirs = ours(path, 2, Path(temporary) / "home"), peer(path, 2)
            for index, measure in enumerate((f"prefill_{PROMPT}", f"decode_context_{CONTEXT}")):
                line = {"bench": measure, "model": name, "unit": "tokens/s", "outcrop": round(mine[index], 2)}
                if isinstance(theirs, str):
                    line |= {"llama.cpp": None, "ratio": None, "error": theirs}
                else:
                    line |= {"llama.cpp": round(theirs[index], 2), "ratio": round(mine[index] / theirs[index], 3)}
                print(json.dumps(line | {"threads": THREADS}), flush=True)
            path.unlink()


if __name__ == "__main__":
    main()
