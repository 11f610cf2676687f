"""What an agent's turn gives."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from .agent_trace import Trace, TraceEvent
from .passages import Citation
from .replies import Usage
from .tables import record


@dataclass(frozen=True)
class PendingCall:
    """A call that a paused turn waits for."""

    #: Its id in the session.
    id: str
    #: The name that the model called.
    tool: str
    #: The arguments.
    arguments: dict[str, Any]
    #: What is asked: `USER_CONFIRMATION`, `RESULT` or `USER_CONFIRMATION_AND_RESULT`.
    asks: str
    #: The action group, for a function.
    action_group: str | None
    #: Its session.
    session_id: str
    #: The model's own id of it.
    tool_use_id: str = ""
    #: The names of the agents that the work was handed down to, where it is a call of the last.
    within: tuple[str, ...] = ()

    @classmethod
    def _from(cls, value: Mapping[str, Any], session_id: str) -> PendingCall:
        call = value["call"]
        target = (call.get("target") or {}).get("function") or {}
        return cls(
            id=call["id"],
            tool=call["tool"],
            arguments=call["arguments"],
            asks=value["asks"],
            action_group=target.get("actionGroup"),
            session_id=session_id,
            tool_use_id=call["toolUseId"],
            within=tuple(one["name"] for one in value.get("within", ())),
        )


@dataclass(frozen=True)
class MemorySession:
    """A session that a memory keeps."""

    #: Its id.
    session_id: str
    #: When it began, RFC 3339.
    began: str
    #: When it ended; `None` where it is open.
    ended: str | None
    #: When it is forgotten; `None` where it is open.
    expires: str | None
    #: What it held, in the words of the agent's model; `None` where no summary was made yet.
    summary: str | None

    @classmethod
    def _from(cls, value: Mapping[str, Any]) -> MemorySession:
        return cls(
            session_id=value["sessionId"],
            began=value["began"],
            ended=value.get("ended"),
            expires=value.get("expires"),
            summary=value.get("summary"),
        )


@dataclass(frozen=True, repr=False)
class AgentResult:
    """Where a turn stands: it has ended, or it is paused."""

    #: The answer; what the model said last where the turn ended before one; empty where it is
    #: paused.
    text: str
    #: What the answer rests on.
    citations: list[Citation]
    #: `end_turn`; `pending` and `interrupted` where it is paused; else why it ended early:
    #: `max_tokens`, `max_steps`, `token_limit`, `time_limit`, `cost_limit`, `repeated_call`,
    #: `model_failed` or `stopped`.
    stop_reason: str
    #: What was wrong, where it ended before its answer.
    message: str
    #: The calls that it is paused for: :meth:`Agent.resume` takes them.
    pending: list[PendingCall]
    #: The trace of the turn.
    trace: Trace
    #: Model calls.
    steps: int
    #: Tokens that were really read and made, over all model calls.
    usage: Usage
    #: Dollars, by the agent's price.
    cost: float
    #: Milliseconds of model calls, functions and look-ups; pauses do not count.
    took_ms: int
    #: The session.
    session_id: str
    #: The turn's number in it, from 1.
    turn: int
    #: Whether the session has ended: the next turn begins another one of its id.
    session_ended: bool = False
    #: What the session held, as its memory keeps it, where it has ended and has one.
    summary: str | None = None
    #: Why no summary was made of it: it is tried again.
    summary_failure: str | None = None
    #: The result as the core gives it.
    _value: Mapping[str, Any] = field(default_factory=dict, compare=False)

    @classmethod
    def _from(cls, value: Mapping[str, Any]) -> AgentResult:
        session_id, spent = value["sessionId"], value["spent"]
        return cls(
            text=value["text"],
            citations=[Citation._from(item) for item in value["citations"]],
            stop_reason=value["stopReason"],
            message=value.get("message", ""),
            pending=[PendingCall._from(item, session_id) for item in value["pending"]],
            trace=Trace(TraceEvent._from(event) for event in value["trace"]),
            steps=spent["steps"],
            usage=record(Usage, spent["usage"]),
            cost=spent["cost"],
            took_ms=spent["tookMs"],
            session_id=session_id,
            turn=value["turn"],
            session_ended=value.get("sessionEnded", False),
            summary=value.get("summary"),
            summary_failure=value.get("summaryFailure"),
            _value=value,
        )

    def __str__(self) -> str:
        return self.text

    def __repr__(self) -> str:
        asked = ", ".join(call.tool for call in self.pending)
        waits = f", waits for {asked}" if asked else ""
        return f"<outcrop.AgentResult {self.stop_reason}{waits}: {self.text[:60]!r}>"

    def _repr_html_(self) -> str:
        return self.trace._repr_html_()
