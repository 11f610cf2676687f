"""What a knowledge base holds, and what a sync did."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from . import checks
from .tables import RecordList, Table, html_table, pairs, record, text_table


@dataclass(frozen=True)
class Document:
    """A document given as text."""

    #: Its text.
    text: str
    #: Its metadata: a dict that JSON can hold.
    metadata: dict[str, Any] = field(default_factory=dict)
    #: Its id; a document of the same id is replaced. Default: made from the text and the metadata.
    id: str | None = None
    #: A vector of one's own, of the embedding model's length; the text is then one passage.
    embedding: Sequence[float] | None = None

    @classmethod
    def _of(cls, where: str, value: Document | Mapping[str, Any] | str) -> Document:
        if isinstance(value, Document):
            return value
        if isinstance(value, str):
            return cls(value)
        known = cls.__dataclass_fields__
        if not isinstance(value, Mapping) or "text" not in value or not set(value) <= set(known):
            raise checks.wrong(where, "a Document, or a dict of " + ", ".join(known), value)
        return cls(**value)

    def _split(self, where: str) -> tuple[dict[str, Any], Any]:
        """The document without its vector, and the vector as an array."""
        value: dict[str, Any] = {"text": checks.text(f"{where}.text", self.text)}
        if self.id is not None:
            value["id"] = checks.text(f"{where}.id", self.id)
        if not isinstance(self.metadata, Mapping):
            raise checks.wrong(f"{where}.metadata", "a dict", self.metadata)
        value["metadata"] = dict(self.metadata)
        if self.embedding is None:
            return value, None
        import numpy

        try:
            # What float32 does not hold becomes infinite, which the core refuses by its place.
            with numpy.errstate(over="ignore"):
                vector = numpy.ascontiguousarray(self.embedding, dtype=numpy.float32)
        except (TypeError, ValueError, OverflowError):
            vector = numpy.empty((0, 0), dtype=numpy.float32)
        if vector.ndim != 1:
            raise checks.wrong(f"{where}.embedding", "a list of numbers", self.embedding)
        return value, vector


@dataclass(frozen=True)
class DocumentInfo:
    """A document as it is listed."""

    #: Its id: its path relative to its source, or the id that it was added with.
    id: str
    #: Its URI.
    uri: str
    #: Its title, where it states one, else its name.
    title: str
    #: How many passages it was cut into.
    chunks: int
    #: SHA-256 of what it was made from.
    sha256: str
    #: The id of its source; None for one that was added directly.
    source: str | None = None
    #: How many pages it has, where the format has pages.
    pages: int | None = None
    #: Its metadata.
    metadata: dict[str, Any] = field(default_factory=dict)


class DocumentList(RecordList[DocumentInfo]):
    """Documents. Shows as a table."""

    def _table(self) -> Table:
        rows = [(d.id, d.title, d.pages, d.chunks) for d in self]
        return ("id", "title", "pages", "passages"), rows


@dataclass(frozen=True)
class SourceInfo:
    """A folder or a file that a sync reads."""

    #: Its id in the knowledge base.
    id: str
    #: Its absolute path.
    path: str


class SourceList(RecordList[SourceInfo]):
    """Sources. Shows as a table."""

    def _table(self) -> Table:
        return ("id", "path"), [(source.id, source.path) for source in self]


@dataclass(frozen=True, repr=False)
class KnowledgeBaseInfo:
    """A knowledge base as it is listed."""

    #: Its id.
    id: str
    #: Its name.
    name: str
    #: The model that embeds its chunks and its queries.
    embedding_model: str
    #: How documents are cut: `maxTokens` and `overlapTokens`, in tokens of that model.
    chunking: dict[str, int]
    #: Its sources.
    sources: SourceList
    #: What it is for.
    description: str | None = None
    #: Length of a vector; None before the first document.
    dimensions: int | None = None
    #: How many documents it holds; None where its files are damaged, which a sync mends.
    documents: int | None = None
    #: How many passages it holds; likewise.
    chunks: int | None = None

    @classmethod
    def _from(cls, value: Mapping[str, Any]) -> KnowledgeBaseInfo:
        sources = SourceList(record(SourceInfo, source) for source in value.get("sources", []))
        return record(cls, {**value, "sources": sources})

    def _table(self) -> Table:
        shown = {name: getattr(self, name) for name in self.__dataclass_fields__}
        shown["chunking"] = ", ".join(f"{key} {n}" for key, n in self.chunking.items())
        shown["sources"] = "; ".join(source.path for source in self.sources)
        return pairs(shown.items())

    def __repr__(self) -> str:
        return text_table(self._table())

    def _repr_html_(self) -> str:
        return html_table(self._table())


class KnowledgeBaseList(RecordList[KnowledgeBaseInfo]):
    """Knowledge bases. Shows as a table."""

    def _table(self) -> Table:
        rows = [(k.name, k.id, k.documents, k.chunks, k.embedding_model) for k in self]
        return ("name", "id", "documents", "passages", "embedding model"), rows


@dataclass(frozen=True)
class FailedDocument:
    """A document that a sync could not read."""

    #: Its path relative to its source.
    document: str
    #: Why it could not be read.
    reason: str


@dataclass(frozen=True, repr=False)
class SyncReport:
    """What a sync did."""

    #: Documents that the sources hold, those that failed included.
    scanned: int
    #: Documents that were new.
    added: int
    #: Documents whose content or metadata had changed.
    modified: int
    #: Documents whose file is gone.
    deleted: int
    #: Documents that were up to date.
    unchanged: int
    #: Documents that could not be read, each with its reason. None of them answers.
    failed: list[FailedDocument]
    #: Files that are no documents: of other formats, or symbolic links.
    skipped: list[str] = field(default_factory=list)
    #: Passages that were embedded.
    chunks: int = 0
    #: Why everything was read again, where damaged files made that necessary.
    rebuilt: str | None = None
    #: Ids of directly added documents that a rebuild lost: they have no source to be read from.
    lost: list[str] = field(default_factory=list)

    @classmethod
    def _from(cls, value: Mapping[str, Any]) -> SyncReport:
        failed = [record(FailedDocument, document) for document in value["failed"]]
        return record(cls, {**value, "failed": failed})

    def _table(self) -> Table:
        names = ("scanned", "added", "modified", "deleted", "unchanged")
        rows: list[tuple[str, Any]] = [(name, getattr(self, name)) for name in names]
        rows.append(("failed", len(self.failed)))
        rows += [(f"failed: {failed.document}", failed.reason) for failed in self.failed]
        rows += [("skipped", name) for name in self.skipped]
        if self.rebuilt is not None:
            rows.append(("rebuilt", self.rebuilt))
        rows += [("lost", document) for document in self.lost]
        return ("documents", ""), rows

    def __repr__(self) -> str:
        return text_table(self._table())

    def _repr_html_(self) -> str:
        return html_table(self._table())
