"""What callers pass, checked and put into the API's form."""

from __future__ import annotations

import json
import os
from typing import Any, Dict, Iterable, List, Mapping, Optional, Sequence, Union

from .errors import ValidationException

Messages = Union[str, Sequence[Mapping[str, Any]]]
Path = Union[str, "os.PathLike[str]"]

#: Arguments of a request by the API's member name, with their type.
NUMBERS = {
    "max_tokens": ("maxTokens", int),
    "temperature": ("temperature", float),
    "top_p": ("topP", float),
    "top_k": ("topK", int),
    "min_p": ("minP", float),
    "repetition_penalty": ("repetitionPenalty", float),
    "seed": ("seed", int),
}


def wrong(field: str, expected: str, got: object) -> ValidationException:
    """The error of an argument, with its value."""
    return ValidationException(f"{field}: expected {expected}, got {got!r} ({type(got).__name__})")


def text(field: str, value: object) -> str:
    """A Unicode text."""
    if not isinstance(value, str):
        raise wrong(field, "a str", value)
    try:
        value.encode()
    except UnicodeEncodeError as error:
        raise ValidationException(f"{field}: expected Unicode text: {error}") from None
    return value


def texts(field: str, values: Union[str, Iterable[str]]) -> List[str]:
    """A list of texts; one text stands for a list of one."""
    if isinstance(values, str):
        values = [values]
    if isinstance(values, (bytes, Mapping)) or not isinstance(values, Iterable):
        raise wrong(field, "a list of str", values)
    return [text(f"{field}[{index}]", value) for index, value in enumerate(values)]


def path(field: str, value: Path) -> str:
    """A path, or a name that stands where one may."""
    if not isinstance(value, (str, os.PathLike)):
        raise wrong(field, "a str or a path", value)
    return text(field, os.fspath(value))


def integer(field: str, value: object) -> int:
    """A whole number that is not negative."""
    if isinstance(value, bool) or not hasattr(value, "__index__"):
        raise wrong(field, "a whole number", value)
    number = value.__index__()
    if not 0 <= number < 1 << 64:
        raise ValidationException(f"{field}: expected 0 or more, below 2^64, got {number}")
    return number


def ids(field: str, values: Iterable[int]) -> List[int]:
    """Token ids: a list, a tuple, or an array of whole numbers."""
    values = values.tolist() if hasattr(values, "tolist") else values
    if isinstance(values, (str, bytes, Mapping)) or not isinstance(values, Iterable):
        raise wrong(field, "a list of token ids", values)
    numbers = [integer(f"{field}[{index}]", value) for index, value in enumerate(values)]
    for index, number in enumerate(numbers):
        if number >= 1 << 32:
            raise ValidationException(f"{field}[{index}]: expected a token id, got {number}")
    return numbers


def encode(field: str, value: Any) -> str:
    """JSON text of an argument."""
    try:
        return json.dumps(value, allow_nan=False)
    except (TypeError, ValueError, RecursionError) as error:
        raise ValidationException(f"{field}: {error}") from None


def inference_config(arguments: Mapping[str, Any]) -> Dict[str, Any]:
    """Lengths and sampling; what is None is left to the core's default."""
    config: Dict[str, Any] = {}
    for name, (member, kind) in NUMBERS.items():
        value = arguments.get(name)
        if value is None:
            continue
        if kind is int:
            config[member] = integer(name, value)
        elif isinstance(value, bool) or not hasattr(value, "__float__"):
            raise wrong(name, "a number", value)
        elif not abs(float(value)) <= 3.4e38:
            raise wrong(name, "a finite number", value)
        else:
            config[member] = float(value)
    if arguments.get("stop") is not None:
        config["stopSequences"] = texts("stop", arguments["stop"])
    return config


def content_blocks(where: str, content: object) -> List[Any]:
    """A message's content: a text, or blocks; a text among them is a block too."""
    if isinstance(content, str):
        content = [content]
    if isinstance(content, Mapping) or not isinstance(content, Sequence):
        raise wrong(where, "a str or a list of content blocks", content)
    blocks = enumerate(content)
    return [
        {"text": text(f"{where}[{at}]", block)} if isinstance(block, str) else block
        for at, block in blocks
    ]


