"""Clients that others build: `install` has every Bedrock client of the process answered in it."""

from __future__ import annotations

import functools
import threading
from typing import TYPE_CHECKING, Any, Callable

import botocore.httpsession
import botocore.session

from .client_arguments import local_arguments
from .transport import answer
from .wire import service_of_url

if TYPE_CHECKING:
    from ..session import Session

_lock = threading.Lock()
_session: Session | None = None
#: What stood where something of this module stands now: class, name, method.
_replaced: list[tuple[type, str, Any]] = []


def install(session: Session) -> None:
    """Has the requests of every client to Bedrock at AWS answered by `session`."""
    global _session
    with _lock:
        _session = session
        if not _replaced:
            _replace(botocore.session.Session, "create_client", _made_locally)
            _replace(botocore.httpsession.URLLib3Session, "send", _sent_locally)
            _replace_async()


def uninstall() -> None:
    """Gives the clients back to AWS."""
    global _session
    with _lock:
        _session = None
        while _replaced:
            owner, name, method = _replaced.pop()
            setattr(owner, name, method)


def _replace(owner: type, name: str, by: Callable[..., Any]) -> None:
    original = owner.__dict__[name]
    _replaced.append((owner, name, original))
    setattr(owner, name, functools.wraps(original)(by(original)))


def _made_locally(original: Callable[..., Any]) -> Callable[..., Any]:
    """`create_client` with credentials and a region where there are none.

    Its aiobotocore twin is the same: what it returns is awaited by its caller.
    """

    def create_client(self: Any, *given: Any, **named: Any) -> Any:
        arguments = local_arguments(self, given, named)
        if arguments is None:
            return original(self, *given, **named)
        return original(self, **arguments)

    return create_client


def _sent_locally(original: Callable[..., Any]) -> Callable[..., Any]:
    def send(self: Any, request: Any) -> Any:
        session, service = _session, service_of_url(request.url)
        if session is None or service is None:
            return original(self, request)
        timeout = getattr(self._timeout, "read_timeout", self._timeout)
        return answer(session, service, request, timeout)

    return send


def _replace_async() -> None:
    try:
        from aiobotocore.httpsession import AIOHTTPSession
        from aiobotocore.session import AioSession

        from . import async_transport
    except ImportError:
        return

    def sent_locally(original: Callable[..., Any]) -> Callable[..., Any]:
        async def send(self: Any, request: Any) -> Any:
            session, service = _session, service_of_url(request.url)
            if session is None or service is None:
                return await original(self, request)
            timeout = getattr(self._timeout, "sock_read", None)
            return await async_transport.answer(session, service, request, timeout)

        return send

    _replace(AioSession, "_create_client", _made_locally)
    _replace(AIOHTTPSession, "send", sent_locally)
