"""The command line, as a console script and as a module."""

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import outcrop
import pytest

from conftest import FIXTURES


@pytest.fixture
def cli(tmp_path):
    def run(*arguments, program=(sys.executable, "-m", "outcrop")):
        environment = {**os.environ, "OUTCROP_HOME": str(tmp_path / "home"), "HF_HUB_OFFLINE": "1"}
        done = subprocess.run(
            [*program, *map(str, arguments)],
            env=environment,
            capture_output=True,
            text=True,
            timeout=120,
        )
        return done.returncode, done.stdout, done.stderr

    return run


def test_help_and_version(cli):
    code, out, err = cli("--help")
    assert code == 0 and err == "" and "usage: outcrop COMMAND" in out
    assert cli("bench", "-h")[1] == out
    assert cli("--version") == (0, f"outcrop {outcrop.__version__}\n", "")


def test_the_console_script(cli):
    script = Path(sys.executable).with_name("outcrop")
    script = script if script.exists() else shutil.which("outcrop")
    assert script, "the package brings no console script"
    assert cli("--version", program=(str(script),))[0] == 0


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ([], "expected a command"),
        (["frob"], "frob: expected a command"),
        (["bench"], "bench: expected a model"),
        (["models", "--fast"], "--fast: there is no such option"),
    ],
)
def test_wrong_usage(cli, arguments, message):
    code, out, err = cli(*arguments)
    assert code == 2 and out == ""
    assert err.startswith("outcrop: ") and message in err and "--help" in err


def test_models(cli, tmp_path):
    with outcrop.Session(home=tmp_path / "home", offline=True) as session:
        session.import_model(FIXTURES / "llama3", "acme.reader-v1")
    code, out, _ = cli("models")
    assert code == 0
    header, *rows = out.splitlines()
    assert header.split() == ["ID", "KIND", "HERE", "SIZE", "FITS", "SOURCE"]
    assert any(row.startswith("acme.reader-v1") and str(FIXTURES) in row for row in rows)
    _, out, _ = cli("models", "--json")
    entries = {entry["id"]: entry for entry in map(json.loads, out.splitlines())}
    assert entries["acme.reader-v1"]["kind"] == "chat"
    assert entries["acme.reader-v1"]["bytes"] > 1000
    assert entries["acme.reader-v1"]["fits"] is True
    _, elsewhere, _ = cli("models", "--json", "--home", tmp_path / "other")
    assert "acme.reader-v1" not in elsewhere


def test_what_is_known_of_a_model_before_it_is_loaded(cli):
    code, out, _ = cli("models", "info", FIXTURES / "llama3", "--json")
    assert code == 0
    found = json.loads(out)
    assert found["architecture"] == "llama" and found["quantization"] == "BF16"
    assert found["kind"] == "chat" and found["contextLength"] == 2048
    memory = found["memory"]
    assert memory["kvBytes"] == memory["kvTokens"] * memory["kvBytesPerToken"]
    assert memory["total"] == memory["weights"] + memory["kvBytes"] + memory["working"]
    assert memory["fits"] is (memory["total"] <= memory["available"])
    code, out, _ = cli("models", "info", FIXTURES / "llama3" / "model-Q8_0.gguf")
    assert code == 0 and "Q8_0" in out and "fits" in out and "memory needed" in out
    code, out, _ = cli("models", "info", FIXTURES / "bert_minilm", "--json")
    assert json.loads(out)["kind"] == "embedding"
    code, out, err = cli("models", "info", "hf:acme/reader")
    assert (code, out) == (1, "") and "not on this machine" in err
    assert cli("models", "info", "acme.nothing")[0] == 1
    assert cli("models", "info")[0] == 2


def test_bench(cli):
    code, out, _ = cli("bench", FIXTURES / "llama3", "--json")
    assert code == 0
    found = [json.loads(line) for line in out.splitlines()]
    assert [(m["measure"], m["sequences"], m["context"]) for m in found] == [
        ("load", 1, 0),
        ("prefill", 1, 0),
        ("decode", 1, 128),
        ("decode", 8, 128),
    ]
    assert all(
        m["value"] > 0 and sorted(m["runs"])[len(m["runs"]) // 2] == m["value"] for m in found
    )
    assert found[1]["tokens"] == 512
    code, table, _ = cli("bench", FIXTURES / "bert_cross_encoder")
    assert code == 0 and "texts/s" in table


def test_failures_are_one_line_on_standard_error(cli, tmp_path):
    for arguments in (["bench", "nothing-here"], ["bench", tmp_path / "nothing"]):
        code, out, err = cli(*arguments)
        assert code == 1 and out == ""
        assert err.startswith("outcrop: ResourceNotFoundException: ") and err.count("\n") == 1


def test_a_reader_that_has_enough_is_no_failure(tmp_path):
    command = f"{sys.executable} -m outcrop models --json | head -c 1"
    environment = {**os.environ, "OUTCROP_HOME": str(tmp_path / "home"), "HF_HUB_OFFLINE": "1"}
    done = subprocess.run(
        ["sh", "-c", command], env=environment, capture_output=True, text=True, timeout=60
    )
    assert done.stdout == "{" and done.stderr == ""


def test_bench_in_a_notebook(llama):
    found = llama.bench()
    assert [m.measure for m in found] == ["load", "prefill", "decode", "decode"]
    assert "tokens/s" in found._repr_html_() and "median" in repr(found)
