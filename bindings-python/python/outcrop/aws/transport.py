"""botocore's transport: a request is answered by the core, and no socket is opened."""

from __future__ import annotations

import io
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

from botocore.awsrequest import AWSResponse
from botocore.exceptions import ReadTimeoutError

from .wire import read_timeout_of, wire_request

if TYPE_CHECKING:
    from ..session import Session


class ResponseBody(io.RawIOBase):
    """What botocore reads a response from.

    Bytes come as the core makes them, one chunk an event. Closing it, from whichever thread,
    stops the engine within one step.
    """

    def __init__(self, body: Any, url: str, read_timeout: float | None) -> None:
        self._whole = body if isinstance(body, bytes) else b""
        self._chunks = None if isinstance(body, bytes) else body
        self._url = url
        self._read_timeout = read_timeout

    def readable(self) -> bool:
        return True

    def _next(self) -> bytes:
        """The next bytes, none at the end."""
        if self._whole:
            whole, self._whole = self._whole, b""
            return whole
        if self._chunks is None:
            return b""
        try:
            chunk = self._chunks.next(self._read_timeout, False)
        except TimeoutError as error:
            self.close()
            raise ReadTimeoutError(endpoint_url=self._url, error=error) from None
        except BaseException:
            self.close()
            raise
        if chunk is None:
            self._chunks = None
        return chunk or b""

    def stream(self, amt: int | None = None, decode_content: bool | None = None) -> Iterator[bytes]:
        """The bytes as they come; `amt` bounds nothing, so that no event waits for the next."""
        while chunk := self._next():
            yield chunk

    def read(self, amt: int | None = -1) -> bytes:
        """At most `amt` bytes, or all that are left."""
        if amt is None or amt < 0:
            return b"".join(self.stream())
        if not self._whole:
            self._whole = self._next()
        taken, self._whole = self._whole[:amt], self._whole[amt:]
        return taken

    def readinto(self, buffer: Any) -> int:
        taken = self.read(len(buffer))
        buffer[: len(taken)] = taken
        return len(taken)

    def release_conn(self) -> None:
        """There is no connection."""

    def close(self) -> None:
        chunks, self._chunks, self._whole = self._chunks, None, b""
        if chunks is not None:
            chunks.close()
        super().close()


def answer(session: Session, service: str, request: Any, read_timeout: float | None) -> AWSResponse:
    """The answer to a prepared request.

    Raises:
        ReadTimeoutError: It does not begin within `read_timeout` seconds.
    """
    seconds = read_timeout_of(request, read_timeout)
    wire = wire_request(service, request)
    try:
        status, headers, body = session._handles().session.handle(wire, seconds, False)
    except TimeoutError as error:
        raise ReadTimeoutError(endpoint_url=request.url, error=error) from None
    return AWSResponse(request.url, status, dict(headers), ResponseBody(body, request.url, seconds))
