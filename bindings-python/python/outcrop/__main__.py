"""The command line: `outcrop`, or `python -m outcrop`."""

from __future__ import annotations

import json
import signal
import sys

from . import _native
from .errors import OutcropError
from .session import packaged_models


def main() -> int:
    """Runs the command line of this process and gives its exit code."""
    if "serve" in sys.argv[1:]:
        # The server lets its answers end; Python's handler would cut them off.
        signal.signal(signal.SIGINT, signal.SIG_DFL)
    options = {"modelPaths": packaged_models()}
    try:
        return _native.run_cli(sys.argv[1:], json.dumps(options))
    except KeyboardInterrupt:
        return 130
    except OutcropError as error:
        print(f"outcrop: {type(error).__name__}: {error}", file=sys.stderr)
        return 1


if __name__ == "__main__":
    sys.exit(main())
