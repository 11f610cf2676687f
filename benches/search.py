"""Exact search over 100,000 vectors of 384 numbers, beside faiss-cpu's flat index.

The native side is the example `search_bench` of the index room; both use two threads and k = 10.
Runs alternate, and the best of each is compared as well as the median.
"""

import json
import statistics
import subprocess
import time
from pathlib import Path

import faiss
import numpy as np

THREADS, ROWS, DIMENSIONS, ROUNDS = 2, 100_000, 384, 3
ROOT = Path(__file__).resolve().parent.parent


def ours() -> dict[int, float]:
    """Median milliseconds of a call by batch size."""
    command = ["cargo", "run", "--release", "-q", "-p", "outcrop-index", "--example", "search_bench",
               "--", str(ROWS), str(DIMENSIONS), str(THREADS)]
    out = subprocess.run(command, cwd=ROOT, check=True, capture_output=True, text=True).stdout
    lines = [json.loads(line) for line in out.splitlines() if line.startswith("{")]
    return {line["batch"]: line["median_ms"] for line in lines}


def peer(index: faiss.Index, queries: np.ndarray, seconds: float = 0.5) -> float:
    index.search(queries, 10)
    times, end = [], time.monotonic() + seconds
    while time.monotonic() < end or len(times) < 5:
        started = time.perf_counter()
        index.search(queries, 10)
        times.append((time.perf_counter() - started) * 1e3)
    return statistics.median(times)


def main() -> None:
    faiss.omp_set_num_threads(THREADS)
    draw = np.random.default_rng(1)
    rows = draw.standard_normal((ROWS, DIMENSIONS), dtype=np.float32)
    rows /= np.linalg.norm(rows, axis=1, keepdims=True)
    index = faiss.IndexFlatIP(DIMENSIONS)
    index.add(rows)
    mine: dict[int, list[float]] = {}
    theirs: dict[int, list[float]] = {}
    for _ in range(ROUNDS):
        for batch, milliseconds in ours().items():
            mine.setdefault(batch, []).append(milliseconds)
            theirs.setdefault(batch, []).append(peer(index, rows[:batch].copy()))
    for batch, times in mine.items():
        a, b = statistics.median(times), statistics.median(theirs[batch])
        print(json.dumps({
            "bench": f"search_{ROWS}x{DIMENSIONS}_batch_{batch}", "unit": "queries/s",
            "outcrop": round(batch / a * 1e3, 1), "faiss": round(batch / b * 1e3, 1),
            "ratio": round(b / a, 3), "threads": THREADS, "repetitions": ROUNDS,
        }), flush=True)


if __name__ == "__main__":
    main()
