"""aiobotocore's own clients, answered in this process."""

import asyncio
import time

import outcrop
import pytest
from aiobotocore.session import get_session
from botocore.config import Config
from botocore.exceptions import EventStreamError, ReadTimeoutError

HELLO = [{"role": "user", "content": [{"text": "Hello"}]}]
ECHO = [{"answer": {"text": ["Good ", "morning", "."]}}]


def run(work):
    return asyncio.run(asyncio.wait_for(work, 60))


async def texts(stream):
    async for event in stream:
        if "contentBlockDelta" in event:
            yield event["contentBlockDelta"]["delta"]["text"]


def test_converse_and_its_stream(own_session, scripted):
    async def work():
        session = own_session.aiobotocore_session()
        async with session.create_client("bedrock-runtime") as client:
            asked = {"modelId": scripted(ECHO), "messages": HELLO}
            response = await client.converse(**asked)
            assert response["output"]["message"]["content"][0]["text"] == "Good morning."
            stream = (await client.converse_stream(**asked))["stream"]
            assert [text async for text in texts(stream)] == ["Good ", "morning", "."]

    run(work())


def test_bodies_of_invoke_model(own_session):
    hashed = {"dimensions": 256, "others": "hashed"}
    own_session.register_model("amazon.titan-embed-text-v2:0", {"embeddings": hashed})

    async def work():
        session = own_session.aiobotocore_session()
        async with session.create_client("bedrock-runtime") as client:
            response = await client.invoke_model(
                modelId="amazon.titan-embed-text-v2:0",
                body=b'{"inputText": "a river", "dimensions": 256}',
            )
            assert b'"embedding"' in await response["body"].read()

    run(work())


def test_errors_and_timeouts(own_session, scripted):
    broken = [{"answer": {"text": ["one", "two"], "fault": {
        "error": "ModelStreamErrorException", "message": "broke off", "after_deltas": 1,
    }}}]  # fmt: skip
    late = [{"answer": {"text": "late", "delay_ms": 60_000}}]

    async def work():
        session = own_session.aiobotocore_session()
        once = Config(read_timeout=0.3, retries={"max_attempts": 1, "mode": "standard"})
        async with session.create_client("bedrock-runtime", config=once) as client:
            with pytest.raises(client.exceptions.ValidationException, match="identifier"):
                await client.converse(modelId="no.such-model-v1", messages=HELLO)
            asked = {"modelId": scripted(broken), "messages": HELLO}
            stream = (await client.converse_stream(**asked))["stream"]
            with pytest.raises(EventStreamError, match="broke off"):
                [text async for text in texts(stream)]
            with pytest.raises(ReadTimeoutError):
                await client.converse(modelId=scripted(late, "acme.late-v1"), messages=HELLO)

    run(work())


def test_calls_overlap_and_obey_cancellation(own_session, scripted):
    slow = scripted([{"answer": {"text": "late", "delay_ms": 400}}])

    async def work():
        session = own_session.aiobotocore_session()
        async with session.create_client("bedrock-runtime") as client:
            started = time.monotonic()
            calls = [client.converse(modelId=slow, messages=HELLO) for _ in range(8)]
            await asyncio.gather(*calls)
            assert time.monotonic() - started < 2
            task = asyncio.ensure_future(client.converse(modelId=slow, messages=HELLO))
            await asyncio.sleep(0.1)
            task.cancel()
            with pytest.raises(asyncio.CancelledError):
                await task

    run(work())


def test_install_answers_clients_that_others_build(own_session, scripted):
    model = scripted(ECHO)

    async def work():
        async with get_session().create_client("bedrock-runtime") as client:
            response = await client.converse(modelId=model, messages=HELLO)
            assert response["output"]["message"]["content"][0]["text"] == "Good morning."

    outcrop.install(own_session)
    try:
        run(work())
    finally:
        outcrop.uninstall()
