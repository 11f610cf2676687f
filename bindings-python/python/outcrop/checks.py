"""Checks of single arguments: each error names the argument, its value and what was expected."""

from __future__ import annotations

import json
import os
from collections.abc import Iterable, Mapping
from typing import Any, Union

from .errors import ValidationException

Path = Union[str, "os.PathLike[str]"]


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


def texts(field: str, values: str | Iterable[str]) -> list[str]:
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


def model_name(field: str, value: Path) -> str:
    """A model's id, ARN or hub name; a path is made absolute, so that it outlives the folder."""
    name = path(field, value)
    named = isinstance(value, str) and (
        name.startswith(("arn:", "hf:")) or not (os.sep in name or name.lower().endswith(".gguf"))
    )
    return name if named else os.path.abspath(os.path.expanduser(name))


def integer(field: str, value: object) -> int:
    """A whole number that is not negative."""
    if isinstance(value, bool) or not hasattr(value, "__index__"):
        raise wrong(field, "a whole number", value)
    number: int = value.__index__()
    if not 0 <= number < 1 << 64:
        raise ValidationException(f"{field}: expected 0 or more, below 2^64, got {number}")
    return number


def ids(field: str, values: Iterable[int]) -> list[int]:
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
