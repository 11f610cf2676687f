"""Runs the benchmarks one after the other and prints their JSON lines: `make bench`.

usage: run.py [NAME ...]      default: all of them

Each benchmark alternates Outcrop and its peer in one run, on two threads, and prints medians and
their ratio: above 1 means that Outcrop is faster. A peer that cannot run says so in its line.
"""

import json
import subprocess
import sys
from pathlib import Path

HERE = Path(__file__).resolve().parent
ALL = ["embedding", "search", "overhead", "agents", "decoding", "prefix", "structured", "memory",
       "training"]


def main() -> int:
    wanted = sys.argv[1:] or ALL
    unknown = [name for name in wanted if name not in ALL]
    if unknown:
        print(f"unknown benchmark {unknown[0]!r}; expected one of {', '.join(ALL)}", file=sys.stderr)
        return 2
    failed = False
    for name in wanted:
        ended = subprocess.run([sys.executable, HERE / f"{name}.py"], check=False)
        if ended.returncode:
            print(json.dumps({"bench": name, "error": f"ended with {ended.returncode}"}), flush=True)
            failed = True
    return int(failed)


if __name__ == "__main__":
    sys.exit(main())
