"""Errors: the names, what they carry, and where they come from."""

import pickle

import outcrop
import pytest
from outcrop import _native, errors
from outcrop.errors import ModelErrorException, ResourceNotFoundException, ValidationException

from conftest import FIXTURES


def test_every_kind_has_its_class():
    kinds = {name: (status, retry) for name, status, retry in _native.error_kinds()}
    classes = {n: getattr(errors, n) for n in errors.__all__ if n != "OutcropError"}
    assert set(kinds) == set(classes)
    for name, kind in classes.items():
        assert issubclass(kind, outcrop.OutcropError)
        assert (kind.http_status, kind.retryable) == kinds[name]


def test_an_error_carries_its_resource_and_survives_pickling():
    error = errors.ThrottlingException("the queue is full", "m")
    again = pickle.loads(pickle.dumps(error))
    assert (again.message, again.resource, str(again)) == ("the queue is full", "m", str(error))
    assert again.retryable


def test_model_not_found(session, tmp_path):
    for name in ("acme.nothing-v1", tmp_path / "nothing", tmp_path / "nothing.gguf"):
        with pytest.raises(ResourceNotFoundException) as raised:
            session.model(name)
        assert "nothing" in str(raised.value)
        assert isinstance(raised.value, LookupError)


def test_offline_hub_name(session):
    with pytest.raises(outcrop.OutcropError, match="org/name"):
        session.model("hf:org/name")


def test_damaged_model(session, tmp_path):
    for file in (FIXTURES / "bert_minilm").rglob("*"):
        if file.is_file():
            target = tmp_path / file.relative_to(FIXTURES / "bert_minilm")
            target.parent.mkdir(exist_ok=True)
            target.write_bytes(file.read_bytes())
    whole = (tmp_path / "model.safetensors").read_bytes()
    (tmp_path / "model.safetensors").write_bytes(whole[: len(whole) // 2])
    with pytest.raises(ModelErrorException, match="model.safetensors"):
        session.model(tmp_path)


def test_the_wrong_kind_of_model(llama, embedder):
    for call in (
        lambda: embedder.converse("Hi"),
        lambda: embedder.generate("Hi"),
        lambda: embedder.rerank("q", ["t"]),
        lambda: embedder.logits([1]),
        lambda: llama.embed(["t"]),
        lambda: llama.rerank("q", ["t"]),
    ):
        with pytest.raises(ValidationException, match="model"):
            call()


def test_texts_are_checked(embedder, cross_encoder):
    for texts, message in (
        (5, "texts: expected a list of str, got 5 (int)"),
        (["a", None], "texts[1]: expected a str, got None (NoneType)"),
        (["a", "\udfff"], "texts[1]: expected Unicode text"),
        (["word " * 400], "128"),
    ):
        with pytest.raises(ValidationException) as raised:
            embedder.embed(texts)
        assert message in str(raised.value)
    with pytest.raises(ValidationException, match="query: expected a str"):
        cross_encoder.rerank(None, ["a"])


def test_empty_lists(embedder, cross_encoder):
    assert embedder.embed([]).shape == (0, 64)
    assert cross_encoder.rerank("q", []).shape == (0,)


def test_ids_are_checked(llama):
    for ids, message in (
        ("12", "ids: expected a list of token ids"),
        ([1, -1], "ids[1]: expected 0 or more"),
        ([1.5], "ids[0]: expected a whole number"),
        ([1 << 40], "ids[0]: expected a token id"),
        ([544], "544"),
        ([1] * 3000, "3000"),
    ):
        with pytest.raises(ValidationException) as raised:
            llama.logits(ids)
        assert message in str(raised.value)
    with pytest.raises(ValidationException, match="2048"):
        llama.generate([1] * 3000)
    # As in transformers, an id that no token has gives no text.
    assert llama.detokenize([99_999]) == ""


def test_devices(tmp_path):
    assert outcrop.Session(tmp_path, device="cpu").device == "cpu"
    # No machine has so many GPUs, and most have no driver: the error says which of the two it is.
    with pytest.raises(ValidationException, match='device: "cuda:999" cannot be used: no '):
        outcrop.Session(tmp_path, device="cuda:999")
    with pytest.raises(ValidationException, match="tpu"):
        outcrop.Session(tmp_path, device="tpu")
    with pytest.raises(ValidationException, match="device: expected a str"):
        outcrop.Session(tmp_path, device=0)
    with pytest.raises(TypeError, match="region"):
        outcrop.Session(tmp_path, region="local")


def test_a_home_that_is_a_file(tmp_path):
    (tmp_path / "file").write_text("x")
    with pytest.raises(outcrop.OutcropError, match="file"):
        outcrop.Session(tmp_path / "file")
