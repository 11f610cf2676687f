"""Output that cannot leave its form: schemas, regular expressions, grammars, quotes, tools."""

from __future__ import annotations

import asyncio
import json
import re
from dataclasses import dataclass
from typing import Literal

import jsonschema
import pytest
from outcrop.errors import ValidationException

from conftest import FIXTURES

SCHEMAS = json.loads((FIXTURES / "schemas.json").read_text(encoding="utf-8"))
#: Documents of each schema: 2,010 over the 67.
DOCUMENTS = 30


@dataclass
class Loan:
    purpose: Literal["house", "car"]
    months: Literal[12, 24, 36]
    secured: bool


LOAN = {
    "type": "object",
    "properties": {"months": {"type": "integer", "minimum": 1, "maximum": 360}},
    "required": ["months"],
    "additionalProperties": False,
}


def test_documents_of_many_schemas_validate(llama):
    async def one(schema, seed):
        return await llama.agenerate(
            "Fill in:", response_schema=schema, max_tokens=600, temperature=1.0, seed=seed
        )

    async def all_of(schema):
        return await asyncio.gather(*(one(schema, seed) for seed in range(DOCUMENTS)))

    whole = 0
    for case in SCHEMAS:
        validator = jsonschema.Draft202012Validator(case["schema"])
        for done in asyncio.run(all_of(case["schema"])):
            if done.stop_reason == "end_turn":
                validator.validate(json.loads(done.text))
                assert done.parsed == json.loads(done.text)
                whole += 1
            else:
                # A model of random weights may write a string without end: then it says so.
                assert done.stop_reason == "max_tokens" and done.usage.output_tokens == 600
                with pytest.raises(ValidationException, match="cut off by max_tokens"):
                    _ = done.parsed
    assert whole >= 0.95 * DOCUMENTS * len(SCHEMAS)


def test_a_dataclass_comes_back(llama):
    reply = llama.converse("A loan?", response_schema=Loan, max_tokens=400, temperature=1, seed=2)
    assert reply.stop_reason == "end_turn"
    assert isinstance(reply.parsed, Loan) and isinstance(reply.parsed.months, int)
    stream = llama.stream("A loan?", response_schema=Loan, max_tokens=400, temperature=1, seed=2)
    assert "".join(stream) == reply.text and stream.reply.parsed == reply.parsed


def test_a_pydantic_model_comes_back(llama):
    pydantic = pytest.importorskip("pydantic")

    class Card(pydantic.BaseModel):
        number: int
        holders: list[str] = pydantic.Field(max_length=2)

    done = llama.generate("A card:", response_schema=Card, max_tokens=400, temperature=1, seed=4)
    assert isinstance(done.parsed, Card)


def test_a_reply_that_is_cut_off_says_so(llama):
    reply = llama.converse("A loan?", response_schema=LOAN, max_tokens=3)
    assert reply.stop_reason == "max_tokens"
    with pytest.raises(ValidationException, match="cut off by max_tokens after 3 tokens"):
        _ = reply.parsed


@pytest.mark.parametrize(
    "pattern", [r"[A-Z]{2}[0-9]{4}", r"(yes|no), (19|20)[0-9]{2}", re.compile("a{3}")]
)
def test_a_regular_expression_matches_the_whole(llama, pattern):
    for seed in range(8):
        done = llama.generate("Code:", regex=pattern, max_tokens=64, temperature=1.5, seed=seed)
        assert re.fullmatch(pattern, done.text), done.text
        assert done.stop_reason == "end_turn"


def test_a_grammar(llama):
    grammar = 'start: item ("," item)*\nitem: "red" | "green"'
    for seed in range(8):
        reply = llama.converse("?", lark=grammar, max_tokens=40, temperature=1.0, seed=seed)
        assert set(reply.text.rstrip(",").split(",")) <= {"red", "green"} or (
            reply.stop_reason == "max_tokens"
        )


def test_a_quote_is_a_span(llama):
    texts = ["The fee is 25 EUR a year.", "Cards are replaced within five days — always."]
    seen = set()
    for seed in range(12):
        reply = llama.converse("?", quote=texts, max_tokens=60, temperature=2.0, seed=seed)
        assert any(reply.text in text for text in texts), reply.text
        seen.add(reply.text)
    assert len(seen) > 3
    assert llama.generate("?", quote="alone", max_tokens=9).text in "alone"


TOOL = {"name": "terms", "description": "Terms of a loan.", "input_schema": LOAN}


def test_a_forced_tool_is_called_with_its_schema(llama):
    for choice in ("any", "terms"):
        reply = llama.converse(
            "Terms?", tools=[TOOL], tool_choice=choice, max_tokens=120, temperature=1.0, seed=3
        )
        assert reply.stop_reason == "tool_use"
        [use] = reply.tool_uses
        assert use.name == "terms"
        jsonschema.validate(use.input, LOAN)


def test_the_form_is_the_same_alone_and_in_a_batch(llama):
    def request(seed):
        forms = [
            {"response_schema": LOAN},
            {"regex": r"[0-9]{3}-[0-9]{3}"},
            {"quote": "a b c d"},
            {},
        ]
        options = {"max_tokens": 50, "temperature": 1.0, "seed": seed, **forms[seed % 4]}
        return f"Number {seed}:", options

    alone = [llama.generate(prompt, **options) for prompt, options in map(request, range(12))]

    async def together():
        calls = (llama.agenerate(prompt, **options) for prompt, options in map(request, range(12)))
        return await asyncio.gather(*calls)

    assert [done.ids for done in asyncio.run(together())] == [done.ids for done in alone]


@pytest.mark.parametrize(
    ("named", "message"),
    [
        ({"response_schema": {"type": "strange"}}, "strange"),
        ({"response_schema": {"type": "string", "format": "frob"}}, "frob"),
        ({"regex": "("}, "regex"),
        ({"lark": "start: missing"}, "missing"),
        ({"quote": []}, "quote"),
        ({"quote": [""]}, "quote"),
    ],
)
def test_a_form_that_cannot_be_kept_is_refused(llama, named, message):
    for call in (llama.converse, llama.generate):
        with pytest.raises(ValidationException) as raised:
            call("Hi", max_tokens=4, **named)
        assert message in str(raised.value)
        assert str(raised.value).startswith(next(iter(named)))
