"""Knowledge bases, end to end: sources, syncs, direct documents, retrieval, answers."""

import asyncio
import json
import random
import signal
import subprocess
import sys
import time

import numpy as np
import outcrop
import pytest
from outcrop import Document
from outcrop.errors import ConflictException, ResourceNotFoundException, ValidationException

from conftest import FIXTURES

EMBEDDER = FIXTURES / "bert_minilm"
NOTES = {
    "river.txt": "The river froze in January. The ferry stopped until the ice broke.",
    "fees.md": "# Fees\n\nA card costs 20 euro a year.\n",
    "hours.html": "<html><body><h1>Hours</h1><p>We open at nine.</p></body></html>",
}


@pytest.fixture
def notes(tmp_path):
    folder = tmp_path / "notes"
    folder.mkdir()
    for name, text in NOTES.items():
        (folder / name).write_text(text, encoding="utf-8")
    return folder


@pytest.fixture
def kb(own_session):
    return own_session.create_knowledge_base("notes", embedding_model=EMBEDDER)


def test_sync_is_incremental(kb, notes):
    source = kb.add_source(notes)
    assert source.path == str(notes)
    assert [s.id for s in kb.sources()] == [source.id]
    (notes / "broken.pdf").write_bytes(b"%PDF-1.7 nothing follows")
    report = kb.sync(progress=False)
    assert (report.added, report.modified, report.deleted, report.unchanged) == (3, 0, 0, 0)
    assert [failed.document for failed in report.failed] == ["broken.pdf"]
    assert report.failed[0].reason
    assert {d.id for d in kb.documents()} == set(NOTES)

    (notes / "broken.pdf").unlink()
    (notes / "river.txt").write_text("The river is open.", encoding="utf-8")
    (notes / "fees.md").unlink()
    (notes / "new.txt").write_text("A new note.", encoding="utf-8")
    report = kb.sync(progress=False)
    assert (report.added, report.modified, report.deleted, report.unchanged) == (1, 1, 1, 1)
    assert report.failed == []
    assert {d.id for d in kb.documents()} == {"river.txt", "hours.html", "new.txt"}
    assert kb.retrieve("The river is open.", k=1)[0].text == "The river is open."
    with pytest.raises(ConflictException):
        kb.add_source(notes)
    with pytest.raises(ResourceNotFoundException, match="nowhere"):
        kb.add_source(notes / "nowhere")


def test_a_source_that_is_gone_is_removed(kb, notes, tmp_path):
    kb.add_source(notes)
    gone = tmp_path / "gone"
    gone.mkdir()
    (gone / "bees.txt").write_text("Bees hum.", encoding="utf-8")
    source = kb.add_source(gone)
    kb.sync(progress=False)
    (gone / "bees.txt").unlink()
    gone.rmdir()
    with pytest.raises(ResourceNotFoundException, match=source.id):
        kb.sync(progress=False)
    assert kb.remove_source(source) == source
    assert kb.sync(progress=False).deleted == 1
    with pytest.raises(ResourceNotFoundException, match=source.id):
        asyncio.run(kb.aremove_source(source.id))
    assert asyncio.run(kb.aremove_source(notes)).path == str(notes)
    assert kb.sources() == []
    with pytest.raises(ValidationException, match="^source:"):
        kb.remove_source(1)


def test_progress_is_a_tqdm_bar(kb, notes, capsys):
    pytest.importorskip("tqdm")
    kb.add_source(notes)
    kb.sync()
    shown = capsys.readouterr().err
    assert "100%" in shown and "3/3" in shown


def test_sync_without_tqdm(kb, notes, monkeypatch, capsys):
    monkeypatch.setitem(sys.modules, "tqdm", None)
    monkeypatch.setitem(sys.modules, "tqdm.auto", None)
    kb.add_source(notes)
    assert kb.sync().added == 3
    assert capsys.readouterr().err == ""


