"""How well a model predicts texts."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from .tables import Table, html_table, text_table


@dataclass(frozen=True)
class TextPerplexity:
    """How well a model predicts one text, or several together."""

    #: Tokens that were predicted: all but the first of each text.
    tokens: int
    #: Sum over them of minus the natural logarithm of their probability.
    nll: float
    #: The exponential of `nll / tokens`.
    perplexity: float
    #: The text; None for several together.
    text: str | None = None


@dataclass(frozen=True, repr=False)
class Perplexity:
    """How well a model predicts texts. Shows as a table."""

    #: Each text's, in order.
    texts: list[TextPerplexity]
    #: All texts' tokens together, so that each token weighs the same.
    overall: TextPerplexity

    def __float__(self) -> float:
        return self.overall.perplexity

    @classmethod
    def _from(cls, value: Mapping[str, Any], texts: Sequence[str]) -> Perplexity:
        each = [TextPerplexity(**found, text=text) for found, text in zip(value["texts"], texts)]
        return cls(each, TextPerplexity(**value["overall"]))

    def _table(self) -> Table:
        rows = [(e.text, e.tokens, e.nll, e.perplexity) for e in self.texts]
        overall = self.overall
        rows.append(("(all together)", overall.tokens, overall.nll, overall.perplexity))
        return ("text", "tokens", "nll", "perplexity"), rows

    def __repr__(self) -> str:
        return text_table(self._table())

    def _repr_html_(self) -> str:
        return html_table(self._table())
