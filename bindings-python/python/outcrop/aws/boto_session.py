"""Sessions of boto3 whose Bedrock clients are answered in this process."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import boto3.session
import botocore.session

from .client_arguments import local_arguments
from .transport import answer

if TYPE_CHECKING:
    from ..session import Session


class LocalBotocoreSession(botocore.session.Session):
    """A botocore session: the clients of Bedrock's services are answered in this process.

    All others are botocore's own, and so is a client that is made with an `endpoint_url`.
    """

    def __init__(self, session: Session, **given: Any) -> None:
        super().__init__(**given)
        self._outcrop = session

    def create_client(self, *given: Any, **named: Any) -> Any:
        arguments = local_arguments(self, given, named)
        if arguments is None:
            return super().create_client(*given, **named)
        client = super().create_client(**arguments)
        attach(self._outcrop, client)
        return client


def attach(session: Session, client: Any) -> None:
    """Answers a client's requests by `session`."""
    service = client.meta.service_model.service_name
    read_timeout = client.meta.config.read_timeout

    def answered(request: Any, **_: Any) -> Any:
        return answer(session, service, request, read_timeout)

    client.meta.events.register_last(f"before-send.{service}", answered, unique_id="outcrop")


def boto_session(session: Session, arguments: dict[str, Any]) -> boto3.session.Session:
    """A boto3 session made with `arguments` of `boto3.Session`."""
    return boto3.session.Session(botocore_session=LocalBotocoreSession(session), **arguments)
