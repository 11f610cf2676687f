"""OpenTelemetry spans by its conventions for generative AI: turns, model calls, tools, look-ups.

They are made where `opentelemetry-api` is installed (`pip install 'outcrop[otel]'`) and go where
the program's own tracer provider sends them. What was said is in none of them, unless
`OTEL_INSTRUMENTATION_GENAI_CAPTURE_MESSAGE_CONTENT` is `true`.
"""

from __future__ import annotations

import contextlib
import datetime
import functools
import json
import os
import time
from collections.abc import Iterator, Mapping
from typing import Any

from ._native import __version__
from .telemetry_content import messages, output

_PROVIDER = "outcrop"
_CAPTURE = "OTEL_INSTRUMENTATION_GENAI_CAPTURE_MESSAGE_CONTENT"


@functools.cache
def _api() -> Any:
    """OpenTelemetry's tracing, where it is installed."""
    try:
        from opentelemetry import trace
    except ImportError:
        return None
    return trace


def captures_content() -> bool:
    """Whether spans may hold what was said."""
    return os.environ.get(_CAPTURE, "").lower() in ("true", "span_only", "span_and_event")


def turn_spans(agent_id: str, name: str) -> TurnSpans:
    """The spans of a turn that begins now, or goes on."""
    return TurnSpans(_api(), agent_id, name)


