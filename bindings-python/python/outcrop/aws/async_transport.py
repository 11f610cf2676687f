"""aiobotocore's transport: a request is answered by the core, and no socket is opened."""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import TYPE_CHECKING, Any

from aiobotocore.awsrequest import AioAWSResponse
from aiobotocore.response import AioReadTimeoutError
from botocore.exceptions import ReadTimeoutError

from .wire import read_timeout_of, wire_request

if TYPE_CHECKING:
    from ..session import Session


class AsyncResponseBody:
    """What aiobotocore reads a response from: the response and its content at once.

    Closing it stops the engine within one step, and so does the cancellation of the task that
    waits for it.
    """

    def __init__(self, body: Any, url: str, read_timeout: float | None) -> None:
        self._whole = body if isinstance(body, bytes) else b""
        self._chunks = None if isinstance(body, bytes) else body
        self._read_timeout = read_timeout
        self.url = url

    @property
    def content(self) -> AsyncResponseBody:
        """Where the bytes come from."""
        return self

    def at_eof(self) -> bool:
        """Whether all was read."""
        return not self._whole and self._chunks is None

    async def _next(self) -> bytes:
        if self._whole:
            whole, self._whole = self._whole, b""
            return whole
        if self._chunks is None:
            return b""
        try:
            chunk = await self._chunks.next(self._read_timeout, True)
        except TimeoutError as error:
            self.close()
            raise AioReadTimeoutError(endpoint_url=self.url, error=error) from None
        except BaseException:
            self.close()
            raise
        if chunk is None:
            self._chunks = None
        return chunk or b""

    async def iter_chunks(self) -> AsyncIterator[tuple[bytes, bool]]:
        """The bytes as they come, each with whether it ends a chunk."""
        while chunk := await self._next():
            yield chunk, True

    async def read(self, amt: int = -1) -> bytes:
        """At most `amt` bytes, or all that are left."""
        if amt < 0:
            return b"".join([chunk async for chunk, _ in self.iter_chunks()])
        if not self._whole:
            self._whole = await self._next()
        taken, self._whole = self._whole[:amt], self._whole[amt:]
        return taken

    def close(self) -> None:
        """Ends the body."""
        chunks, self._chunks, self._whole = self._chunks, None, b""
        if chunks is not None:
            chunks.close()


async def answer(
    session: Session, service: str, request: Any, read_timeout: float | None
) -> AioAWSResponse:
    """The answer to a prepared request; see :func:`outcrop.aws.transport.answer`."""
    seconds = read_timeout_of(request, read_timeout)
    wire = wire_request(service, request)
    try:
        status, headers, body = await session._handles().session.handle(wire, seconds, True)
    except TimeoutError as error:
        raise ReadTimeoutError(endpoint_url=request.url, error=error) from None
    held = AsyncResponseBody(body, request.url, seconds)
    return AioAWSResponse(request.url, status, {n.lower(): v for n, v in headers}, held)
