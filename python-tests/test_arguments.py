"""Arguments: a wrong one is an error that names it, whatever it is."""

import copy
import pickle

import numpy
import pytest
from outcrop.errors import ValidationException

HUGE = 10**5000
REALS = [float("nan"), float("inf"), HUGE, "1", b"1", True, [], {}, numpy.array([1, 2])]
WHOLES = [1.5, -1, 1 << 64, HUGE, -HUGE, "1", True, [], numpy.array([1, 2])]


@pytest.mark.parametrize("name", ["temperature", "top_p", "min_p", "repetition_penalty"])
@pytest.mark.parametrize("value", REALS, ids=lambda value: type(value).__name__)
def test_real_numbers(llama, name, value):
    with pytest.raises(ValidationException, match=f"^{name}:") as raised:
        llama.generate("Hi", **{name: value})
    assert len(str(raised.value)) < 500


@pytest.mark.parametrize("name", ["max_tokens", "top_k", "seed"])
@pytest.mark.parametrize("value", WHOLES, ids=lambda value: type(value).__name__)
def test_whole_numbers(llama, name, value):
    with pytest.raises(ValidationException, match=f"^{name}:") as raised:
        llama.converse("Hi", **{name: value})
    assert len(str(raised.value)) < 500


def test_numpy_numbers_are_numbers(llama):
    plain = llama.generate("Hi", max_tokens=3, temperature=0.5, seed=3)
    assert (
        plain.ids
        == llama.generate(
            "Hi", max_tokens=numpy.int64(3), temperature=numpy.float32(0.5), seed=numpy.uint8(3)
        ).ids
    )


@pytest.mark.parametrize(
    ("place", "message"),
    [
        (r"messages\[0\].role", {"role": numpy.array([1, 2]), "content": "a"}),
        (r"messages\[0\].content:", {"role": "user", "content": b"a"}),
        (r"messages\[0\].content:", {"role": "user", "content": numpy.array([1, 2])}),
        (r"messages\[0\].content\[0\]:", {"role": "user", "content": [b"a"]}),
        (r"messages\[0\].content\[0\].text:", {"role": "user", "content": [{"text": b"a"}]}),
        (r"messages\[0\].content\[0\].text:", {"role": "user", "content": [{"text": "\ud800"}]}),
        (
            r"messages\[0\].content\[0\].toolUse.input.x:",
            {"role": "user", "content": [{"toolUse": {"input": {"x": float("nan")}}}]},
        ),
    ],
)
def test_messages_are_refused_by_their_place(llama, place, message):
    with pytest.raises(ValidationException, match=f"^{place}"):
        llama.converse([message])


def test_flags(embedder):
    for name in ("normalize", "truncate"):
        for value in ("no", 1, None, numpy.array([True, False])):
            with pytest.raises(ValidationException, match=f"^{name}:"):
                embedder.embed("a", **{name: value})
    assert embedder.embed("a", normalize=numpy.bool_(True)).shape[0] == 1


def test_tool_choice(llama):
    for choice in ({}, {"x": {}}, "nothing", numpy.array([1, 2])):
        with pytest.raises(ValidationException, match="^tool_choice:"):
            llama.converse("Hi", tool_choice=choice)


def test_documents(session, embedder):
    base = session.create_knowledge_base("arguments", embedding_model=embedder.id)
    for documents in (None, 1, b"a", float("nan")):
        with pytest.raises(ValidationException, match="^documents:"):
            base.add(documents)
    width = embedder.info.dimensions
    for number in (HUGE, 1e300, float("nan")):
        with pytest.raises(ValidationException, match=r"^documents\[0\]"):
            base.add([{"text": "a", "embedding": [number] * width}])
    with pytest.raises(ValidationException, match=r"^documents\[0\].metadata.a\[1\]:"):
        base.add([{"text": "a", "metadata": {"a": [0, b"x"]}}])
    assert base.documents() == []


def test_open_things_are_copied_as_themselves_and_not_pickled(session, llama):
    with llama.stream("Hi", max_tokens=4) as stream:
        for thing in (session, llama, stream):
            assert copy.copy(thing) is thing
            assert copy.deepcopy([thing])[0] is thing
            with pytest.raises(TypeError, match=f"cannot pickle a {type(thing).__name__}"):
                pickle.dumps(thing)
