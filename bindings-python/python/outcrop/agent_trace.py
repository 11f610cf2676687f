"""The trace of an agent's turn, as a tree for terminals and notebooks."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from html import escape
from typing import Any

from .tables import shorten

_LABELS = {
    "input": "user",
    "modelInvocationInput": "asks the model",
    "modelInvocationOutput": "model",
    "rationale": "rationale",
    "decision": "decision",
    "approvalRequest": "waits",
    "approvalResponse": "answered",
    "invocationInput": "calls",
    "observation": "result",
    "finalResponse": "answer",
    "failure": "failure",
    "edited": "edited",
}
#: Events that stand under the model call before them.
_DEEPER = {"rationale", "decision", "invocationInput", "observation"}


@dataclass(frozen=True)
class TraceEvent:
    """One event of a trace."""

    #: The number of the fact in the session that it tells of: a step to replay to or fork from.
    step: int
    #: The turn.
    turn: int
    #: When it was recorded, RFC 3339.
    time: str
    #: SHA-256 of what it tells of.
    digest: str
    #: `modelInvocationInput`, `modelInvocationOutput`, `rationale`, `decision`,
    #: `invocationInput`, `observation`, `approvalRequest`, `approvalResponse`, `finalResponse`,
    #: `failure`, `input` or `edited`.
    kind: str
    #: What it tells.
    detail: dict[str, Any]
    #: The names of the agents that the work was handed down to, where it is of one of them.
    within: tuple[str, ...] = ()

    @classmethod
    def _from(cls, value: Mapping[str, Any]) -> TraceEvent:
        ((kind, detail),) = value["event"].items()
        return cls(
            step=value["step"],
            turn=value["turn"],
            time=value["time"],
            digest=value["digest"],
            kind=kind,
            detail=detail,
            within=tuple(one["name"] for one in value.get("within", ())),
        )

    def _indent(self) -> int:
        return 2 * len(self.within) + (self.kind in _DEEPER)

    def _words(self) -> str:
        detail = self.detail
        if self.kind == "modelInvocationInput":
            return str(detail["model"])
        if self.kind == "modelInvocationOutput":
            usage, took = detail["usage"], detail["tookMs"]
            tokens = f"{usage['inputTokens']} + {usage['outputTokens']} tokens"
            return f"{detail['stopReason']}, {tokens}, {took} ms, ${detail['cost']:.4g}"
        if self.kind == "decision":
            return f"{detail['effect']} {detail['call']['tool']}: {detail['rule']}"
        if self.kind == "invocationInput":
            return f"{detail['call']['tool']}({_arguments(detail['call']['arguments'])})"
        if self.kind == "observation":
            took = f", {detail['tookMs']} ms" if detail["tookMs"] else ""
            return f"{detail['call']['tool']}: {_json(detail['outcome'])}{took}"
        if self.kind == "approvalRequest":
            return ", ".join(f"{p['call']['tool']} ({p['asks']})" for p in detail["pending"])
        if self.kind == "approvalResponse":
            return f"{detail['answer']['call']}: {_json(detail['answer']['answer'])}"
        if self.kind == "failure":
            return f"{detail['reason']}: {detail['message']}"
        return str(detail.get("text", ""))


class Trace(list[TraceEvent]):
    """The events of a turn, in order. Shows as a tree."""

    def __repr__(self) -> str:
        return "\n".join(
            f"{event._indent() * '  '}{event.step:>3} "
            f"{_LABELS[event.kind]}: {shorten(' '.join(event._words().split()), 100)}"
            for event in self
        )

    def _repr_html_(self) -> str:
        rows = []
        for event in self:
            indent = f"{0.5 + 2 * event._indent()}em"
            words = escape(shorten(" ".join(event._words().split()), 160))
            whole = escape(json.dumps(event.detail, indent=2, ensure_ascii=False))
            rows.append(
                f"<details style='margin-left:{indent}'><summary><code>{event.step}</code> "
                f"<b>{_LABELS[event.kind]}</b> {words}</summary>"
                f"<small>{escape(event.time)} · sha256 {event.digest}</small>"
                f"<pre style='white-space:pre-wrap;max-height:20em;overflow:auto'>{whole}</pre>"
                "</details>"
            )
        return f"<div style='text-align:left'>{''.join(rows)}</div>"


def _arguments(arguments: Any) -> str:
    if not isinstance(arguments, Mapping):
        return _json(arguments)
    return ", ".join(f"{name}={_json(value)}" for name, value in arguments.items())


def _json(value: Any) -> str:
    return json.dumps(value, ensure_ascii=False)