def test_documents_given_directly(kb):
    ids = kb.add(
        [
            Document("The river froze.", {"year": 1963, "tags": ["ice"]}, id="river"),
            {"text": "We open at nine.", "id": "hours"},
            "A card costs 20 euro.",
        ]
    )
    assert ids[:2] == ["river", "hours"] and len(ids) == 3
    passage = kb.retrieve("The river froze.", k=1)[0]
    assert passage.location.document == "river"
    assert passage.score == pytest.approx(1.0, abs=1e-5)
    assert passage.metadata == {"year": 1963, "tags": ["ice"]}
    kb.add(Document("The river is open.", id="river"))
    assert len(kb.documents()) == 3
    assert kb.delete(["river", ids[2]]) == 2
    assert [d.id for d in kb.documents()] == ["hours"]
    with pytest.raises(ResourceNotFoundException, match="river"):
        kb.delete("river")


def test_vectors_of_ones_own(kb, embedder):
    vector = embedder.embed("ice")[0]
    kb.add([Document("frozen water", id="a", embedding=vector), Document("a loaf", id="b")])
    kb.add(Document("as a list", id="c", embedding=(-vector).tolist()))
    found = kb.retrieve("ice", k=3)
    assert found[0].location.document == "a" and found[-1].location.document == "c"
    assert found[0].score == pytest.approx(1.0, abs=1e-5)
    for wrong in (np.zeros(3), np.zeros((2, 64)), "x", [float("nan")] * 64):
        with pytest.raises(ValidationException, match="embedding"):
            kb.add(Document("x", embedding=wrong))


def test_wrong_documents(kb):
    for documents, message in (
        ([5], "documents[0]: expected a Document"),
        ([{"text": "a", "titel": "b"}], "documents[0]: expected a Document"),
        (["a", Document(7)], "documents[1].text: expected a str, got 7 (int)"),
        ([Document("a", id=7)], "documents[0].id: expected a str"),
        ([Document("a", {"f": {1, 2}})], "documents[0].metadata.f: "),
        ([Document("a", ["x"])], "documents[0].metadata: expected a dict"),
    ):
        with pytest.raises(ValidationException) as raised:
            kb.add(documents)
        assert message in str(raised.value)
    assert kb.documents() == []


def test_creating(own_session):
    kb = own_session.create_knowledge_base(
        "policies", EMBEDDER, {"max_tokens": 64, "overlap_tokens": 8}, description="Rules."
    )
    info = kb.info
    assert (info.name, info.id, info.description) == ("policies", kb.id, "Rules.")
    assert info.chunking == {"maxTokens": 64, "overlapTokens": 8}
    assert (info.documents, info.chunks) == (0, 0)
    for name in ("policies", kb.id):
        assert own_session.knowledge_base(name).id == kb.id
    assert [k.name for k in own_session.knowledge_bases()] == ["policies"]
    with pytest.raises(ConflictException, match="policies"):
        own_session.create_knowledge_base("policies", EMBEDDER)
    for wrong in ({"tokens": 3}, {"max_tokens": "x"}, {"max_tokens": 100_000}, 5):
        with pytest.raises(ValidationException, match="chunking"):
            own_session.create_knowledge_base("other", EMBEDDER, wrong)
    with pytest.raises(ValidationException, match="name"):
        own_session.create_knowledge_base("a/b", EMBEDDER)
    own_session.delete_knowledge_base("policies")
    with pytest.raises(ResourceNotFoundException):
        own_session.knowledge_base("policies")
    with pytest.raises(ResourceNotFoundException):
        kb.retrieve("x")


def test_relative_paths_outlive_the_folder(own_session, notes, monkeypatch):
    monkeypatch.chdir(EMBEDDER.parent)
    kb = own_session.create_knowledge_base("notes", "./bert_minilm")
    monkeypatch.chdir(notes.parent)
    kb.add_source("notes")
    monkeypatch.chdir("/")
    assert kb.sync(progress=False).added == 3
    assert kb.info.embedding_model == str(EMBEDDER)


def test_wrong_queries(kb):
    kb.add("A note.")
    for arguments, message in (
        (("",), "query"),
        ((5,), "query: expected a str"),
        (("x", 0), "k: expected 1"),
        (("x", -1), "k: expected 0 or more"),
        (("x", "5"), "k: expected a whole number"),
        (("x", 101), "k: expected 1"),
    ):
        with pytest.raises(ValidationException) as raised:
            kb.retrieve(*arguments)
        assert message in str(raised.value)
    with pytest.raises(ValidationException, match="filter"):
        kb.retrieve("x", filter={})


