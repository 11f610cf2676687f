"""What retrieval finds, and what an answer rests on."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from html import escape
from typing import Any

from .replies import Usage
from .tables import RecordList, Table, html_table, record, shorten, text_table


@dataclass(frozen=True)
class Span:
    """A range of characters of an answer's text: `text[start:end]`."""

    #: First character.
    start: int
    #: One past the last.
    end: int


@dataclass(frozen=True)
class Location:
    """Where a passage stands in its document."""

    #: The document's id: its path relative to the source, or the id that it was added with.
    document: str
    #: The document's URI.
    uri: str
    #: First character in the document's parsed text.
    start: int
    #: One past the last character.
    end: int
    #: First page, from 1, where the format has pages.
    page: int | None = None
    #: Last page, where the format has pages.
    last_page: int | None = None

    def __str__(self) -> str:
        if self.page is None:
            return f"{self.document}, characters {self.start}-{self.end}"
        if self.last_page is None or self.last_page == self.page:
            return f"{self.document}, page {self.page}"
        return f"{self.document}, pages {self.page}-{self.last_page}"


@dataclass(frozen=True, repr=False)
class Passage:
    """A stored piece of a document, with its score for a query."""

    #: Its id in its knowledge base.
    id: str
    #: Its text, word for word.
    text: str
    #: Cosine of the query's and the passage's vectors, in -1..=1.
    score: float
    #: Where it stands.
    location: Location
    #: The document's metadata.
    metadata: dict[str, Any]

    @classmethod
    def _from(cls, value: Mapping[str, Any]) -> Passage:
        location = record(Location, value["location"])
        metadata = value.get("metadata", {})
        return cls(value["id"], value["text"], value["score"], location, metadata)

    def __repr__(self) -> str:
        return f"Passage({str(self.location)!r}, score={self.score:.3f}, {shorten(self.text)!r})"

    def _repr_html_(self) -> str:
        return PassageList([self])._repr_html_()


class PassageList(RecordList[Passage]):
    """Passages, best first. Shows as a table."""

    def _table(self) -> Table:
        rows = [(n, p.score, str(p.location), p.text) for n, p in enumerate(self, 1)]
        return ("", "score", "where", "text"), rows


@dataclass(frozen=True)
class Citation:
    """A part of an answer and the passages that it rests on."""

    #: The part of the answer's text.
    span: Span
    #: The cited words of the passage, where the model quoted; else empty.
    quotes: list[str]
    #: The passages, each read back from the store and found unchanged.
    passages: list[Passage]

    @classmethod
    def _from(cls, value: Mapping[str, Any]) -> Citation:
        passages = PassageList(Passage._from(passage) for passage in value["passages"])
        return cls(Span(**value["span"]), list(value.get("quotes", [])), passages)


@dataclass(frozen=True, repr=False)
class Answer:
    """An answer from documents, with citations to check it by."""

    #: The answer.
    text: str
    #: Whether the documents answered. False: the text says that they did not.
    answered: bool
    #: What it rests on, in order of the text.
    citations: list[Citation]
    #: The passages that the model was given, best first.
    passages: PassageList
    #: The id of the model that answered.
    model: str
    #: Why it ended.
    stop_reason: str
    #: Tokens that the model read and made.
    usage: Usage

    @classmethod
    def _from(cls, value: Mapping[str, Any]) -> Answer:
        return cls(
            text=value["text"],
            answered=value["answered"],
            citations=[Citation._from(citation) for citation in value["citations"]],
            passages=PassageList(Passage._from(passage) for passage in value["passages"]),
            model=value["model"],
            stop_reason=value["stopReason"],
            usage=record(Usage, value["usage"]),
        )

    def _table(self) -> Table:
        rows = [
            (f"[{n}]", passage.score, str(passage.location), " … ".join(c.quotes) or passage.text)
            for n, c in enumerate(self.citations, 1)
            for passage in c.passages
        ]
        return ("", "score", "where", "cited"), rows

    def __str__(self) -> str:
        return self.text

    def __repr__(self) -> str:
        return f"{self.text}\n\n{text_table(self._table())}" if self.citations else self.text

    def _repr_html_(self) -> str:
        marked, at = [], 0
        for n, citation in sorted(enumerate(self.citations, 1), key=lambda c: c[1].span.end):
            marked.append(escape(self.text[at : citation.span.end]) + f"<sup>[{n}]</sup>")
            at = citation.span.end
        marked.append(escape(self.text[at:]))
        table = html_table(self._table()) if self.citations else ""
        return f"<div style='white-space:pre-wrap'>{''.join(marked)}</div>{table}"
