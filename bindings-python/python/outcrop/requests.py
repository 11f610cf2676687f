"""Requests of a model, from what callers pass."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from .chat_messages import Messages, conversation
from .checks import encode, ids, integer, real, text, texts, wrong
from .errors import ValidationException

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


def converse_request(
    messages: Messages,
    system: str | None = None,
    tools: Sequence[Mapping[str, Any]] | None = None,
    tool_choice: object = None,
    response_schema: Mapping[str, Any] | None = None,
    reasoning: bool | None = None,
    template_variables: Mapping[str, Any] | None = None,
    **config: Any,
) -> str:
    """A `ConverseRequest` as JSON text."""
    first, converse = conversation(messages)
    request: dict[str, Any] = {"messages": converse}
    if system is not None and first is not None:
        raise ValidationException("system: messages[0] gives a system text too")
    if system is not None or first is not None:
        request["system"] = first if system is None else text("system", system)
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
        request["outputFormat"] = {"jsonSchema": response_schema}
    variables = {} if template_variables is None else template_variables
    if not isinstance(variables, Mapping):
        raise wrong("template_variables", "a dict", template_variables)
    if reasoning is not None:
        if not isinstance(reasoning, bool):
            raise wrong("reasoning", "True, False or None", reasoning)
        variables = {**variables, "enable_thinking": reasoning}
    if variables:
        request["templateVariables"] = dict(variables)
    return encode("", request)


def generate_request(prompt: str | Iterable[int], **config: Any) -> str:
    """A `GenerateRequest` as JSON text."""
    value = text("prompt", prompt) if isinstance(prompt, str) else ids("prompt", prompt)
    return encode("", {"prompt": value, "inferenceConfig": inference_config(config)})
