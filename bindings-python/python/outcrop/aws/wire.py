"""Requests of an AWS SDK, as the core takes them."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any
from urllib.parse import urlsplit

#: The services that are answered in this process.
SERVICES = ("bedrock", "bedrock-runtime", "bedrock-agent", "bedrock-agent-runtime")

#: Hosts of AWS's own: a request to any other goes there, since somebody asked for it.
_AWS_HOST = re.compile(
    r"(bedrock(?:-agent)?(?:-runtime)?)(?:-fips)?\.[a-z0-9-]+\.(?:amazonaws\.com(?:\.cn)?|api\.aws)"
)

#: Method, path, query, headers and body.
WireRequest = tuple[str, str, str, list[tuple[str, str]], bytes]


def service_of_url(url: str) -> str | None:
    """The service of `SERVICES` whose endpoint at AWS `url` is, where it is one."""
    found = _AWS_HOST.fullmatch(urlsplit(url).hostname or "")
    return found.group(1) if found else None


def wire_request(service: str, request: Any) -> WireRequest:
    """A prepared request of botocore. Its path stays percent-encoded."""
    place = urlsplit(request.url)
    headers = [("Host", f"{service}.amazonaws.com")]
    for name, value in request.headers.items():
        if name.lower() != "host":
            headers.append((name, value.decode("latin-1") if isinstance(value, bytes) else value))
    return request.method, place.path or "/", place.query, headers, _body(request.body)


def _body(body: Any) -> bytes:
    if body is None:
        return b""
    if isinstance(body, str):
        return body.encode("utf-8")
    if isinstance(body, (bytes, bytearray, memoryview)):
        return bytes(body)
    return _body(body.read())


def read_timeout_of(request: Any, configured: float | None) -> float | None:
    """How long to wait for bytes: what this request says, or what its client was made with."""
    context: Mapping[str, Any] = getattr(request, "context", None) or {}
    seconds = context.get("read_timeout")
    return configured if seconds is None else float(seconds)
