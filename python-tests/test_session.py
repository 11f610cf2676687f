"""Sessions: the catalogue, importing, and closing."""

import os
from pathlib import Path

import outcrop
import pytest
from outcrop.errors import (
    ConflictException,
    InternalServerException,
    ResourceNotFoundException,
    ValidationException,
)

from conftest import FIXTURES


def test_home(tmp_path, monkeypatch):
    monkeypatch.setenv("OUTCROP_HOME", str(tmp_path / "from-environment"))
    with outcrop.Session(offline=True) as session:
        assert Path(session.home) == (tmp_path / "from-environment").resolve()
        assert session.device == "cpu"
    assert os.listdir(tmp_path) == ["from-environment"]


def test_catalogue(own_session):
    models = own_session.models()
    by_id = {entry.id: entry for entry in models}
    assert by_id["outcrop.minilm-embed-v1"].kind == "embedding"
    assert by_id["outcrop.quote-v1"].kind == "chat"
    assert by_id["outcrop.tiny-v1"].kind == "chat" and by_id["outcrop.tiny-v1"].available
    assert all(entry.arn.startswith("arn:aws:bedrock:local:") for entry in models)


def test_import_a_folder(own_session):
    entry = own_session.import_model(FIXTURES / "llama3", "acme.reader-v1")
    assert (entry.id, entry.kind, entry.available) == ("acme.reader-v1", "chat", True)
    assert "acme.reader-v1" in [e.id for e in own_session.models()]
    for name in ("acme.reader-v1", entry.arn):
        assert own_session.model(name).generate("Hi", max_tokens=2).usage.output_tokens == 2
    with pytest.raises(ConflictException, match="acme.reader-v1"):
        own_session.import_model(FIXTURES / "qwen3", "acme.reader-v1")


def test_one_model_is_loaded_once(session):
    assert session.model(FIXTURES / "llama3").info == session.model(FIXTURES / "llama3").info
    assert session.model(str(FIXTURES / "llama3")).id == session.model(FIXTURES / "llama3").id


def test_info(llama, embedder):
    info = llama.info
    assert info.device_reason.startswith("auto: ")
    assert (info.architecture, info.kind, info.device) == ("llama", "chat", "cpu")
    assert (info.context_length, info.vocabulary, info.quantization) == (2048, 544, "BF16")
    assert info.bytes > info.parameters > 10_000
    assert (embedder.info.dimensions, embedder.info.kind) == (64, "embedding")


def test_closing(tmp_path):
    session = outcrop.Session(home=tmp_path, offline=True)
    model = session.model(FIXTURES / "llama3")
    kb = session.create_knowledge_base("notes", embedding_model=FIXTURES / "bert_minilm")
    stream = model.stream("Hi", max_tokens=400)
    session.close()
    session.close()
    assert session.closed
    assert model.info.architecture == "llama"
    for call in (
        lambda: model.generate("Hi"),
        lambda: model.tokenize("Hi"),
        lambda: session.model(FIXTURES / "llama3"),
        lambda: session.models(),
        lambda: kb.retrieve("x"),
        lambda: kb.sync(),
        lambda: session.knowledge_bases(),
    ):
        with pytest.raises(ValidationException, match="session is closed"):
            call()
    stream.close()
    with outcrop.Session(home=tmp_path, offline=True) as again:
        assert again.knowledge_base("notes").id == kb.id


def test_closing_gives_memory_back(run_python):
    grown = run_python(
        """
import gc, json, os, numpy, outcrop

def resident():
    with open("/proc/self/statm") as file:
        return int(file.read().split()[1]) * os.sysconf("SC_PAGE_SIZE")

def once():
    with outcrop.Session(offline=True) as session:
        session.model(os.environ["FIXTURES"] + "/llama3").logits(list(range(500)))
        session.model(os.environ["FIXTURES"] + "/bert_minilm").embed(["x"])

def least(sessions):
    # The kernel gives and takes pages of 2 MiB when it likes: what stays is in the least of many readings.
    readings = []
    for _ in range(sessions):
        once()
        gc.collect()
        readings.append(resident())
    return min(readings)

least(24)
before = least(24)
print(json.dumps((least(24) - before) / 24))
"""
    )
    assert grown < 1_000_000, f"{grown:,.0f} bytes a session"


