"""Time to the first token of a prompt of 2,000 tokens, new and asked again with another question.

usage: prefix.py [SHAPE:QUANT | FILE.gguf]      default: qwen2.5-0.5b:Q8_0

The prompts share all but their last 32 tokens. `ratio` is the second time in the first one's parts.
"""

import json
import os
import statistics
import sys
import tempfile
import time

THREADS, PROMPT, QUESTION, ROUNDS = 2, 2000, 32, 3
os.environ["OUTCROP_THREADS"] = str(THREADS)


def main() -> None:
    import outcrop
    from random_gguf import model_files

    for name, path in model_files(sys.argv[1:] or ["qwen2.5-0.5b:Q8_0"]):
        with tempfile.TemporaryDirectory() as home, outcrop.Session(home=home, offline=True) as session:
            model = session.model(str(path))

            def first_token(start: int, question: int) -> tuple[float, int]:
                document = [300 + (start * 31 + i) % 5000 for i in range(PROMPT - QUESTION)]
                asked = [6000 + question * 50 + i for i in range(QUESTION)]
                started = time.perf_counter()
                made = model.generate(document + asked, max_tokens=1)
                return time.perf_counter() - started, made.usage.cache_read_input_tokens

            rounds = [(first_token(r, 0), first_token(r, 1)) for r in range(1, ROUNDS + 1)]
        new = statistics.median(first for (first, _), _ in rounds)
        again = statistics.median(second for _, (second, _) in rounds)
        line = {
            "bench": f"first_token_{PROMPT}", "model": name, "unit": "s", "new": round(new, 4),
            "again": round(again, 4), "ratio": round(again / new, 4), "tokens_from_cache": rounds[-1][1][1],
            "repetitions": ROUNDS, "threads": THREADS,
        }
        print(json.dumps(line), flush=True)


if __name__ == "__main__":
    main()
