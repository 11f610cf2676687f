"""What an engine is doing and has done."""

from __future__ import annotations

from dataclasses import dataclass

from .tables import Table, html_table, pairs, text_table


@dataclass(frozen=True, repr=False)
class EngineStatistics:
    """The state of an engine between two steps, and what it counted since it was loaded."""

    #: Requests that are being computed.
    running: int
    #: Requests that wait for their turn.
    waiting: int
    #: Tokens that a page of the KV cache holds.
    page_tokens: int
    #: Pages of the KV cache.
    pages: int
    #: Pages that hold nothing.
    free_pages: int
    #: Pages that no request owns and that keep a known prefix.
    cached_pages: int
    #: Pages of prefixes that are held.
    pinned_pages: int
    #: Steps of the model so far.
    steps: int
    #: Tokens of prompts that were found in the prefix cache, of the requests that have ended.
    cache_read_tokens: int
    #: Tokens that were guessed ahead.
    guessed_tokens: int
    #: Guessed tokens that the model agreed with.
    accepted_tokens: int
    #: How often a request had to give its pages up, to compute them again later.
    preemptions: int

    def _table(self) -> Table:
        return pairs((name, getattr(self, name)) for name in self.__dataclass_fields__)

    def __repr__(self) -> str:
        return text_table(self._table())

    def _repr_html_(self) -> str:
        return html_table(self._table())
