"""Methods that take another method's arguments."""

from __future__ import annotations

import inspect
from typing import TYPE_CHECKING, Any, Callable, TypeVar

if TYPE_CHECKING:
    from typing_extensions import Concatenate, ParamSpec

    Arguments = ParamSpec("Arguments")

Result = TypeVar("Result")


def arguments_of(
    original: Callable[Concatenate[Any, Arguments], Any],
) -> Callable[[Callable[..., Result]], Callable[Concatenate[Any, Arguments], Result]]:
    """Shows a method with the arguments of `original`; what it returns stays its own."""

    def adopt(method: Callable[..., Result]) -> Callable[Concatenate[Any, Arguments], Result]:
        returned = inspect.signature(method).return_annotation
        shown = inspect.signature(original).replace(return_annotation=returned)
        method.__signature__ = shown  # type: ignore[attr-defined]
        return method

    return adopt


def told(original: Callable[..., Any], given: tuple[Any, ...], options: dict[str, Any]) -> dict[str, Any]:
    """The arguments that a call of the method `original` would have, by name, its defaults included."""
    bound = inspect.signature(original).bind(None, *given, **options)
    bound.apply_defaults()
    _, *arguments = bound.arguments.items()
    return dict(arguments)
