"""Functions that agents may call."""

from __future__ import annotations

import functools
import inspect
import json
import re
from collections.abc import Mapping
from typing import Any, Callable, NamedTuple, Union, overload

from .checks import encode, flag, shown, text, texts, words, wrong
from .errors import ValidationException
from .schemas import build, schema_of, type_hints

#: What a parameter's name looks like in the `Args:` of a docstring.
_ARGUMENT = re.compile(r"\s+\*{0,2}(\w+)(?:\s*\([^)]*\))?:\s*(.*)")


class Tool:
    """A function that an agent may call; :func:`tool` makes one.

    Calling it calls the function.
    """

    def __init__(
        self, function: Callable[..., Any], name: str, description: str, input_schema: Any
    ) -> None:
        functools.update_wrapper(self, function)
        self._function = function
        #: The name that the model calls it by.
        self.name = name
        #: What it does, for the model.
        self.description = description
        #: JSON schema of its arguments.
        self.input_schema = input_schema
        #: Whether it is called with `await`.
        self.is_async = inspect.iscoroutinefunction(function)
        self._hints = None

    def __call__(self, *arguments: Any, **named: Any) -> Any:
        return self._function(*arguments, **named)

    def __repr__(self) -> str:
        return f"<outcrop.Tool {self.name}>"

    def _call(self, arguments: Mapping[str, Any]) -> Any:
        """What the function gives for a call's arguments; something to await where it is async."""
        hints = _hints(self._function)
        values = {
            name: _value(hints[name], value) if name in hints else value
            for name, value in arguments.items()
        }
        return self._function(**values)


@overload
def tool(function: Callable[..., Any]) -> Tool: ...
@overload
def tool(
    *, name: str | None = None, description: str | None = None, input_schema: Any = None
) -> Callable[[Callable[..., Any]], Tool]: ...


def tool(
    function: Callable[..., Any] | None = None,
    *,
    name: str | None = None,
    description: str | None = None,
    input_schema: Any = None,
) -> Union[Tool, Callable[[Callable[..., Any]], Tool]]:
    """Makes a function one that agents may call.

    Its name, its docstring and its type hints become what the model is told: the first part of the
    docstring says what it does, the lines under `Args:` what each argument is. Arguments are
    checked against the schema before the function runs, and come as the types that are hinted:
    dataclasses, pydantic models, enums. The function may be `async`.

    Args:
        function: The function. Without it, a decorator that takes the rest.
        name: The name that the model calls it by. Default: the function's.
        description: What it does, for the model. Default: its docstring.
        input_schema: JSON schema of its arguments. Default: by its type hints.

    Raises:
        ValidationException: A parameter without a type hint, of a type that has no schema, or that
            cannot be given by name.
    """
    if function is None:
        return functools.partial(  # type: ignore[return-value]
            tool, name=name, description=description, input_schema=input_schema
        )
    if not callable(function):
        raise wrong("function", "a function", function)
    own = text("name", name or getattr(function, "__name__", ""))
    said, arguments = _docstring(function)
    schema = input_schema if input_schema is not None else _schema(own, function, arguments)
    encode("input_schema", schema)
    return Tool(function, own, text("description", description or said), schema)


def _docstring(function: Callable[..., Any]) -> tuple[str, dict[str, str]]:
    """What a docstring says of a function, and of each argument."""
    lines = (inspect.getdoc(function) or "").splitlines()
    said: list[str] = []
    arguments: dict[str, str] = {}
    section, last = "", ""
    for line in lines:
        if re.fullmatch(r"(Args|Arguments|Parameters|Returns|Raises|Yields|Example|Examples):", line):
            section = line
        elif not section:
            said.append(line)
        elif section in ("Args:", "Arguments:", "Parameters:"):
            found = _ARGUMENT.fullmatch(line)
            if found:
                last = found[1]
                arguments[last] = found[2].strip()
            elif last and line.strip():
                arguments[last] = f"{arguments[last]} {line.strip()}".strip()
    return "\n".join(said).strip(), arguments


