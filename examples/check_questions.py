"""Checks examples/questions.json: no question may give its document away by a rare word.

A word is rare when at most two documents of the corpus hold it (the two mortgage policies are two). A question that
shares one with its own document could be found by looking for the word; this one has to be understood.

    python examples/check_questions.py
"""

from __future__ import annotations

import collections
import json
import re
import sys
from pathlib import Path

HERE = Path(__file__).parent
RARE = 2
PRONOUNS = {"us", "he", "his", "him", "she", "her", "we", "our", "me", "my"}
ENDINGS = ("ations", "ation", "ings", "ing", "ments", "ment", "ies", "ed", "ers", "er", "es", "ly", "s", "e", "y")


def stem(word: str) -> str:
    """A rough stem, so that "disputes" and "disputed" count as one word."""
    for ending in ENDINGS:
        if word.endswith(ending) and len(word) - len(ending) >= 3:
            return word[: -len(ending)]
    return word


def stems(text: str) -> set[str]:
    """The stems of the words of two letters or more, pronouns left out, and of the numbers."""
    return {stem(word) for word in re.findall(r"[a-z]{2,}|\d+", text.lower()) if word not in PRONOUNS}


def documents(question: dict) -> list[str]:
    """The documents that answer the question: one, or the two that contradict each other."""
    named = question.get("document", [])
    return [named] if isinstance(named, str) else named


def main() -> int:
    sources = {path.stem: path.read_text(encoding="utf-8") for path in HERE.glob("corpus_source/*.*.md")}
    words = {name: stems(text) for name, text in sources.items()}
    found_in = collections.Counter(word for held in words.values() for word in held)
    questions = json.loads((HERE / "questions.json").read_text(encoding="utf-8"))
    faults: list[str] = []
    spread: collections.Counter[str] = collections.Counter()
    for question in questions:
        text = question["question"]
        if question.get("answerable") is False:
            continue
        for name in documents(question):
            spread[name] += 1
            shared = sorted(word for word in stems(text) & words[name] if found_in[word] <= RARE)
            if shared:
                faults.append(f"{text}\n    shares {', '.join(shared)} with {name}")
        literal = question["answer_contains"]
        literals = [literal] if isinstance(literal, str) else literal
        for name in documents(question):
            if not any(wanted in sources[name] for wanted in literals):
                faults.append(f"{text}\n    {name} does not hold {literals}")
    seen = collections.Counter(question["question"] for question in questions)
    faults += [f"asked twice: {text}" for text, times in seen.items() if times > 1]
    answerable = sum(question.get("answerable") is not False for question in questions)
    print(f"{answerable} answerable questions, {len(questions) - answerable} that the corpus does not answer")
    for name in sorted(words):
        print(f"    {spread[name]:2} on {name}")
    print("\n".join(faults) if faults else "no question shares a rare word with its document")
    return 1 if faults or min(spread[name] for name in words) < 5 else 0


if __name__ == "__main__":
    sys.exit(main())
