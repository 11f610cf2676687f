"""The awaitable twins: they give the same, and they obey cancellation."""

import asyncio
import inspect
import time

import outcrop
import pytest
from outcrop.errors import ValidationException


def test_every_waiting_method_has_its_twin():
    instant = {"close", "aclose", "tokenize", "detokenize", "chat_prompt", "unload_adapter"}
    # Clients of boto3 wait for nothing while they are made; their calls are boto3's.
    instant |= {"client", "resource", "boto_session", "aiobotocore_session"}
    for kind in (outcrop.Session, outcrop.Model, outcrop.KnowledgeBase):
        methods = {n for n, f in inspect.getmembers(kind, inspect.isfunction) if n[0] != "_"}
        twins = {n for n in methods if n == "async_" or n[0] == "a" and n[1:] in methods}
        for name in methods - twins - instant:
            twin = "async_" if name == "sync" else f"a{name}"
            assert twin in methods, f"{kind.__name__}.{name}"
            there, here = getattr(kind, twin), getattr(kind, name)
            same = inspect.signature(there).parameters == inspect.signature(here).parameters
            assert same, f"{kind.__name__}.{twin}"
            assert inspect.iscoroutinefunction(there) or twin in ("astream", "agenerate_stream")


def test_twins_give_the_same(llama, embedder, cross_encoder):
    async def main():
        reply, done, vectors, scores, logits = await asyncio.gather(
            llama.aconverse("Hi", max_tokens=8),
            llama.agenerate("Hi", max_tokens=8),
            embedder.aembed(["a", "b"]),
            cross_encoder.arerank("q", ["a", "b"]),
            llama.alogits([1, 2]),
        )
        assert reply.content == llama.converse("Hi", max_tokens=8).content
        assert done.ids == llama.generate("Hi", max_tokens=8).ids
        assert vectors.tobytes() == embedder.embed(["a", "b"]).tobytes()
        assert scores.tobytes() == cross_encoder.rerank("q", ["a", "b"]).tobytes()
        assert logits.tobytes() == llama.logits([1, 2]).tobytes()

    asyncio.run(main())


def test_streams(llama):
    async def main():
        expected = llama.converse("Tell me.", max_tokens=30).text
        begun = await llama.astream("Tell me.", max_tokens=30)
        for stream in (llama.astream("Tell me.", max_tokens=30), begun):
            assert "".join([delta async for delta in stream]) == expected
            assert stream.reply.text == expected
        # The blocking call's stream is an async iterator as well.
        stream = llama.stream("Tell me.", max_tokens=30)
        assert "".join([delta async for delta in stream]) == expected

    asyncio.run(main())


def test_errors_arise_where_they_are_awaited(llama):
    async def main():
        with pytest.raises(ValidationException, match="temperature"):
            await llama.aconverse("Hi", temperature=-1)
        with pytest.raises(ValidationException, match="temperature"):
            async for _ in llama.astream("Hi", temperature=-1):
                pass
        with pytest.raises(ValidationException, match="temperature"):
            await llama.astream("Hi", temperature=-1)

    asyncio.run(main())


def test_blocking_calls_inside_a_running_loop(llama, embedder):
    async def main():
        assert llama.generate("Hi", max_tokens=3).usage.output_tokens == 3
        assert embedder.embed("x").shape == (1, 64)
        assert len(list(llama.stream("Hi", max_tokens=3))) <= 4

    asyncio.run(main())


def test_cancelling_a_task_stops_the_work(embedder, llama):
    many = [f"text number {n} of a long list of texts" for n in range(4_000)]

    async def main():
        started = time.perf_counter()
        whole = asyncio.create_task(embedder.aembed(many))
        await asyncio.sleep(0.05)
        whole.cancel()
        with pytest.raises(asyncio.CancelledError):
            await whole
        assert time.perf_counter() - started < 0.5
        with pytest.raises(asyncio.TimeoutError):
            await asyncio.wait_for(embedder.aembed(many), 0.05)

        async def read():
            async for _ in llama.astream("Hi", max_tokens=1_500):
                seen.append(time.perf_counter())

        seen = []
        reader = asyncio.create_task(read())
        while not seen:
            await asyncio.sleep(0)
        reader.cancel()
        with pytest.raises(asyncio.CancelledError):
            await reader
        # The engine is free at once: a short call is not behind a long one.
        started = time.perf_counter()
        await llama.agenerate("Hi", max_tokens=2)
        assert time.perf_counter() - started < 1.0

    asyncio.run(main())


def test_the_loop_stays_free(embedder):
    many = [f"text number {n} of a long list of texts" for n in range(2_000)]

    async def main():
        work = asyncio.create_task(embedder.aembed(many))
        gaps, last = [], time.perf_counter()
        while not work.done():
            await asyncio.sleep(0.005)
            gaps.append(time.perf_counter() - last)
            last = time.perf_counter()
        assert (await work).shape == (2_000, 64)
        assert max(gaps) < 0.25, max(gaps)
        assert len(gaps) > 3

    asyncio.run(main())


def test_a_loop_that_ends_before_the_work(llama):
    async def main():
        asyncio.ensure_future(llama.agenerate("Hi", max_tokens=200))
        await asyncio.sleep(0)

    for _ in range(3):
        asyncio.run(main())
    assert llama.generate("Hi", max_tokens=2).usage.output_tokens == 2
