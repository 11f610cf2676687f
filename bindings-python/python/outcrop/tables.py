"""Tables for notebooks, with plain text beside them."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from copy import copy
from dataclasses import fields
from functools import cache
from html import escape
from typing import Any, SupportsIndex, TypeVar, overload

Record = TypeVar("Record")
Table = tuple[Sequence[str], Sequence[Sequence[Any]]]

#: Longest cell of a plain-text table; a longer one ends in an ellipsis.
CELL = 72


def record(kind: type[Record], value: Mapping[str, Any]) -> Record:
    """A flat dataclass of the API's camelCase members."""
    members = _members(kind)
    return kind(**{members[name]: item for name, item in value.items() if name in members})


@cache
def _members(kind: type) -> dict[str, str]:
    """The fields of a dataclass by the API's names of them."""
    names = [field.name for field in fields(kind)]
    camel = {re.sub("_([a-z])", lambda part: part[1].upper(), name): name for name in names}
    return {**camel, **{name: name for name in names}}


def cell(value: Any) -> str:
    """A value as one line of text."""
    if value is None:
        return ""
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, float):
        return f"{value:.3f}"
    if isinstance(value, int):
        return f"{value:,}"
    return " ".join(str(value).split())


def size(count: int | None) -> str | None:
    """A number of bytes, for people."""
    if count is None:
        return None
    value, unit = float(count), 0
    while value >= 1000 and unit < 4:
        value, unit = value / 1000, unit + 1
    return f"{value:.3g} {('B', 'kB', 'MB', 'GB', 'TB')[unit]}"


def shorten(text: str, length: int = CELL) -> str:
    """A text of at most `length` characters; what was cut shows as an ellipsis."""
    return text if len(text) <= length else text[: length - 1].rstrip() + "…"


def text_table(table: Table) -> str:
    """Columns under their names."""
    headers, rows = table
    cells = [[shorten(cell(value)) for value in row] for row in rows]
    widths = [
        max(len(line[column]) for line in [list(headers), *cells]) for column in range(len(headers))
    ]
    lines = [list(headers), ["-" * width for width in widths], *cells]
    return "\n".join(
        "  ".join(value.ljust(width) for value, width in zip(line, widths)).rstrip()
        for line in lines
    )


def html_table(table: Table, caption: str | None = None) -> str:
    """The same as HTML; everything in it is escaped."""
    headers, rows = table
    head = "".join(f"<th style='text-align:left'>{escape(name)}</th>" for name in headers)
    body = "".join(
        "<tr>"
        + "".join(f"<td style='text-align:left'>{escape(cell(value))}</td>" for value in row)
        + "</tr>"
        for row in rows
    )
    title = f"<caption>{escape(caption)}</caption>" if caption else ""
    return f"<table>{title}<thead><tr>{head}</tr></thead><tbody>{body}</tbody></table>"


def pairs(names_and_values: Iterable[tuple[str, Any]]) -> Table:
    """A table of one record: a row a field."""
    return ("field", "value"), [row for row in names_and_values if row[1] is not None]


class RecordList(list[Record]):
    """A list that shows as a table, and so does a slice of it."""

    @overload
    def __getitem__(self, at: SupportsIndex) -> Record: ...
    @overload
    def __getitem__(self, at: slice) -> RecordList[Record]: ...
    def __getitem__(self, at: SupportsIndex | slice) -> Record | RecordList[Record]:
        if not isinstance(at, slice):
            return super().__getitem__(at)
        part = copy(self)
        part[:] = super().__getitem__(at)
        return part

    def _table(self) -> Table:
        raise NotImplementedError

    def __repr__(self) -> str:
        return text_table(self._table()) if self else "[]"

    def _repr_html_(self) -> str:
        return html_table(self._table())
