"""What chat models answer."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from html import escape
from typing import Any

from .tables import record, shorten


@dataclass(frozen=True)
class Usage:
    """Tokens that were really read and made."""

    #: Tokens of the prompt.
    input_tokens: int
    #: Tokens generated, an end-of-turn token included.
    output_tokens: int
    #: Their sum.
    total_tokens: int


@dataclass(frozen=True)
class ToolUse:
    """The model asks for one call of a tool."""

    #: The id that the tool's result must carry.
    id: str
    #: The tool's name.
    name: str
    #: The arguments.
    input: Any


def block_text(block: Mapping[str, Any]) -> str:
    """The generated text of a content block; empty for a block that is not text."""
    if "text" in block:
        return str(block["text"])
    parts = block.get("citationsContent", {}).get("content", [])
    return "".join(part.get("text", "") for part in parts)


@dataclass(frozen=True, repr=False)
class Reply:
    """The whole answer to a conversation."""

    #: The content blocks, in Converse's form.
    content: list[dict[str, Any]]
    #: `end_turn`, `tool_use`, `max_tokens` or `stop_sequence`.
    stop_reason: str
    #: Tokens read and made.
    usage: Usage
    #: From the call to its end, in milliseconds of wall time.
    latency_ms: int
    #: The id of the model that answered.
    model: str

    @property
    def text(self) -> str:
        """The generated text of all blocks."""
        return "".join(block_text(block) for block in self.content)

    @property
    def tool_uses(self) -> list[ToolUse]:
        """The calls that the model asks for."""
        uses = [block["toolUse"] for block in self.content if "toolUse" in block]
        return [ToolUse(use["toolUseId"], use["name"], use["input"]) for use in uses]

    @property
    def message(self) -> dict[str, Any]:
        """The assistant's message, to append to the conversation."""
        return {"role": "assistant", "content": self.content}

    @property
    def cost(self) -> float | None:
        """None: models run on this machine and this version keeps no price list."""
        return None

    @classmethod
    def _from(cls, value: Mapping[str, Any], model: str) -> Reply:
        usage = record(Usage, value["usage"])
        return cls(value["content"], value["stopReason"], usage, value["latencyMs"], model)

    def __str__(self) -> str:
        return self.text

    def __repr__(self) -> str:
        return (
            f"Reply(text={shorten(self.text)!r}, stop_reason={self.stop_reason!r}, "
            f"tool_uses={len(self.tool_uses)}, output_tokens={self.usage.output_tokens})"
        )

    def _repr_html_(self) -> str:
        uses = "".join(f"<br><code>{escape(repr(use))}</code>" for use in self.tool_uses)
        return (
            f"<div style='white-space:pre-wrap'>{escape(self.text)}</div>{uses}"
            f"<small>{escape(self.model)}: {escape(self.stop_reason)}, "
            f"{self.usage.input_tokens} + {self.usage.output_tokens} tokens, "
            f"{self.latency_ms} ms</small>"
        )


@dataclass(frozen=True, repr=False)
class Completion:
    """The continuation of a prompt."""

    #: The generated text, without special tokens and without the stop sequence.
    text: str
    #: The generated ids, in order, an end-of-turn token included.
    ids: list[int]
    #: `end_turn`, `max_tokens` or `stop_sequence`.
    stop_reason: str
    #: Tokens read and made.
    usage: Usage
    #: From the call to its end, in milliseconds of wall time.
    latency_ms: int

    @classmethod
    def _from(cls, value: Mapping[str, Any]) -> Completion:
        usage = record(Usage, value["usage"])
        return cls(value["text"], value["ids"], value["stopReason"], usage, value["latencyMs"])

    def __str__(self) -> str:
        return self.text

    def __repr__(self) -> str:
        return (
            f"Completion(text={shorten(self.text)!r}, stop_reason={self.stop_reason!r}, "
            f"output_tokens={self.usage.output_tokens})"
        )
