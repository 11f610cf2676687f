"""The part of a session that says what action groups may reach."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING, Any

from . import checks
from .checks import Path

if TYPE_CHECKING:
    from .local_lambda import Handler


class EndpointsFace:
    """Hosts, commands and Lambda functions."""

    def _handles(self) -> Any:
        """What this process has open; a session's own."""
        raise NotImplementedError

    def allow_host(
        self,
        host: str,
        allow: bool = True,
        *,
        headers: Mapping[str, str] | None = None,
        private: bool = False,
    ) -> None:
        """Lets action groups call a host, as long as this session is open. No other is called.

        Args:
            host: `bank.example`, or with a port, `localhost:8080`.
            allow: False forbids it again.
            headers: What every request to it carries, such as a key. It is in no log, no trace and
                no file.
            private: Whether its name may lead to this machine or a private network.

        Raises:
            ValidationException: What is no host, or a header that is none.
        """
        self._handles().session.allow_host(*_host(host, allow, headers, private), False)

    async def aallow_host(
        self,
        host: str,
        allow: bool = True,
        *,
        headers: Mapping[str, str] | None = None,
        private: bool = False,
    ) -> None:
        """The awaitable twin of :meth:`allow_host`."""
        await self._handles().session.allow_host(*_host(host, allow, headers, private), True)

    def map_lambda(self, arn: str, function: Handler | str | None) -> None:
        """Maps a Lambda function that action groups name as their executor.

        Args:
            arn: Its ARN.
            function: A function of this process, `handler(event, context)`, which is mapped as long
                as this session is open; or the URL that is posted the events, which is kept in the
                home. None takes the mapping away.

        Raises:
            ResourceNotFoundException: There is no mapping to take away.
            ValidationException: What is no ARN of a Lambda function, or no URL.
        """
        self._handles().session.map_lambda(*_lambda(arn, function), False)

    async def amap_lambda(self, arn: str, function: Handler | str | None) -> None:
        """The awaitable twin of :meth:`map_lambda`."""
        await self._handles().session.map_lambda(*_lambda(arn, function), True)

    def allow_command(
        self,
        command: Iterable[str],
        allow: bool = True,
        *,
        env: Mapping[str, str] | None = None,
        cwd: Path | None = None,
    ) -> None:
        """Lets action groups start a command as their MCP server, as long as this session is open.

        No other command is started: one with another argument is another. Each start is a decision
        in the log.

        Args:
            command: The program and all its arguments: `["uvx", "mcp-server-git"]`.
            allow: False forbids it again, and ends what was started.
            env: Environment variables that it is given, beside `PATH`, `HOME` and the like; it has
                no others of this process. They are in no log, no trace and no file.
            cwd: The folder that it is started in. Default: that of this process.

        Raises:
            ValidationException: An empty command.
        """
        self._handles().session.allow_command(*_command(command, allow, env, cwd), False)

    async def aallow_command(
        self,
        command: Iterable[str],
        allow: bool = True,
        *,
        env: Mapping[str, str] | None = None,
        cwd: Path | None = None,
    ) -> None:
        """The awaitable twin of :meth:`allow_command`."""
        await self._handles().session.allow_command(*_command(command, allow, env, cwd), True)


def _host(
    host: str, allow: bool, headers: Mapping[str, str] | None, private: bool
) -> tuple[str, str | None]:
    named = checks.text("host", host)
    if not checks.flag("allow", allow):
        return named, None
    said = {
        checks.text("headers", name): checks.text(f"headers.{name}", value)
        for name, value in (headers or {}).items()
    }
    return named, json.dumps({"headers": said, "private": checks.flag("private", private)})


def _lambda(arn: str, function: Handler | str | None) -> tuple[str, str | None, bool]:
    named = checks.text("arn", arn)
    if function is None or isinstance(function, str):
        return named, function, False
    if not callable(function):
        raise checks.wrong("function", "a function, a URL or None", function)
    # Its server is loaded where it is used.
    from . import local_lambda

    return named, local_lambda.serve(named, function), True


def _command(
    command: Iterable[str], allow: bool, env: Mapping[str, str] | None, cwd: Path | None
) -> tuple[list[str], str | None]:
    words = checks.words("command", command)
    if not checks.flag("allow", allow):
        return words, None
    access: dict[str, Any] = {
        "env": {
            checks.text("env", name): checks.text(f"env.{name}", value)
            for name, value in (env or {}).items()
        }
    }
    if cwd is not None:
        access["cwd"] = checks.folder("cwd", cwd)
    return words, json.dumps(access)
