"""Makes a folder that checks and times the kernels on a machine with a GPU, without Rust and without a network.

usage: gpu_bundle.py FOLDER      `make gpu-bundle` calls it, after `make kernels`

Programs are the tests' own, on the machine's driver instead of the stand-in.
"""

import json
import shutil
import subprocess
import sys
from pathlib import Path

HERE = Path(__file__).resolve().parent
ROOT = HERE.parent
FIXTURES = ROOT / "core/inference/tests/fixtures"
# By package: its tests, and its examples.
PROGRAMS = {
    "outcrop-kernels": ("kernels", ["gpu_bench"]),
    "outcrop-tensor": ("tensor", []),
    "outcrop-inference": ("inference", ["gpu_check", "gpu_decode"]),
}


def build() -> dict[str, Path]:
    """Builds the programs; gives each by the name that it has in the folder."""
    command = ["cargo", "build", "--release", "--message-format=json-render-diagnostics", "--test", "it"]
    for package, (_, examples) in PROGRAMS.items():
        command += ["-p", package]
        for example in examples:
            command += ["--example", example]
    run = subprocess.run(command, cwd=ROOT, stdout=subprocess.PIPE, text=True)
    if run.returncode:
        sys.exit(run.returncode)
    found = {}
    for line in run.stdout.splitlines():
        message = json.loads(line)
        if message.get("reason") != "compiler-artifact" or not message.get("executable"):
            continue
        package = next(name for name in PROGRAMS if name in message["package_id"] or folder_of(name) in message["package_id"])
        name = PROGRAMS[package][0] if message["target"]["name"] == "it" else message["target"]["name"]
        found[name] = Path(message["executable"])
    return found


def folder_of(package: str) -> str:
    """How cargo names a package by its folder."""
    own = package.removeprefix("outcrop-")
    return "/kernels#" if own == "kernels" else f"/core/{own}#"


def main() -> None:
    folder = Path(sys.argv[1])
    if not list((ROOT / "kernels/pack").glob("*.pack")):
        print("NOTE: no CUDA images are built in, the folder is of use on the stand-in only: run `make kernels`")
    programs = build()
    shutil.rmtree(folder, ignore_errors=True)
    (folder / "bin").mkdir(parents=True)
    for name, program in programs.items():
        shutil.copy2(program, folder / "bin" / name)
        subprocess.run(["strip", folder / "bin" / name], check=False)
    shutil.copytree(FIXTURES, folder / "fixtures")
    for name in ("gpu-check", "gpu-bench", "peers_gpu.py"):
        shutil.copy2(HERE / name, folder / name)
    size = sum(file.stat().st_size for file in folder.rglob("*") if file.is_file())
    print(f"{folder}: {', '.join(sorted(programs))}, {size / 1e6:.0f} MB")


if __name__ == "__main__":
    main()
