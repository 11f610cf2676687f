"""A running answer."""

from __future__ import annotations

import json
from collections import deque
from collections.abc import AsyncIterator, Generator, Iterator, Mapping
from typing import Any, Callable, Generic, TypeVar

from . import _native
from .handle import Handle
from .replies import block_text
from .telemetry import ModelSpan

Answer = TypeVar("Answer")


class Stream(Iterator[str], AsyncIterator[str], Handle, Generic[Answer]):
    """The text of a reply as it is being written, in whole characters.

    Works with `for` and with `async for`. Once it ends, :attr:`reply` is the whole reply.
    Leaving a `with` block, :meth:`close`, dropping the stream, an error, Ctrl-C and the
    cancellation of the task that reads it each stop the engine within one step.
    """

    def __init__(
        self,
        native: _native.Stream,
        model: str,
        finish: Callable[[Mapping[str, Any]], Answer],
        span: ModelSpan,
    ) -> None:
        self._native = native
        self._model = model
        self._finish = finish
        self._span = span
        self._deltas: deque[str] = deque()
        self._started = False
        self._ended = False
        self._reply: Answer | None = None

    @property
    def reply(self) -> Answer | None:
        """The whole reply, or completion, once the stream has ended.

        None before, while text of it is unread, and where it was closed.
        """
        return None if self._deltas else self._reply

    def close(self) -> None:
        """Stops the engine and ends the stream. Closing it again does nothing."""
        self._ended = True
        self._deltas.clear()
        self._native.close()
        self._span.end()

    async def aclose(self) -> None:
        """The awaitable twin of :meth:`close`."""
        self.close()

    def _take(self, batch: str | None) -> None:
        self._started = True
        if batch is None:
            self._ended = True
            return
        for event in json.loads(batch):
            if "textDelta" in event:
                self._deltas.append(event["textDelta"])
            elif "block" in event:
                text = block_text(event["block"])
                if text:
                    self._deltas.append(text)
            elif "reply" in event or "completion" in event:
                value = event.get("reply") or event["completion"]
                self._span.replied(value)
                self._reply = self._finish(value)
                self._ended = True

    def _fetch(self) -> None:
        try:
            self._take(self._native.next(False))
        except BaseException as error:
            self._span.end(error)
            self.close()
            raise

    async def _afetch(self) -> None:
        try:
            self._take(await self._native.next(True))
        except BaseException as error:
            self._span.end(error)
            self.close()
            raise

    def __iter__(self) -> Stream[Answer]:
        return self

    def __next__(self) -> str:
        while not self._deltas:
            if self._ended:
                raise StopIteration
            self._fetch()
        return self._deltas.popleft()

    def __aiter__(self) -> Stream[Answer]:
        return self

    async def __anext__(self) -> str:
        while not self._deltas:
            if self._ended:
                raise StopAsyncIteration
            await self._afetch()
        return self._deltas.popleft()

    async def _begin(self) -> Stream[Answer]:
        if not self._started:
            await self._afetch()
        return self

    def __await__(self) -> Generator[Any, None, Stream[Answer]]:
        return self._begin().__await__()

    def __enter__(self) -> Stream[Answer]:
        return self

    def __exit__(self, *error: object) -> None:
        self.close()

    async def __aenter__(self) -> Stream[Answer]:
        return await self._begin()

    async def __aexit__(self, *error: object) -> None:
        self.close()

    def __repr__(self) -> str:
        state = "ended" if self._ended else "running"
        return f"<outcrop.Stream of {self._model}: {state}>"
