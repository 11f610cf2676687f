"""Requests of a model, from what callers pass."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, NamedTuple, Optional, Union

from .chat_messages import Messages, conversation
from .checks import (
    choice,
    encode,
    ids,
    integer,
    milliseconds,
    real,
    signed,
    text,
    texts,
    wrong,
)
from .errors import ValidationException
from .schemas import Parser, schema_and_parser

Tools = Optional[Sequence[Mapping[str, Any]]]
ToolChoice = Union[str, Mapping[str, Any], None]
Stop = Union[str, Sequence[str], None]
Schema = Union[Mapping[str, Any], type, None]
Quote = Union[str, Sequence[str], None]

#: Arguments of a request by the API's member name, with their type.
NUMBERS = {
    "max_tokens": ("maxTokens", int),
    "temperature": ("temperature", float),
    "top_p": ("topP", float),
    "top_k": ("topK", int),
    "min_p": ("minP", float),
    "repetition_penalty": ("repetitionPenalty", float),
    "seed": ("seed", int),
    "logprobs": ("logprobs", int),
}
#: Ways to guess tokens ahead.
SPECULATION = ("off", "prompt_lookup", "draft")


class Request(NamedTuple):
    """A request on its way to the core."""

    #: Its JSON text.
    json: str
    #: What makes a reply's JSON value the caller's; None where no schema was asked for.
    parser: Parser | None


def inference_config(arguments: Mapping[str, Any]) -> dict[str, Any]:
    """Lengths and sampling; what is None is left to the core's default."""
    config: dict[str, Any] = {}
    for name, (member, kind) in NUMBERS.items():
        value = arguments.get(name)
        if value is None:
            continue
        config[member] = integer(name, value) if kind is int else real(name, value)
    if arguments.get("stop") is not None:
        config["stopSequences"] = texts("stop", arguments["stop"])
    return config


def tool(where: str, declaration: object) -> dict[str, Any]:
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
    if isinstance(choice, Mapping) and len(choice) == 1 and set(choice) < {"auto", "any", "tool"}:
        return choice
    if isinstance(choice, str) and choice in ("auto", "any"):
        return {choice: {}}
    if isinstance(choice, str) and choice in names:
        return {"tool": {"name": choice}}
    allowed = ", ".join(repr(name) for name in ("auto", "any", *names))
    raise wrong("tool_choice", f"one of {allowed}", choice)


def pattern(regex: str | re.Pattern[str]) -> str:
    """A regular expression's text; a compiled one may have no flags, which would be lost."""
    if isinstance(regex, re.Pattern):
        if regex.flags & ~re.UNICODE:
            raise wrong("regex", "a pattern without flags", regex)
        return text("regex", regex.pattern)
    return text("regex", regex)


def output_format(
    response_schema: Any, regex: str | re.Pattern[str] | None, lark: str | None, quote: Quote
) -> tuple[dict[str, Any], Parser | None]:
    """What every reply must look like, as the member of a request, where anything is asked."""
    asked = {"response_schema": response_schema, "regex": regex, "lark": lark, "quote": quote}
    names = [name for name, value in asked.items() if value is not None]
    if len(names) > 1:
        raise ValidationException(
            f"{', '.join(names)}: expected at most one of {', '.join(asked)}, got {len(names)}"
        )
    if response_schema is not None:
        schema, parser = schema_and_parser("response_schema", response_schema)
        return {"outputFormat": {"jsonSchema": schema}}, parser
    if regex is not None:
        return {"outputFormat": {"regex": pattern(regex)}}, None
    if lark is not None:
        return {"outputFormat": {"lark": text("lark", lark)}}, None
    if quote is not None:
        return {"outputFormat": {"quote": texts("quote", quote)}}, None
    return {}, None


def serving(
    adapter: str | None,
    speculation: str | None,
    caller: str | None,
    priority: int | None,
    deadline: float | None,
) -> dict[str, Any]:
    """The adapter, the guessing ahead and the place in the queue, where anything is asked."""
    request: dict[str, Any] = {}
    if adapter is not None:
        request["adapter"] = text("adapter", adapter)
    if speculation is not None:
        request["speculation"] = choice("speculation", speculation, SPECULATION)
    scheduling: dict[str, Any] = {}
    if caller is not None:
        scheduling["caller"] = text("caller", caller)
    if priority is not None:
        scheduling["priority"] = signed("priority", priority)
    if deadline is not None:
        scheduling["deadlineMs"] = milliseconds("deadline", deadline)
    if scheduling:
        request["scheduling"] = scheduling
    return request


