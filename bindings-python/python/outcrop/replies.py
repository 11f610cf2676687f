"""What chat models answer."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from html import escape
from typing import Any

from .errors import ValidationException
from .logprobs import LogprobList, Texts
from .schemas import Parser
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
    #: Of the prompt's tokens, those whose keys and values were found in the prefix cache.
    cache_read_input_tokens: int = 0
    #: Of the prompt's tokens, those that this call computed and left in the prefix cache.
    cache_write_input_tokens: int = 0


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


def parsed_value(text: str, stop_reason: str, usage: Usage, parser: Parser | None) -> Any:
    """The value of the JSON that `response_schema` asked for."""
    if parser is None:
        raise ValidationException("parsed: the request had no response_schema")
    if stop_reason in ("max_tokens", "stop_sequence"):
        cut = "max_tokens" if stop_reason == "max_tokens" else "a stop sequence"
        raise ValidationException(
            f"parsed: the text was cut off by {cut} after {usage.output_tokens} tokens, so that "
            f"its JSON is not whole: {shorten(text)!r}"
        )
    return parser(json.loads(text))


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
    #: One entry a generated token, where `logprobs` asked for them. Shows as a table.
    logprobs: LogprobList = field(default_factory=LogprobList)
    _parser: Parser | None = field(default=None, compare=False)

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
    def parsed(self) -> Any:
        """The value of the JSON that `response_schema` asked for.

        An instance of the dataclass or the pydantic model that was given as the schema; of a
        schema given as a dict, the plain JSON value.

        Raises:
            ValidationException: No schema was asked for, or the text was cut off by `max_tokens`
                or by a stop sequence before its end.
        """
        return parsed_value(self.text, self.stop_reason, self.usage, self._parser)

    @property
    def message(self) -> dict[str, Any]:
        """The assistant's message, to append to the conversation."""
        return {"role": "assistant", "content": self.content}

    @property
    def cost(self) -> float | None:
        """None: models run on this machine and this version keeps no price list."""
        return None

    @classmethod
    def _from(
        cls, value: Mapping[str, Any], model: str, texts: Texts, parser: Parser | None
    ) -> Reply:
        usage, logprobs = record(Usage, value["usage"]), LogprobList._from(value, texts)
        ended = value["stopReason"], usage, value["latencyMs"]
        return cls(value["content"], *ended, model, logprobs, parser)

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
    #: One entry a generated token, where `logprobs` asked for them. Shows as a table.
    logprobs: LogprobList = field(default_factory=LogprobList)
    _parser: Parser | None = field(default=None, compare=False)

    @classmethod
    def _from(cls, value: Mapping[str, Any], texts: Texts, parser: Parser | None) -> Completion:
        usage, logprobs = record(Usage, value["usage"]), LogprobList._from(value, texts)
        ended = value["stopReason"], usage, value["latencyMs"]
        return cls(value["text"], value["ids"], *ended, logprobs, parser)

    @property
    def parsed(self) -> Any:
        """The value of the JSON that `response_schema` asked for, as :attr:`Reply.parsed`."""
        return parsed_value(self.text, self.stop_reason, self.usage, self._parser)

    def __str__(self) -> str:
        return self.text

    def __repr__(self) -> str:
        return (
            f"Completion(text={shorten(self.text)!r}, stop_reason={self.stop_reason!r}, "
            f"output_tokens={self.usage.output_tokens})"
        )