class TurnSpans:
    """The spans of one turn: `invoke_agent`, and in it `chat`, `execute_tool` and `retrieval`.

    All are made of what the turn tells; times are those that it measured.
    """

    def __init__(self, api: Any, agent_id: str, name: str) -> None:
        self._api = api
        if api is None:
            return
        self._tracer = api.get_tracer("outcrop", __version__)
        self._about = {"gen_ai.agent.id": agent_id, "gen_ai.agent.name": name}
        self._root = self._start(f"invoke_agent {name}", "invoke_agent", None, self._about)
        self._inside = api.set_span_in_context(self._root)
        #: When the fact before this one was recorded: a model call begins then.
        self._last = time.time_ns()
        self._ran: set[str] = set()
        #: The turns of agents that were handed work, by the call that handed it over.
        self._handed: dict[str, Any] = {}
        self._asked: Mapping[str, Any] | None = None

    def saw(self, event: Mapping[str, Any]) -> None:
        """Makes spans of what an event of the turn tells."""
        if self._api is None or not self._root.is_recording():
            return
        if "result" in event:
            self._result(event["result"])
        if "delegated" in event:
            self._delegated(**event["delegated"])
        if "trace" not in event:
            return
        ((kind, detail),) = event["trace"]["event"].items()
        now = _nanoseconds(event["trace"]["time"])
        within = event["trace"].get("within")
        inside = self._context(within[-1]["call"] if within else "")
        if kind == "modelInvocationInput":
            self._asked = detail
        elif kind == "modelInvocationOutput":
            self._chat(detail, now, inside)
        elif kind == "decision":
            self._decision(detail)
        elif kind == "observation":
            self._observation(detail, now, inside)
        elif kind == "failure" and detail["reason"] == "model_failed" and self._asked:
            name = detail["message"].split(":")[0]
            about = {"error.type": name}
            self._model_span((self._last, now), about, inside, detail["message"])
        elif kind == "input" and captures_content():
            said = [{"role": "user", "parts": [{"type": "text", "content": detail["text"]}]}]
            self._root.set_attribute("gen_ai.input.messages", json.dumps(said))
        self._last = now

    @contextlib.contextmanager
    def tool(self, call: Mapping[str, Any]) -> Iterator[Any]:
        """The span of a function that runs in this process, in which it runs."""
        if self._api is None:
            yield None
            return
        from opentelemetry import context

        self._ran.add(call["id"])
        inside = self._context(call["id"].rpartition("/")[0])
        span = self._start(*self._tool(call), inside, self._tool_about(call))
        token = context.attach(self._api.set_span_in_context(span))
        try:
            yield span
        finally:
            context.detach(token)
            span.end()

    def failed(self, span: Any, error: BaseException) -> None:
        """Notes that what `span` tells of failed; the turn's own where it is `None`."""
        if self._api is None:
            return
        span = self._root if span is None else span
        span.set_attribute("error.type", type(error).__qualname__)
        span.set_status(self._api.Status(self._api.StatusCode.ERROR, str(error)))

    def end(self) -> None:
        """Ends the turn's span."""
        if self._api is not None:
            for span in self._handed.values():
                span.end()
            self._root.end()

    def _start(
        self,
        name: str,
        operation: str,
        inside: Any,
        attributes: Mapping[str, Any],
        start: int | None = None,
    ) -> Any:
        about = {
            "gen_ai.operation.name": operation,
            "gen_ai.provider.name": _PROVIDER,
            **attributes,
        }
        return self._tracer.start_span(
            name,
            context=inside,
            kind=self._api.SpanKind.INTERNAL,
            attributes=about,
            start_time=start,
        )

    def _context(self, call: str) -> Any:
        """Where spans stand of the agent that `call` handed work to; of the first one by ``""``."""
        span = self._handed.get(call)
        return self._inside if span is None else self._api.set_span_in_context(span)

    def _delegated(self, call: str, definition: Mapping[str, Any]) -> None:
        name = definition["name"]
        about = {"gen_ai.agent.id": definition["id"], "gen_ai.agent.name": name}
        inside = self._context(call.rpartition("/")[0])
        self._handed[call] = self._start(f"invoke_agent {name}", "invoke_agent", inside, about)

    def _chat(self, detail: Mapping[str, Any], now: int, inside: Any) -> None:
        usage = detail["usage"]
        about = {
            "gen_ai.response.finish_reasons": [detail["stopReason"]],
            "gen_ai.usage.input_tokens": usage["inputTokens"],
            "gen_ai.usage.output_tokens": usage["outputTokens"],
        }
        if captures_content():
            about["gen_ai.output.messages"] = output(detail["content"], detail["stopReason"])
        self._model_span((now - detail["tookMs"] * 1_000_000, now), about, inside, None)

    def _model_span(
        self, times: tuple[int, int], about: Mapping[str, Any], inside: Any, error: str | None
    ) -> None:
        asked = self._asked or {"model": "", "text": "{}"}
        about = {"gen_ai.request.model": asked["model"], **about}
        if captures_content():
            about["gen_ai.input.messages"] = messages(asked["text"])
        span = self._start(f"chat {asked['model']}", "chat", inside, about, times[0])
        self._root.set_attribute("gen_ai.request.model", asked["model"])
        if error is not None:
            span.set_status(self._api.Status(self._api.StatusCode.ERROR, error))
        span.end(times[1])
        self._asked = None

    def _decision(self, detail: Mapping[str, Any]) -> None:
        about = {
            "gen_ai.tool.name": detail["call"]["tool"],
            "gen_ai.tool.call.id": detail["call"]["id"],
            "outcrop.decision.effect": detail["effect"],
            "outcrop.decision.rule": detail["rule"],
            "outcrop.decision.policies": list(detail.get("policies", ())),
        }
        self._root.add_event("outcrop.decision", about)

    def _observation(self, detail: Mapping[str, Any], now: int, inside: Any) -> None:
        call, outcome = detail["call"], detail["outcome"]
        ((what, told),) = outcome.items()
        if call["id"] in self._ran or what in ("denied", "rejected", "malformed", "repeated"):
            return
        handed = self._handed.pop(call["id"], None)
        target = call.get("target") or {}
        about: dict[str, Any] = self._tool_about(call)
        name, operation = self._tool(call)
        if "knowledgeBase" in target:
            base = target["knowledgeBase"]["id"]
            name, operation = f"retrieval {base}", "retrieval"
            about = {"gen_ai.data_source.id": base}
            if captures_content():
                about["gen_ai.retrieval.query.text"] = str(call["arguments"].get("query", ""))
        elif "collaborator" in target:
            agent = target["collaborator"]["name"]
            name, operation = f"invoke_agent {agent}", "invoke_agent"
            about = {"gen_ai.agent.name": agent}
        start = now - detail["tookMs"] * 1_000_000
        span = handed or self._start(name, operation, inside, about, start)
        if what in ("failed", "timedOut", "unknown"):
            span.set_attribute("error.type", what)
            span.set_status(self._api.Status(self._api.StatusCode.ERROR, json.dumps(told)))
        span.end(now)

    def _result(self, result: Mapping[str, Any]) -> None:
        usage, reason = result["spent"]["usage"], result["stopReason"]
        self._root.set_attributes(
            {
                "gen_ai.conversation.id": result["sessionId"],
                "gen_ai.response.finish_reasons": [reason],
                "gen_ai.usage.input_tokens": usage["inputTokens"],
                "gen_ai.usage.output_tokens": usage["outputTokens"],
            }
        )
        if result.get("message"):
            self._root.set_attribute("error.type", reason)
            self._root.set_status(self._api.Status(self._api.StatusCode.ERROR, result["message"]))
        elif captures_content() and result["text"]:
            said = output([{"text": result["text"]}], reason)
            self._root.set_attribute("gen_ai.output.messages", said)

    @staticmethod
    def _tool(call: Mapping[str, Any]) -> tuple[str, str]:
        return f"execute_tool {call['tool']}", "execute_tool"

    @staticmethod
    def _tool_about(call: Mapping[str, Any]) -> dict[str, Any]:
        about = {
            "gen_ai.tool.name": call["tool"],
            "gen_ai.tool.type": "function",
            "gen_ai.tool.call.id": call["id"],
        }
        if captures_content():
            about["gen_ai.tool.call.arguments"] = json.dumps(call["arguments"])
        return about


