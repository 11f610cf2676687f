"""The JSON of what agents are made, asked and answered with."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Mapping
from typing import Any

from . import checks
from .agent_result import MemorySession


def memory_settings(given: Any) -> dict[str, Any] | None:
    """How an agent remembers, as the core reads it."""
    if given is None or given is False:
        return None
    if given is True:
        return {}
    known = {
        "storage_days": ("storageDays", checks.integer),
        "max_recent_sessions": ("maxRecentSessions", checks.integer),
        "template": ("template", checks.text),
    }
    if not isinstance(given, Mapping) or not set(given) <= set(known):
        raise checks.wrong("memory", f"True or a dict of {', '.join(known)}", given)
    return {
        known[name][0]: known[name][1](f"memory.{name}", value) for name, value in given.items()
    }


#: The names of requirements whose form in JSON is another.
_REQUIREMENTS = {
    "approval_after": "approvalAfter",
    "at_most": "atMost",
    "sum_at_most": "sumAtMost",
}


def rule_of(place: str, rule: Any) -> dict[str, Any]:
    """A rule as the core reads it."""
    if not isinstance(rule, Mapping) or set(rule) != {"function", "require"}:
        raise checks.wrong(place, 'a dict of "function" and "require"', rule)
    required = rule["require"]
    if isinstance(required, str):
        required = {required: {}}
    if not isinstance(required, Mapping) or len(required) != 1:
        raise checks.wrong(f"{place}.require", "one requirement", required)
    ((name, detail),) = required.items()
    function = checks.text(f"{place}.function", rule["function"])
    return {"function": function, "require": {_REQUIREMENTS.get(name, name): detail}}


def sessions(text: str) -> list[MemorySession]:
    """The sessions of a memory, from JSON."""
    return [MemorySession._from(value) for value in json.loads(text)]


def memory_names(memory_id: str | None, session_id: str | None) -> tuple[str | None, str | None]:
    """The names of what is forgotten, checked."""
    memory = None if memory_id is None else checks.text("memory_id", memory_id)
    return memory, None if session_id is None else checks.text("session_id", session_id)


def returned(value: Any) -> str:
    """What a function gave, as the core reads it."""
    return checks.encode("the function's result", {"returned": _plain(value)})


def failed(error: Exception) -> str:
    """That a function failed, as the core reads it."""
    return json.dumps({"failed": {"error": f"{type(error).__name__}: {error}"}})


def _plain(value: Any) -> Any:
    """A function's result as JSON holds it."""
    if hasattr(value, "model_dump"):
        return value.model_dump(mode="json")
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        return dataclasses.asdict(value)
    return value
