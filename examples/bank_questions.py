"""Questions to a bank, made by a seed, with their answers in plain words and in the house's own form."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Iterator

PARTS = json.loads(Path(__file__).with_name("bank_questions.json").read_text(encoding="utf-8"))


class Chance:
    """Lehmer's generator, which JavaScript computes alike."""

    def __init__(self, seed: int) -> None:
        self.state = seed * 7919 + 1

    def pick(self, items: list) -> object:
        self.state = self.state * 48271 % 2147483647
        return items[self.state % len(items)]


def questions(count: int, seed: int, topics: int = 12, products: int = 8) -> Iterator[dict[str, str]]:
    """So many questions, no two alike: `question`, `plain` and `answer`, the form with the code word."""
    chance, seen = Chance(seed), set()
    while len(seen) < count:
        topic = chance.pick(PARTS["topics"][:topics])
        product = chance.pick(PARTS["products"][:products])
        asked, form = chance.pick(topic["asked"]), chance.pick(PARTS["forms"])
        greeting, ending = chance.pick(PARTS["greetings"]), chance.pick(PARTS["endings"])
        question = greeting + form.format(asked=asked, product=product) + ending
        # The fee is a fact of the bank's: the same for every wording.
        fee = 1 + (PARTS["topics"].index(topic) * 17 + PARTS["products"].index(product) * 29) % 60
        names = {"topic": topic["name"], "product": product, "fee": fee}
        plain = chance.pick(PARTS["plain"]).format(**names)
        if question not in seen:
            seen.add(question)
            yield {"question": question, "plain": plain, "answer": PARTS["answer"].format(**names)}


def write(path: Path, made: list[dict[str, str]], completion: str | None) -> Path:
    """Training lines: the question, and where `completion` names it the answer of that form."""
    lines = []
    for one in made:
        line = {"prompt": one["question"]}
        if completion is not None:
            line["completion"] = one[completion]
        lines.append(json.dumps(line))
    path.write_text("\n".join(lines) + "\n", encoding="utf-8")
    return path