class ModelSpan:
    """The span of a model's own call: `chat`, or `text_completion`."""

    def __init__(self, operation: str, model: str, request: str) -> None:
        self._span: Any = None
        self._api = api = _api()
        if api is None:
            return
        tracer = api.get_tracer("outcrop", __version__)
        about = {
            "gen_ai.operation.name": operation,
            "gen_ai.provider.name": _PROVIDER,
            "gen_ai.request.model": model,
        }
        if captures_content():
            about["gen_ai.input.messages"] = messages(request)
        self._span = tracer.start_span(
            f"{operation} {model}", kind=api.SpanKind.INTERNAL, attributes=about
        )

    def replied(self, value: Mapping[str, Any]) -> None:
        """Ends the span with what the reply tells."""
        if self._span is None:
            return
        usage = value["usage"]
        self._span.set_attributes(
            {
                "gen_ai.response.finish_reasons": [value["stopReason"]],
                "gen_ai.usage.input_tokens": usage["inputTokens"],
                "gen_ai.usage.output_tokens": usage["outputTokens"],
            }
        )
        if captures_content():
            content = value.get("content") or [{"text": value.get("text", "")}]
            said = output(content, value["stopReason"])
            self._span.set_attribute("gen_ai.output.messages", said)
        self.end()

    def end(self, error: BaseException | None = None) -> None:
        """Ends the span, by an error where there was one. Ending it again does nothing."""
        if self._span is None:
            return
        if error is not None:
            self._span.set_attribute("error.type", type(error).__qualname__)
            self._span.set_status(self._api.Status(self._api.StatusCode.ERROR, str(error)))
        self._span.end()
        self._span = None

    @contextlib.contextmanager
    def open(self) -> Iterator[None]:
        """Ends the span where what begins it fails; it stays open otherwise."""
        try:
            yield
        except BaseException as error:
            self.end(error)
            raise

    def __enter__(self) -> ModelSpan:
        return self

    def __exit__(self, kind: object, error: BaseException | None, trace: object) -> None:
        self.end(error)


def _nanoseconds(moment: str) -> int:
    """Of an RFC 3339 time in UTC, since 1970."""
    at = datetime.datetime.fromisoformat(moment.replace("Z", "+00:00"))
    since = at - datetime.datetime(1970, 1, 1, tzinfo=datetime.timezone.utc)
    return (since // datetime.timedelta(microseconds=1)) * 1000
