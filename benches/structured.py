"""What a JSON schema costs: tokens a second of constrained beside unconstrained decoding.

usage: structured.py [SHAPE:QUANT | FILE.gguf]      default: qwen2.5-0.5b:Q8_0

One sequence, from a short prompt that the cache holds, in turn. `cost` is the part of the tokens a
second that is lost; below 0 the tokens that the schema forces came quicker than others.
"""

import json
import os
import statistics
import sys
import tempfile
import time

THREADS, STEPS, ROUNDS = 2, 64, 5
os.environ["OUTCROP_THREADS"] = str(THREADS)
# One long string: every token is the model's own choice under the mask, none is forced.
FREE = {"type": "string", "minLength": 4000}
# Records with fixed member names: many of the tokens are forced.
RECORDS = {
    "type": "array", "minItems": 400,
    "items": {
        "type": "object", "required": ["name", "amount", "paid"], "additionalProperties": False,
        "properties": {"name": {"type": "string"}, "amount": {"type": "integer"}, "paid": {"type": "boolean"}},
    },
}


def main() -> None:
    import outcrop
    from random_gguf import model_files

    for name, path in model_files(sys.argv[1:] or ["qwen2.5-0.5b:Q8_0"]):
        with tempfile.TemporaryDirectory() as home, outcrop.Session(home=home, offline=True) as session:
            compare(name, session.model(str(path)))


def compare(name: str, model) -> None:
    ids = list(range(300, 364))

    def speed(**options: object) -> float:
        def seconds(tokens: int) -> tuple[float, int]:
            started = time.perf_counter()
            made = model.generate(ids, max_tokens=tokens, temperature=1.0, seed=3, **options)
            return time.perf_counter() - started, made.usage.output_tokens

        (short, one), (long, made) = seconds(1), seconds(STEPS + 1)
        return (made - one) / (long - short)

    for label, schema in (("string", FREE), ("records", RECORDS)):
        speed(response_schema=schema)
        pairs = [(speed(), speed(response_schema=schema)) for _ in range(ROUNDS)]
        plain, bound = (statistics.median(column) for column in zip(*pairs))
        line = {
            "bench": f"json_schema_{label}", "model": name, "unit": "tokens/s", "unconstrained": round(plain, 2),
            "constrained": round(bound, 2), "cost": round(1 - bound / plain, 4), "repetitions": ROUNDS,
            "threads": THREADS,
        }
        print(json.dumps(line), flush=True)


if __name__ == "__main__":
    main()
