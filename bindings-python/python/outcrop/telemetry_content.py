"""What was said, in the form of OpenTelemetry's messages."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from typing import Any


def messages(request: str) -> str:
    """The messages of a request's JSON; a prompt is one of the user's."""
    asked = json.loads(request)
    given = asked.get("messages")
    if given is None:
        given = [{"role": "user", "content": [{"text": str(asked.get("prompt", ""))}]}]
    told = [(one["role"], [_part(block) for block in one["content"]]) for one in given]
    return json.dumps([{"role": role, "parts": parts} for role, parts in told])


def output(content: Iterable[Mapping[str, Any]], reason: str) -> str:
    """What a model answered."""
    parts = [_part(block) for block in content]
    return json.dumps([{"role": "assistant", "parts": parts, "finish_reason": reason}])


def _part(block: Mapping[str, Any]) -> dict[str, Any]:
    if "toolUse" in block:
        use = block["toolUse"]
        return {
            "type": "tool_call",
            "id": use["toolUseId"],
            "name": use["name"],
            "arguments": use["input"],
        }
    if "toolResult" in block:
        result = block["toolResult"]
        return {
            "type": "tool_call_response",
            "id": result["toolUseId"],
            "response": result["content"],
        }
    if "text" in block:
        return {"type": "text", "content": block["text"]}
    ((kind, told),) = block.items()
    return {"type": kind, "content": told}