def test_answers_quote_the_documents(own_session, minilm, notes):
    kb = own_session.create_knowledge_base("notes")
    kb.add_source(notes)
    kb.sync(progress=False)
    answer = kb.ask("What do I pay for a card?")
    assert answer.answered and "20 euro" in answer.text
    assert answer.model == "outcrop.quote-v1"
    for citation in answer.citations:
        assert answer.text[citation.span.start : citation.span.end].strip()
        for quote in citation.quotes:
            assert any(quote in passage.text for passage in citation.passages)
    assert answer.citations[0].passages[0].location.document == "fees.md"
    assert "fees.md" in repr(answer)
    nothing = kb.ask("Who won the football match in Lisbon?")
    assert not nothing.answered and nothing.citations == []
    assert asyncio.run(kb.aask("What do I pay for a card?")) == answer


def test_words_find_what_vectors_do_not(kb, own_session):
    kb.add(
        [
            Document("Form K-4711 closes an account.", id="form"),
            Document("The river froze.", id="river"),
            Document("Bees hum.", id="bees"),
        ]
    )
    (found,) = kb.retrieve("4711", search="keyword")
    assert found.location.document == "form" and found.score > 0
    assert kb.retrieve("mortgage", search="keyword") == []
    hybrid = kb.retrieve("form 4711", k=3, search="hybrid")
    assert len(hybrid) == 3 and 0 < hybrid[-1].score < hybrid[0].score <= 1
    assert asyncio.run(kb.aretrieve("form 4711", k=3, search="hybrid")) == hybrid
    scores = [({"contains": "Bees"}, 2.0), ({"regex": "."}, -2.0)]
    spec = {"rerank": [{"text": text, "score": score} for text, score in scores]}
    own_session.register_model("acme.rerank-v1", spec)
    reranked = kb.retrieve("form", k=3, rerank="acme.rerank-v1")
    assert reranked[0].location.document == "bees"
    assert reranked[0].score == pytest.approx(1 / (1 + np.exp(-2.0)), abs=1e-6)
    with pytest.raises(ValidationException, match='search: expected "semantic"'):
        kb.retrieve("x", search="fuzzy")
    own_session.register_model("acme.reader-v1", {"script": [{"answer": "Yes [1]."}]})
    with pytest.raises(ValidationException, match="question: expected words"):
        kb.ask("mortgage", "acme.reader-v1", search="keyword")


def test_a_question_goes_on_with_its_conversation(kb, own_session):
    kb.add([Document("A card costs 20 euro.", id="fees")])
    script = [
        {"match": {"turn": 1}, "answer": "20 euro [1]."},
        {"match": {"turn": 2}, "answer": "As I said, 20 euro [1]."},
    ]
    own_session.register_model("acme.reader-v1", {"script": script})

    def ask(**options):
        return kb.ask("What does a card cost?", "acme.reader-v1", **options).text

    assert ask(session_id="ada") == ask() == ask(session_id="bob") == "20 euro [1]."
    assert ask(session_id="ada") == "As I said, 20 euro [1]."
    other = own_session.create_knowledge_base("other", EMBEDDER)
    other.add("A note.")
    with pytest.raises(ValidationException, match="ongoing session"):
        other.ask("What?", "acme.reader-v1", session_id="ada")


def test_a_decoder_may_answer(kb, llama):
    kb.add([Document("The river froze.", id="river")])
    answer = kb.ask("What froze?", model=llama, k=1)
    assert answer.model == llama.id
    assert [p.location.document for p in answer.passages] == ["river"]
    assert answer.usage.input_tokens > 0
    # Random weights make no marker that checks out, and none is invented.
    for citation in answer.citations:
        assert citation.passages[0].location.document == "river"


def test_twins(own_session, notes):
    async def main():
        kb = await own_session.acreate_knowledge_base("twins", EMBEDDER)
        await kb.aadd_source(notes)
        report = await kb.async_(progress=False)
        assert report.added == 3
        assert await kb.aadd([Document("A note.", id="note")]) == ["note"]
        assert await kb.aretrieve("A note.") == kb.retrieve("A note.")
        assert await kb.adelete("note") == 1
        assert await kb.adocuments() == kb.documents()
        assert await kb.asources() == kb.sources()
        again = await own_session.aknowledge_base("twins")
        assert again.id == kb.id
        assert [k.id for k in await own_session.aknowledge_bases()] == [kb.id]
        assert await own_session.amodels() == own_session.models()
        model = await own_session.amodel(EMBEDDER)
        assert model.info.dimensions == 64
        await own_session.adelete_knowledge_base("twins")

    asyncio.run(main())


