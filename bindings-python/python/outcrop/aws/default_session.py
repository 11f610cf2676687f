"""The session of those that open none, as boto3 has one: `import outcrop as boto3`."""

from __future__ import annotations

import threading
from typing import Any

from ..session import Session

_lock = threading.Lock()
_default: Session | None = None


def setup_default_session(**given: Any) -> None:
    """Opens the session that :func:`client` uses, in place of the one before.

    Args:
        given: As :class:`outcrop.Session` takes them: `home`, `region_name` and so on.
    """
    global _default
    opened = Session(**given)
    with _lock:
        _default = opened


def default_session() -> Session:
    """The session that :func:`client` uses, opened where it is not yet."""
    global _default
    with _lock:
        if _default is None or _default.closed:
            _default = Session()
        return _default


def client(service_name: str, **boto3_kwargs: Any) -> Any:
    """A boto3 client of the default session; see :meth:`outcrop.Session.client`."""
    return default_session().client(service_name, **boto3_kwargs)


def resource(service_name: str, **boto3_kwargs: Any) -> Any:
    """A boto3 resource of the default session; see :meth:`outcrop.Session.resource`."""
    return default_session().resource(service_name, **boto3_kwargs)


def install(session: Session | None = None) -> None:
    """Has every Bedrock client of this process answered in it, whoever makes or made it.

    For code that builds its own clients with boto3 or aiobotocore. A client of an endpoint of its
    maker's own (`endpoint_url`) still goes there. Those made from now on need no credentials.

    Args:
        session: Which session answers. Default: that of :func:`client`.

    Raises:
        ImportError: botocore is not installed: `pip install 'outcrop[boto3]'`.
    """
    try:
        from . import installation
    except ImportError as error:
        from .face import missing

        raise missing("boto3", error) from error
    installation.install(session or default_session())


def uninstall() -> None:
    """Undoes :func:`install`."""
    try:
        from . import installation
    except ImportError:
        return
    installation.uninstall()
