"""The trace of an agent's turn, as a tree for terminals and notebooks."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from . import _native

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
    #: `failure`, `input`, `edited`, `memoryRead`, `sessionEnded`, `summary` or `summaryFailure`.
    kind: str
    #: What it tells.
    detail: dict[str, Any]
    #: The names of the agents that the work was handed down to, where it is of one of them.
    within: tuple[str, ...] = ()
    _value: Mapping[str, Any] = field(default_factory=dict, repr=False, compare=False)

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
            _value=value,
        )


class Trace(list[TraceEvent]):
    """The events of a turn, in order. Shows as a tree: `print(result.trace)`, or in a notebook."""

    def __repr__(self) -> str:
        return _native.trace_tree(self._json(), False)

    def _repr_html_(self) -> str:
        return _native.trace_tree(self._json(), True)

    def _json(self) -> str:
        return json.dumps([event._value for event in self])
