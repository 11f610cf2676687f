"""Knowledge bases: documents that can be asked."""

from __future__ import annotations

import json
import os
from collections.abc import Iterable, Mapping
from html import escape
from typing import TYPE_CHECKING, Any, Literal, Union

from . import checks
from .checks import Path
from .documents import (
    Document,
    DocumentInfo,
    DocumentList,
    KnowledgeBaseInfo,
    SourceInfo,
    SourceList,
    SyncReport,
)
from .errors import OutcropError
from .handle import Handle
from .model import Model
from .passages import Answer, Passage, PassageList
from .progress import afinish, finish
from .tables import record

if TYPE_CHECKING:
    from . import _native
    from .session import Session

Search = Literal["semantic", "keyword", "hybrid"]
Documents = Iterable[Union[Document, Mapping[str, Any], str]]


class KnowledgeBase(Handle):
    """Documents that can be asked; :meth:`Session.create_knowledge_base` makes one.

    It lives in the session's home. What a sync or :meth:`add` has committed survives the loss of
    the process at any point.
    """

    def __init__(self, session: Session, id: str, name: str) -> None:
        self._session = session
        self._id = id
        self._name = name

    @property
    def _native(self) -> _native.KnowledgeBase:
        return self._session._native_knowledge_base(self._id)

    @property
    def id(self) -> str:
        """Its id."""
        return self._id

    @property
    def name(self) -> str:
        """Its name."""
        return self._name

    @property
    def info(self) -> KnowledgeBaseInfo:
        """Its embedding model, its chunking and what it holds now."""
        return KnowledgeBaseInfo._from(json.loads(self._native.info(False)))

    def sources(self) -> SourceList:
        """The folders and files that a sync reads."""
        return _sources(self._native.sources(False))

    async def asources(self) -> SourceList:
        """The awaitable twin of :meth:`sources`."""
        return _sources(await self._native.sources(True))

    def documents(self) -> DocumentList:
        """The documents that it holds."""
        return _documents(self._native.documents(False))

    async def adocuments(self) -> DocumentList:
        """The awaitable twin of :meth:`documents`."""
        return _documents(await self._native.documents(True))

    def add_source(self, path: Path) -> SourceInfo:
        """Adds a folder or a file as a source; the next :meth:`sync` reads it.

        Text, Markdown, HTML, PDF and DOCX files are read.

        Raises:
            ResourceNotFoundException: Nothing is there.
            ConflictException: It is a source already.
        """
        place = os.path.abspath(os.path.expanduser(checks.path("path", path)))
        return record(SourceInfo, json.loads(self._native.add_source(place, False)))

    async def aadd_source(self, path: Path) -> SourceInfo:
        """The awaitable twin of :meth:`add_source`."""
        place = os.path.abspath(os.path.expanduser(checks.path("path", path)))
        return record(SourceInfo, json.loads(await self._native.add_source(place, True)))

    def remove_source(self, source: SourceInfo | Path) -> SourceInfo:
        """Removes a source; the next :meth:`sync` deletes its documents. Its files stay.

        Args:
            source: One of :meth:`sources`, its id, or its path.

        Raises:
            ResourceNotFoundException: It is no source.
        """
        name = _source_name(source)
        return record(SourceInfo, json.loads(self._native.remove_source(name, False)))

    async def aremove_source(self, source: SourceInfo | Path) -> SourceInfo:
        """The awaitable twin of :meth:`remove_source`."""
        name = _source_name(source)
        return record(SourceInfo, json.loads(await self._native.remove_source(name, True)))

    def sync(self, progress: bool = True) -> SyncReport:
        """Brings the knowledge base up to date with its sources.

        Reads what is new or was changed, by content, and drops what is gone. A document that cannot
        be read is no error: the report names it with the reason. Ctrl-C leaves what was committed,
        and the next sync finishes.

        Args:
            progress: Show a bar, where tqdm is installed.
        """
        return SyncReport._from(json.loads(finish(self._native.sync(), progress)))

    async def async_(self, progress: bool = True) -> SyncReport:
        """The awaitable twin of :meth:`sync`: `async` itself is a keyword, hence the underscore."""
        return SyncReport._from(json.loads(await afinish(self._native.sync(), progress)))

    def add(self, documents: Documents) -> list[str]:
        """Adds documents given as text, replacing those of the same id; gives their ids, in order.

        Args:
            documents: :class:`Document` objects, dicts of their fields, or texts. A document of
                one's own vector is one passage with that vector.

        Raises:
            ValidationException: A document without text, or a vector of the wrong length.
        """
        values, vectors = _added(documents)
        return list(json.loads(self._native.add(values, vectors, False)))

    async def aadd(self, documents: Documents) -> list[str]:
        """The awaitable twin of :meth:`add`."""
        values, vectors = _added(documents)
        return list(json.loads(await self._native.add(values, vectors, True)))

    def delete(self, ids: str | Iterable[str]) -> int:
        """Deletes documents by id; gives how many there were.

        Raises:
            ResourceNotFoundException: One of the ids is not there.
        """
        return int(json.loads(self._native.delete(checks.texts("ids", ids), False)))

    async def adelete(self, ids: str | Iterable[str]) -> int:
        """The awaitable twin of :meth:`delete`."""
        return int(json.loads(await self._native.delete(checks.texts("ids", ids), True)))

    def retrieve(
        self,
        query: str,
        k: int = 5,
        filter: Mapping[str, Any] | None = None,
        search: Search = "semantic",
        rerank: Model | Path | None = None,
    ) -> PassageList:
        """The passages nearest to the query, best first.

        Args:
            query: What they are to be near.
            k: How many, 1 to 100; where fewer pass the filter, all of those.
            filter: What the documents' metadata must fulfil, in Bedrock's form:
                `{"equals": {"key": "year", "value": 2024}}`. Operators: `equals`, `notEquals`,
                `greaterThan`, `greaterThanOrEquals`, `lessThan`, `lessThanOrEquals`, `in`, `notIn`,
                `startsWith`, `stringContains`, `listContains`; `andAll` and `orAll` take a list of
                filters. An absent attribute passes `notEquals` only.
            search: `"semantic"`: by the cosine of the vectors, which is the score, -1 to 1.
                `"keyword"`: by the query's words, those that are rare above all; the score is BM25,
                above 0, and a passage with none of the words is not found. `"hybrid"`: by both,
                fused by reciprocal rank; the score is 1 for the first of both.
            rerank: A reranking model, or its name: it puts the `k` passages in another order, and
                its relevance, 0 to 1, is the score.

        Raises:
            ValidationException: An empty query, a `k` outside 1..=100, what is no filter, no kind
                of search, or a model that does not rerank.
        """
        query, options = checks.text("query", query), _retrieval(k, filter, search, rerank)
        return _passages(self._native.retrieve(query, json.dumps(options), False))

    async def aretrieve(
        self,
        query: str,
        k: int = 5,
        filter: Mapping[str, Any] | None = None,
        search: Search = "semantic",
        rerank: Model | Path | None = None,
    ) -> PassageList:
        """The awaitable twin of :meth:`retrieve`."""
        query, options = checks.text("query", query), _retrieval(k, filter, search, rerank)
        return _passages(await self._native.retrieve(query, json.dumps(options), True))

    def ask(
        self,
        question: str,
        model: Model | Path | None = None,
        k: int = 5,
        filter: Mapping[str, Any] | None = None,
        session_id: str | None = None,
        *,
        search: Search = "semantic",
        rerank: Model | Path | None = None,
    ) -> Answer:
        """Answers a question from the `k` nearest passages, with citations.

        Every citation was checked against the stored text; one that does not check out is left out.

        Args:
            question: The question.
            model: A chat model, or its name. Default `outcrop.quote-v1`, which answers in the
                documents' own words or says that they do not answer.
            k: How many passages the model is given.
            filter: What the documents' metadata must fulfil, as in :meth:`retrieve`.
            session_id: A conversation of your own naming: the model is shown the questions and
                answers before this one, which are kept in the home. Default: none.
            search: How passages are looked for, as in :meth:`retrieve`.
            rerank: What puts them in another order, as in :meth:`retrieve`.

        Raises:
            ValidationException: An empty question, a `k` outside 1..=100, what is no filter, one
                that no document passes, or the session of another knowledge base.
        """
        question = checks.text("question", question)
        options = _asking(_retrieval(k, filter, search, rerank), model, session_id)
        return Answer._from(json.loads(self._native.ask(question, options, False)))

    async def aask(
        self,
        question: str,
        model: Model | Path | None = None,
        k: int = 5,
        filter: Mapping[str, Any] | None = None,
        session_id: str | None = None,
        *,
        search: Search = "semantic",
        rerank: Model | Path | None = None,
    ) -> Answer:
        """The awaitable twin of :meth:`ask`."""
        question = checks.text("question", question)
        options = _asking(_retrieval(k, filter, search, rerank), model, session_id)
        return Answer._from(json.loads(await self._native.ask(question, options, True)))

    def __repr__(self) -> str:
        return f"<outcrop.KnowledgeBase {self._name} ({self._id})>"

    def _repr_html_(self) -> str:
        try:
            return self.info._repr_html_()
        except OutcropError as error:
            # Deleted, damaged or of a closed session: the notebook says so.
            return escape(f"{self!r}: {error}")


