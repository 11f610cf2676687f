"""What a data scientist measures: scores and perplexity."""

import asyncio
import math

import numpy as np
import pytest
from outcrop.errors import ValidationException

TEXTS = ["The river runs to the sea.", "A loan is repaid in parts, month after month."]


def log_softmax(logits):
    row = logits.astype("float64")
    row -= row.max(axis=-1, keepdims=True)
    return row - np.log(np.exp(row).sum(axis=-1, keepdims=True))


def test_score_is_the_log_softmax_of_the_logits(llama):
    ids = llama.tokenize(TEXTS[0])
    expected = log_softmax(llama.logits(ids[:-1]))[range(len(ids) - 1), ids[1:]]
    scores = llama.score(ids[:3], ids[3:])
    assert scores.dtype == np.float32 and scores.shape == (len(ids) - 3,)
    assert np.abs(scores - expected[2:]).max() < 1e-4
    text = llama.score("The river", " runs to the sea.")
    assert np.array_equal(text, llama.score(llama.tokenize("The river"), ids[-len(text) :]))
    assert np.array_equal(text, asyncio.run(llama.ascore("The river", " runs to the sea.")))


def test_perplexity_is_that_of_the_scores(llama):
    found = llama.perplexity(TEXTS)
    tokens = [llama.tokenize(text) for text in TEXTS]
    for each, ids, text in zip(found.texts, tokens, TEXTS):
        nll = -float(llama.score(ids[:1], ids[1:]).astype("float64").sum())
        assert each.tokens == len(ids) - 1 and each.text == text
        assert math.isclose(each.nll, nll, rel_tol=1e-5)
        assert math.isclose(each.perplexity, math.exp(nll / each.tokens), rel_tol=1e-5)
    assert found.overall.tokens == sum(each.tokens for each in found.texts)
    assert math.isclose(found.overall.nll, sum(each.nll for each in found.texts))
    assert float(found) == found.overall.perplexity
    assert found == asyncio.run(llama.aperplexity(TEXTS))
    assert llama.perplexity(TEXTS[1]).texts == found.texts[1:]
    html = found._repr_html_()
    assert html.startswith("<table>") and "(all together)" in html and TEXTS[0] in repr(found)


def test_a_long_text_needs_a_stride(llama):
    text = " ".join(TEXTS * 4)
    with pytest.raises(ValidationException, match="stride"):
        llama.perplexity(text, window=16)
    strided = llama.perplexity(text, window=16, stride=8)
    assert strided.overall.tokens == len(llama.tokenize(text)) - 1
    assert strided.overall.nll != llama.perplexity(text).overall.nll


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda m: m.perplexity([]), "texts: expected at least 1, got 0"),
        (lambda m: m.perplexity([1]), "texts[0]: expected a str"),
        (lambda m: m.perplexity("a b", window=1), "window"),
        (lambda m: m.perplexity("a b", window=4, stride=5), "stride"),
        (lambda m: m.score("", []), "continuation"),
        (lambda m: m.score("a", 5), "continuation: expected a list of token ids, got 5"),
    ],
)
def test_a_wrong_argument_is_named(llama, call, message):
    with pytest.raises(ValidationException) as raised:
        call(llama)
    assert message in str(raised.value)


def test_other_models_do_not_score(embedder):
    with pytest.raises(ValidationException, match="embedding model: it cannot generate"):
        embedder.score("a", "b")
    with pytest.raises(ValidationException, match="embedding model: it cannot generate"):
        embedder.perplexity("a b")


def test_prompts_of_embeddings(embedder):
    plain = embedder.embed(["a loan"])
    # This model has no prompts: these two add nothing, another name is an error.
    assert np.array_equal(embedder.embed(["a loan"], prompt="query"), plain)
    assert np.array_equal(embedder.embed(["a loan"], prompt="document"), plain)
    assert np.array_equal(asyncio.run(embedder.aembed(["a loan"], prompt="query")), plain)
    with pytest.raises(ValidationException, match="clustering"):
        embedder.embed(["a loan"], prompt="clustering")