def _schema(
    name: str, function: Callable[..., Any], described: Mapping[str, str]
) -> dict[str, Any]:
    """The JSON schema of a function's arguments."""
    hints = _hints(function)
    properties: dict[str, Any] = {}
    required: list[str] = []
    definitions: dict[str, Any] = {}
    for parameter in inspect.signature(function).parameters.values():
        where = f"{name}: {parameter.name}"
        if parameter.kind not in (parameter.POSITIONAL_OR_KEYWORD, parameter.KEYWORD_ONLY):
            raise ValidationException(
                f"{where}: expected a parameter that can be given by name, got {parameter}"
            )
        if parameter.name not in hints:
            raise ValidationException(f"{where}: expected a type hint, got none")
        schema = _of_type(where, hints[parameter.name], definitions)
        if parameter.name in described:
            schema = {**schema, "description": described[parameter.name]}
        if parameter.default is parameter.empty:
            required.append(parameter.name)
        else:
            try:
                json.dumps(parameter.default, allow_nan=False)
                schema = {**schema, "default": parameter.default}
            except (TypeError, ValueError):
                pass  # A default that has no JSON form is the function's own matter.
        properties[parameter.name] = schema
    whole = {"type": "object", "properties": properties, "required": required}
    if definitions:
        whole["$defs"] = definitions
    return {**whole, "additionalProperties": False}


def _of_type(where: str, kind: Any, definitions: dict[str, Any]) -> dict[str, Any]:
    """The schema of a type; a pydantic model's own definitions are gathered."""
    if isinstance(kind, type) and hasattr(kind, "model_json_schema"):
        schema = dict(kind.model_json_schema())
        definitions.update(schema.pop("$defs", {}))
        return schema
    return schema_of(where, kind)


def _hints(function: Callable[..., Any]) -> dict[str, Any]:
    return {name: kind for name, kind in type_hints(function).items() if name != "return"}


def _value(kind: Any, value: Any) -> Any:
    """The value of type `kind` that a JSON value of its schema stands for."""
    if isinstance(kind, type) and hasattr(kind, "model_validate"):
        return kind.model_validate(value)
    return build(kind, value)


