"""Python types as JSON schemas, and their values back from JSON."""

from __future__ import annotations

import enum
import json
from dataclasses import dataclass, field
from typing import Any, Literal, Optional, Union

import jsonschema
import pytest
from outcrop.errors import ValidationException
from outcrop.replies import Completion, Reply, Usage
from outcrop.schemas import schema_and_parser


class Kind(enum.Enum):
    LOAN = "loan"
    CARD = "card"


@dataclass
class Party:
    name: str
    share: float


@dataclass
class Contract:
    kind: Kind
    parties: list[Party]
    active: bool
    rating: Literal["A", "B"]
    years: Union[int, Party, None]  # noqa: UP007
    notes: dict[str, float] = field(default_factory=dict)
    note: Optional[str] = None  # noqa: UP045


VALUES = [
    {
        "kind": "loan", "parties": [{"name": "Ana", "share": 1}], "active": True, "rating": "A",
        "years": 3, "notes": {"x": 2}, "note": "n",
    },
    {
        "kind": "card", "parties": [], "active": False, "rating": "B",
        "years": {"name": "Bo", "share": 0.5},
    },
    {"kind": "card", "parties": [], "active": False, "rating": "B", "years": None, "note": None},
]  # fmt: skip


def test_a_dataclass_is_a_schema_and_its_values_come_back():
    schema, parse = schema_and_parser("s", Contract)
    jsonschema.Draft202012Validator.check_schema(schema)
    validator = jsonschema.Draft202012Validator(schema)
    assert all(validator.is_valid(value) for value in VALUES)
    assert not validator.is_valid({**VALUES[2], "rating": "C"})
    assert not validator.is_valid({**VALUES[2], "more": 1})
    assert not validator.is_valid({"kind": "loan"})
    first, second, third = map(parse, VALUES)
    assert first == Contract(
        Kind.LOAN, [Party("Ana", 1.0)], True, "A", 3, {"x": 2.0}, "n"
    )  # fmt: skip
    assert isinstance(first.parties[0].share, float)
    assert second.years == Party("Bo", 0.5) and second.notes == {} and second.note is None
    assert third.years is None


def test_a_pydantic_model_is_a_schema_and_its_values_come_back():
    pydantic = pytest.importorskip("pydantic")
    Line = pydantic.create_model("Line", text=(str, ...), number=(int, ...))
    Page = pydantic.create_model("Page", lines=(list[Line], ...))
    value = {"lines": [{"text": "a", "number": 1}]}
    for given in (Page, pydantic.TypeAdapter(Page)):
        schema, parse = schema_and_parser("s", given)
        assert jsonschema.Draft202012Validator(schema).is_valid(value)
        assert parse(value).lines[0].number == 1


@dataclass
class Odd:
    when: Any
    raw: bytes


@dataclass
class Tree:
    children: list[Tree]


@pytest.mark.parametrize(
    ("kind", "message"),
    [
        (Odd, "s.raw: expected str, bool, int, float, None, Literal"),
        (Tree, "s.children[]: Tree holds itself"),
        (5, "s: expected a JSON schema, a dataclass or a pydantic model class, got 5 (int)"),
        (str, "s: expected a JSON schema, a dataclass or a pydantic model class"),
    ],
)
def test_a_type_without_a_schema_is_named(kind, message):
    with pytest.raises(ValidationException) as raised:
        schema_and_parser("s", kind)
    assert message in str(raised.value)


def test_parsed_is_the_value_or_says_why_not():
    usage, (_, parse) = Usage(1, 9, 10), schema_and_parser("s", Party)
    text = json.dumps({"name": "Ana", "share": 2})
    ended = Reply([{"text": text}], "end_turn", usage, 3, "m", _parser=parse)
    assert ended.parsed == Party("Ana", 2.0)
    with pytest.raises(ValidationException, match="cut off by max_tokens after 9 tokens"):
        _ = Reply([{"text": text[:9]}], "max_tokens", usage, 3, "m", _parser=parse).parsed
    with pytest.raises(ValidationException, match="cut off by a stop sequence"):
        _ = Completion(text[:9], [1], "stop_sequence", usage, 3, _parser=parse).parsed
    with pytest.raises(ValidationException, match="had no response_schema"):
        _ = Completion(text, [1], "end_turn", usage, 3).parsed
