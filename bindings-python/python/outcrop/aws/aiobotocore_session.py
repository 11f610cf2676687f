"""Sessions of aiobotocore whose Bedrock clients are answered in this process."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from aiobotocore.session import AioSession

from .async_transport import answer
from .client_arguments import local_arguments

if TYPE_CHECKING:
    from ..session import Session


class LocalAioSession(AioSession):
    """An aiobotocore session; see :class:`outcrop.aws.boto_session.LocalBotocoreSession`."""

    def __init__(self, session: Session, **given: Any) -> None:
        super().__init__(**given)
        self._outcrop = session

    async def _create_client(self, *given: Any, **named: Any) -> Any:
        arguments = local_arguments(self, given, named)
        if arguments is None:
            return await super()._create_client(*given, **named)
        client = await super()._create_client(**arguments)
        session, service = self._outcrop, client.meta.service_model.service_name
        read_timeout = client.meta.config.read_timeout

        async def answered(request: Any, **_: Any) -> Any:
            return await answer(session, service, request, read_timeout)

        client.meta.events.register_last(f"before-send.{service}", answered, unique_id="outcrop")
        return client
