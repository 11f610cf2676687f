"""Ask a bank's documents, from Python: `make demo` runs this.

Reads the folder `corpus`, asks six questions in words that the documents do not use and one that they do not
answer, and shows where each answer stands. Then the small language model that comes with Outcrop chats and calls a
function. Nothing leaves the machine, and no server runs.
"""

from __future__ import annotations

import json
import os
import sys
import textwrap
import time
from pathlib import Path

import outcrop

HERE = Path(__file__).resolve().parent
HOME = HERE.parent / ".demo" / "home"
CORPUS = HERE / "corpus"
NAME = "nordhaven-bank"
WIDTH = 96
COLOUR = sys.stdout.isatty() and "NO_COLOR" not in os.environ


def style(code: str, text: str) -> str:
    """The text in a terminal's style; plain where the output is not a terminal."""
    return f"\033[{code}m{text}\033[0m" if COLOUR else text


def heading(text: str) -> None:
    print("\n" + style("1", text) + "\n" + style("2", "─" * WIDTH))


def sync(session: outcrop.Session) -> outcrop.KnowledgeBase:
    """A fresh knowledge base of the corpus. The home keeps it: the Node program opens it after this."""
    if any(known.name == NAME for known in session.knowledge_bases()):
        session.delete_knowledge_base(NAME)
    kb = session.create_knowledge_base(NAME, description="The internal documents of Nordhaven Bank")
    kb.add_source(CORPUS)
    started = time.perf_counter()
    report = kb.sync(progress=True)
    print(
        f"{report.scanned} documents in {time.perf_counter() - started:.1f} s: {report.added} added, "
        f"{len(report.failed)} failed"
    )
    for failure in report.failed:
        print(style("31", f"  {failure.document}: {failure.reason}"))
    return kb


def show(label: str, question: str, answer: outcrop.Answer) -> None:
    """The question, and each quote with its document, page and score."""
    print("\n" + style("1;36", f"{label}  {question}"))
    if not answer.answered:
        print("   " + style("33", answer.text))
        best = answer.passages[0]
        print(style("2", f"   nearest passage: {best.location}, score {best.score:.2f}"))
    for number, citation in enumerate(answer.citations):
        quote = " ".join(answer.text[citation.span.start : citation.span.end].split())
        print(textwrap.fill(f"“{quote}”", WIDTH, initial_indent="   ", subsequent_indent="   "))
        # Quotes of one passage share one line of origin.
        after = answer.citations[number + 1].passages if number + 1 < len(answer.citations) else []
        if [passage.id for passage in after] == [passage.id for passage in citation.passages]:
            continue
        for passage in citation.passages:
            print(style("2", f"      {passage.location}, score {passage.score:.2f}"))


@outcrop.tool
def block_card(card_number: str, customer: str) -> str:
    """Blocks the card.

    Args:
        card_number: The card number.
        customer: The customer.
    """
    print(style("2", f"   block_card(card_number={card_number!r}, customer={customer!r})"))
    return f"Card {card_number} of {customer} is blocked."


def converse(session: outcrop.Session, asked: dict) -> None:
    """The embedded language model: it chats and calls a function."""
    model = session.model()
    print(style("2", f"{model.info.id}: {model.info.parameters / 1e6:.1f} million parameters"))
    for text in asked["chat"]:
        print("\n" + style("1;36", text) + f"\n   {model.converse(text).text}")
    groups = [outcrop.ActionGroup("cards", [block_card])]
    agent = session.create_agent("card-desk", action_groups=groups, replace=True)
    print("\n" + style("1;36", asked["request"]))
    print(f"   {agent.invoke(asked['request']).text}")


def main() -> None:
    asked = json.loads((HERE / "demo_questions.json").read_text(encoding="utf-8"))
    with outcrop.Session(home=HOME) as session:
        heading("Nordhaven Bank's documents, asked from Python")
        kb = sync(session)
        for number, question in enumerate(asked["answered"], 1):
            show(f"{number}.", question, kb.ask(question))
        heading("A question that the documents do not answer")
        show(f"{len(asked['answered']) + 1}.", asked["unanswered"], kb.ask(asked["unanswered"]))
        heading("The language model that comes with Outcrop")
        converse(session, asked)
    print()


if __name__ == "__main__":
    main()
