"""Log-probabilities of generated tokens."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Callable

from .tables import RecordList, Table

#: The text of each token id on its own.
Texts = Callable[[list[int]], list[str]]


@dataclass(frozen=True)
class TokenLogprob:
    """A token with its log-probability.

    It is the natural logarithm of the token's probability by the model's own softmax: before
    temperature, penalties, filters and formats.
    """

    #: The token's id.
    id: int
    #: The token's text on its own; bytes that are no whole character show as U+FFFD.
    text: str
    #: The natural logarithm of its probability.
    logprob: float

    @property
    def probability(self) -> float:
        """The probability, 0 to 1."""
        return math.exp(self.logprob)


@dataclass(frozen=True)
class ChosenLogprob(TokenLogprob):
    """A generated token with its log-probability, and the likeliest tokens in its place."""

    #: The likeliest tokens, the likeliest first; as many as `logprobs` asked for.
    top: list[TokenLogprob]


class LogprobList(RecordList[ChosenLogprob]):
    """Log-probabilities of generated tokens, in order. Shows as a table."""

    @classmethod
    def _from(cls, value: Mapping[str, Any], texts: Texts) -> LogprobList:
        entries = value.get("logprobs") or []
        if not entries:
            return cls()
        pairs = [pair for entry in entries for pair in entry["top"]]
        ids = sorted({entry["id"] for entry in entries} | {pair[0] for pair in pairs})
        names = dict(zip(ids, texts(ids)))
        return cls(
            ChosenLogprob(
                entry["id"],
                names[entry["id"]],
                entry["logprob"],
                [TokenLogprob(id, names[id], logprob) for id, logprob in entry["top"]],
            )
            for entry in entries
        )

    def _table(self) -> Table:
        rows = [
            (
                repr(entry.text),
                entry.id,
                entry.logprob,
                f"{entry.probability:.1%}",
                "  ".join(f"{other.text!r} {other.probability:.1%}" for other in entry.top),
            )
            for entry in self
        ]
        return ("token", "id", "logprob", "probability", "likeliest"), rows
