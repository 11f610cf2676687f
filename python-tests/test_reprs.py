"""What notebooks and consoles show."""

import pytest
from outcrop import (
    Answer,
    CatalogueEntry,
    Citation,
    Completion,
    FailedDocument,
    Location,
    ModelInfo,
    ModelList,
    Passage,
    PassageList,
    Reply,
    Span,
    SyncReport,
    ToolUse,
    Usage,
)

from conftest import FIXTURES

HOSTILE = "<script>alert('x')</script> & \"more\""


def passage(text="The river froze.", **location):
    place = Location("notes/river.pdf", "file:///notes/river.pdf", 3, 19, **location)
    return Passage("p1", text, 0.71234, place, {})


def values():
    usage = Usage(10, 5, 15)
    answer = Answer(
        text="It froze. " + HOSTILE,
        answered=True,
        citations=[Citation(Span(0, 9), [HOSTILE], PassageList([passage(page=3)]))],
        passages=PassageList([passage(HOSTILE)]),
        model=HOSTILE,
        stop_reason="end_turn",
        usage=usage,
    )
    use = {"toolUseId": "1", "name": HOSTILE, "input": {}}
    content = [{"text": HOSTILE}, {"toolUse": use}]
    info = ModelInfo(HOSTILE, "chat", "llama", 1_234_567, "F32", 2048, "cpu", 4)
    entry = CatalogueEntry("a.b-v1", "arn:aws:bedrock:local::x", "chat", HOSTILE, True, "built-in")
    failed = [FailedDocument(HOSTILE, "expected a PDF, got nothing")]
    return {
        "answer": answer,
        "reply": Reply(content, "tool_use", usage, 12, "m"),
        "passages": PassageList([passage(HOSTILE)]),
        "passage": passage(HOSTILE),
        "info": info,
        "models": ModelList([entry]),
        "report": SyncReport(5, 1, 1, 1, 1, failed),
    }


@pytest.mark.parametrize("name", values())
def test_html_is_escaped_and_text_stands_beside_it(name):
    value = values()[name]
    shown = value._repr_html_()
    assert "<script>" not in shown and "&lt;script&gt;" in shown
    assert "<script>" in repr(value)


def test_answer():
    answer = values()["answer"]
    assert str(answer) == answer.text
    lines = repr(answer).splitlines()
    assert lines[0] == answer.text
    assert "notes/river.pdf, page 3" in lines[-1] and "0.712" in lines[-1] and "[1]" in lines[-1]
    assert "It froze.<sup>[1]</sup> " in answer._repr_html_()


def test_table_of_passages():
    shown = repr(PassageList([passage("word " * 100), passage()]))
    first, rule, one, two = shown.splitlines()
    assert first.split() == ["score", "where", "text"]
    assert set(rule) == {"-", " "}
    assert one.endswith("…") and two.endswith("The river froze.")
    assert repr(PassageList()) == "[]"
    assert "word " * 20 in PassageList([passage("word " * 100)])._repr_html_()


def test_locations():
    assert str(passage().location) == "notes/river.pdf, characters 3-19"
    assert str(passage(page=3, last_page=3).location) == "notes/river.pdf, page 3"
    assert str(passage(page=3, last_page=5).location) == "notes/river.pdf, pages 3-5"


def test_report_names_each_failure():
    shown = repr(values()["report"])
    assert "expected a PDF, got nothing" in shown
    assert "failed" in shown and "scanned" in shown


def test_info():
    shown = repr(values()["info"])
    assert "1,234,567" in shown and "context_length" in shown
    assert "dimensions" not in shown


def test_reply_and_completion():
    reply = values()["reply"]
    assert reply.text == HOSTILE
    assert reply.tool_uses == [ToolUse("1", HOSTILE, {})]
    assert "tool_uses=1" in repr(reply)
    cited = [{"citationsContent": {"content": [{"text": "It froze."}], "citations": []}}]
    assert Reply(cited, "end_turn", Usage(1, 1, 2), 1, "m").text == "It froze."
    done = Completion("x" * 200, [1], "max_tokens", Usage(1, 1, 2), 1)
    assert len(repr(done)) < 160 and str(done) == "x" * 200


def test_live_objects(session, llama):
    assert "outcrop.minilm-embed-v1" in repr(session.models())
    assert "<table>" in session.models()._repr_html_()
    assert "llama" in repr(llama) and "<table>" in llama._repr_html_()
    assert repr(session).startswith("<outcrop.Session /")


def test_a_deleted_knowledge_base_still_shows(own_session):
    name = FIXTURES / "bert_minilm"
    base = own_session.create_knowledge_base("gone", embedding_model=name)
    own_session.delete_knowledge_base("gone")
    shown = base._repr_html_()
    assert shown.startswith("&lt;outcrop.KnowledgeBase gone") and "does not exist" in shown
