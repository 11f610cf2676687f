"""Runs a notebook from a fresh kernel, as a test: any cell that raises fails it.

    python examples/run_notebook.py examples/first_light.ipynb            # runs it, changes nothing
    python examples/run_notebook.py --write examples/first_light.ipynb    # and keeps the new outputs
"""

from __future__ import annotations

import argparse
import sys
import time
from pathlib import Path

import nbclient
import nbformat


def joined(outputs: list) -> list:
    """The outputs, with neighbouring pieces of one stream as one, as a notebook shows them."""
    kept: list = []
    for output in outputs:
        if kept and output.output_type == "stream" == kept[-1].output_type and output.name == kept[-1].name:
            kept[-1].text += output.text
        else:
            kept.append(output)
    return kept


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("notebook", type=Path)
    parser.add_argument("--write", action="store_true", help="write the outputs into the notebook")
    arguments = parser.parse_args()
    notebook = nbformat.read(arguments.notebook, as_version=4)
    started = time.perf_counter()
    client = nbclient.NotebookClient(
        notebook, timeout=300, kernel_name="python3",
        resources={"metadata": {"path": str(arguments.notebook.resolve().parent)}},
    )
    try:
        client.execute()
    except nbclient.exceptions.CellExecutionError as error:
        print(error, file=sys.stderr)
        return 1
    code = [cell for cell in notebook.cells if cell.cell_type == "code"]
    silent = [cell.source for cell in code if not cell.outputs and "outcrop.Session" not in cell.source]
    if silent:
        print("cells without output:\n" + "\n\n".join(silent), file=sys.stderr)
        return 1
    if arguments.write:
        for cell in code:
            cell.metadata.pop("execution", None)
            cell.outputs = joined(cell.outputs)
        nbformat.write(notebook, arguments.notebook)
    print(f"{arguments.notebook.name}: {len(code)} cells ran in {time.perf_counter() - started:.1f} s")
    return 0


if __name__ == "__main__":
    sys.exit(main())
