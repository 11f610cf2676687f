"""Load time and peak memory of a model in a fresh process, against the bound that it promises.

usage: memory.py [SHAPE:QUANT | FILE.gguf ...]
default: qwen2.5-0.5b:Q8_0 llama-3.2-1b:Q8_0 llama-3.2-1b:Q4_K_M

The file is in the page cache. The process opens it with a KV budget of 128 MiB, reads prompts until
the budget is full, makes 32 tokens, and tells its peak resident set. `bound_mb` is the file, the
budget and 150 MB.
"""

import json
import os
import statistics
import subprocess
import sys
import tempfile

DEFAULT = ["qwen2.5-0.5b:Q8_0", "llama-3.2-1b:Q8_0", "llama-3.2-1b:Q4_K_M"]
KV_BYTES, ROUNDS = 128 << 20, 3
os.environ["OUTCROP_THREADS"] = "2"
CHILD = """
import json, resource, sys, time
import outcrop
path, home, kv_bytes = sys.argv[1], sys.argv[2], int(sys.argv[3])
with outcrop.Session(home=home, offline=True) as session:
    started = time.perf_counter()
    model = session.model(path, kv_bytes=kv_bytes)
    loaded = time.perf_counter() - started
    start = 0
    while model.stats.free_pages:
        start += 1
        model.generate([300 + (start * 7 + i) % 5000 for i in range(1000)], max_tokens=1)
    model.generate([300 + i % 5000 for i in range(1000)], max_tokens=32)
print(json.dumps([loaded, resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024]))
"""


def main() -> None:
    from random_gguf import model_files

    for name, path in model_files(sys.argv[1:] or DEFAULT):
        with path.open("rb") as file:
            while file.read(1 << 24):
                pass
        with tempfile.TemporaryDirectory() as home:
            command = [sys.executable, "-c", CHILD, path, home, str(KV_BYTES)]
            runs = [json.loads(subprocess.check_output(command)) for _ in range(ROUNDS)]
        size, peak = path.stat().st_size, max(run[1] for run in runs)
        bound = size + KV_BYTES + 150e6
        line = {
            "bench": "memory", "model": name, "load_s": round(statistics.median(run[0] for run in runs), 3),
            "file_mb": round(size / 1e6), "kv_mb": round(KV_BYTES / 1e6), "peak_mb": round(peak / 1e6),
            "bound_mb": round(bound / 1e6), "ratio": round(bound / peak, 3), "repetitions": ROUNDS,
        }
        print(json.dumps(line), flush=True)


if __name__ == "__main__":
    main()