class ActionGroup(NamedTuple):
    """A group of functions that an agent may call.

    `ActionGroup("accounts", [get_credit_limit, send_email], confirm=["send_email"])`
    """

    #: Its name: letters, digits, `_` and `-`.
    name: str
    #: Its functions: of :func:`tool`, plain functions, or declarations as dicts of `name`,
    #: `description` and `input_schema`, whose calls pause the turn until their result is given.
    tools: Any = ()
    #: The names of those functions whose calls a person must approve.
    confirm: Any = ()
    #: What it is for.
    description: str = ""
    #: Where the runtime calls its functions: the URL before each path. Its host must be allowed by
    #: :meth:`Session.allow_host`.
    url: str | None = None
    #: An OpenAPI 3 schema, JSON or YAML, that its functions are read from; with a `url` or a
    #: `lambda_arn`.
    api_schema: str | None = None
    #: The ARN of the Lambda function that runs them, as :meth:`Session.map_lambda` maps it.
    lambda_arn: str | None = None
    #: The MCP server whose tools they are: a URL, whose host :meth:`Session.allow_host` allows, or
    #: a command as a list, which :meth:`Session.allow_command` allows. Of its tools the group has
    #: those that `tools` names, or all.
    mcp: Any = None

    def _tools(self) -> list[Tool]:
        """Those functions that run here."""
        if self._endpoint() is not None:
            return []
        return [_as_tool(item) for item in self.tools if not isinstance(item, Mapping)]

    def _endpoint(self) -> dict[str, Any] | None:
        given = [name for name in ("url", "lambda_arn", "mcp") if getattr(self, name) is not None]
        if len(given) > 1:
            raise ValidationException(
                f"action_groups: {self.name}: expected one of url, lambda_arn and mcp, got "
                f"{' and '.join(given)}"
            )
        if self.mcp is not None:
            return {"mcp": self._server()}
        if self.url is not None:
            return {"http": {"url": text("url", self.url)}}
        if self.lambda_arn is not None:
            return {"lambda": {"arn": text("lambda_arn", self.lambda_arn)}}
        return None

    def _server(self) -> dict[str, Any]:
        """The MCP server, and which of its tools the group has."""
        where = f"action_groups: {self.name}"
        if isinstance(self.mcp, str):
            server: dict[str, Any] = {"http": {"url": text("mcp", self.mcp)}}
        else:
            server = {"stdio": {"command": words(f"{where}.mcp", self.mcp)}}
        return {
            "server": server,
            "tools": texts(f"{where}.tools", self.tools),
            "confirm": texts(f"{where}.confirm", self.confirm),
        }

    def _schema(self) -> dict[str, Any] | None:
        """What the core reads its functions from."""
        if self.api_schema is None:
            return None
        if self._endpoint() is None or self.mcp is not None or _listed(self.tools):
            raise ValidationException(
                f"action_groups: {self.name}: expected an api_schema with a url or a lambda_arn, "
                "and no tools beside it"
            )
        return {"schema": text("api_schema", self.api_schema), "confirm": _listed(self.confirm)}

    def _declaration(self) -> dict[str, Any]:
        where = f"action_groups: {text('name', self.name)}"
        if self.mcp is not None:
            return {
                "name": self.name,
                "description": text(f"{where}.description", self.description),
                "functions": [],
                "execution": "RUNTIME",
                "endpoint": self._endpoint(),
            }
        confirm = {getattr(item, "__name__", item) for item in _listed(self.confirm)}
        functions = []
        returned = [isinstance(item, Mapping) for item in _listed(self.tools)]
        if any(returned) and not all(returned):
            raise ValidationException(
                f"{where}: expected functions or declarations, got both: make two groups"
            )
        for item in _listed(self.tools):
            if isinstance(item, Mapping):
                name = text(f"{where}.name", item.get("name"))
                declared = (name, item.get("description", ""), item.get("input_schema"))
            else:
                made = _as_tool(item)
                declared = (made.name, made.description, made.input_schema)
            functions.append(
                {
                    "name": declared[0],
                    "description": declared[1],
                    "inputSchema": declared[2],
                    "requireConfirmation": declared[0] in confirm,
                }
            )
        endpoint = self._endpoint()
        names = {function["name"] for function in functions}
        # A schema's names are known once it is read.
        unknown = set() if self.api_schema is not None else confirm - names
        if unknown:
            raise ValidationException(
                f"{where}.confirm: expected names of its functions, got {shown(min(unknown))}"
            )
        declaration = {
            "name": self.name,
            "description": text(f"{where}.description", self.description),
            "functions": functions,
            "execution": "RETURN_CONTROL" if any(returned) else "CALLER",
        }
        if endpoint is not None:
            declaration.update(execution="RUNTIME", endpoint=endpoint)
        return declaration


class Collaborator(NamedTuple):
    """An agent that another one may hand work to."""

    #: The agent, or its name or id. The functions of an :class:`Agent` handle run here.
    agent: Any
    #: When work is to be handed to it, for the model.
    instruction: str = ""
    #: The name that the supervisor knows it by. Default: its own.
    name: str | None = None
    #: Whether it is told what the user and the supervisor have said before.
    relay_history: bool = False

    def _request(self, place: str) -> dict[str, Any]:
        request = {
            "agent": text(f"{place}.agent", getattr(self.agent, "id", self.agent)),
            "instruction": text(f"{place}.instruction", self.instruction),
            "relaysHistory": flag(f"{place}.relay_history", self.relay_history),
        }
        if self.name is not None:
            request["name"] = text(f"{place}.name", self.name)
        return request


def _listed(items: Any) -> list[Any]:
    return [items] if isinstance(items, (str, Tool, Mapping)) else list(items)


def _as_tool(item: Any) -> Tool:
    return item if isinstance(item, Tool) else tool(item)
