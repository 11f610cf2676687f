"""What stands for something that is open in this process."""

from __future__ import annotations

from typing import Any, NoReturn, TypeVar

Opened = TypeVar("Opened", bound="Handle")


class Handle:
    """An open thing: a copy is the thing itself, and it cannot be pickled."""

    def __copy__(self: Opened) -> Opened:
        return self

    def __deepcopy__(self: Opened, memo: dict[int, Any]) -> Opened:
        return self

    def __reduce_ex__(self, protocol: Any) -> NoReturn:
        kind = type(self).__name__
        raise TypeError(
            f"cannot pickle a {kind}: it is open in this process only; "
            "in the other one, open a Session of the same home and ask it"
        )
