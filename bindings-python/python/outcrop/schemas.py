"""JSON schemas of Python types, and values of those types from JSON."""

from __future__ import annotations

import dataclasses
import enum
import functools
import sys
import types
import typing
from collections.abc import Mapping, Sequence
from typing import Any, Callable

from .checks import shown, wrong
from .errors import ValidationException

Parser = Callable[[Any], Any]

#: The plain types with the names that JSON schema has for them.
PLAIN = {str: "string", bool: "boolean", int: "integer", float: "number", type(None): "null"}
#: What `X | Y` is from Python 3.10 on.
UNIONS = (typing.Union, getattr(types, "UnionType", typing.Union))


def schema_and_parser(field: str, value: Any) -> tuple[Mapping[str, Any], Parser]:
    """The schema that a reply must follow, and what makes its JSON value the caller's.

    A schema as a dict gives plain JSON values; a dataclass and a pydantic model class give their
    instances, as does a pydantic `TypeAdapter`.
    """
    if isinstance(value, Mapping):
        return value, plain
    if isinstance(value, type) and hasattr(value, "model_json_schema"):
        return value.model_json_schema(), value.model_validate  # type: ignore[attr-defined]
    if hasattr(value, "json_schema") and hasattr(value, "validate_python"):
        return value.json_schema(), value.validate_python
    if isinstance(value, type) and dataclasses.is_dataclass(value):
        return schema_of(field, value), functools.partial(build, value)
    raise wrong(field, "a JSON schema, a dataclass or a pydantic model class", value)


def plain(value: Any) -> Any:
    """The JSON value itself."""
    return value


def schema_of(field: str, kind: Any, within: tuple[Any, ...] = ()) -> dict[str, Any]:
    """The JSON schema of a type; the error names the field that has none."""
    if kind in PLAIN:
        return {"type": PLAIN[kind]}
    if kind is Any:
        return {}
    origin, arguments = typing.get_origin(kind), typing.get_args(kind)
    if origin is typing.Literal:
        return {"enum": list(arguments)}
    if origin in UNIONS:
        return {"anyOf": [schema_of(field, member, within) for member in arguments]}
    if origin in (list, Sequence) and arguments:
        return {"type": "array", "items": schema_of(f"{field}[]", arguments[0], within)}
    if origin in (dict, Mapping) and arguments and arguments[0] is str:
        members = schema_of(f"{field}{{}}", arguments[1], within)
        return {"type": "object", "additionalProperties": members}
    if isinstance(kind, type) and issubclass(kind, enum.Enum):
        return {"enum": [member.value for member in kind]}
    if isinstance(kind, type) and dataclasses.is_dataclass(kind):
        if kind in within:
            raise ValidationException(
                f"{field}: {kind.__name__} holds itself; give its JSON schema as a dict"
            )
        return object_schema(field, kind, (*within, kind))
    raise ValidationException(
        f"{field}: expected str, bool, int, float, None, Literal, an Enum, a list, a dict of str, "
        f"a union of these or a dataclass, got {shown(kind)}"
    )


def object_schema(field: str, kind: type, within: tuple[Any, ...]) -> dict[str, Any]:
    """The JSON schema of a dataclass: no other members; those without a default are required."""
    hints = type_hints(kind)
    members = [item for item in dataclasses.fields(kind) if item.init]
    missing = dataclasses.MISSING
    schema: dict[str, Any] = {
        "type": "object",
        "properties": {
            item.name: schema_of(f"{field}.{item.name}", hints[item.name], within)
            for item in members
        },
        "required": [
            item.name
            for item in members
            if item.default is missing and item.default_factory is missing
        ],
        "additionalProperties": False,
    }
    return schema


def type_hints(kind: type) -> dict[str, Any]:
    """The fields' types. `X | Y` written as text needs Python 3.10."""
    try:
        return typing.get_type_hints(kind)
    except TypeError as error:
        version = ".".join(map(str, sys.version_info[:2]))
        raise ValidationException(
            f"response_schema: the types of {kind.__name__} cannot be read in Python {version}: "
            f"{error}"
        ) from None


def build(kind: Any, value: Any) -> Any:
    """The value of type `kind` that a JSON value of its schema stands for."""
    origin, arguments = typing.get_origin(kind), typing.get_args(kind)
    if isinstance(kind, type) and dataclasses.is_dataclass(kind):
        hints = type_hints(kind)
        return kind(**{name: build(hints[name], member) for name, member in value.items()})
    if isinstance(kind, type) and issubclass(kind, enum.Enum):
        return kind(value)
    if kind is float:
        return float(value)
    if origin in (list, Sequence):
        return [build(arguments[0], item) for item in value]
    if origin in (dict, Mapping):
        return {name: build(arguments[1], item) for name, item in value.items()}
    if origin in UNIONS:
        return build(next(member for member in arguments if fits(member, value)), value)
    return value


def fits(kind: Any, value: Any) -> bool:
    """Whether a JSON value is of a type: its outermost form, and a dataclass's members."""
    origin, arguments = typing.get_origin(kind), typing.get_args(kind)
    if kind is Any:
        return True
    if kind is float:
        return isinstance(value, (int, float)) and not isinstance(value, bool)
    if kind in PLAIN:
        return type(value) is kind
    if origin is typing.Literal:
        return value in arguments
    if origin in UNIONS:
        return any(fits(member, value) for member in arguments)
    if origin in (list, Sequence):
        return isinstance(value, list) and all(fits(arguments[0], item) for item in value)
    if isinstance(kind, type) and issubclass(kind, enum.Enum):
        return value in [member.value for member in kind]
    if origin in (dict, Mapping):
        return isinstance(value, dict) and all(fits(arguments[1], v) for v in value.values())
    if not isinstance(value, dict):
        return False
    schema, hints = object_schema("", kind, (kind,)), type_hints(kind)
    return set(schema["required"]) <= set(value) <= set(schema["properties"]) and all(
        fits(hints[name], member) for name, member in value.items()
    )
