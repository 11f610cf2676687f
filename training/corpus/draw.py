"""Seeded choices, from the part of all words and forms that training sees or from the part that it never sees."""

from __future__ import annotations

import random
import zlib
from collections.abc import Sequence
from typing import TypeVar

T = TypeVar("T")

# One in so many names, numbers and codes, and one in so many forms, are kept for the held-out sets.
HELD_WORDS = 8
HELD_FORMS = 6

MONTHS = "January February March April May June July August September October November December".split()
ONSETS = "b br c ch d dr f fr g gr h j k kl l m n p pr qu r s sh sk st t th tr v w z".split()
VOWELS = "a e i o u ai ea ee io ou a e i o".split()
CODAS = ["", "", "", "l", "n", "r", "s", "t", "m", "nd", "rk", "st", "x", "ck", "th", "v", "lm"]
# What chance must not spell.
UNWANTED = ("fuck", "shit", "cunt", "dick", "kunt", "nazi", "rape", "slut", "piss", "cock", "tits", "arse", "kike", "fick")
ENDINGS = "a en er ia is o us um ar el in ton ley wick mann sen ova ini ez berg dale ford ham holm stad".split()


def number_of(text: str) -> int:
    """A number of the text that is the same in every process."""
    return zlib.crc32(text.encode())


class Draw:
    """Random choices of one seed. With `held_out` names, numbers and forms are those that training never sees."""

    def __init__(self, seed: int, held_out: bool = False) -> None:
        self.random = random.Random(seed)
        self.held_out = held_out
        self._parts: dict[int, tuple[Sequence, list]] = {}

    def chance(self, part: float) -> bool:
        return self.random.random() < part

    def any(self, options: Sequence[T]) -> T:
        """One of the options, which training and the held-out sets share."""
        return self.random.choice(options)

    def some(self, options: Sequence[T], count: int) -> list[T]:
        """Different ones of the options."""
        return self.random.sample(list(options), min(count, len(options)))

    def form(self, options: Sequence[T]) -> T:
        """One of the options of this part: of a short list at least one is held out."""
        known = self._parts.get(id(options))
        if known is None:
            order = sorted(options, key=lambda option: number_of(repr(option)))
            held = max(1, len(order) // HELD_FORMS) if len(order) > 2 else 0
            part = (order[:held] if self.held_out else order[held:]) or list(order)
            # The options are kept, so that no other list gets their id.
            known = self._parts[id(options)] = (options, part)
        return self.random.choice(known[1])

    def own(self, make) -> str:
        """What `make` gives that is of this part."""
        while True:
            text = make()
            if (number_of(text) % HELD_WORDS == 0) == self.held_out:
                return text

    def count(self, low: int, high: int) -> int:
        return self.random.randint(low, high)

    # Words and values.

    def _invented(self) -> str:
        syllables = self.any([1, 1, 2, 2, 3])
        word = "".join(self.any(ONSETS) + self.any(VOWELS) + self.any(CODAS) for _ in range(syllables))
        word += self.any(ENDINGS) if self.chance(0.6) else ""
        return self._invented() if any(part in word for part in UNWANTED) else word

    def word(self) -> str:
        """A word that no language has."""
        return self.own(self._invented)

    def name(self) -> str:
        """A proper name of one word."""
        return self.word().capitalize()

    def person(self) -> str:
        from corpus.words import FIRST_NAMES, LAST_NAMES

        def first() -> str:
            return self.any(FIRST_NAMES) if self.chance(0.7) else self._invented().capitalize()

        def last() -> str:
            return self.any(LAST_NAMES) if self.chance(0.4) else self._invented().capitalize()

        return self.own(lambda: f"{first()} {last()}")

    def digits(self, count: int) -> str:
        return self.own(lambda: "".join(self.any("0123456789") for _ in range(count)))

    def code(self) -> str:
        """An identifier: `KX-4471`, `ab93f`, `2025/0417`."""

        def letters(count: int, alphabet: str = "ABCDEFGHJKLMNPQRSTUVWXYZ") -> str:
            return "".join(self.any(alphabet) for _ in range(count))

        def digits(count: int) -> str:
            return letters(count, "0123456789")

        def make() -> str:
            return self.any(
                [
                    lambda: f"{letters(self.count(1, 3))}-{digits(self.count(2, 6))}",
                    lambda: f"{letters(2)}{digits(self.count(3, 7))}",
                    lambda: f"{letters(3)}-{digits(3)}-{letters(1)}",
                    lambda: digits(self.count(4, 9)),
                    lambda: f"20{digits(2)}/{digits(4)}",
                    lambda: letters(self.count(5, 9), "abcdef0123456789"),
                    lambda: letters(self.count(5, 9), "abcdefghkmnprstuvwxyzABCDEFGHKMNPRSTUVWXYZ23456789"),
                ]
            )()

        return self.own(make)

    def whole(self, low: int = 2, high: int = 999) -> str:
        return self.own(lambda: str(self.random.randint(low, high)))

    def amount(self) -> str:
        """A sum of money."""

        def make() -> str:
            size = self.any([10, 100, 1_000, 10_000, 100_000, 1_000_000])
            value = self.random.randint(1, size)
            cents = self.any([".00", ".50", f".{self.random.randint(10, 99)}"]) if size <= 1_000 else ""
            return f"{value:,}{cents}" if self.chance(0.8) else f"{value}{cents}"

        money, text = self.any(["EUR", "EUR", "USD", "GBP", "CHF", "€", "$"]), self.own(make)
        return f"{money}{text}" if money in "€$" else self.any([f"{money} {text}", f"{money} {text}", f"{text} {money}"])

    def percent(self) -> str:
        text = self.own(lambda: f"{self.random.randint(0, 99)}.{self.random.randint(0, 99)}")
        return self.any([f"{text} percent", f"{text}%", f"{text} %", f"{self.whole(1, 99)} percent"])

    def date(self) -> str:
        def make() -> str:
            day, month, year = self.count(1, 28), self.any(MONTHS), self.count(1990, 2039)
            return self.any([f"{day} {month} {year}", f"{month} {day}, {year}", f"{day} {month}"])

        return self.own(make) if self.chance(0.5) else self.day()

    def day(self) -> str:
        """A date such as programs write it."""
        return self.own(lambda: f"{self.count(1990, 2039)}-{self.count(1, 12):02}-{self.count(1, 28):02}")

    def clock(self) -> str:
        return f"{self.count(0, 23)}:{self.any(['00', '15', '30', '45', str(self.count(10, 59))])}"

    def period(self) -> str:
        """A length of time."""
        unit = self.any("days weeks months years hours minutes".split() + ["working days", "calendar days", "banking days"])
        spelt = "two three four five six seven eight nine ten twelve".split()
        return f"{self.any(spelt) if self.chance(0.2) else self.own(lambda: str(self.count(2, 400)))} {unit}"

    def mail(self) -> str:
        return f"{self.word()}@{self.word()}.{self.any(['com', 'org', 'example', 'net', 'eu'])}"

    def phone(self) -> str:
        return self.own(lambda: f"+{self.count(1, 99)} {self.count(10, 999)} {self.count(1000, 9999999)}")
