"""What a session offers to code that calls Bedrock through an AWS SDK."""

from __future__ import annotations

import threading
from typing import TYPE_CHECKING, Any, cast

if TYPE_CHECKING:
    import boto3.session
    from aiobotocore.session import AioSession

    from ..session import Session

#: What `boto3.Session` takes.
BOTO3_SESSION = (
    "aws_access_key_id",
    "aws_account_id",
    "aws_secret_access_key",
    "aws_session_token",
    "profile_name",
    "region_name",
)


def missing(package: str, error: ImportError) -> ImportError:
    """The error of an SDK that is not installed."""
    return ImportError(f"{package} is not installed: pip install 'outcrop[{package}]' ({error})")


class AwsFace:
    """The AWS SDKs' side of a session: their clients, answered in this process."""

    _boto3_arguments: dict[str, Any]

    def _begin_aws(self, boto3_session: dict[str, Any]) -> None:
        unknown = sorted(set(boto3_session) - set(BOTO3_SESSION))
        if unknown:
            raise TypeError(f"Session() got an unexpected keyword argument {unknown[0]!r}")
        self._boto3_arguments = boto3_session
        self._boto_session: boto3.session.Session | None = None
        # boto3's sessions make one client at a time.
        self._making = threading.RLock()

    def client(self, service_name: str, **boto3_kwargs: Any) -> Any:
        """A client of boto3 itself, with its own parsing, retries, paginators and exceptions.

        Bedrock's four services (`bedrock`, `bedrock-runtime`, `bedrock-agent`,
        `bedrock-agent-runtime`) are answered in this process: no socket is opened, and
        credentials are not needed. Any other service's client is boto3's own, and so is one that
        is given an `endpoint_url`.

        Args:
            service_name: As boto3 knows it.
            boto3_kwargs: As `boto3.client` takes them: `region_name`, `config` and so on.

        Raises:
            ImportError: boto3 is not installed: `pip install 'outcrop[boto3]'`.
        """
        with self._making:
            return self.boto_session().client(service_name, **boto3_kwargs)

    def resource(self, service_name: str, **boto3_kwargs: Any) -> Any:
        """A resource of boto3, such as `s3`: Bedrock has none."""
        with self._making:
            return self.boto_session().resource(service_name, **boto3_kwargs)

    def boto_session(self) -> boto3.session.Session:
        """A `boto3.Session` whose Bedrock clients are answered in this process.

        For libraries that make their own clients from a session. It is one for each session.

        Raises:
            ImportError: boto3 is not installed: `pip install 'outcrop[boto3]'`.
        """
        try:
            from .boto_session import boto_session
        except ImportError as error:
            raise missing("boto3", error) from error
        with self._making:
            if self._boto_session is None:
                self._boto_session = boto_session(cast("Session", self), self._boto3_arguments)
            return self._boto_session

    def aiobotocore_session(self) -> AioSession:
        """An `aiobotocore` session whose Bedrock clients are answered in this process.

        Raises:
            ImportError: aiobotocore is not installed: `pip install 'outcrop[aiobotocore]'`.
        """
        try:
            from .aiobotocore_session import LocalAioSession
        except ImportError as error:
            raise missing("aiobotocore", error) from error
        made = LocalAioSession(cast("Session", self))
        region = self._boto3_arguments.get("region_name")
        if region is not None:
            made.set_config_variable("region", region)
        return made

    @property
    def region_name(self) -> str | None:
        """The region that boto3's clients of this session are made for, where one is named."""
        return self._boto3_arguments.get("region_name")
