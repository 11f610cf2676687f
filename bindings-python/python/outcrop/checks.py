"""Checks of single arguments: each error names the argument, its value and what was expected."""

from __future__ import annotations

import json
import math
import os
from collections.abc import Iterable, Mapping
from typing import Any, Union

from .errors import ValidationException

Path = Union[str, "os.PathLike[str]"]


#: Most characters of a value that an error shows.
SHOWN = 200


def shown(value: object) -> str:
    """A value as an error shows it: bounded, and there even where it has no text form."""
    try:
        form = repr(value)
    except Exception:  # A repr is the caller's code; Python refuses that of a huge int too.
        return f"a {type(value).__name__} without a repr"
    return form if len(form) <= SHOWN else form[: SHOWN - 1] + "…"


def wrong(field: str, expected: str, got: object) -> ValidationException:
    """The error of an argument, with its value."""
    kind = type(got).__name__
    return ValidationException(f"{field}: expected {expected}, got {shown(got)} ({kind})")


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


def words(field: str, values: Iterable[str]) -> list[str]:
    """A command: its program and its arguments, each a text of its own."""
    if isinstance(values, str):
        raise wrong(field, 'a list of its words, such as ["uvx", "mcp-server-git"]', values)
    return texts(field, values)


def path(field: str, value: Path) -> str:
    """A path, or a name that stands where one may."""
    if not isinstance(value, (str, os.PathLike)):
        raise wrong(field, "a str or a path", value)
    return text(field, os.fspath(value))


def folder(field: str, value: Path) -> str:
    """A folder's path, made absolute, so that it outlives the working folder."""
    return os.path.abspath(os.path.expanduser(path(field, value)))


def place(field: str, value: Path) -> str:
    """A path, made absolute, or an S3 URI."""
    at = path(field, value)
    return at if "://" in at else folder(field, value)


def model_name(field: str, value: Path) -> str:
    """A model's id, ARN or hub name; a path is made absolute, so that it outlives the folder."""
    name = path(field, value)
    named = isinstance(value, str) and (
        name.startswith(("arn:", "hf:")) or not (os.sep in name or name.lower().endswith(".gguf"))
    )
    return name if named else os.path.abspath(os.path.expanduser(name))


def whole(field: str, value: object) -> int:
    """A whole number."""
    if isinstance(value, bool) or not hasattr(value, "__index__"):
        raise wrong(field, "a whole number", value)
    try:
        return int(value.__index__())
    except TypeError:  # An array of several numbers.
        raise wrong(field, "a whole number", value) from None


def integer(field: str, value: object) -> int:
    """A whole number that is not negative."""
    number = whole(field, value)
    if not 0 <= number < 1 << 64:
        raise ValidationException(f"{field}: expected 0 or more, below 2^64, got {shown(number)}")
    return number


def signed(field: str, value: object) -> int:
    """A whole number that 32 bits hold."""
    number = whole(field, value)
    if not -(1 << 31) <= number < 1 << 31:
        raise ValidationException(f"{field}: expected -2^31 to 2^31 - 1, got {shown(number)}")
    return number


def milliseconds(field: str, value: object) -> int:
    """Seconds, 0 or more, as whole milliseconds."""
    seconds = real(field, value)
    if not 0 <= seconds < 1e12:
        raise wrong(field, "seconds, 0 or more", value)
    return math.ceil(seconds * 1000)


def choice(field: str, value: object, choices: tuple[str, ...]) -> str:
    """One of some words."""
    if not isinstance(value, str) or value not in choices:
        raise wrong(field, f"one of {', '.join(map(repr, choices))}", value)
    return value


def real(field: str, value: object) -> float:
    """A finite number, within what a float32 holds."""
    if isinstance(value, bool) or not hasattr(value, "__float__"):
        raise wrong(field, "a number", value)
    try:
        number = float(value)
    except OverflowError:
        number = float("inf")
    except (TypeError, ValueError):  # An array of several numbers.
        raise wrong(field, "a number", value) from None
    if not abs(number) <= 3.4e38:
        raise wrong(field, "a finite number", value)
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


def flag(field: str, value: object) -> bool:
    """True or False, numpy's among them."""
    if not isinstance(value, bool) and type(value).__name__ not in ("bool", "bool_"):
        raise wrong(field, "True or False", value)
    return bool(value)


_ENCODER = json.JSONEncoder(allow_nan=False, ensure_ascii=False)


def encode(field: str, value: Any) -> str:
    """JSON text of an argument; the error names the member that has none."""
    try:
        return _json(value)
    except (TypeError, ValueError, RecursionError) as error:
        raise ValidationException(f"{_place(field, value)}: {error}") from None


def _json(value: Any) -> str:
    form = _ENCODER.encode(value)
    form.encode()
    return form


def _place(field: str, value: Any) -> str:
    """Where in a value that has no JSON form the trouble is."""
    members: Iterable[tuple[str, Any]] = ()
    if isinstance(value, Mapping):
        members = ((f"{field}.{name}".lstrip("."), member) for name, member in value.items())
    elif isinstance(value, (list, tuple)):
        members = ((f"{field}[{index}]", member) for index, member in enumerate(value))
    for name, member in members:
        try:
            _json(member)
        except RecursionError:
            return name
        except (TypeError, ValueError):
            return _place(name, member)
    return field