def prompt_members(
    messages: Messages,
    system: str | None,
    tools: Tools,
    reasoning: bool | None,
    template_variables: Mapping[str, Any] | None,
) -> dict[str, Any]:
    """What a chat template is given."""
    first, converse = conversation(messages)
    request: dict[str, Any] = {"messages": converse}
    if system is not None and first is not None:
        raise ValidationException("system: messages[0] gives a system text too")
    if system is not None or first is not None:
        request["system"] = first if system is None else text("system", system)
    if tools is not None:
        if isinstance(tools, Mapping) or not isinstance(tools, Sequence):
            raise wrong("tools", "a list of tools", tools)
        request["tools"] = [tool(f"tools[{index}]", t) for index, t in enumerate(tools)]
    variables = {} if template_variables is None else template_variables
    if not isinstance(variables, Mapping):
        raise wrong("template_variables", "a dict", template_variables)
    if reasoning is not None:
        if not isinstance(reasoning, bool):
            raise wrong("reasoning", "True, False or None", reasoning)
        variables = {**variables, "enable_thinking": reasoning}
    if variables:
        request["templateVariables"] = dict(variables)
    return request


def converse_request(
    messages: Messages,
    system: str | None = None,
    max_tokens: int | None = 512,
    temperature: float | None = None,
    top_p: float | None = None,
    top_k: int | None = None,
    stop: Stop = None,
    seed: int | None = None,
    tools: Tools = None,
    tool_choice: ToolChoice = None,
    response_schema: Schema = None,
    reasoning: bool | None = None,
    *,
    min_p: float | None = None,
    repetition_penalty: float | None = None,
    template_variables: Mapping[str, Any] | None = None,
    regex: str | re.Pattern[str] | None = None,
    lark: str | None = None,
    quote: Quote = None,
    adapter: str | None = None,
    logprobs: int | None = None,
    speculation: str | None = None,
    caller: str | None = None,
    priority: int | None = None,
    deadline: float | None = None,
    request_metadata: Mapping[str, str] | None = None,
) -> Request:
    """A `ConverseRequest`."""
    config = inference_config(locals())
    request = prompt_members(messages, system, tools, reasoning, template_variables)
    if config:
        request["inferenceConfig"] = config
    if tool_choice is not None:
        names = [t["name"] for t in request.get("tools", [])]
        request["toolChoice"] = tool_choice_of(tool_choice, names)
    form, parser = output_format(response_schema, regex, lark, quote)
    request.update(form)
    request.update(serving(adapter, speculation, caller, priority, deadline))
    if request_metadata is not None:
        request["requestMetadata"] = tags("request_metadata", request_metadata)
    return Request(encode("", request), parser)


def tags(field: str, values: object) -> dict[str, str]:
    """Texts by name."""
    if not isinstance(values, Mapping):
        raise wrong(field, "a dict of texts", values)
    return {text(field, name): text(f"{field}[{name!r}]", values[name]) for name in values}


def _text_or_ids(field: str, value: str | Iterable[int]) -> str | list[int]:
    return text(field, value) if isinstance(value, str) else ids(field, value)


def prompt_json(field: str, value: str | Iterable[int]) -> str:
    """A text or token ids as JSON text."""
    return encode(field, _text_or_ids(field, value))


def generate_request(
    prompt: str | Iterable[int],
    max_tokens: int | None = 512,
    temperature: float | None = None,
    top_p: float | None = None,
    top_k: int | None = None,
    stop: Stop = None,
    seed: int | None = None,
    *,
    min_p: float | None = None,
    repetition_penalty: float | None = None,
    response_schema: Schema = None,
    regex: str | re.Pattern[str] | None = None,
    lark: str | None = None,
    quote: Quote = None,
    adapter: str | None = None,
    logprobs: int | None = None,
    speculation: str | None = None,
    caller: str | None = None,
    priority: int | None = None,
    deadline: float | None = None,
) -> Request:
    """A `GenerateRequest`."""
    config = inference_config(locals())
    value = _text_or_ids("prompt", prompt)
    form, parser = output_format(response_schema, regex, lark, quote)
    request = {"prompt": value, "inferenceConfig": config, **form}
    request.update(serving(adapter, speculation, caller, priority, deadline))
    return Request(encode("", request), parser)


def prompt_request(
    messages: Messages,
    system: str | None,
    tools: Tools,
    reasoning: bool | None,
    template_variables: Mapping[str, Any] | None,
) -> str:
    """A `ConverseRequest` that only its prompt is wanted of."""
    members = prompt_members(messages, system, tools, reasoning, template_variables)
    return encode("", members)