def _retrieval(
    k: int, filter: Mapping[str, Any] | None, search: Search, rerank: Model | Path | None
) -> dict[str, Any]:
    return {
        "k": checks.integer("k", k),
        "filter": None if filter is None else json.loads(checks.encode("filter", filter)),
        "search": checks.text("search", search),
        "rerank": _model_name("rerank", rerank),
    }


def _asking(
    retrieval: dict[str, Any], model: Model | Path | None, session_id: str | None
) -> str:
    return json.dumps(
        {
            **retrieval,
            "model": _model_name("model", model),
            "sessionId": None if session_id is None else checks.text("session_id", session_id),
        }
    )


def _model_name(field: str, model: Model | Path | None) -> str | None:
    if model is None:
        return None
    return model._name if isinstance(model, Model) else checks.model_name(field, model)


def _source_name(source: SourceInfo | Path) -> str:
    if isinstance(source, SourceInfo):
        return source.id
    name = checks.path("source", source)
    # The folder may be gone: what is left of its path is made as absolute as it can be.
    return os.path.realpath(os.path.expanduser(name)) if os.sep in name else name


def _sources(sources: str) -> SourceList:
    return SourceList(record(SourceInfo, source) for source in json.loads(sources))


def _documents(documents: str) -> DocumentList:
    return DocumentList(record(DocumentInfo, document) for document in json.loads(documents))


def _passages(passages: str) -> PassageList:
    return PassageList(Passage._from(passage) for passage in json.loads(passages))


def _added(documents: Documents) -> tuple[str, list[Any]]:
    """Documents as JSON, and their vectors beside them: numbers cross without a text form."""
    if isinstance(documents, (Document, Mapping, str)):
        documents = [documents]
    if isinstance(documents, bytes) or not isinstance(documents, Iterable):
        raise checks.wrong("documents", "a list of documents", documents)
    values, vectors = [], []
    for index, document in enumerate(documents):
        value, vector = Document._of(f"documents[{index}]", document)._split(f"documents[{index}]")
        values.append(value)
        vectors.append(vector)
    return checks.encode("documents", values), vectors
