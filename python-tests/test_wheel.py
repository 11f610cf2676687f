"""The built wheel, installed into an empty environment, works without the source tree."""

import json
import os
import shutil
import subprocess
import sys
import venv
from pathlib import Path

import numpy
import pytest

ROOT = Path(__file__).resolve().parents[1]
LLAMA = ROOT / "core" / "inference" / "tests" / "fixtures" / "llama3"
PROGRAM = """
import json, sys, outcrop
with outcrop.Session(home=sys.argv[1], offline=True) as session:
    completion = session.model(sys.argv[2]).generate("The", max_tokens=3)
    session.register_model("acme.scripted-v1", {"script": [{"answer": "Hello."}]})
    try:
        session.client("bedrock-runtime")
        refused = None
    except ImportError as error:
        refused = str(error)
    reply = session.model("acme.scripted-v1").converse("Hi").text
print(json.dumps([outcrop.__file__, completion.usage.output_tokens, reply, refused]))
"""


@pytest.fixture(scope="module")
def wheel(tmp_path_factory):
    """The wheel, of what was compiled for these tests: nothing but the packing is left to do."""
    maturin = shutil.which("maturin", path=os.pathsep.join([str(Path(sys.executable).parent),
                                                            os.environ.get("PATH", "")]))
    if maturin is None:
        pytest.skip("maturin is not installed: python-tests/requirements.txt")
    folder = tmp_path_factory.mktemp("wheel")
    command = [maturin, "build", "--release", "--quiet", "--offline", "--out", str(folder),
               "--interpreter", sys.executable]
    subprocess.run(command, cwd=ROOT / "bindings-python", check=True, timeout=900)
    [wheel] = folder.glob("outcrop-*.whl")
    return wheel


@pytest.fixture(scope="module")
def empty(wheel, tmp_path_factory):
    """An environment that has the wheel, and its Python and its packages' folder."""
    folder = tmp_path_factory.mktemp("empty")
    venv.create(folder, with_pip=False)
    python = folder / "bin" / "python"
    site = subprocess.check_output(
        [python, "-c", "import sysconfig; print(sysconfig.get_path('purelib'))"], text=True
    ).strip()
    pip = [sys.executable, "-m", "pip", "install", "--quiet", "--no-deps", "--target", site]
    subprocess.run([*pip, str(wheel)], check=True)
    # Its one dependency, as it is installed here: nothing is downloaded.
    installed = Path(numpy.__file__).parent.parent
    for name in ["numpy", "numpy.libs"]:
        if (installed / name).exists():
            (Path(site) / name).symlink_to(installed / name)
    return python, site


def test_the_wheel_installs_and_answers(empty, tmp_path):
    python, site = empty
    told = subprocess.check_output(
        [python, "-I", "-c", PROGRAM, tmp_path / "home", LLAMA], cwd=tmp_path, text=True
    )
    file, tokens, reply, refused = json.loads(told)
    assert Path(file).is_relative_to(site)
    assert 1 <= tokens <= 3
    assert reply == "Hello."
    assert "boto3" in refused and "outcrop[boto3]" in refused


def test_the_wheel_carries_the_kernels_that_were_made(empty, tmp_path):
    """Those of `make kernels`; without them it says that it has none."""
    packs = list((ROOT / "kernels" / "pack").glob("*.pack"))
    told = subprocess.check_output(
        [empty[0], "-I", "-m", "outcrop", "doctor", "--json"], cwd=tmp_path, text=True
    )
    report = json.loads(told)
    assert sorted(report["images"]) == sorted(pack.stem for pack in packs)
    assert report["imageBytes"] == sum(pack.stat().st_size for pack in packs)


def test_what_the_wheel_holds(wheel):
    names = subprocess.check_output([sys.executable, "-m", "zipfile", "-l", wheel], text=True)
    assert "outcrop/py.typed" in names and "outcrop/_native.pyi" in names
    assert "-abi3-" in wheel.name
