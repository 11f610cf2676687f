"""`outcrop.tiny-v1`, the language model that is part of the package."""

from __future__ import annotations

from pathlib import Path

import outcrop
import pytest
from outcrop import _native

CARD = "Please block the card with card number KX-4471 and customer Anna Keller."


@outcrop.tool
def block_card(card_number: str, customer: str) -> str:
    """Blocks the card.

    Args:
        card_number: The card number.
        customer: The customer.
    """
    return f"Card {card_number} of {customer} is blocked."


@pytest.fixture(scope="module")
def tiny(tmp_path_factory):
    home = tmp_path_factory.mktemp("tiny")
    with outcrop.Session(home=home, offline=True) as session:
        yield session.model()


def test_it_is_the_model_where_none_is_named(tiny):
    assert tiny.info.id == "outcrop.tiny-v1"
    assert tiny.info.kind == "chat" and tiny.info.bytes <= 15 << 20
    first = tiny.converse("Hello")
    assert first.text.startswith("Hello!")
    assert tiny.converse("Hello").text == first.text


def test_it_answers_in_a_passages_words_and_cites_it(tiny):
    text = "The fee of the Boreas loan is EUR 310.00."
    found = {"source": "loans.md", "title": "Loans", "content": [{"text": text}]}
    content = [{"searchResult": found}, {"text": "What is the fee of the Boreas loan?"}]
    system = (Path(__file__).parents[1] / "core/knowledge/src/ask.rs").read_text(encoding="utf-8")
    system = system.split('INSTRUCTION: &str = "')[1].split('";')[0].replace("\\\n", "")
    reply = tiny.converse([{"role": "user", "content": content}], system=system)
    assert reply.text == f"{text} [1]"
    # The instruction of every question is one token of this model's vocabulary.
    assert reply.usage.input_tokens < 80


def test_its_calls_are_valid_json_whatever_it_is_asked(tiny):
    one = {"type": "string"}
    schema = {
        "type": "object",
        "properties": {"card_number": one, "customer": one},
        "required": ["card_number", "customer"],
        "additionalProperties": False,
    }
    tools = [{"name": "block_card", "description": "Blocks the card.", "input_schema": schema}]
    for text in [CARD, "What is love?", "sdkjf 2\n\n}{", "Close everything."]:
        reply = tiny.converse(text, tools=tools, tool_choice="any", max_tokens=120)
        for use in reply.tool_uses:
            assert use.name == "block_card" and set(use.input) == {"card_number", "customer"}
        assert reply.tool_uses or reply.stop_reason == "max_tokens"


def test_an_agent_of_it_calls_a_function(tmp_path):
    with outcrop.Session(home=tmp_path, offline=True) as session:
        groups = [outcrop.ActionGroup("cards", [block_card])]
        result = session.create_agent("desk", action_groups=groups).invoke(CARD)
        assert result.text == "Card KX-4471 of Anna Keller is blocked."


def test_the_package_holds_its_weights_once(tiny, tmp_path):
    with outcrop.Session(home=tmp_path, offline=True) as session:
        session.model()
    [written] = tmp_path.glob("models/outcrop.tiny-v1--*/*.gguf")
    weights = written.read_bytes()
    part = weights[len(weights) // 2 :][:256]
    package = Path(_native.__file__).parent
    found = [path for path in package.rglob("*") if path.is_file() and part in path.read_bytes()]
    assert found == [Path(_native.__file__)]
    assert found[0].read_bytes().count(part) == 1
