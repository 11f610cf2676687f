"""Questions on numbered passages: the answer is the sentence that holds it and the passage's number."""

from __future__ import annotations

import textwrap
from collections.abc import Callable

from corpus import facts
from corpus.draw import Draw
from corpus.words import ACTORS, FILLERS, NOUNS, OBJECTS, VERBS

# The words of core/knowledge, with which every knowledge base asks.
INSTRUCTION = (
    "Answer the question from the numbered search results only. After each claim, name the search results that it "
    "rests on by their numbers in square brackets, such as [1] or [2][3]. Add nothing that they do not say. If they do "
    "not answer the question, reply with exactly this sentence: The documents do not answer this question."
)
NO_ANSWER = "The documents do not answer this question."

SUFFIXES = ["pdf", "md", "txt", "html", "docx"]


class Passage:
    """A part of a document: its facts, and its text as a search result."""

    def __init__(self, draw: Draw, sentences: int) -> None:
        self.facts, self.rows = theme(draw, sentences)
        texts = [fact.text for fact in self.facts]
        if not self.rows and draw.chance(0.4):
            for _ in range(draw.count(1, 2)):
                texts.insert(draw.count(0, len(texts)), draw.any(FILLERS))
        self.text = self._laid_out(draw, texts)
        word = draw.any([draw.word(), draw.any(NOUNS), f"{draw.any(NOUNS)}-{draw.any(NOUNS)}"])
        self.source = f"{word}.{draw.any(SUFFIXES)}"
        self.title = draw.any([self.source, facts.upper(word.replace("-", " ")), f"{draw.name()} {draw.any(NOUNS).capitalize()}"])

    def _laid_out(self, draw: Draw, texts: list[str]) -> str:
        """The texts with a heading, as lines of a list or table, or as running text that may be wrapped."""
        if self.rows:
            body = "\n".join(texts)
        elif draw.chance(0.12):
            body = "\n".join(f"- {text}" for text in texts)
        elif draw.chance(0.2) and len(texts) > 3:
            half = len(texts) // 2
            body = " ".join(texts[:half]) + "\n\n" + " ".join(texts[half:])
        else:
            body = " ".join(texts)
            if draw.chance(0.15):
                wrapped = textwrap.wrap(body, draw.count(60, 100), break_long_words=False, break_on_hyphens=False)
                # What is wrapped is quoted as it stands, line breaks too.
                body = "\n".join(wrapped)
                for fact in self.facts:
                    fact.text = as_wrapped(fact.text, body)
        if draw.chance(0.45):
            heading = facts.upper(f"{draw.any(NOUNS)} {draw.any(['and', 'of', 'for', 'in'])} {draw.any(NOUNS)}")
            number = draw.any([f"{draw.count(1, 19)}. ", f"{draw.count(1, 9)}.{draw.count(1, 9)} ", "# ", "## ", ""])
            return f"{number}{heading}\n\n{body}"
        return body

    def block(self) -> dict:
        return {"searchResult": {"source": self.source, "title": self.title, "content": [{"text": self.text}]}}


def as_wrapped(text: str, body: str) -> str:
    """The text as it stands in a body in which some of its spaces are line breaks."""
    at = body.replace("\n", " ").find(text)
    return body[at : at + len(text)] if at >= 0 else text


def theme(draw: Draw, count: int) -> tuple[list[facts.Fact], bool]:
    """Facts that have something in common, so that a question must be read to its end; whether they are a table."""
    # What is held out is of sentences as people write them.
    kind = draw.count(0, 11 if draw.held_out else 17)
    found: dict[str, facts.Fact] = {}
    ent, attr = facts.entity(draw), facts.attribute(draw)
    actors, act = draw.any(ACTORS), (draw.any(VERBS), draw.any(OBJECTS))
    row_kind, separator = draw.any(list(facts.ROW_QUESTIONS)), draw.any([" | ", " | ", ": ", "   "])
    shared = [facts.content(draw), facts.content(draw)]
    for _ in range(count):
        match kind:
            case 0:
                fact = facts.state(draw, ent=ent)
            case 1:
                fact = facts.state(draw, attr=attr)
            case 2 | 3:
                fact = facts.state(draw)
            case 4:
                fact = facts.rule(draw, actors=actors)
            case 5:
                fact = facts.rule(draw, act=(act[0], draw.any(OBJECTS)) if draw.chance(0.5) else (draw.any(VERBS), act[1]))
            case 6 | 7:
                fact = facts.rule(draw) if draw.chance(0.8) else facts.state(draw)
            case 8 | 10:
                fact = facts.salad(draw)
            case 11:
                fact = draw.any([facts.salad, facts.rule, facts.state])(draw)
            case 9:
                fact = facts.row(draw, row_kind, separator)
            case _:
                fact = facts.jumble(draw, shared)
        if fact.key not in found and not draw.held_out:
            fact.text = facts.roughened(draw, fact.text)
        found.setdefault(fact.key, fact)
    return list(found.values()), kind == 9


def absent(draw: Draw, known: list[facts.Fact]) -> facts.Fact:
    """A fact that no passage has, near to one that they have."""
    while True:
        near = draw.any(known)
        parts = near.key.split("|")
        if len(parts) == 2 and draw.chance(0.7):
            fact = facts.state(draw, ent=parts[0]) if draw.chance(0.5) else facts.state(draw)
        elif len(parts) == 1 and draw.chance(0.5):
            fact = facts.jumble(draw, [draw.any(near.text.split())])
        elif len(parts) == 3 and draw.chance(0.7):
            fact = facts.rule(draw, actors=parts[0] if draw.chance(0.5) else None)
        else:
            fact = draw.any([facts.state, facts.rule, facts.salad, facts.jumble, lambda d: facts.row(d, "amount", " | ")])(draw)
        # A rule's answer would do for whoever acts.
        same = {tuple(other.key.split("|")[-2:]) for other in known}
        if tuple(fact.key.split("|")[-2:]) not in same:
            return fact