def message_list(messages: Messages) -> List[Dict[str, Any]]:
    """Converse messages; one text is one message of the user."""
    if isinstance(messages, str):
        return [{"role": "user", "content": [{"text": text("messages", messages)}]}]
    if isinstance(messages, Mapping) or not isinstance(messages, Sequence):
        raise wrong("messages", "a str or a list of messages", messages)
    converse = []
    for index, message in enumerate(messages):
        where = f"messages[{index}]"
        if not isinstance(message, Mapping):
            raise wrong(where, '{"role": ..., "content": ...}', message)
        if message.get("role") == "system":
            raise ValidationException(
                f'{where}.role: expected "user" or "assistant", got "system": '
                "pass instructions as system="
            )
        if "content" not in message:
            raise ValidationException(f"{where}: missing member `content`")
        blocks = content_blocks(f"{where}.content", message["content"])
        converse.append({**message, "content": blocks})
    return converse


def tool(where: str, declaration: object) -> Dict[str, Any]:
    """A tool's declaration: Converse's toolSpec, a plain dict, or a function schema."""
    if not isinstance(declaration, Mapping):
        raise wrong(where, "a dict", declaration)
    spec = declaration.get("toolSpec", declaration.get("function", declaration))
    if not isinstance(spec, Mapping):
        raise wrong(where, "a tool's declaration", declaration)
    schema = spec.get("inputSchema", spec.get("input_schema", spec.get("parameters")))
    if isinstance(schema, Mapping) and set(schema) == {"json"}:
        schema = schema["json"]
    if not isinstance(spec.get("name"), str):
        raise wrong(f"{where}.name", "a str", spec.get("name"))
    if not isinstance(schema, Mapping):
        raise wrong(f"{where}.input_schema", "a JSON schema", schema)
    description = text(f"{where}.description", spec.get("description", ""))
    return {"name": spec["name"], "description": description, "inputSchema": schema}


def tool_choice_of(choice: object, names: Sequence[str]) -> Any:
    """`auto`, `any`, a tool's name, or Converse's form."""
    if isinstance(choice, Mapping):
        return choice
    if choice in ("auto", "any"):
        return {choice: {}}
    if isinstance(choice, str) and choice in names:
        return {"tool": {"name": choice}}
    allowed = ", ".join(repr(name) for name in ("auto", "any", *names))
    raise wrong("tool_choice", f"one of {allowed}", choice)


def converse_request(
    messages: Messages,
    system: Optional[str] = None,
    tools: Optional[Sequence[Mapping[str, Any]]] = None,
    tool_choice: object = None,
    response_schema: Optional[Mapping[str, Any]] = None,
    reasoning: Optional[bool] = None,
    **config: Any,
) -> str:
    """A `ConverseRequest` as JSON text."""
    request: Dict[str, Any] = {"messages": message_list(messages)}
    if system is not None:
        request["system"] = text("system", system)
    if config:
        request["inferenceConfig"] = inference_config(config)
    if tools is not None:
        if isinstance(tools, Mapping) or not isinstance(tools, Sequence):
            raise wrong("tools", "a list of tools", tools)
        request["tools"] = [tool(f"tools[{index}]", t) for index, t in enumerate(tools)]
    if tool_choice is not None:
        names = [t["name"] for t in request.get("tools", [])]
        request["toolChoice"] = tool_choice_of(tool_choice, names)
    if response_schema is not None:
        if not isinstance(response_schema, Mapping):
            raise wrong("response_schema", "a JSON schema", response_schema)
        request["responseSchema"] = response_schema
    if reasoning is not None:
        if not isinstance(reasoning, bool):
            raise wrong("reasoning", "True, False or None", reasoning)
        request["templateVariables"] = {"enable_thinking": reasoning}
    return encode("request", request)


def generate_request(prompt: Union[str, Iterable[int]], **config: Any) -> str:
    """A `GenerateRequest` as JSON text."""
    value = text("prompt", prompt) if isinstance(prompt, str) else ids("prompt", prompt)
    return encode("request", {"prompt": value, "inferenceConfig": inference_config(config)})
