"""The prefix cache, the place in the queue, and what an engine counts."""

import asyncio
import time

import outcrop
import pytest
from outcrop.errors import (
    ConflictException,
    InternalServerException,
    ModelTimeoutException,
    ResourceNotFoundException,
    ServiceQuotaExceededException,
    ValidationException,
)

from conftest import FIXTURES

LONG = "The river runs to the sea, and the lighthouse keeper writes it down again. " * 12


def wait_for(condition):
    """The engine hears of what is released at its next turn."""
    end = time.monotonic() + 10
    while not condition():
        assert time.monotonic() < end
        time.sleep(0.01)


def test_a_known_prefix_is_read_from_the_cache(own_session):
    model = own_session.model(FIXTURES / "llama3")
    first = model.generate(LONG + "Why?", max_tokens=8, temperature=0.9, seed=1)
    assert first.usage.cache_read_input_tokens == 0
    assert 0 < first.usage.cache_write_input_tokens <= first.usage.input_tokens
    other = model.generate(LONG + "When?", max_tokens=8)
    assert 0 < other.usage.cache_read_input_tokens < other.usage.input_tokens
    again = model.generate(LONG + "Why?", max_tokens=8, temperature=0.9, seed=1)
    assert again.usage.cache_read_input_tokens >= other.usage.cache_read_input_tokens
    # The same bytes, whether the prefix was computed or found.
    assert again.ids == first.ids
    read = other.usage.cache_read_input_tokens + again.usage.cache_read_input_tokens
    assert model.stats.cache_read_tokens == read


def test_what_an_engine_counts(own_session):
    model = own_session.model(FIXTURES / "llama3", kv_tokens=512)
    model.generate("The river", max_tokens=4)
    stats = model.stats
    assert stats.running == stats.waiting == 0 and stats.steps >= 4
    assert stats.pages * stats.page_tokens >= 512
    assert stats.free_pages + stats.cached_pages == stats.pages
    assert "free_pages" in repr(stats) and stats._repr_html_().startswith("<table>")
    with pytest.raises(ValidationException, match="embedding model"):
        _ = own_session.model(FIXTURES / "bert_minilm").stats


def test_a_budget_of_bytes_bounds_the_cache(own_session):
    model = own_session.model(FIXTURES / "llama3", kv_bytes=1 << 20)
    assert 0 < model.info.context_length <= 2048
    with pytest.raises(ValidationException, match="context of"):
        model.generate(list(range(5, 5 + 100)) * 30, max_tokens=2)
    model.generate("The river", max_tokens=2)
    stats = model.stats
    # A token's key and value in 3 layers, of 2 heads of 16 numbers.
    assert 0 < stats.pages * stats.page_tokens * 2 * 3 * 32 * 4 <= 1 << 20


def test_a_deadline_ends_a_request(llama):
    started = time.perf_counter()
    with pytest.raises(ModelTimeoutException):
        llama.generate("The river", max_tokens=2000, deadline=0.001)
    assert time.perf_counter() - started < 5
    assert llama.generate("The river", max_tokens=2, deadline=60).usage.output_tokens == 2


def test_the_place_in_the_queue_changes_no_bytes(llama):
    def options(n):
        return {"seed": n, "temperature": 1.0, "priority": n % 3 - 1, "caller": f"c{n % 2}"}

    alone = [llama.generate("The", max_tokens=9, seed=n, temperature=1.0).ids for n in range(8)]

    async def together():
        calls = (llama.agenerate("The", max_tokens=9, **options(n)) for n in range(8))
        return await asyncio.gather(*calls)

    assert [done.ids for done in asyncio.run(together())] == alone


def test_guessing_ahead_changes_no_bytes(own_session):
    folder = FIXTURES / "llama3"
    model = own_session.model(folder, draft=folder, speculation="prompt_lookup")
    prompt, sampled = "again and again and again and", {"temperature": 0.8, "seed": 3}
    for options in ({}, sampled):
        off = model.generate(prompt, max_tokens=40, speculation="off", **options)
        for how in ("prompt_lookup", "draft", None):
            found = model.generate(prompt, max_tokens=40, speculation=how, **options)
            assert found.ids == off.ids, how
    stats = model.stats
    # A model that drafts for itself guesses right.
    assert 0 < stats.accepted_tokens <= stats.guessed_tokens
    plain = own_session.model(FIXTURES / "qwen3")
    with pytest.raises(ValidationException, match="draft"):
        plain.generate("The", max_tokens=4, speculation="draft")


def test_keys_and_values_of_less_memory(own_session):
    folder = FIXTURES / "llama3"
    exact = own_session.model(folder)
    ids = exact.tokenize(LONG)[:64]
    close = own_session.model(folder / "model-Q8_0.gguf", kv_dtype="f16")
    assert close.logits(ids).shape == exact.logits(ids).shape
    with pytest.raises(ValidationException, match="kv_dtype: expected one of 'f32', 'f16'"):
        own_session.model(folder, kv_dtype="f8")


def test_a_held_prefix_is_read_forked_saved_and_brought_back(own_session, tmp_path):
    model = own_session.model(FIXTURES / "llama3", kv_tokens=512)
    ids = list(range(5, 105))
    expected = model.generate([*ids, 7, 8], max_tokens=6).ids
    with model.prefix(ids) as prefix:
        assert prefix.ids == ids and "100 tokens" in repr(prefix)
        # What else the model reads does not drive it out.
        for start in range(4):
            model.generate([start + 200] * 300, max_tokens=2)
        known = model.generate([*ids, 7, 8], max_tokens=6)
        assert known.ids == expected and known.usage.cache_read_input_tokens >= 100
        fork = prefix.fork([7])
        assert fork.ids == [*ids, 7]
        fork.save(tmp_path / "a.prefix")
        fork.release()
        fork.release()
        with pytest.raises(ValidationException, match="released"):
            fork.fork()
        wait_for(lambda: model.stats.pinned_pages == 4)
    wait_for(lambda: model.stats.pinned_pages == 0)
    with outcrop.Session(home=tmp_path / "home", offline=True) as other:
        again = other.model(FIXTURES / "llama3")
        back = again.load_prefix(tmp_path / "a.prefix")
        assert back.ids == [*ids, 7]
        found = again.generate([*ids, 7, 8], max_tokens=6)
        assert found.ids == expected and found.usage.cache_read_input_tokens == 101
        with pytest.raises(ConflictException, match="KV dtype"):
            other.model(FIXTURES / "qwen3").load_prefix(tmp_path / "a.prefix")
    with pytest.raises(ValidationException, match="closed"):
        back.fork()


def test_a_saved_prefix_that_is_damaged_or_does_not_fit_is_an_error(own_session, tmp_path):
    model = own_session.model(FIXTURES / "llama3", kv_tokens=256)
    with pytest.raises(ServiceQuotaExceededException):
        held = [model.prefix([start] * 100) for start in range(10, 14)]
        assert not held
    with pytest.raises(ResourceNotFoundException, match="none.prefix"):
        model.load_prefix(tmp_path / "none.prefix")

    async def saved():
        prefix = await model.aprefix([5, 6, 7])
        await (await prefix.afork("more")).asave(tmp_path / "b.prefix")

    asyncio.run(saved())
    damaged = bytearray((tmp_path / "b.prefix").read_bytes())
    damaged[-100] ^= 1
    (tmp_path / "b.prefix").write_bytes(damaged)
    with pytest.raises(InternalServerException, match="damaged"):
        model.load_prefix(tmp_path / "b.prefix")