def brief(draw: Draw) -> dict:
    """A few short facts, all of which are asked: little stands beside what must be chosen."""
    found: dict[str, facts.Fact] = {}
    for _ in range(draw.count(2, 5)):
        row = lambda d: facts.row(d, d.any(list(facts.ROW_QUESTIONS)), ": ")  # noqa: E731
        fact = draw.any([facts.state, facts.rule, row, facts.jumble, facts.jumble, facts.jumble])(draw)
        if len(fact.text) < 75 and fact.key not in found:
            fact.text = fact.text if draw.held_out else facts.roughened(draw, fact.text)
            found[fact.key] = fact
    known = list(found.values()) or [facts.state(draw)]
    border = draw.count(1, len(known))
    parts = [part for part in (known[:border], known[border:]) if part]
    blocks = []
    for part in parts:
        name = draw.any(NOUNS)
        lined = draw.chance(0.5) or not all(fact.text.endswith(".") for fact in part)
        text = ("\n" if lined else " ").join(fact.text for fact in part)
        blocks.append({"searchResult": {"source": name, "title": name, "content": [{"text": text}]}})
    numbered = [(fact.ask(), f"{fact.text} [{number}]") for number, part in enumerate(parts, 1) for fact in part]
    if draw.chance(0.3):
        numbered.append((absent(draw, known).ask(), NO_ANSWER))
    messages: list[dict] = []
    for question, answer in draw.some(numbered, len(numbered)):
        messages.append({"role": "user", "content": [*blocks, {"text": question}]})
        messages.append({"role": "assistant", "content": [{"text": answer}]})
        blocks = []
    return {"system": [{"text": INSTRUCTION}], "messages": messages}


POINT = "Point to the sentence."


def pointing(draw: Draw, blocks: list[dict], questions: list[tuple[str, str]]) -> dict:
    """Which sentence is it? Its number alone is the answer, so that a short text holds many questions."""
    messages: list[dict] = []
    for question, answer in questions:
        messages.append({"role": "user", "content": [*blocks, {"text": question}]})
        messages.append({"role": "assistant", "content": [{"text": answer}]})
        blocks = []
    return {"system": [{"text": POINT}], "messages": messages}


def point_words(draw: Draw, most: int, content: Callable[[], str]) -> dict:
    """Sentences of a few words each, and questions of one or two of these."""
    sentences = []
    for _ in range(draw.count(3, 9)):
        words = [content() for _ in range(draw.count(1, most))]
        sentences.append((facts.upper(facts.glued(draw, ["the", *words], 1 if most > 3 else 0)), words))

    def asked() -> tuple[str, str]:
        text, words = draw.any(sentences)
        named = ["the", *draw.some(words, draw.any([1, 1, 2]) if most > 3 else 1)]
        opening = f"{draw.any(facts.OPENINGS)} " if most > 3 and draw.chance(0.5) else ""
        return facts.upper(f"{opening}{facts.glued(draw, named, 1 if most > 3 else 0)}".strip()), f"{text}. [1]"

    text = ". ".join(text for text, _ in sentences) + "."
    return pointing(draw, [{"text": text}], [asked() for _ in range(draw.count(8, 18))])


def point_facts(draw: Draw, passages: int, sentences: int, questions: int) -> dict:
    """Passages as they are, and whole questions or one rare word."""
    given = [Passage(draw, draw.count(1, sentences)) for _ in range(passages)]
    known = [(fact, number) for number, passage in enumerate(given, 1) for fact in passage.facts]

    def asked() -> tuple[str, str]:
        if draw.chance(0.12):
            return absent(draw, [fact for fact, _ in known]).ask(), NO_ANSWER
        fact, number = draw.any(known)
        words = [word for word in fact.text.strip(".").split() if len(word) > 3 and sum(word in other.text for other, _ in known) == 1]
        if words and draw.chance(0.35):
            return draw.any(["The ", "Where is ", "Find "]) + draw.any(words), f"{fact.text} [{number}]"
        return fact.ask(), f"{fact.text} [{number}]"

    return pointing(draw, [passage.block() for passage in given], [asked() for _ in range(questions)])


def conversation(draw: Draw, passages: int, sentences: int, questions: int, absent_part: float = 0.25) -> dict:
    """A knowledge base's question with its passages, and questions that follow it."""
    given = [Passage(draw, draw.count(1, sentences)) for _ in range(passages)]
    known = [fact for passage in given for fact in passage.facts]
    messages: list[dict] = []
    asked: set[str] = set()
    for turn in range(questions):
        if draw.chance(absent_part):
            fact, answer = absent(draw, known), NO_ANSWER
        else:
            number = draw.count(0, len(given) - 1)
            fact = draw.any(given[number].facts)
            answer = f"{fact.text} [{number + 1}]"
        if fact.key in asked:
            continue
        asked.add(fact.key)
        blocks = [passage.block() for passage in given] if turn == 0 else []
        messages.append({"role": "user", "content": [*blocks, {"text": fact.ask()}]})
        messages.append({"role": "assistant", "content": [{"text": answer}]})
    return {"system": [{"text": INSTRUCTION}], "messages": messages}
