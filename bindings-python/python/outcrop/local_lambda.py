"""Functions of this process that stand for Lambda functions."""

from __future__ import annotations

import inspect
import json
import secrets
import threading
import types
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any, Callable

#: A Lambda handler: Bedrock's event and a context, and what it answers.
Handler = Callable[[Any, Any], Any]

_lock = threading.Lock()
_server: _Server | None = None


class _Server(ThreadingHTTPServer):
    """Runs the functions of this process on this machine's own address, by secret paths."""

    daemon_threads = True

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), _Request)
        self.functions: dict[str, tuple[str, Handler]] = {}


class _Request(BaseHTTPRequestHandler):
    server: _Server

    def do_POST(self) -> None:
        found = self.server.functions.get(self.path)
        if found is None:
            self._answer(404, {"message": "there is no such function"})
            return
        arn, function = found
        event = json.loads(self.rfile.read(int(self.headers.get("content-length", 0))))
        context = types.SimpleNamespace(invoked_function_arn=arn, function_name=arn.split(":")[-1])
        try:
            value = function(event, context)
            if inspect.isawaitable(value):
                import asyncio

                value = asyncio.run(_awaited(value))
            self._answer(200, value)
        except Exception as error:
            # What a Lambda function raises is told as Lambda tells it.
            told = {"errorMessage": str(error), "errorType": type(error).__name__}
            self._answer(502, told)

    def _answer(self, status: int, value: Any) -> None:
        body = json.dumps(value).encode()
        self.send_response(status)
        self.send_header("content-type", "application/json")
        self.send_header("content-length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, format: str, *args: Any) -> None:
        """Logs nothing: events hold what users say."""


async def _awaited(value: Any) -> Any:
    return await value


def serve(arn: str, function: Handler) -> str:
    """The URL of this machine at which `function` answers the events for `arn`."""
    global _server
    with _lock:
        if _server is None:
            _server = _Server()
            threading.Thread(target=_server.serve_forever, daemon=True).start()
        path = f"/{secrets.token_urlsafe(24)}"
        _server.functions[path] = (arn, function)
        return f"http://127.0.0.1:{_server.server_address[1]}{path}"
