"""Which tasks a stage's conversations are of, and how long they are."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

from corpus import calls, facts, grounded, talk
from corpus.draw import Draw
from corpus.words import ACTIONS, ADJECTIVES, NOUNS
from render import Renderer


def echo(draw: Draw) -> dict:
    """The very first steps: words, names and codes that come again, by themselves or because they are asked for."""
    if draw.chance(0.5):
        said, answer = (talk.repeated if draw.chance(0.8) else talk.coded)(draw)
        return {"prompt": said, "completion": answer}
    words = [draw.word, draw.name, draw.code, lambda: draw.any(NOUNS), draw.whole, draw.person, lambda: draw.any(ADJECTIVES)]
    part = draw.any([" ", ", ", " - "]).join(draw.any(words)() for _ in range(draw.count(2, 6)))
    return {"text": draw.any(["\n", " | ", "; "]).join([part] * draw.count(2, 4))}


def copy(draw: Draw) -> dict:
    """Then little but copying, in a line or two."""
    kind = draw.count(0, 24)
    if kind < 16:
        return echo(draw)
    if kind < 20:
        tasks = [talk.repeated, talk.repeated, talk.coded, talk.named, talk.listed, talk.short]
        return talk.conversation(draw, draw.count(1, 3), tasks)
    if kind < 23:
        return grounded.conversation(draw, 1, 2, 2, 0.0)
    return calls.single(draw, 1, 2)


def choose(draw: Draw) -> dict:
    """To choose among a few short facts or tools, and little else."""
    kind = draw.count(0, 19)
    return grounded.brief(draw) if kind < 13 else calls.brief(draw) if kind < 19 else talk.conversation(draw, 3)


def match(draw: Draw) -> dict:
    """To find a word again, and the number of the one to three words that it stands among."""
    return grounded.point_words(draw, 3, lambda: draw.any(draw.any([NOUNS, NOUNS, ADJECTIVES, ACTIONS])))


def find(draw: Draw) -> dict:
    """The same among more words, and with names and codes."""
    return grounded.point_words(draw, 5, lambda: facts.content(draw))


def point(draw: Draw) -> dict:
    """To find the sentence in whole passages, and nothing else."""
    passages, sentences = draw.any([(1, 3), (1, 5), (2, 2), (2, 4), (3, 3), (4, 2)])
    return grounded.point_facts(draw, passages, sentences, draw.count(8, 16))


def dense(draw: Draw) -> dict:
    """Many questions on the same passages and many requests of the same tools: to choose is learned from each."""
    kind = draw.count(0, 19)
    if kind < 11:
        passages, sentences = draw.any([(1, 3), (1, 5), (2, 3), (2, 4), (3, 3), (4, 2)])
        return grounded.conversation(draw, passages, sentences, draw.count(4, 7), 0.15)
    if kind < 16:
        return calls.single(draw, draw.count(1, 4), draw.count(3, 5))
    if kind < 19:
        return calls.plan(draw, draw.count(2, 3), 2)
    return talk.conversation(draw, draw.count(4, 7))


def full(draw: Draw) -> dict:
    """Everything at its full length."""
    kind = draw.count(0, 19)
    if kind < 9:
        passages, sentences = draw.any([(1, 9), (2, 6), (3, 5), (3, 8), (3, 12), (4, 4), (5, 4)])
        return grounded.conversation(draw, passages, sentences, draw.count(1, 6))
    if kind < 13:
        return calls.single(draw, draw.count(1, 5), draw.count(1, 4))
    if kind < 16:
        return calls.plan(draw, draw.count(2, 4), draw.any([2, 2, 2, 3]))
    if kind < 17:
        return calls.lookup(draw, draw.count(0, 2), draw.count(1, 4))
    return talk.conversation(draw, draw.count(1, 6))


def mixed(draw: Draw) -> dict:
    """What the last steps see: short, many-sided and full conversations, calls and plans."""
    kind = draw.count(0, 99)
    if kind < 20:
        return calls.plan(draw, draw.count(2, 4), draw.any([2, 2, 2, 3]))
    if kind < 36:
        return calls.single(draw, draw.count(1, 5), draw.count(2, 4))
    return draw.any([choose, dense, dense, full, point])(draw)


def lines(mixture, seed: int, count: int, held_out: bool = False) -> Iterator[dict]:
    draw, render = Draw(seed, held_out), Renderer()
    for _ in range(count):
        yield render.numbered(mixture(draw))


def write(path: Path, mixture, seed: int, count: int, held_out: bool = False) -> None:
    """Writes lines whole, or not at all."""
    beside = path.with_suffix(".part")
    with beside.open("w", encoding="utf-8") as file:
        for line in lines(mixture, seed, count, held_out):
            file.write(json.dumps(line, ensure_ascii=False) + "\n")
    beside.rename(path)