SYNC = """
import os, sys
import outcrop
with outcrop.Session(home=sys.argv[1], offline=True) as session:
    kb = session.knowledge_base("many")
    print("ready", flush=True)
    kb.sync(progress=False)
    print("done", flush=True)
"""


def many_files(folder, count):
    folder.mkdir()
    for n in range(count):
        (folder / f"{n:03}.txt").write_text(f"Note {n} says {n * 7919 % 1000}.", encoding="utf-8")


def test_kill_9_leaves_the_last_good_state(own_session, tmp_path):
    folder, count = tmp_path / "many", 200
    many_files(folder, count)
    own_session.create_knowledge_base("many", EMBEDDER).add_source(folder)
    (tmp_path / "sync.py").write_text(SYNC)
    chance = random.Random(5)
    for _ in range(4):
        program = [sys.executable, str(tmp_path / "sync.py"), own_session.home]
        with subprocess.Popen(program, stdout=subprocess.PIPE, text=True) as child:
            assert child.stdout.readline() == "ready\n"
            time.sleep(chance.uniform(0.0, 0.4))
            child.send_signal(signal.SIGKILL)
    kb = own_session.knowledge_base("many")
    report = kb.sync(progress=False)
    assert report.failed == []
    assert report.added + report.unchanged == count
    assert sorted(d.id for d in kb.documents()) == [f"{n:03}.txt" for n in range(count)]
    found = kb.retrieve("Note 7 says 433.", k=100)
    assert len({p.location.document for p in found}) == 100
    for passage in found:
        n = int(passage.location.document[:3])
        assert passage.text == f"Note {n} says {n * 7919 % 1000}."


def test_a_cancelled_sync_is_finished_by_the_next(own_session, tmp_path):
    many_files(tmp_path / "many", 3000)
    kb = own_session.create_knowledge_base("many", EMBEDDER)
    kb.add_source(tmp_path / "many")

    async def main():
        with pytest.raises(asyncio.TimeoutError):
            await asyncio.wait_for(kb.async_(progress=False), 0.05)

    asyncio.run(main())
    report = kb.sync(progress=False)
    assert report.added + report.unchanged == 3000
    assert len(kb.documents()) == 3000


def test_a_damaged_home_names_the_file(own_session, kb, tmp_path):
    kb.add("A note.")
    own_session.close()
    files = [f for f in (tmp_path / "home").rglob("*") if f.is_file() and f.stat().st_size]
    assert files
    for file in files:
        whole = file.read_bytes()
        file.write_bytes(whole[: len(whole) // 2])
        try:
            with outcrop.Session(home=tmp_path / "home", offline=True) as again:
                found = again.knowledge_base("notes").retrieve("A note.", k=1)
                assert [p.text for p in found] in ([], ["A note."])
        except outcrop.OutcropError as error:
            assert file.name in json.dumps([str(error), error.resource]), (file, error)
        file.write_bytes(whole)


def test_filters_choose_the_documents(kb):
    years = {f"n{year}": year for year in range(2000, 2010)}
    kb.add([Document(f"The river froze in {y}.", {"year": y}, id=i) for i, y in years.items()])
    late = {"greaterThanOrEquals": {"key": "year", "value": 2007}}
    found = kb.retrieve("river", k=5, filter=late)
    assert {p.metadata["year"] for p in found} == {2007, 2008, 2009}
    both = {"andAll": [late, {"notEquals": {"key": "year", "value": 2008}}]}
    assert len(asyncio.run(kb.aretrieve("river", filter=both))) == 2
    answer = kb.ask("When did the river freeze?", k=10, filter=both)
    assert {p.metadata["year"] for p in answer.passages} == {2007, 2009}
    with pytest.raises(ValidationException, match=r"filter\.like: expected one of equals"):
        kb.retrieve("river", filter={"like": {"key": "year", "value": 1}})
    with pytest.raises(ValidationException, match="filter: expected one that some documents pass"):
        kb.ask("river?", filter={"equals": {"key": "year", "value": 1}})
