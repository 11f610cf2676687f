"""LoRA adapters: loaded beside a model, chosen by each request."""

import asyncio
import os

import numpy as np
import pytest
from outcrop.errors import (
    ModelErrorException,
    ResourceNotFoundException,
    ValidationException,
)

from conftest import FIXTURES, golden

NAMES = ["lora_trained", "patterns"]


@pytest.fixture
def model(own_session):
    model = own_session.model(FIXTURES / "llama3")
    for name in NAMES:
        model.load_adapter(name, FIXTURES / "lora" / name)
    return model


def test_adapters_give_the_golden_logits_and_tokens(model):
    expected = golden("lora")
    for name in NAMES:
        row = model.logits(expected[name]["ids"], adapter=name)[-1]
        assert np.abs(row - expected[name]["last_logits"]).max() <= 2e-3
        greedy = expected[name]["greedy"]
        done = model.generate(expected[name]["ids"], max_tokens=len(greedy), adapter=name)
        assert done.ids == greedy
    assert not np.array_equal(row, model.logits(expected[name]["ids"])[-1])


def test_several_in_one_batch_equal_the_calls_alone(model):
    def options(n):
        return {"max_tokens": 12, "seed": n, "temperature": 0.9, "adapter": [None, *NAMES][n % 3]}

    alone = [model.generate("The river", **options(n)).ids for n in range(9)]

    async def together():
        return await asyncio.gather(*(model.agenerate("The river", **options(n)) for n in range(9)))

    assert [done.ids for done in asyncio.run(together())] == alone
    assert len({tuple(ids) for ids in alone}) > 3


def test_adapters_are_listed_and_unloaded(model):
    assert [entry.name for entry in model.adapters] == NAMES
    assert model.adapters[0].ranks and model.adapters[0].bytes > 1000
    assert "lora_trained" in model.adapters._repr_html_()
    model.unload_adapter("patterns")
    assert [entry.name for entry in model.adapters] == ["lora_trained"]
    for call in (model.converse, model.generate, model.stream):
        with pytest.raises(ResourceNotFoundException, match="lora_trained"):
            call("Hi", max_tokens=2, adapter="patterns")
    with pytest.raises(ResourceNotFoundException):
        model.unload_adapter("patterns")
    info = asyncio.run(model.aload_adapter("patterns", str(FIXTURES / "lora" / "patterns")))
    assert info == model.adapters[1]


def test_scores_and_perplexity_take_an_adapter(model):
    plain = model.score("The river", " runs")
    changed = model.score("The river", " runs", adapter="lora_trained")
    assert not np.array_equal(plain, changed)
    base, tuned = (
        model.perplexity("The river runs"),
        model.perplexity("The river runs", adapter="lora_trained"),
    )
    assert base.overall.nll != tuned.overall.nll


def test_what_is_no_adapter_is_refused(model, own_session, tmp_path):
    with pytest.raises(ResourceNotFoundException):
        model.load_adapter("x", tmp_path / "nothing")
    (tmp_path / "adapter_config.json").write_text("{")
    with pytest.raises((ModelErrorException, ResourceNotFoundException), match="adapter"):
        model.load_adapter("x", tmp_path)
    with pytest.raises(ValidationException, match="name"):
        model.load_adapter("", FIXTURES / "lora" / "patterns")
    with pytest.raises(ValidationException, match="embedding model"):
        own_session.model(FIXTURES / "bert_minilm").load_adapter("x", tmp_path)
    assert own_session.model(FIXTURES / "bert_minilm").adapters == []


@pytest.mark.skipif(not hasattr(os, "fork"), reason="needs fork")
def test_a_forked_child_has_the_adapters(run_python):
    program = """
import json, multiprocessing, os, outcrop
fixtures = os.environ["FIXTURES"]
session = outcrop.Session(offline=True)
model = session.model(fixtures + "/llama3", context_length=99)
model.load_adapter("a", fixtures + "/lora/patterns")
here = model.generate("The", max_tokens=5, adapter="a").ids
def child(queue):
    queue.put([model.generate("The", max_tokens=5, adapter="a").ids, model.logits([1]).shape[0]])
context = multiprocessing.get_context("fork")
queue = context.Queue()
process = context.Process(target=child, args=(queue,))
process.start()
there, _ = queue.get(timeout=60)
process.join(60)
print(json.dumps(here == there))
"""
    assert run_python(program) is True
