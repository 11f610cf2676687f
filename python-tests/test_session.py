"""Sessions: the catalogue, importing, and closing."""

import os
from pathlib import Path

import outcrop
import pytest
from outcrop.errors import ConflictException, ValidationException

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

for _ in range(3): once()
gc.collect(); before = resident()
for _ in range(12): once()
gc.collect()
print(json.dumps((resident() - before) / 12))
"""
    )
    assert grown < 2_000_000, f"{grown:,.0f} bytes a session"


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