def test_two_sessions_and_processes_share_a_home(own_session, run_python):
    own_session.create_knowledge_base("notes", embedding_model=FIXTURES / "bert_minilm")
    names = run_python(
        """
import json, sys, outcrop
with outcrop.Session(home=sys.argv[1], offline=True) as session:
    kb = session.knowledge_base("notes")
    kb.add([{"text": "The river froze.", "id": "a"}])
    print(json.dumps([k.name for k in session.knowledge_bases()]))
""",
        own_session.home,
    )
    assert names == ["notes"]
    assert [d.id for d in own_session.knowledge_base("notes").documents()] == ["a"]


def test_how_a_model_is_opened(own_session):
    folder = FIXTURES / "llama3"
    model = own_session.model(folder, context_length=64, max_batch=2, kv_tokens=128)
    assert model.info.context_length == 64
    with pytest.raises(ValidationException, match="context of 64"):
        model.generate("The river", max_tokens=64)
    # What is not given agrees; so does what is the same.
    assert own_session.model(folder).info.context_length == 64
    assert own_session.model(folder, context_length=64).info.context_length == 64
    with pytest.raises(ConflictException) as raised:
        own_session.model(folder, context_length=32)
    assert "with 64, and 32 is asked for" in str(raised.value)
    for wrong, message in [
        ({"context_length": 1}, "context_length: expected 2..=2048"),
        ({"context_length": 5000}, "got 5000"),
        ({"max_batch": 0}, "max_batch: expected at least 1, got 0"),
        ({"kv_tokens": 1.5}, "kv_tokens: expected a whole number, got 1.5 (float)"),
        ({"kv_tokens": 64, "kv_bytes": 1 << 20}, "kv_bytes: expected it or kv_tokens, got both"),
        ({"kv_bytes": 1}, "kv_bytes: expected at least"),
    ]:
        with pytest.raises(ValidationException) as raised:
            own_session.model(FIXTURES / "qwen3", **wrong)
        assert message in str(raised.value)
    # A model that could not be opened may be opened otherwise.
    assert own_session.model(FIXTURES / "qwen3", max_batch=1).info.kind == "chat"
    with pytest.raises(ValidationException, match="max_batch: model .* is an embedding model"):
        own_session.model(FIXTURES / "bert_minilm", max_batch=2)


def test_a_damaged_record_is_listed_as_damaged(own_session):
    own_session.import_model(FIXTURES / "llama3", "acme.good-v1")
    own_session.import_model(FIXTURES / "qwen3", "acme.bad-v1")
    [file] = Path(own_session.home).glob("records/models/*bad*")
    file.write_bytes(file.read_bytes()[:-9])
    found = {entry.id: entry for entry in own_session.models()}
    assert found["acme.good-v1"].damaged is None
    assert found["acme.good-v1"].bytes > 1000 and found["acme.good-v1"].kind == "chat"
    bad = found["acme.bad-v1"]
    assert str(file) in bad.damaged and not bad.available and bad.kind is None
    assert "acme.bad-v1" in own_session.models()._repr_html_()
    with pytest.raises(InternalServerException):
        own_session.model("acme.bad-v1")
    with pytest.raises(ResourceNotFoundException, match="did you mean acme.good-v1"):
        own_session.model("acme.god-v1")
    own_session.import_model(FIXTURES / "qwen3", "acme.bad-v1")
    assert own_session.model("acme.bad-v1").info.architecture == "qwen3"


def test_buckets(own_session, tmp_path):
    own_session.map_bucket("acme-data", tmp_path / "data")
    folder = str((tmp_path / "data").resolve())
    assert own_session.buckets() == {"acme-data": folder}
    assert os.path.isdir(folder)
    with pytest.raises(ValidationException, match="bucket"):
        own_session.map_bucket("No Bucket", tmp_path)
    own_session.map_bucket("acme-data", None)
    assert own_session.buckets() == {}
    with pytest.raises(ResourceNotFoundException, match="acme-data"):
        own_session.map_bucket("acme-data", None)
