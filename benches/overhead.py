"""What a call costs that does nothing, in Python and in Node: nanoseconds across the border.

The call is `Session.home`, which reads a text that the core holds. Beside it, an empty function of
the language, and an awaited call (`Session.models`, which reads the catalogue).
"""

import json
import subprocess
import tempfile
import timeit
from pathlib import Path

import outcrop

HERE = Path(__file__).resolve().parent


def empty() -> None:
    """Does nothing."""


def nanoseconds(call) -> float:
    timer = timeit.Timer(call)
    number, _ = timer.autorange()
    return min(timer.repeat(5, number)) / number * 1e9


def main() -> None:
    with tempfile.TemporaryDirectory() as home:
        with outcrop.Session(home=home, offline=True) as session:
            line = {
                "bench": "overhead_python", "unit": "ns/call",
                "empty_function": round(nanoseconds(empty), 1),
                "home": round(nanoseconds(lambda: session.home), 1),
                "models": round(nanoseconds(session.models), 1),
            }
            print(json.dumps(line), flush=True)
        subprocess.run(["node", HERE / "overhead.mjs", home], check=True)


if __name__ == "__main__":
    main()
