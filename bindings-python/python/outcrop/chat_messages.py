"""Messages of a conversation, in Converse's form or in that of chat completions."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import Any, Union

from .checks import text, wrong
from .errors import ValidationException

Messages = Union[str, Sequence[Mapping[str, Any]]]


def content_blocks(where: str, content: object) -> list[Any]:
    """A message's content: a text, or blocks; a text among them is a block too."""
    if isinstance(content, str):
        content = [content]
    if isinstance(content, (bytes, Mapping)) or not isinstance(content, Sequence):
        raise wrong(where, "a str or a list of content blocks", content)
    blocks = []
    for at, block in enumerate(content):
        if isinstance(block, str):
            block = {"text": text(f"{where}[{at}]", block)}
        elif isinstance(block, Mapping) and block.get("type") == "text":
            block = {name: value for name, value in block.items() if name != "type"}
        if not isinstance(block, Mapping):
            raise wrong(f"{where}[{at}]", "a str or a content block", block)
        if "text" in block:
            text(f"{where}[{at}].text", block["text"])
        blocks.append(block)
    return blocks


def tool_use(where: str, call: Any) -> dict[str, Any]:
    """A chat completion's tool call as a `toolUse` block."""
    function = call.get("function", call) if isinstance(call, Mapping) else None
    if not isinstance(function, Mapping) or not isinstance(function.get("name"), str):
        raise wrong(where, "a tool call with a name and arguments", call)
    arguments = function.get("arguments", {})
    if isinstance(arguments, str):
        try:
            arguments = json.loads(arguments)
        except ValueError as error:
            raise ValidationException(f"{where}.arguments: {error}") from None
    use = {"toolUseId": call.get("id") or "", "name": function["name"], "input": arguments}
    return {"toolUse": use}


def converse_message(where: str, message: Mapping[str, Any]) -> dict[str, Any]:
    """One message in Converse's form."""
    if message["role"] == "tool":
        blocks = content_blocks(f"{where}.content", message.get("content"))
        result = {"toolUseId": message.get("tool_call_id") or "", "content": blocks}
        return {"role": "user", "content": [{"toolResult": result}]}
    calls = message.get("tool_calls")
    calls = [] if calls is None else calls
    if isinstance(calls, (str, bytes, Mapping)) or not isinstance(calls, Sequence):
        raise wrong(f"{where}.tool_calls", "a list of tool calls", calls)
    if "content" not in message and not calls:
        raise ValidationException(f"{where}: missing member `content`")
    blocks = []
    # A message of tool calls alone has no text, or an empty one.
    content = message.get("content")
    bare = content is None or (isinstance(content, (str, list)) and not content)
    if not calls or not bare:
        blocks = content_blocks(f"{where}.content", message["content"])
    blocks += [tool_use(f"{where}.tool_calls[{at}]", call) for at, call in enumerate(calls)]
    rest = {name: value for name, value in message.items() if name != "tool_calls"}
    return {**rest, "content": blocks}


def conversation(messages: Messages) -> tuple[str | None, list[dict[str, Any]]]:
    """The instructions that a first message of role `system` gives, and the Converse messages."""
    if isinstance(messages, str):
        return None, [{"role": "user", "content": [{"text": text("messages", messages)}]}]
    if isinstance(messages, (bytes, Mapping)) or not isinstance(messages, Sequence):
        raise wrong("messages", "a str or a list of messages", messages)
    system: str | None = None
    converse: list[dict[str, Any]] = []
    after_tool = False
    for index, message in enumerate(messages):
        where = f"messages[{index}]"
        if not isinstance(message, Mapping):
            raise wrong(where, '{"role": ..., "content": ...}', message)
        role = text(f"{where}.role", message.get("role"))
        if role == "system":
            if index > 0:
                raise ValidationException(
                    f"{where}.role: a system message stands first, or system="
                )
            system = text(f"{where}.content", message.get("content"))
            continue
        made = converse_message(where, message)
        # Converse holds the results of one turn's calls in one message.
        if role == "tool" and after_tool:
            converse[-1]["content"] += made["content"]
        else:
            converse.append(made)
        after_tool = role == "tool"
    return system, converse
